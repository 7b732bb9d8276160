"""From a file and a task to a measurement that can be restored."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..evaluation import metrics
from ..io import Picture, read_measurement, read_picture
from ..io.files import digest
from ..operators import Operator
from . import specs
from .degrade import operator_of, shown
from .edges import continue_blurred
from .inputs import MEASUREMENT, Input, partner
from .tasks import TASKS, Degradation, degradation


@dataclass(frozen=True)
class Job:
    """A measurement, ready to be restored.

    Attributes:
        y: Batch 1, in the operator's layout.
        operator: The degradation.
        sigma_y: Noise level, and ``sigma_from``: "given", "estimated" or "stored".
        image_shape: (C, H, W) that the operator works on.
        crop: (H, W) of the result at the top left of that.
        like: Alpha, depth and profile of the results.
        preview: The measurement as a picture, for the sheet.
        record: What defines the measurement, for the .json.
        margin: Rows and columns by which a blurred picture still has to be continued.
    """

    y: Tensor
    operator: Operator
    sigma_y: float
    sigma_from: str
    image_shape: tuple[int, int, int]
    crop: tuple[int, int]
    like: Picture
    preview: Tensor
    record: dict
    margin: int = 0

    def continued(self) -> Job:
        """The job with y continued to the operator's size."""
        if not self.margin:
            return self
        y = continue_blurred(self.y[0], self.operator, self.margin, self.sigma_y)[None]
        return replace(self, y=y.contiguous(), margin=0)


def has_measurement(path: Path) -> bool:
    """Whether a file is a measurement, or has one of the same name beside it."""
    return path.suffix.lower() == MEASUREMENT or path.with_suffix(MEASUREMENT).is_file()


def read_job(path: Path, task: str | None, options: dict[str, str], sigma: str | None) -> Job:
    """Read an input: a measurement file, or a picture and what is said of it.

    Raises:
        FileNotFoundError, ValueError: It cannot be read, or does not fit the task; the message says.
    """
    exact = path.with_suffix(MEASUREMENT)
    if path.suffix.lower() == MEASUREMENT or (task is None and has_measurement(path)):
        stored = path if path.suffix.lower() == MEASUREMENT else exact
        return _stored_job(stored, task, options, sigma)
    if task is None:
        read_picture(path)  # a missing or unreadable file is the first thing to say
        raise ValueError(
            f"--task: is needed for a picture without a measurement file ({exact.name}); "
            f"expected one of {', '.join(TASKS)}"
        )
    return _picture_job(path, task, options, sigma)


def _stored_job(path: Path, task: str | None, options: dict[str, str], sigma: str | None) -> Job:
    stored = read_measurement(path)
    if task is not None and (task != stored.task or options):
        what = f"--{next(iter(options))}" if task == stored.task else f"--task {task}"
        raise ValueError(
            f"{path}: is a measurement of task {stored.task} and defines its parameters itself; "
            f"leave out {what}"
        )
    try:
        operator = operator_of(stored)
        y = stored.y[None]
        level, origin = stored.sigma_y, "stored"
        visible = TASKS[stored.task].shown
        if sigma == "auto":
            if not visible:
                raise ValueError("the noise of coefficients cannot be estimated: give --sigma")
            known = stored.arrays.get("mask") if stored.task == "inpaint" else None
            level, origin = _estimate(stored.bits, y[0], known), "estimated"
        elif sigma is not None:
            level, origin = specs.noise_level("--sigma", sigma), "given"
        preview = shown(stored) if visible else operator.H_pinv(y)[0]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    height, width = stored.crop
    like = Picture(
        torch.zeros(stored.image_shape[0], height, width), stored.alpha, stored.bits, stored.icc,
        exif=stored.exif, xmp=stored.xmp, dpi=stored.dpi,
    )  # fmt: skip
    record = {"input_sha256": stored.sha256, "task": stored.task,
              "task_parameters": stored.parameters}  # fmt: skip
    return Job(
        y, operator, level, origin, stored.image_shape, stored.crop, like,
        preview if visible else preview[:, :height, :width], record,
    )  # fmt: skip


def _picture_job(path: Path, task: str, options: dict[str, str], sigma: str | None) -> Job:
    if not TASKS[task].shown:
        raise ValueError(
            f"--task {task}: its measurements are no pictures; expected a {MEASUREMENT} file of "
            "`ddrm-fast degrade`"
        )
    picture = read_picture(path)
    y, channels = picture.pixels, picture.pixels.shape[0]
    factor = specs.whole("--factor", options.get("factor", 1))
    crop = tuple(n * factor for n in picture.size)
    made = degradation(task, options, (3 if TASKS[task].grey else channels, *crop), seed=None)
    known = made.arrays.get("mask") if task == "inpaint" else None
    if known is not None:
        y = y * known
    if TASKS[task].grey and channels == 3:
        grey = torch.tensor(made.parameters["weights"], dtype=torch.float64)
        y = (y * grey.float().view(3, 1, 1)).sum(0, keepdim=True)
    level, origin = _noise_of(picture, y, known, sigma)
    margin = 0
    if "kernel" in options and "boundary" not in options:
        margin, made = _without_edges(made, factor)
    operator = made.operator()
    operator.check_image(made.image_shape)
    record = {
        "input_sha256": picture.sha256,
        "task": task,
        "task_parameters": {**made.parameters, **options},
        "arrays_sha256": {name: _array_digest(x) for name, x in made.arrays.items()},
    }
    return Job(
        y[None].contiguous(),
        operator,
        level,
        origin,
        made.image_shape,
        crop,
        picture,
        y,
        record,
        margin,
    )


def _without_edges(made: Degradation, factor: int) -> tuple[int, Degradation]:
    """How far a blurred picture is continued, and the periodic blur of that size."""
    taps = made.arrays["kernel"].shape
    if max(taps) > min(made.image_shape[1:]):
        raise ValueError(
            f"--kernel: of {taps[0]} x {taps[1]} is larger than the picture of "
            f"{made.image_shape[1]} x {made.image_shape[2]}"
        )
    margin = -(-max(taps) // factor)
    shape = (made.image_shape[0], *(n + margin * factor for n in made.image_shape[1:]))
    parameters = {**made.parameters, "boundary": "periodic", "margin": margin}
    return margin, Degradation(made.task, parameters, made.arrays, shape)


def noise_floor(bits: int) -> float:
    """Standard deviation of the rounding to so many bits."""
    return 1 / ((2**bits - 1) * math.sqrt(12))


def _estimate(bits: int, y: Tensor, known: Tensor | None) -> float:
    """Noise level as the picture shows it, never below its rounding."""
    return max(noise_floor(bits), metrics.estimate_noise(y, known))


def _noise_of(
    picture: Picture, y: Tensor, known: Tensor | None, sigma: str | None
) -> tuple[float, str]:
    """Noise level of a picture file, never below its rounding, and where it comes from."""
    if sigma not in (None, "auto"):
        return max(noise_floor(picture.bits), specs.noise_level("--sigma", sigma)), "given"
    try:
        return _estimate(picture.bits, y, known), "estimated"
    except ValueError as error:
        raise ValueError(f"--sigma auto: {error}; give --sigma") from error


def _array_digest(x: Tensor) -> str:
    return digest(x.contiguous().numpy().tobytes())


def read_truth(item: Input, where: str | None, job: Job) -> Picture | None:
    """The clean picture to compare with, in the channels of the result."""
    if where is None:
        return None
    file = partner(item, Path(where))
    truth = read_picture(file)
    expected = (job.image_shape[0], *job.crop)
    if tuple(truth.pixels.shape) != expected:
        raise ValueError(
            f"--truth: {file} has (channels, rows, columns) {tuple(truth.pixels.shape)}, "
            f"the restored picture {expected}"
        )
    return truth

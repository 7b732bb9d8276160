"""From a file and what is said of it to a measurement that can be restored."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..io import Picture, StoredMeasurement, read_measurement, read_picture
from ..io.files import digest
from ..operators import Forward, Operator
from ..operators.base import Shape
from ..registry import TASKS, Task, loaded
from ..registry.values import noise_level
from .arrays import Size
from .counts import PoissonGaussian, mean_level, parse_counts
from .degradation import Degradation, check_options, degradation
from .edges import continue_blurred, easy_length
from .measurements import operator_of, shown
from .noise import NoiseEstimate, judge_noise, noise_floor
from .problem import Problem
from .sensor_noise import estimate_sensor_noise

log = logging.getLogger(__name__)

#: suffix of a measurement file
MEASUREMENT = ".npz"


@dataclass(frozen=True)
class Measured:
    """A measurement with its operator and noise level, and what a restored picture inherits from it.

    Attributes:
        y:
            Batch 1, in the operator's layout.
        operator:
            The degradation.
        sigma_y:
            Noise level in the unit of y; the root of the mean variance where it grows with the light.
        sigma_from:
            "given", "estimated", "stored" or "none".
        image_shape:
            (C, H, W) that the operator works on.
        crop:
            (H, W) of the result at the top left of that.
        like:
            Alpha, depth and profile of the results.
        preview:
            The measurement as a picture (C, h, w), to look at.
        record:
            What defines the measurement, as JSON values.
        margin:
            Rows and columns by which a blurred picture still has to be continued.
        doubt:
            Why an estimated noise level may be wrong, or None.
        law:
            How the noise grows with the light, or None.
    """

    y: Tensor
    operator: Forward
    sigma_y: float
    sigma_from: str
    image_shape: Shape
    crop: Size
    like: Picture
    preview: Tensor
    record: dict[str, Any]
    margin: Size = (0, 0)
    doubt: str | None = None
    law: PoissonGaussian | None = None

    @property
    def noise(self) -> float | PoissonGaussian:
        """What :meth:`Problem.of` takes for it."""
        return self.sigma_y if self.law is None else self.law

    @property
    def noise_said(self) -> str:
        """Its noise in words."""
        if self.sigma_from == "none":
            return "no noise"
        if self.law is not None:
            return f"noise {self.law} ({self.sigma_from}), {self.sigma_y:.4f} on average"
        return f"noise {self.sigma_y:.4f} ({self.sigma_from})"

    def continued(self) -> Measured:
        """With y continued to the operator's size; see :func:`ddrm_fast.problems.continue_blurred`."""
        if not any(self.margin) or not isinstance(self.operator, Operator):
            return self
        y = continue_blurred(self.y[0], self.operator, self.margin, self.sigma_y)[None]
        return replace(self, y=y.contiguous(), margin=(0, 0))

    @property
    def problem(self) -> Problem:
        """What :func:`ddrm_fast.draw` takes, y continued where it has to be.

        Raises:
            ValueError: The operator measures nothing, or y is not finite.
        """
        ready = self.continued()
        return Problem.of(ready.y, ready.operator, ready.noise)


def has_measurement(path: Path) -> bool:
    """Whether a file is a measurement, or has one of the same name beside it."""
    return path.suffix.lower() == MEASUREMENT or path.with_suffix(MEASUREMENT).is_file()


def read_measured(
    path: str | Path,
    task: Task | str | None = None,
    options: Mapping[str, Any] | None = None,
    sigma: float | str | PoissonGaussian | None = None,
) -> Measured:
    """Read a measurement file, or a picture and take it for a measurement.

    >>> problem = read_measured("small.png", "sr", {"factor": 4}).problem
    >>> draw(problem, Drawing(load_prior()))

    Args:
        path:
            An ``.npz`` file of `ddrm-fast degrade` or :func:`ddrm_fast.io.write_measurement`, or a picture;
            without a task, the measurement file of the same name beside a picture.
        task:
            What happened to the picture; a measurement file knows it.
        options:
            The task's parameters: values, tensors, or the text that stands for them.
        sigma:
            Noise level of y, a number or text such as 25/255, never taken below the rounding of a picture
            file; "auto": estimated; None: that of the measurement file, else estimated. Noise that grows with
            the light: a law, its text (``poisson:RATE``, ``sensor:A:B``), or "sensor": estimated.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, does not fit the task, or an argument is wrong; the message says which.
    """
    path, options = Path(path), options or {}
    task = TASKS.find(task) if isinstance(task, str) else task
    exact = path.with_suffix(MEASUREMENT)
    if path.suffix.lower() == MEASUREMENT or (task is None and has_measurement(path)):
        stored = path if path.suffix.lower() == MEASUREMENT else exact
        return _said(stored, _of_file(stored, task, options, sigma))
    if task is None:
        read_picture(path)  # a missing or unreadable file is the first thing to say
        raise ValueError(
            f"task: is needed for a picture without a measurement file ({exact.name}); "
            f"expected one of {', '.join(TASKS)}"
        )
    if not task.shown:
        raise ValueError(
            f"task {task.name}: its measurements are no pictures; expected a {MEASUREMENT} file of "
            "`ddrm-fast degrade`"
        )
    return _said(path, of_picture(read_picture(path), task, options, sigma))


def _said(path: Path, found: Measured) -> Measured:
    """What was read, its doubt logged."""
    if found.doubt is not None:
        log.warning("%s: noise %.4f estimated; %s; or give sigma", path, found.sigma_y, found.doubt)
    return found


def _of_file(
    path: Path,
    task: Task | None,
    options: Mapping[str, Any],
    sigma: float | str | PoissonGaussian | None,
) -> Measured:
    stored = read_measurement(path)
    if task is not None and (task.name != stored.task or options):
        what = next(iter(options)) if task.name == stored.task else f"task {task.name}"
        raise ValueError(
            f"{path}: is a measurement of task {stored.task} and defines its parameters itself; "
            f"leave out {what}"
        )
    try:
        return of_stored(stored, sigma)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def of_stored(
    stored: StoredMeasurement, sigma: float | str | PoissonGaussian | None = None
) -> Measured:
    """A stored measurement, ready to be restored.

    Args:
        stored:
            What :func:`ddrm_fast.io.read_measurement` read.
        sigma:
            As in :func:`read_measured`.

    Raises:
        ValueError: What is stored makes no operator, or the noise cannot be estimated.
    """
    operator, y = operator_of(stored), stored.y[None]
    task = TASKS.find(stored.task)
    level, origin, doubt = stored.sigma_y, "stored", None
    if sigma in ("auto", "sensor") and not task.shown:
        raise ValueError("the noise of coefficients cannot be estimated: give sigma")
    known = stored.arrays.get(task.known) if task.known else None
    law = _law(y[0], known, stored.law if sigma is None and stored.law else sigma)
    if law is not None:
        level = mean_level(y, law)
        origin = "stored" if sigma is None else "estimated" if sigma == "sensor" else "given"
    elif sigma == "auto":
        noise = judge_noise(y[0], stored.bits, known)
        level, origin, doubt = noise.level, "estimated", noise.doubt
    elif sigma is not None:
        assert not isinstance(sigma, PoissonGaussian)
        level, origin = noise_level("sigma", sigma), "given"
    height, width = stored.crop
    preview = shown(stored) if task.shown else _seen(operator, y)[0, :, :height, :width]
    black = torch.zeros(stored.image_shape[0], height, width)
    like = Picture(
        black, stored.alpha, stored.bits, stored.icc,
        exif=stored.exif, xmp=stored.xmp, dpi=stored.dpi,
    )  # fmt: skip
    record = {
        "input_sha256": stored.sha256,
        "task": stored.task,
        "task_parameters": stored.parameters,
    }
    return Measured(
        y, operator, level, origin, stored.image_shape, stored.crop, like, preview, record, doubt=doubt,
        law=law,
    )  # fmt: skip


def _seen(operator: Forward, y: Tensor) -> Tensor:
    """Something to look at, of a measurement that is no picture."""
    if isinstance(operator, Operator):
        return operator.H_pinv(y)
    return torch.full((1, *operator.image_shape(y)), 0.5)


def of_picture(
    picture: Picture,
    task: Task | str,
    options: Mapping[str, Any] | None = None,
    sigma: float | str | PoissonGaussian | None = None,
) -> Measured:
    """A picture taken for the measurement of a task.

    Args:
        picture:
            As :func:`ddrm_fast.io.read_picture` gives it; pixels that a mask says are unknown count as 0, and
            colours become grey where the task says that they are lost.
        task, options, sigma:
            As in :func:`read_measured`.

    Raises:
        ValueError: A parameter is missing or wrong, the picture does not fit the task, or its noise cannot
            be estimated.
    """
    task = TASKS.find(task) if isinstance(task, str) else task
    options = options or {}
    said = {} if task.of_file is None else loaded(task.of_file)(picture, options)
    y, channels = picture.pixels, picture.pixels.shape[0]
    factor = check_options(task, options).get(task.smaller_by, 1)
    crop = tuple(n * factor for n in picture.size)
    made = degradation(task, (3 if task.grey else channels, *crop), {**options, **said})
    known = made.arrays.get(task.known) if task.known else None
    if known is not None:
        y = y * known
    if task.grey and channels == 3:
        grey = torch.tensor(made.parameters["weights"], dtype=torch.float64)
        y = (y * grey.float().view(3, 1, 1)).sum(0, keepdim=True)
    law = _law(y, known, sigma)
    if law is not None:
        noise = NoiseEstimate(mean_level(y, law))
        origin = "estimated" if sigma == "sensor" else "given"
    elif task.exact and sigma in (None, "auto"):
        noise, origin = NoiseEstimate(0.0), "none"
    else:
        assert not isinstance(sigma, PoissonGaussian)
        noise, origin = _noise_of(picture, y, known, sigma)
    margin = 0, 0
    if task.kernel and options.get("boundary") is None:
        margin, made = _without_edges(made, task.kernel, factor)
    operator = made.operator()
    operator.check_image(made.image_shape)
    record = {
        "input_sha256": picture.sha256,
        "task": task.name,
        "task_parameters": {**made.parameters, **_words(options)},
        "arrays_sha256": {name: _array_digest(x) for name, x in made.arrays.items()},
    }
    return Measured(
        y[None].contiguous(), operator, noise.level, origin, made.image_shape, crop, picture, y, record,
        margin, noise.doubt, law,
    )  # fmt: skip


def _law(
    y: Tensor, known: Tensor | None, sigma: float | str | PoissonGaussian | None
) -> PoissonGaussian | None:
    """The law that was given or asked to be estimated, if any."""
    if isinstance(sigma, PoissonGaussian):
        return sigma
    if sigma != "sensor":
        return None if sigma is None else parse_counts("sigma", sigma)
    try:
        return estimate_sensor_noise(y, known)
    except ValueError as error:
        raise ValueError(f"sigma sensor: {error}; give sigma") from error


def _without_edges(made: Degradation, kernel: str, factor: int) -> tuple[Size, Degradation]:
    """How far a blurred picture is continued, and the periodic blur of that size."""
    taps = made.arrays[kernel].shape
    if max(taps) > min(made.image_shape[1:]):
        raise ValueError(
            f"{kernel}: of {taps[0]} x {taps[1]} is larger than the picture of "
            f"{made.image_shape[1]} x {made.image_shape[2]}"
        )
    least = -(-max(taps) // factor)
    measured = [n // factor for n in made.image_shape[1:]]
    rows, columns = (easy_length(n + least) - n for n in measured)
    margin = rows, columns
    shape = (
        made.image_shape[0],
        *(n + factor * m for n, m in zip(made.image_shape[1:], margin, strict=True)),
    )
    parameters = {**made.parameters, "boundary": "periodic", "margin": margin}
    return margin, Degradation(made.task, parameters, made.arrays, shape)


def _noise_of(
    picture: Picture, y: Tensor, known: Tensor | None, sigma: float | str | None
) -> tuple[NoiseEstimate, str]:
    """Noise level of a picture file, never below its rounding, and where it comes from."""
    if sigma not in (None, "auto"):
        return NoiseEstimate(max(noise_floor(picture.bits), noise_level("sigma", sigma))), "given"
    try:
        return judge_noise(y, picture.bits, known, picture.jpeg), "estimated"
    except ValueError as error:
        raise ValueError(f"sigma auto: {error}; give sigma") from error


def _words(options: Mapping[str, Any]) -> dict[str, Any]:
    """What a record keeps of the parameters; tensors are among the arrays' digests."""
    return {name: value for name, value in options.items() if not isinstance(value, Tensor)}


def _array_digest(x: Tensor) -> str:
    return digest(x.contiguous().numpy().tobytes())

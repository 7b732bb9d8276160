"""Degradations as the command line knows them: names, parameters, and the operators they stand for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .. import operators
from ..operators import Operator
from ..operators.base import Shape
from . import specs

_THIRDS = (1 / 3, 1 / 3, 1 / 3)


@dataclass(frozen=True)
class Degradation:
    """A task with everything that defines its operator; what a measurement file stores.

    Attributes:
        task: A name of ``TASKS``.
        parameters: Numbers and words, plain JSON values.
        arrays: Masks, kernels, kept indices.
        image_shape: (C, H, W) that the operator works on.
    """

    task: str
    parameters: dict
    arrays: dict[str, Tensor]
    image_shape: Shape

    def operator(self) -> Operator:
        """The operator.

        Raises:
            ValueError: The task is unknown, an array or number is missing or does not fit.
        """
        if self.task not in TASKS:
            raise ValueError(f"task: got {self.task!r}, expected one of {', '.join(TASKS)}")
        try:
            return TASKS[self.task].make(self)
        except KeyError as error:
            raise ValueError(f"task {self.task}: {error} is missing") from None


@dataclass(frozen=True)
class Task:
    """A kind of degradation.

    Attributes:
        summary: For the help.
        make: The operator of a :class:`Degradation`.
        needs, takes: Options that have to be given, and those that may be.
        grey: The measurement has one channel where the picture has three.
        shown: The measurement is a picture.
        drawing: Settings of DDRM that suit it better than the usual ones.
    """

    summary: str
    make: Callable[[Degradation], Operator]
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    grey: bool = False
    shown: bool = True
    defaults: dict = field(default_factory=dict)
    drawing: dict = field(default_factory=dict)


def _blur(d: Degradation) -> Operator:
    return operators.Blur(d.arrays["kernel"], d.parameters["boundary"])


def _old_photo(d: Degradation) -> Operator:
    return operators.SuperResolution(
        d.parameters["factor"], d.parameters["weights"], d.arrays["mask"]
    )


TASKS = {
    "noise": Task("white noise alone", lambda d: operators.Denoising()),
    "sr": Task(
        "low resolution: means of factor x factor pixels",
        lambda d: operators.SuperResolution(d.parameters["factor"]),
        needs=("factor",),
    ),
    "bicubic": Task(
        "low resolution: antialiased bicubic downscaling",
        lambda d: operators.BicubicDownscaling(d.parameters["factor"], d.image_shape[1:]),
        needs=("factor",),
    ),
    "blursr": Task(
        "low resolution: any blur, then every factor-th pixel",
        lambda d: operators.BlurDecimate(d.arrays["kernel"], d.parameters["factor"]),
        needs=("factor", "kernel"),
    ),
    "inpaint": Task(
        "missing pixels",
        lambda d: operators.Inpainting(d.arrays["mask"]),
        needs=("mask",),
        drawing={"steps": 50, "eta": 1.0},  # with 20 steps there is speckle left
    ),  # fmt: skip
    "color": Task(
        "lost colour",
        lambda d: operators.Colorization(d.parameters["weights"]),
        takes=("weights",),
        grey=True,
        defaults={"weights": _THIRDS},
    ),
    "blur": Task("blur", _blur, needs=("kernel",), takes=("boundary",)),
    "cs": Task(
        "compressed sensing: some Walsh-Hadamard coefficients",
        lambda d: operators.WalshHadamardCS(d.image_shape[1:], kept=d.arrays["kept"]),
        needs=("ratio",),
        shown=False,
        drawing={"steps": 100, "eta": 1.0},
    ),
    "blockcs": Task(
        "compressed sensing of blocks in a random basis",
        lambda d: operators.BlockCS(
            d.parameters["block"], keep=d.parameters["keep"], basis=d.arrays["basis"]
        ),
        needs=("ratio",),
        takes=("block",),
        shown=False,
        defaults={"block": 16},
        drawing={"steps": 100, "eta": 1.0},
    ),
    "oldphoto": Task(
        "old photograph: grey, damaged, and small",
        _old_photo,
        needs=("factor", "mask"),
        takes=("weights",),
        grey=True,
        defaults={"weights": _THIRDS},
    ),
    "gain": Task("uneven brightness", lambda d: operators.Gain(d.arrays["gain"]), needs=("gain",)),
}

OPTIONS = ("factor", "mask", "weights", "kernel", "boundary", "ratio", "block", "gain")
_EXAMPLES = {
    "factor": "4",
    "mask": "mask.png",
    "kernel": "motion:15,30",
    "ratio": "4",
    "gain": "vignette:0.3",
}


def add_task_options(parser: argparse.ArgumentParser, required: bool) -> None:
    """Add ``--task`` and the parameters of all tasks."""
    group = parser.add_argument_group("degradation")
    group.add_argument("--task", choices=TASKS, required=required, help="see the table below")
    group.add_argument("--factor", metavar="N", help="side of a block, ratio of the resolutions")
    random = "" if not required else "random:SHARE of the pixels missing, "
    group.add_argument(
        "--mask",
        metavar="MASK",
        help=f"which pixels are known: FILE (a picture or .npy, white where known), {random}"
        "box:TOP,LEFT,HEIGHT,WIDTH missing (pixels), or bayer:RGGB, the colours that a camera's "
        "sensor saw",
    )
    group.add_argument(
        "--kernel",
        metavar="KERNEL",
        help=f"{specs.KERNELS} ({specs.KERNELS_MEAN}); divided by its sum",
    )
    group.add_argument(
        "--boundary",
        choices=("reflect", "periodic"),
        help="what a blur saw beyond the edges (a picture: default unknown, continued smoothly; "
        "degrade: default reflect where the kernel is symmetric)",
    )
    group.add_argument(
        "--weights", metavar="R,G,B", help="grey weights, divided by their sum (a third each)"
    )
    group.add_argument("--ratio", metavar="N", help="keep one coefficient of N")
    group.add_argument("--block", metavar="N", help="side of a block (16)")
    group.add_argument(
        "--gain",
        metavar="GAIN",
        help=f"brightness of each pixel: {specs.GAINS}, from 1 in the centre to CORNER, 0 to 1",
    )


def task_table() -> str:
    """The tasks and their options, for the end of a help text."""
    lines = ["tasks:"]
    for name, task in TASKS.items():
        words = [f"--{option}" for option in task.needs]
        words += [f"[--{option}]" for option in task.takes]
        lines.append(f"  {name:9}{task.summary}{': ' * bool(words)}{' '.join(words)}")
    hidden = " and ".join(name for name, task in TASKS.items() if not task.shown)
    lines.append(
        f"measurements of {hidden} are no pictures: .npz files of `ddrm-fast degrade` only"
    )
    return "\n".join(lines)


def task_options(arguments: argparse.Namespace) -> dict[str, str]:
    """The parameters that were given for ``--task``, as text.

    Raises:
        ValueError: One is missing, or the task does not take it.
    """
    given = {name: getattr(arguments, name) for name in OPTIONS}
    given = {name: text for name, text in given.items() if text is not None}
    if arguments.task is None:
        if given:
            raise ValueError(f"--{next(iter(given))}: belongs to a --task, which is not given")
        return {}
    task = TASKS[arguments.task]
    for name in task.needs:
        if name not in given:
            raise ValueError(
                f"--{name}: task {arguments.task} needs it, for example --{name} {_EXAMPLES[name]}"
            )
    for name in given:
        if name not in task.needs + task.takes:
            known = ", ".join(f"--{n}" for n in task.needs + task.takes) or "none"
            raise ValueError(
                f"--{name}: task {arguments.task} does not take it; its parameters: {known}"
            )
    parameters_of(arguments.task, given)
    return given


def parameters_of(name: str, options: dict[str, str]) -> dict:
    """The parameters that are numbers or words, checked."""
    values = dict(TASKS[name].defaults)
    if "factor" in options:
        values["factor"] = specs.whole("--factor", options["factor"])
    if "ratio" in options:
        values["ratio"] = specs.number("--ratio", options["ratio"], 1)
    if "block" in options:
        values["block"] = specs.whole("--block", options["block"], 2, operators.LARGEST_BLOCK)
    if "weights" in options:
        values["weights"] = specs.weights("--weights", options["weights"])
    return values


def multiples(name: str, options: dict[str, str], size: tuple[int, int]) -> tuple[int, int]:
    """The size (H, W) that a clean picture is padded to before it is degraded."""
    if name == "cs":
        return tuple(1 << (n - 1).bit_length() for n in size)
    values = parameters_of(name, options)
    option = "block" if name == "blockcs" else "factor"
    step = values.get(option, 1)
    if step > 1 and step > max(size):
        raise ValueError(f"--{option}: {step} is larger than the picture of {size[0]} x {size[1]}")
    return tuple(-(-n // step) * step for n in size)


def degradation(
    name: str,
    options: dict[str, str],
    image_shape: Shape,
    seed: int | None,
    crop: tuple[int, int] | None = None,
) -> Degradation:
    """A task made definite for pictures of one shape.

    Args:
        name: Name of the task.
        options: Its parameters from :func:`task_options`.
        image_shape: (C, H, W) that the operator works on.
        seed: Of what is random (masks, kept coefficients, bases); None: nothing may be.
        crop: (H, W) of the picture itself where it is padded; masks have this size.
    """
    size = tuple(image_shape[1:])
    values, arrays = parameters_of(name, options), {}
    if "mask" in options:
        mask = _mask(name, values, options["mask"], size, seed, crop or size)
        if mask.dim() == 3 and mask.shape[0] != image_shape[0]:
            raise ValueError(
                f"--mask: {options['mask']} needs a picture with colours, got a grey one"
            )
        arrays["mask"] = mask
    if "gain" in options:
        arrays["gain"] = specs.gain("--gain", options["gain"], size)
    if "kernel" in options:
        arrays["kernel"] = specs.kernel("--kernel", options["kernel"])
        values["kernel"] = options["kernel"]
    if name == "blur":
        values["boundary"] = options.get("boundary") or boundary_of(arrays["kernel"])
    if name == "cs":
        arrays["kept"] = operators.WalshHadamardCS(size, values["ratio"], seed=seed or 0).kept
    if name == "blockcs":
        block = operators.BlockCS(values["block"], values["ratio"], seed=seed or 0)
        values["keep"], arrays["basis"] = block.keep, block.basis.float()
    return Degradation(name, values, arrays, image_shape)


def _mask(
    name: str,
    values: dict,
    text: str,
    size: tuple[int, int],
    seed: int | None,
    crop: tuple[int, int],
) -> Tensor:
    """The mask of a task at ``size``, from one at the picture's own size (or, for an old photograph, at
    that of its measurement: then a pixel stands for its block)."""
    if name != "oldphoto":
        return specs.mask("--mask", text, size, seed)
    factor = values["factor"]
    small = tuple(n // factor for n in size)
    try:
        known = specs.mask("--mask", text, crop, seed)
    except ValueError:
        if seed is not None:
            raise
        known = specs.mask("--mask", text, small, seed)
        known = known.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
    return pad(known[None] if known.dim() == 2 else known, size).squeeze(0)


def boundary_of(kernel: Tensor) -> str:
    """ "reflect" where the cosine transform diagonalises the blur, else "periodic"."""
    odd = kernel.shape[0] % 2 and kernel.shape[1] % 2
    close = 1e-6 * float(kernel.abs().max())
    symmetric = all(torch.allclose(kernel, kernel.flip(k), rtol=0, atol=close) for k in (0, 1))
    return "reflect" if odd and symmetric else "periodic"


def pad(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, h, w) continued to (C, H, W) by repeating its last row and column."""
    rows = torch.arange(size[0]).clamp(max=x.shape[-2] - 1)
    columns = torch.arange(size[1]).clamp(max=x.shape[-1] - 1)
    return x.index_select(-2, rows).index_select(-1, columns)

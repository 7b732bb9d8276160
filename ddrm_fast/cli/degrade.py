"""`ddrm-fast degrade`: measurements from clean pictures."""

from __future__ import annotations

import argparse
from pathlib import Path

from torch import Tensor

from .. import restoration
from ..io import (
    StoredMeasurement,
    read_picture,
    write_measurement,
    write_picture,
)
from ..operators import Operator
from . import specs
from .folder import Stages, work_through
from .inputs import MEASUREMENT, Input, find_inputs, output_folder
from .tasks import (
    TASKS,
    Degradation,
    add_task_options,
    degradation,
    multiples,
    pad,
    task_options,
    task_table,
)

EXAMPLE = """\
examples:
  A picture a quarter as large, with noise; then restored:

    ddrm-fast degrade photo.jpg --task sr --factor 4 --sigma 0.05 --out small
    ddrm-fast restore small/photo.npz --samples 8 --out restored

  All pictures of a folder, blurred by a motion of 15 pixels at 30 degrees:

    ddrm-fast degrade photos/ --task blur --kernel motion:15,30 --sigma 2/255 --out blurred

files in the output folder, for photo.jpg:
  photo.npz   the exact numbers and what defines the degradation: what `restore` needs
  photo.png   the same to look at, rounded and clipped (not for compressed sensing)
"""


def add(commands: argparse._SubParsersAction) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "degrade",
        help="make measurements from clean pictures",
        description="Degrade clean pictures: y = H x + sigma n.",
        epilog=f"{task_table()}\n\n{EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="ddrm-fast degrade PICTURE ... --task TASK [options]",
    )
    parser.add_argument("inputs", nargs="+", metavar="PICTURE", help="pictures or folders")
    parser.add_argument("--out", default="degraded", metavar="DIR", help="(degraded)")
    add_task_options(parser, required=True)
    parser.add_argument("--sigma", default="0", metavar="S", help="noise, 0.1 or 25/255 (0)")
    parser.add_argument(
        "--seed", default=0, metavar="N", help="of noise, random masks and coefficients (0)"
    )
    parser.add_argument("--quiet", action="store_true", help="errors only")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Degrade; returns the exit status."""
    options = task_options(arguments)
    sigma = specs.noise_level("--sigma", arguments.sigma)
    seed = specs.seed("--seed", arguments.seed)
    out = output_folder(arguments.out)
    inputs = find_inputs(arguments.inputs, out)
    originals = {item.path.resolve() for item in inputs}

    def work(item: Input) -> str:
        return _degrade(item, arguments.task, options, sigma, seed, out, originals)

    return work_through("degrade", inputs, Stages(lambda item: item, work, str), arguments.quiet)


def _degrade(
    item: Input,
    task: str,
    options: dict[str, str],
    sigma: float,
    seed: int,
    out: Path,
    originals: set[Path],
) -> str:
    """Degrade one picture and write its files, but over no clean picture; what to print."""
    target = out / item.name
    if TASKS[task].shown and Path(f"{target}.png").resolve() in originals:
        raise ValueError(
            f"{item.path}: its measurement would replace the clean picture {target}.png; "
            "expected another folder for --out"
        )
    picture = read_picture(item.path)
    channels = picture.pixels.shape[0]
    if TASKS[task].grey and channels != 3:
        raise ValueError(f"{item.path}: is grey, task {task} expects a picture with colours")
    size = multiples(task, options, picture.size)
    made = degradation(task, options, (channels, *size), seed, crop=picture.size)
    y = restoration.degrade(pad(picture.pixels, size)[None], made.operator(), sigma, seed)[0]
    stored = StoredMeasurement(
        y=y,
        task=task,
        parameters=made.parameters,
        arrays=made.arrays,
        sigma_y=sigma,
        image_shape=made.image_shape,
        crop=picture.size,
        alpha=picture.alpha,
        bits=picture.bits,
        icc=picture.icc,
        exif=picture.exif,
        xmp=picture.xmp,
        dpi=picture.dpi,
    )
    if TASKS[task].shown:
        write_picture(f"{target}.png", picture.with_pixels(shown(stored)))
    write_measurement(f"{target}{MEASUREMENT}", stored)
    layout = " x ".join(map(str, y.shape))
    return f"{item.path} -> {target}{MEASUREMENT}  {made.operator()}, y {layout}, sigma {sigma:.4g}"


def shown(stored: StoredMeasurement) -> Tensor:
    """A measurement that is a picture, without its padding; it may leave [0, 1]."""
    height, width = (
        -(-crop * small // whole)
        for crop, small, whole in zip(
            stored.crop, stored.y.shape[1:], stored.image_shape[1:], strict=True
        )
    )
    return stored.y[:, :height, :width]


def operator_of(stored: StoredMeasurement) -> Operator:
    """The operator of a measurement file.

    Raises:
        ValueError: What is stored does not make one, or y does not fit it.
    """
    made = Degradation(stored.task, stored.parameters, stored.arrays, stored.image_shape)
    operator = made.operator()
    shape = operator.image_shape(stored.y[None])
    if tuple(shape) != tuple(stored.image_shape):
        raise ValueError(f"it is for pictures of {shape}, its header says {stored.image_shape}")
    return operator

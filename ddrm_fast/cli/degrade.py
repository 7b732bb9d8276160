"""`ddrm-fast degrade`: measurements from clean pictures."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..io import read_picture, write_measurement, write_picture
from ..io.foreign import ask_for_memory
from ..problems import measure, operator_of, shown
from ..problems.measured import MEASUREMENT
from ..registry import TASKS
from . import specs
from .folder import Stages, work_through
from .inputs import Input, find_inputs, options_for, output_folder
from .tasks import add_task_options, task_options, task_table

#: float32 copies of a picture that degrading and writing it make
COPIES = 6

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
    doing = f"degrading its {picture.size[0]} x {picture.size[1]} pixels"
    taken = COPIES * picture.pixels.nbytes
    ask_for_memory(item.path, taken, doing, "cut it into tiles and degrade each")
    stored = measure(picture, task, options_for(item, options), sigma_y=sigma, seed=seed)
    if TASKS[task].shown:
        write_picture(f"{target}.png", picture.with_pixels(shown(stored)))
    write_measurement(f"{target}{MEASUREMENT}", stored)
    layout = " x ".join(map(str, stored.y.shape))
    made = f"{operator_of(stored)}, y {layout}, sigma {sigma:.4g}"
    return f"{item.path} -> {target}{MEASUREMENT}  {made}"

"""`ddrm-fast degrade`: measurements from clean pictures."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..io import read_picture, write_measurement, write_picture
from ..io.foreign import ask_for_memory
from ..problems import PoissonGaussian, measure, operator_of, shown
from ..problems.measured import MEASUREMENT
from ..registry import TASKS
from . import specs
from .asked import task_options
from .folder import Stages, work_through
from .inputs import Input, find_inputs, options_for, output_folder

#: float32 copies of a picture that degrading and writing it make
COPIES = 7


def run(arguments: argparse.Namespace) -> int:
    """Degrade; returns the exit status."""
    options = task_options(arguments)
    sigma = specs.noise("--sigma", arguments.sigma)
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
    sigma: float | PoissonGaussian,
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
    noise = stored.law or f"{stored.sigma_y:.4g}"
    made = f"{operator_of(stored)}, y {layout}, sigma {noise}"
    return f"{item.path} -> {target}{MEASUREMENT}  {made}"

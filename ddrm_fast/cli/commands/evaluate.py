"""`ddrm-fast evaluate`: restored pictures against clean ones, task by task."""

from __future__ import annotations

import argparse
from typing import Any

from ...registry import TASKS
from .later import later
from .options import add_sampling_options

#: name -> (task, noise level, its parameters)
CASES = {name: (task.name, *case) for task in TASKS.values() for name, case in task.cases.items()}

EXAMPLE = """\
example:
  Denoising and super-resolution on five pictures of a folder, central 256 x 256 pixels:

    ddrm-fast evaluate photos/ --cases noise-25,sr4,sr4-noise --limit 5 --crop 256 --out quality.json

  After an interruption, the same line goes on with what is missing.

  With FID, KID and Inception Score, which compare sets of 100 pictures or more:

    ddrm-fast evaluate photos/ --cases sr4 --pictures restored/ --download

measures:
  PSNR, residual   always
  SSIM             with scikit-image (extra metrics)
  LPIPS            with the extra perceptual and the weights of AlexNet (233 MB)
  FID, KID, Inception Score of the first samples, with --pictures, the extra perceptual and the weights of
                   Inception v3 (91 MB)
  What is not here is said, and the others are reported. --download fetches weights, nothing else does.

baselines:
  input     the measurement as it is, where it has the picture's size
  bicubic   a small measurement, enlarged
  pinv      the pseudo-inverse H^+ y
"""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    cases = "\n".join(f"  {describe(name)}" for name in CASES)
    parser = commands.add_parser(
        "evaluate",
        help="PSNR, SSIM, LPIPS, FID and residuals on clean pictures",
        description="Degrade clean pictures, restore them, and compare with simple baselines: "
        "PSNR (dB), SSIM, LPIPS and the residual ||y - Hx|| / sqrt(m); and as sets: FID, KID and "
        "Inception Score.",
        epilog=f"cases:\n{cases}\n\n{EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="ddrm-fast evaluate PICTURE ... [options]",
    )
    parser.add_argument("inputs", nargs="+", metavar="PICTURE", help="clean pictures or folders")
    parser.add_argument("--cases", metavar="NAME,...", help="see below (all)")
    parser.add_argument(
        "--crop", default=256, metavar="N", help="central N x N pixels; 0: all (256)"
    )
    parser.add_argument("--limit", metavar="N", help="only the first N pictures")
    parser.add_argument(
        "--out", default="evaluation.json", metavar="FILE", help="(evaluation.json)"
    )
    parser.add_argument("--sheets", metavar="DIR", help="also write a sheet per picture and case")
    parser.add_argument(
        "--pictures", metavar="DIR",
        help="keep the first sample of every picture and case there, and compare them as sets",
    )  # fmt: skip
    parser.add_argument(
        "--report", metavar="FILE",
        help="also a page, .html: tables that sort, pictures under sliders, error bars beside errors; its "
        "pictures are kept in FILE-pictures/ for when the run goes on",
    )  # fmt: skip
    parser.add_argument(
        "--download",
        action="store_true",
        help="fetch feature networks that are not on this machine",
    )
    add_sampling_options(parser, samples=8)
    parser.set_defaults(run=later("evaluate"))


def describe(name: str) -> str:
    """A case in the words of `ddrm-fast degrade`."""
    task, sigma, options = CASES[name]
    said = "".join(f" --{option} {value}" for option, value in options.items())
    return f"{name:13}--task {task}{said} --sigma {sigma:.4g}"

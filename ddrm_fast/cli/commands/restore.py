"""`ddrm-fast restore`: restored pictures from degraded ones."""

from __future__ import annotations

import argparse
from typing import Any

from .later import later
from .options import (
    FORMATS,
    add_disk_options,
    add_sampling_options,
    add_task_options,
    add_worker_options,
    task_table,
)

EXAMPLE = """\
examples:
  A noisy photograph; the noise level is estimated from the picture:

    ddrm-fast restore noisy.jpg --task noise --out restored

  The same with four samples of what it may have been, their mean and their uncertainty:

    ddrm-fast restore noisy.jpg --task noise --samples 4 --out restored

  A folder of small pictures, four times as large; again after an interruption, and only what is
  missing is computed:

    ddrm-fast restore small/ --task sr --factor 4 --sigma 5/255 --out large

  Scratches, marked black in a mask of the same size:

    ddrm-fast restore photo.png --task inpaint --mask mask.png --sigma 0.01

  A photograph of 24 megapixels, window by window; a small one first, for holes of any size:

    ddrm-fast restore photo.png --task inpaint --mask mask.png --window 256 --levels 2 --samples 1

  The same folder by four workers of two threads each:

    ddrm-fast restore small/ --task sr --factor 4 --sigma 5/255 --out large --ray --workers 4 --threads 2

  A picture larger than memory, from disk to disk; the same line again after an interruption:

    ddrm-fast restore BIG.zarr --task noise --out RESTORED.zarr --memory 1GiB

  Through a DiffIR network, published or of `ddrm-fast train-diffir`, with no task to name:

    ddrm-fast restore blurred/ --model Deblurring-DiffIRS2.pth --out sharp

  A measurement file of `ddrm-fast degrade`, which knows its task, and the clean picture to compare:

    ddrm-fast restore degraded/photo.npz --truth photo.jpg --samples 8

  A large hole, whose filling is to fit its surroundings:

    ddrm-fast restore photo.png --task inpaint --mask hole.png --sigma 0.01 --steps 100 --travel 10 3

files in the output folder, for photo.png:
  photo-estimate.png       the best estimate, with the alpha and the bit depth of the input
with --samples N in its place
  photo-sample-1.png ...   draws from the posterior
  photo-mean.png           their mean: the estimate with the smallest squared error
  photo-uncertainty.png    how far the mean may be off: 68 % of the errors are smaller where the .json says
                           "calibrated", else the samples' spread; dark 0, bright `uncertainty_bright`
and
  photo-sheet.png          all side by side
  photo.json               parameters, seed, versions, time, residual ||y - Hx|| / sqrt(m)
                           (whole at the end only: before, or with other parameters, a rerun starts over)
with --out better.jpg, better.jpg is the mean (of one sample, the sample), better-sample-1.jpg ... the draws
from disk to disk, RESTORED.zarr or RESTORED.tif alone, and its record RESTORED.zarr.json
"""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "restore",
        help="restore degraded pictures",
        description="Restore degraded pictures, given how they were degraded: the best estimate, or "
        "samples of the posterior of a diffusion model with their uncertainty.",
        epilog=f"{task_table()}\n\n{EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="ddrm-fast restore INPUT ... --task TASK [options]",
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="pictures, .npz files of `degrade`, or folders"
    )
    parser.add_argument(
        "--model", metavar="FILE",
        help="a trained restorer (DiffIR), not a task and a prior; with --samples, --seed, --mask",
    )  # fmt: skip
    parser.add_argument(
        "--out", default="restored", metavar="DIR",
        help="(restored); of one input also the name of the result, such as better.jpg",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=FORMATS,
        help="of restored pictures (png); png and tif keep 16 bits and transparency",
    )  # fmt: skip
    parser.add_argument("--quality", metavar="N", help="of jpg, webp, avif: 1 to 100 (95, 90, 85)")
    add_task_options(parser, required=False)
    parser.add_argument(
        "--sigma", metavar="S",
        help="noise of the input, 0.1 or 25/255, or auto: estimated, fine texture included; of "
        "strong noise, what clipping to black and white left of it; noise that grows with the light: "
        "poisson:RATE, sensor:A:B (variance A signal + B), or sensor: estimated (default: that of the .npz "
        "file, else auto)",
    )  # fmt: skip
    parser.add_argument(
        "--report", metavar="FILE",
        help="also a page, .html, with all inputs and results under sliders, and their figures",
    )  # fmt: skip
    parser.add_argument(
        "--watch", action="store_true",
        help="go on with what arrives in the folders that are named, until Ctrl-C",
    )  # fmt: skip
    parser.add_argument("--truth", metavar="PATH", help="clean picture, or a folder of them")
    parser.add_argument(
        "--arrays", action="store_true", help="also write samples, mean and std as photo-arrays.npz"
    )
    add_sampling_options(parser, samples=None)
    add_disk_options(parser)
    add_worker_options(parser)
    parser.set_defaults(run=later("restore"))

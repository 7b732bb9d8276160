"""`ddrm-fast degrade`: measurements from clean pictures."""

from __future__ import annotations

import argparse
from typing import Any

from .later import later
from .options import add_task_options, task_table

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


def add(commands: argparse._SubParsersAction[Any]) -> None:
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
    parser.add_argument(
        "--sigma", default="0", metavar="S",
        help="noise, 0.1 or 25/255 (0); or noise that grows with the light: poisson:RATE, photons counted "
        "where it is white, or sensor:A:B, of variance A signal + B",
    )  # fmt: skip
    parser.add_argument(
        "--seed", default=0, metavar="N", help="of noise, random masks and coefficients (0)"
    )
    parser.add_argument("--quiet", action="store_true", help="errors only")
    parser.set_defaults(run=later("degrade"))

"""`ddrm-fast bench`: the time of a sampling step of each operator, against a copy of its bytes."""

from __future__ import annotations

import argparse
from typing import Any

from .later import later
from .options import add_machine_options

EXAMPLE = """\
examples:
  Pictures of 1024 x 1024, on one thread of the processor, with a plot:

    ddrm-fast bench --size 1024 --threads 1 --out bench

  Where the time of the default prior's network goes:

    ddrm-fast bench --network --size 256

  Large pictures on a GPU, every fused operation too, and torch.compile to compare with:

    ddrm-fast bench --device cuda --size 4096 --operations --compiled

GB/s counts what a step has to move at least: the state and the network's output read, the new state
written, its noise made on the way, and what defines the measurement. "of copy" holds that against a
copy, timed in turn. Operators that work on coefficients also do one forward and one inverse transform,
which is not counted. "flop/byte": floating-point operations, transforms included, for each of these
bytes (counted from the formulas, ddrm_fast/bench/flops.py); the roofline that --out draws holds them
against a copy and a matrix product of the same run. "x eager", "x compiled" and "x published" say how
many times longer plain PyTorch takes (the reference, eager and under torch.compile, noise by
torch.randn) and the sequence of operations of the published program.
"""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "bench",
        help="speed of each operator's step on this machine",
        description="Time a DDRM step of every operator.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", default=512, metavar="N", help="side of the picture (512)")
    parser.add_argument("--batch", default=1, metavar="N", help="pictures at a time (1)")
    parser.add_argument("--repeats", default=15, metavar="N", help="of each measurement (15)")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="this one alone (the processor, and a GPU if any)"
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="operators whose name holds this"
    )
    parser.add_argument(
        "--operations", action="store_true", help="also every fused operation by itself"
    )
    parser.add_argument(
        "--compiled", action="store_true",
        help="also the reference under torch.compile (takes minutes)",
    )  # fmt: skip
    parser.add_argument(
        "--network", action="store_true",
        help="the network instead of the operators: number formats and layouts, kinds of operation, and its "
        "share of a restoration (see --prior, --size, --device, --compiled)",
    )  # fmt: skip
    parser.add_argument("--prior", metavar="PRIOR", help="also time a call of this network")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="write bench.json and, where matplotlib is installed, bench.png and a roofline of each device",
    )
    parser.add_argument(
        "--large", metavar="MP,...", nargs="?", const="0.25,1",
        help="large pictures instead, of so many megapixels (0.25,1): speed, peak memory and where the time "
        "goes, whole, in tiles, window by window, from disk to disk; default prior unless --prior",
    )  # fmt: skip
    parser.add_argument("--steps", default=4, metavar="N", help="of --large, DDRM (4)")
    add_machine_options(parser)
    parser.set_defaults(run=later("bench"))

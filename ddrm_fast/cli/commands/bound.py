"""`ddrm-fast bound`: the variational bound of pictures under a network, in bits per dimension."""

from __future__ import annotations

import argparse
from typing import Any

from .later import later
from .options import add_prior_options

EXAMPLE = """\
examples:
  The first 100 pictures of a folder; every timestep is a network call for every picture:

    ddrm-fast bound runs/photos/ddpm.safetensors others/ --limit 100 --json bound.json

  A published network whose variances are learned:

    ddrm-fast bound 64x64_diffusion.pt others/ --size 64 --variance learned

what it prints (means over the pictures, bits per dimension; less is better):
  L_T      what the noised picture still tells at the last timestep
  L_t      the sum of the steps between
  L_0      the last step, as the probability of the 8-bit values
  total    their sum: an upper bound of -log2 p(picture) / dimensions, with its standard error
"""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "bound",
        help="likelihood of pictures, in bits per dimension",
        description="The variational bound on the likelihood of pictures (Ho et al. 2020, eq. 5), term "
        "by term.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="ddrm-fast bound PRIOR PATH ... [options]",
    )
    parser.add_argument(
        "prior", metavar="PRIOR", help="a file of `ddrm-fast train-ddpm`, or a published one"
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="folders, or .npy and .npz arrays")
    parser.add_argument("--limit", metavar="N", help="the first N pictures of each path (all)")
    parser.add_argument("--batch", default=16, metavar="N", help="pictures at a time (16)")
    parser.add_argument(
        "--size", metavar="PIXELS", help="side (that of the training, if it is known)"
    )
    parser.add_argument(
        "--variance",
        choices=["small", "large", "learned"],
        help="(that of the training, else small)",
    )
    parser.add_argument(
        "--no-clip", dest="clip", action="store_false", help="do not clip predictions to [-1, 1]"
    )
    parser.add_argument("--seed", default=0, metavar="N", help="of the noise (0)")
    parser.add_argument("--json", metavar="FILE", help="write all terms here too")
    add_prior_options(parser)
    parser.add_argument("--threads", metavar="N", help="CPU threads (all)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=later("bound"))

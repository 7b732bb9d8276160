"""`ddrm-fast compare`: samplers beside each other."""

from __future__ import annotations

import argparse
from typing import Any

from .evaluate import CASES, describe
from .later import later
from .options import PRECISIONS, PRIORS, add_machine_options, add_prior_options, add_worker_options

EXAMPLE = """\
examples:
  Which sampler is best for enlarging and for missing pixels, on twelve photographs, at twenty network calls:

    ddrm-fast compare photos/ --cases sr4,inpaint-50 --limit 12 --out which/

  Two settings of one sampler, against what the defaults choose:

    ddrm-fast compare photos/ --samplers estimate,ddrm:eta=0.5,ddrm:eta=1 --cases sr4 --out which/

  By four workers of a thread each; times and memory are then those of a worker beside the others:

    ddrm-fast compare photos/ --cases sr4 --out which/ --ray --workers 4 --threads 1

  After an interruption, the same line goes on with what is missing; more samplers, cases or pictures join
  what is there.

samplers:
  estimate    the default: the best estimate, in its own number of calls
  sample      the default for samples, in its own number of calls
  NAME        one of `ddrm-fast restore --help`, in --calls network calls
  NAME:P=V:.. with its parameters

what it writes, in the folder of --out:
  compare.json   every figure of every picture
  compare.md     tables of means: PSNR, SSIM, LPIPS (with the extra perceptual and its weights), residual,
                 coverage of the error bars (with --samples of two and more), network calls, seconds, peak
                 memory
  compare.png    PSNR against seconds, where matplotlib is installed
"""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    cases = "\n".join(f"  {describe(name)}" for name in CASES)
    parser = commands.add_parser(
        "compare",
        help="which sampler for which problem: several, on clean pictures of yours",
        description="Degrade clean pictures, restore them by several samplers with one prior and equal "
        "numbers of network calls, and compare.",
        epilog=f"cases:\n{cases}\n\n{EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="ddrm-fast compare PICTURE ... [options]",
    )
    parser.add_argument("inputs", nargs="+", metavar="PICTURE", help="clean pictures or folders")
    parser.add_argument("--cases", metavar="NAME,...", help="see below (all)")
    parser.add_argument("--samplers", metavar="NAME,...", help="see below (most that there are)")
    parser.add_argument("--calls", default=20, metavar="N", help="network calls a picture (20)")
    parser.add_argument("--samples", default=1, metavar="N", help="of each picture (1)")
    parser.add_argument(
        "--crop", default=128, metavar="N", help="central N x N pixels; 0: all (128)"
    )
    parser.add_argument("--limit", metavar="N", help="only the first N pictures")
    parser.add_argument("--seed", default=0, metavar="N", help="of the noise (0)")
    parser.add_argument("--out", default="comparison", metavar="DIR", help="(comparison)")
    parser.add_argument(
        "--report", metavar="FILE",
        help="also a page, .html, with all tables, plots and pictures, which are kept in FILE-pictures/",
    )  # fmt: skip
    parser.add_argument("--prior", default="default", metavar="PRIOR", help=PRIORS)
    add_prior_options(parser)
    parser.add_argument(
        "--precision", choices=PRECISIONS, help="of the network's arithmetic (auto)"
    )
    parser.add_argument(
        "--download", action="store_true", help="fetch the weights of LPIPS if they are not here"
    )
    add_worker_options(parser)
    add_machine_options(parser)
    parser.set_defaults(run=later("compare"))

"""`ddrm-fast sample`: a grid of pictures drawn from a prior."""

from __future__ import annotations

import argparse
from typing import Any

from ...registry import SAMPLERS
from .later import later
from .options import PRIORS, add_class_options, add_prior_options

EXAMPLE = """\
examples:
  Sixteen pictures by DDIM in 50 steps, from a network of `ddrm-fast train-ddpm`:

    ddrm-fast sample runs/photos/ddpm.safetensors --out drawn.png

  Ancestral sampling as in Ho et al., every timestep, with the larger of the two fixed variances:

    ddrm-fast sample runs/photos/ddpm.safetensors --sampler ddpm --variance large --out drawn.png

  Eight pictures of class 3; from the shipped denoiser, 96 x 96 (it knows textures, not objects):

    ddrm-fast sample runs/digits/ddpm.safetensors --label 3 --count 8 --out threes.png
    ddrm-fast sample default --size 96 --out textures.png

  The same class, drawn towards it without a classifier (10 stands for "no class" where there are ten):

    ddrm-fast sample runs/digits/ddpm.safetensors --label 3 --null-label 10 --guidance 2 --out guided.png
"""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "sample",
        help="draw pictures from a prior",
        description="Draw a grid of pictures from a diffusion model, without any measurement.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="ddrm-fast sample PRIOR --out FILE.png [options]",
    )
    parser.add_argument("prior", metavar="PRIOR", help=PRIORS)
    parser.add_argument("--out", required=True, metavar="FILE", help="the grid, a PNG")
    parser.add_argument("--count", default=16, metavar="N", help="pictures (16)")
    parser.add_argument(
        "--size", metavar="PIXELS", help="side (that of the training, if it is known)"
    )
    drawing = [name for name, sampler in SAMPLERS.items() if not sampler.restores]
    parser.add_argument("--sampler", choices=drawing, help="(ddim)")
    parser.add_argument(
        "--steps", metavar="N", help="(ddim: 50; dpm-solver, heun: 20; ddpm: all timesteps)"
    )
    parser.add_argument("--eta", metavar="X", help="ddim: share of fresh noise, 0 to 1 (0)")
    parser.add_argument(
        "--variance", choices=["small", "large", "learned"], help="ddpm: (that of the training)"
    )
    parser.add_argument("--seed", default=0, metavar="N", help="picture i is drawn from N + i (0)")
    add_prior_options(parser)
    parser.add_argument("--threads", metavar="N", help="CPU threads (all)")
    add_class_options(parser, " (one after the other)")
    parser.set_defaults(run=later("sample"))

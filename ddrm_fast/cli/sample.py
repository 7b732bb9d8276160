"""`ddrm-fast sample`: a grid of pictures drawn from a prior."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import specs
from .networks import (
    PRIORS,
    add_class_options,
    add_prior_options,
    device_of,
    read_classes,
    read_prior,
)

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


def add(commands: argparse._SubParsersAction) -> None:
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
    parser.add_argument("--sampler", choices=["ddim", "ddpm"], help="(ddim)")
    parser.add_argument(
        "--steps", metavar="N", help="network calls (ddim: 50; ddpm: all timesteps)"
    )
    parser.add_argument("--eta", metavar="X", help="ddim: share of fresh noise, 0 to 1 (0)")
    parser.add_argument(
        "--variance", choices=["small", "large", "learned"], help="ddpm: (that of the training)"
    )
    parser.add_argument("--seed", default=0, metavar="N", help="picture i is drawn from N + i (0)")
    add_prior_options(parser)
    parser.add_argument("--threads", metavar="N", help="CPU threads (all)")
    add_class_options(parser, " (one after the other)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Draw; returns the exit status."""
    import torch

    from ..ddpm.grid import write_grid

    if arguments.threads is not None:
        torch.set_num_threads(specs.threads("--threads", arguments.threads))
    count = specs.whole("--count", arguments.count)
    seed = specs.seed("--seed", arguments.seed)
    if Path(arguments.out).suffix.lower() != ".png":
        raise ValueError(f"--out: got {arguments.out}, expected a name that ends in .png")
    specs.writable("--out", arguments.out)
    device = device_of(arguments)
    prior, sampler, side = _read(arguments, device)
    classes, prior = read_classes(arguments, prior, device, any_class=True)
    size = (prior.channels or 3, side, side)
    write_grid(
        arguments.out, prior, size, count, sampler, seed=seed, labels=classes.labels(count),
        guidance=classes.guidance, device=device,
    )  # fmt: skip
    print(f"{count} pictures of {side} x {side} by {sampler} -> {arguments.out}")
    return 0


def _read(arguments: argparse.Namespace, device: str):
    """Prior, sampler and side of the pictures."""
    from ..ddpm.files import ddpm_config
    from ..ddpm.grid import usual_sampler
    from ..samplers import DDIM, DDPM

    side = None if arguments.size is None else specs.whole("--size", arguments.size)
    variance = arguments.variance
    prior = read_prior(arguments, device)
    trained = ddpm_config(arguments.prior)
    if trained is not None:
        side, variance = side or trained.size, variance or trained.variance
    if side is None:
        raise ValueError(f"--size: got none, and {prior.name} does not tell it")
    T = prior.schedule.T
    steps = None if arguments.steps is None else specs.whole("--steps", arguments.steps)
    kind = arguments.sampler or ("ddpm" if arguments.variance else None)
    if kind is None and arguments.eta is None and steps is None:
        sampler = usual_sampler(prior)
        if isinstance(sampler, DDPM):
            sampler = DDPM(T, variance or "small")
    elif kind == "ddpm":
        if arguments.eta is not None:
            raise ValueError("--eta: got it with ddpm, expected it with ddim")
        sampler = DDPM(steps or T, variance or "small")
    else:
        if arguments.variance is not None:
            raise ValueError("--variance: got it with ddim, expected it with ddpm")
        eta = 0.0 if arguments.eta is None else specs.number("--eta", arguments.eta, 0, 1)
        sampler = DDIM(steps or min(50, T), eta)
    return prior, sampler, side

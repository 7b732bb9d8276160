"""`ddrm-fast sample`: a grid of pictures drawn from a prior."""

from __future__ import annotations

import argparse

from . import specs

EXAMPLE = """\
examples:
  Sixteen pictures by DDIM in 50 steps, from a network of `ddrm-fast train-ddpm`:

    ddrm-fast sample runs/photos/ddpm.safetensors --out drawn.png

  Ancestral sampling as in Ho et al., every timestep, with the larger of the two fixed variances:

    ddrm-fast sample runs/photos/ddpm.safetensors --sampler ddpm --variance large --out drawn.png

  Eight pictures of class 3; from the shipped denoiser, 96 x 96 (it knows textures, not objects):

    ddrm-fast sample runs/digits/ddpm.safetensors --label 3 --count 8 --out threes.png
    ddrm-fast sample default --size 96 --out textures.png
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
    parser.add_argument("prior", metavar="PRIOR", help="what `restore --prior` takes")
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
    parser.add_argument("--label", metavar="N", help="class (one after the other)")
    parser.add_argument("--seed", default=0, metavar="N", help="picture i is drawn from N + i (0)")
    parser.add_argument("--threads", metavar="N", help="CPU threads (all)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Draw; returns the exit status."""
    import torch

    from ..ddpm.grid import write_grid
    from ..io import check_writable

    if arguments.threads is not None:
        torch.set_num_threads(specs.threads("--threads", arguments.threads))
    count = specs.whole("--count", arguments.count)
    seed = specs.seed("--seed", arguments.seed)
    check_writable(arguments.out)
    prior, sampler, side = _read(arguments)
    labels = None
    if arguments.label is not None:
        if prior.num_classes is None:
            raise ValueError(f"--label: {prior.name} is no network for classes, expected none")
        labels = torch.full((count,), specs.whole("--label", arguments.label, 0))
    size = (prior.channels or 3, side, side)
    write_grid(arguments.out, prior, size, count, sampler, seed=seed, labels=labels)
    print(f"{count} pictures of {side} x {side} by {sampler} -> {arguments.out}")
    return 0


def _read(arguments: argparse.Namespace):
    """Prior, sampler and side of the pictures."""
    from ..ddpm.files import as_prior, is_ddpm, load_ddpm
    from ..ddpm.grid import usual_sampler
    from ..priors import load_prior
    from ..samplers import DDIM, DDPM

    side = None if arguments.size is None else specs.whole("--size", arguments.size)
    variance = arguments.variance
    if is_ddpm(arguments.prior):
        config, network = load_ddpm(arguments.prior)
        prior = as_prior(config, network, arguments.prior)
        side, variance = side or config.size, variance or config.variance
    else:
        prior = load_prior(arguments.prior)
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

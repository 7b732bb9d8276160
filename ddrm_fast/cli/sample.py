"""`ddrm-fast sample`: a grid of pictures drawn from a prior."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from . import specs
from .networks import device_of, read_classes, read_prior

if TYPE_CHECKING:
    from ..priors import Prior
    from ..samplers.weights import Sampler


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


def _read(arguments: argparse.Namespace, device: str) -> tuple[Prior, Sampler, int]:
    """Prior, sampler and side of the pictures."""
    from ..ddpm.files import ddpm_config
    from ..ddpm.grid import usual_sampler
    from ..registry import SAMPLERS, loaded
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
    elif kind not in (None, "ddim"):
        for name in ("eta", "variance"):
            if getattr(arguments, name) is not None:
                raise ValueError(f"{name}: sampler {kind} does not take it")
        sampler = loaded(SAMPLERS[kind].make)(steps or SAMPLERS[kind].steps)
    else:
        if arguments.variance is not None:
            raise ValueError("--variance: got it with ddim, expected it with ddpm")
        eta = 0.0 if arguments.eta is None else specs.number("--eta", arguments.eta, 0, 1)
        sampler = DDIM(steps or min(50, T), eta)
    return prior, sampler, side

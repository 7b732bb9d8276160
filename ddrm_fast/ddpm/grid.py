"""Grids of drawn pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..io import Picture, write_picture
from ..priors.prior import Prior
from ..restoration import sample
from ..samplers import DDIM, DDPM, Sampler


def grid(pictures: Tensor, columns: int | None = None) -> Tensor:
    """Pictures side by side with a pixel of black between them.

    Args:
        pictures:
            (N, C, H, W), N >= 1.
        columns:
            In a row; default: about as many as there are rows.

    Returns:
        (C, rows (H + 1) - 1, columns (W + 1) - 1).
    """
    count, channels, height, width = pictures.shape
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = -(-count // columns)
    page = pictures.new_zeros(channels, rows * (height + 1) - 1, columns * (width + 1) - 1)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        page[:, top : top + height, left : left + width] = picture
    return page


def usual_sampler(prior: Prior, steps: int = 50) -> Sampler:
    """DDIM of so many steps; ancestral sampling of all where the schedule ends in pure noise."""
    if prior.schedule.abar(prior.schedule.T - 1) == 0:
        return DDPM(prior.schedule.T)
    return DDIM(min(steps, prior.schedule.T))


def write_grid(
    path: str | Path,
    prior: Prior,
    size: tuple[int, int, int],
    count: int = 16,
    sampler: Sampler | None = None,
    *,
    seed: int = 0,
    labels: Tensor | None = None,
    guidance: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw pictures and write them as one PNG; atomically.

    Args:
        path:
            The file.
        prior:
            What to draw from.
        size:
            (C, H, W) of a picture.
        count:
            Number of pictures, >= 1.
        sampler:
            Default: :func:`usual_sampler`.
        seed:
            Picture i is drawn from seed + i.
        labels:
            Classes [count] of a conditional prior; default: one after the other.
        guidance:
            See :func:`ddrm_fast.sample`.
        device:
            Where the network is.

    Returns:
        The pictures, (count, C, H, W) in [0, 1], on the CPU.

    Raises:
        OutputError: The file cannot be written.
    """
    if labels is None and prior.num_classes is not None:
        labels = torch.arange(count) % prior.num_classes
    pictures = sample(
        prior,
        (count, *size),
        sampler or usual_sampler(prior),
        seed=seed,
        labels=None if labels is None else labels.to(device),
        guidance=guidance,
        clip_x0=True,
        device=device,
    ).cpu()
    write_picture(path, Picture(grid(pictures)))
    return pictures

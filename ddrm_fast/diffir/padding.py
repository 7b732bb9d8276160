"""Padding to the multiples that the networks need, as published, and wider where that fails.

The published code reflects at the right and at the bottom (inpainting: with the edge repeated) and cannot
pad a side by its own length or more. Here the reflection goes on, to and fro.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .config import DiffIRConfig


def reflected(size: int, padded: int, repeat_edge: bool) -> Tensor:
    """Index of the source pixel of each of ``padded`` pixels.

    Args:
        size:
            Length of the side.
        padded:
            Its length after padding.
        repeat_edge:
            Whether the last pixel comes twice (symmetric) or once (reflect).
    """
    index = torch.arange(padded)
    if size == 1:
        return torch.zeros_like(index)
    if repeat_edge:
        index = index % (2 * size)
        return torch.where(index < size, index, 2 * size - 1 - index)
    period = 2 * (size - 1)
    index = index % period
    return torch.where(index < size, index, period - index)


def padded_size(size: int, multiple: int) -> int:
    """The next multiple."""
    return -(-size // multiple) * multiple


def pad(x: Tensor, config: DiffIRConfig) -> Tensor:
    """x with sides that are multiples of ``config.multiple``: itself where they are already.

    Args:
        x:
            (B, C, H, W), not empty.
        config:
            Of the network.
    """
    symmetric = config.task == "inpainting"
    for dim in (2, 3):
        size = x.shape[dim]
        wanted = padded_size(size, config.multiple)
        if wanted != size:
            x = x.index_select(dim, reflected(size, wanted, symmetric).to(x.device))
    return x

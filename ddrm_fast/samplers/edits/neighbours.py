"""What the network got wrong at known pixels, carried over to the pixels beside them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

#: Jacobi sweeps on the coarse grid, and on the fine one that starts from it
SWEEPS = 8
#: pixels of a cell of the coarse grid
CELL = 4


def extended(values: Tensor, mask: Tensor, screening: Tensor) -> Tensor:
    """Values where they are known, and a smooth field that decays away from them elsewhere.

    Solves ``(screening - Laplacian) e = 0`` beside known pixels, e = values on them, with edges of the
    picture that let nothing through. That is the conditional mean of a Markov random field: let
    differences of neighbouring pixels have the standard deviation g, and every pixel be known with the
    variance v besides. Then an error that is seen at some pixels says e of the others, with
    screening = g^2 / v: it reaches some sqrt(v) / g pixels far.

    A few sweeps from a coarse solution: a fifth or less from the exact one close to the known pixels,
    where it matters; from some 30 pixels on it is 0.

    Args:
        values:
            (B, C, H, W); what stands where nothing is known is not read.
        mask:
            Where they are known, bool (B or 1, C or 1, H, W).
        screening:
            >= 0, in 1 / pixels^2, (B or 1, C or 1, H or 1, W or 1).
    """
    values = torch.where(mask, values, 0.0)
    share = _cells(mask.to(values))
    seen = share > 0
    means = torch.where(seen, _cells(values) / share.clamp(min=1 / CELL**2), 0.0)
    coarse = screening if screening.shape[2:] == (1, 1) else _cells(screening)
    start = interpolate(
        _swept(means, means, seen, CELL**2 * coarse), values.shape[2:], mode="bilinear"
    )
    return _swept(torch.where(mask, values, start), values, mask, screening)


def _cells(x: Tensor) -> Tensor:
    """Means of cells; those at the end of the picture are smaller."""
    return avg_pool2d(x, CELL, ceil_mode=True, count_include_pad=False)


def _swept(e: Tensor, values: Tensor, mask: Tensor, screening: Tensor) -> Tensor:
    """Jacobi sweeps: each unknown pixel takes the mean of its four neighbours, damped."""
    share = 1 / (4 + screening)
    wide = pad(e, (1, 1, 1, 1))  # buffers are written again and again: fresh memory is slow
    e, total = wide[..., 1:-1, 1:-1], torch.empty_like(values)
    for _ in range(SWEEPS):
        for end, last in ((0, 1), (-1, -2)):
            wide[..., end, :], wide[..., end] = wide[..., last, :], wide[..., last]
        torch.add(wide[..., :-2, 1:-1], wide[..., 2:, 1:-1], out=total)
        total.add_(wide[..., 1:-1, :-2]).add_(wide[..., 1:-1, 2:]).mul_(share)
        torch.where(mask, values, total, out=e)
    return e

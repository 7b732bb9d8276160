"""What the network got wrong at known pixels, carried over to the pixels beside them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

#: Jacobi sweeps on the coarse grid, and on the fine one that starts from it
SWEEPS = 8
#: pixels of a cell of the coarse grid
COARSE = 4


def extended(values: Tensor, mask: Tensor, decay: Tensor) -> Tensor:
    """Values where they are known, and a smooth field that decays away from them elsewhere.

    Solves ``(decay^2 - Laplacian) e = 0`` beside known pixels, e = values on them, with edges of the
    picture that let nothing through. That is the conditional mean of a Markov random field: where
    pictures have independent gradients of standard deviation g and their clean image is known to within
    white noise sigma, what is left to know has the spectrum ``sigma^2 / (1 + (sigma k / g)^2)``, so an
    error that is seen at some pixels says ``e`` of their neighbours, with decay = g / sigma.

    A few sweeps from a coarse solution: close to the known pixels, where it matters, within some
    percent; farther than about 30 pixels it is 0.

    Args:
        values:
            (B, C, H, W); what stands where nothing is known is not read.
        mask:
            Where they are known, bool (B or 1, C or 1, H, W).
        decay:
            In 1 / pixels, (B or 1, 1, 1, 1).
    """
    values = torch.where(mask, values, 0.0)
    share = avg_pool2d(mask.to(values), COARSE, ceil_mode=True, count_include_pad=False)
    means = avg_pool2d(values, COARSE, ceil_mode=True, count_include_pad=False)
    seen = share > 0
    means = torch.where(seen, means / share.clamp(min=1 / COARSE**2), 0.0)
    start = interpolate(
        _swept(means, means, seen, COARSE * decay), values.shape[2:], mode="bilinear"
    )
    return _swept(torch.where(mask, values, start), values, mask, decay)


def _swept(e: Tensor, values: Tensor, mask: Tensor, decay: Tensor) -> Tensor:
    """Jacobi sweeps: each unknown pixel takes the mean of its four neighbours, damped."""
    share = 1 / (4 + decay.square())
    for _ in range(SWEEPS):
        wide = pad(e, (1, 1, 1, 1), mode="replicate")
        rows, columns = wide[..., 1:-1], wide[..., 1:-1, :]
        e = rows[..., :-2, :] + rows[..., 2:, :] + columns[..., :-2] + columns[..., 2:]
        e = torch.where(mask, values, e.mul_(share))
    return e

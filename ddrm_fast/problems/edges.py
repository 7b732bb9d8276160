"""A blurred picture continued so that a periodic blur explains it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators import Operator

_ROUNDS = 20
_GRADIENT = 0.05  # size of the differences between neighbouring pixels of a photograph


def extend(y: Tensor, margin: int) -> Tensor:
    """(C, h, w) with ``margin`` more rows and columns that lead evenly from the last to the first."""
    way = torch.arange(1, margin + 1, dtype=y.dtype) / (margin + 1)
    y = torch.cat((y, torch.lerp(y[:, -1:], y[:, :1], way[:, None])), dim=1)
    return torch.cat((y, torch.lerp(y[:, :, -1:], y[:, :, :1], way)), dim=2)


def continue_blurred(y: Tensor, operator: Operator, margin: int, sigma_y: float) -> Tensor:
    """Continue a blurred picture beyond its last row and column.

    What lies beyond the edges of a photograph was blurred into it; a periodic operator sees the
    opposite side there instead, and would answer with waves through the whole picture. So the
    operator gets a larger picture whose margin holds what a smooth x that explains y would have
    given there: H x with x the minimum of

        ||M (H x - y)||^2 + (sigma_y / 0.05)^2 ||grad x||^2

    M cuts out the known part; conjugate gradients, 20 rounds of a few FFTs each.

    Args:
        y:
            (C, h, w).
        operator:
            Periodic, for any size.
        margin:
            Rows and columns to add, about the kernel's size.
        sigma_y:
            Its noise level, > 0.

    Returns:
        (C, h + margin, w + margin), y itself at the top left.
    """
    start = extend(y, margin)[None]
    known = torch.zeros(start.shape[-2:])
    known[: y.shape[1], : y.shape[2]] = 1.0
    weight = (sigma_y / _GRADIENT) ** 2

    def normal_matrix(x: Tensor) -> Tensor:
        return operator.Ht(known * operator.H(x)) + weight * _minus_laplacian(x)

    right = operator.Ht(known * start)
    height, width = operator.image_shape(start)[1:]
    x = torch.nn.functional.interpolate(start, size=(height, width), mode="nearest")
    rest = right - normal_matrix(x)
    direction, square = rest.clone(), rest.square().sum()
    for _ in range(_ROUNDS):
        image = normal_matrix(direction)
        along = (direction * image).sum()
        if not along > 0:
            break
        length = square / along
        x, rest = x + length * direction, rest - length * image
        before, square = square, rest.square().sum()
        direction = rest + (square / before) * direction
    return torch.where(known > 0, start, operator.H(x))[0]


def _minus_laplacian(x: Tensor) -> Tensor:
    """Adjoint of the differences between neighbours times themselves, periodic."""
    return 4 * x - sum(torch.roll(x, step, dims) for dims in (-2, -1) for step in (-1, 1))

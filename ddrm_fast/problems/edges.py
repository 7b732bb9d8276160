"""A blurred picture continued so that a periodic blur explains it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators import Operator
from .arrays import Size

_ROUNDS = 20
_GRADIENT = 0.05  # size of the differences between neighbouring pixels of a photograph
#: sides above this are continued from what lies this near to the edge, at least
_WHOLE, _REACH = 512, 64


def easy_length(n: int) -> int:
    """The smallest number >= n without a prime factor above 7: fast Fourier transforms are fast there."""
    while True:
        rest = n
        for factor in (2, 3, 5, 7):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1


def extend(y: Tensor, margin: Size) -> Tensor:
    """(C, h, w) with so many more rows and columns, which lead evenly from the last to the first."""
    rows, columns = (torch.arange(1, m + 1, dtype=y.dtype) / (m + 1) for m in margin)
    y = torch.cat((y, torch.lerp(y[:, -1:], y[:, :1], rows[:, None])), dim=1)
    return torch.cat((y, torch.lerp(y[:, :, -1:], y[:, :, :1], columns)), dim=2)


def continue_blurred(y: Tensor, operator: Operator, margin: int | Size, sigma_y: float) -> Tensor:
    """Continue a blurred picture beyond its last row and column.

    What lies beyond the edges of a photograph was blurred into it; a periodic operator sees the
    opposite side there instead, and would answer with waves through the whole picture. So the
    operator gets a larger picture whose margin holds what a smooth x that explains y would have
    given there: H x with x the minimum of

        ||M (H x - y)||^2 + (sigma_y / 0.05)^2 ||grad x||^2

    M cuts out the known part; conjugate gradients, 20 rounds of a few FFTs each. Of a picture with a side
    above 512 only what lies near to the margin is looked at: first at its last and first rows, then
    at its columns.

    Args:
        y:
            (C, h, w).
        operator:
            Periodic, for any size.
        margin:
            Rows and columns to add, at least the kernel's size; one number for both.
        sigma_y:
            Its noise level, > 0.

    Returns:
        (C, h + rows, w + columns), y itself at the top left.
    """
    rows, columns = (margin, margin) if isinstance(margin, int) else margin
    _, height, width = y.shape
    x = extend(y, (rows, columns))
    known = torch.zeros(x.shape[-2:])
    known[:height, :width] = 1.0
    weight = (sigma_y / _GRADIENT) ** 2
    if max(height, width) <= _WHOLE:
        return _filled(x, known, operator, weight)
    x = _filled_ends(x, known, -2, rows, operator, weight)
    known[height:, :width] = 1.0
    return _filled_ends(x, known, -1, columns, operator, weight)


def _filled_ends(
    x: Tensor, known: Tensor, axis: int, margin: int, operator: Operator, weight: float
) -> Tensor:
    """The last rows (axis -2) or columns (-1) filled in, from those near to them at both ends."""
    whole = x.shape[axis]
    near = easy_length(margin + 2 * max(_REACH, 2 * margin)) - margin
    if near + margin >= whole:
        return _filled(x, known, operator, weight)
    before = near - near // 2
    where = torch.arange(whole - margin - before, whole + near // 2) % whole
    part = known.index_select(axis, where)
    ends = margin // 2  # what lies beyond them is cut away
    part.narrow(axis, 0, ends).zero_()
    part.narrow(axis, len(where) - (margin - ends), margin - ends).zero_()
    filled = _filled(x.index_select(axis, where), part, operator, weight)
    x = x.clone()
    x.narrow(axis, whole - margin, margin).copy_(filled.narrow(axis, before, margin))
    return x


def _filled(start: Tensor, known: Tensor, operator: Operator, weight: float) -> Tensor:
    """What is not known of (C, h, w) filled in."""
    y = start[None]

    def normal_matrix(x: Tensor) -> Tensor:
        return operator.Ht(known * operator.H(x)) + weight * _minus_laplacian(x)

    right = operator.Ht(known * y)
    size = operator.image_shape(y)[1:]
    x = torch.nn.functional.interpolate(y, size=size, mode="nearest")
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
    return torch.where(known > 0, y, operator.H(x))[0]


def _minus_laplacian(x: Tensor) -> Tensor:
    """Adjoint of the differences between neighbours times themselves, periodic."""
    return 4 * x - sum(torch.roll(x, step, dims) for dims in (-2, -1) for step in (-1, 1))

"""Whether the borders of windows show: gradients across them against gradients beside them."""

from __future__ import annotations

import torch
from torch import Tensor

from .windows import Windows

OFFSETS = 20


def border_ratio(x: Tensor, windows: Windows, grid: int = 1, offsets: int = OFFSETS) -> float:
    """Mean absolute gradient across the borders of windows, over that across the same lines elsewhere.

    The lines elsewhere are the same ones, moved by so many offsets spread over a stride. 1 where borders
    look like any other place.

    Args:
        x:
            Pictures (..., H, W).
        windows:
            Where windows begin and end.
        grid:
            Offsets are multiples of this. A measurement by blocks shows its own grid at every block, with
            windows or without: borders are compared with other borders of blocks.
        offsets:
            How many places to compare with; all that there are where strides are shorter.

    Raises:
        ValueError: the pictures have another size than the windows' picture, or there are no borders.
    """
    if tuple(x.shape[-2:]) != windows.picture:
        raise ValueError(
            f"x: expected pictures of {windows.picture[0]} x {windows.picture[1]}, "
            f"got {x.shape[-2]} x {x.shape[-1]}"
        )
    on, beside = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for axis in range(2):
        jumps = x.double().diff(dim=axis - 2).abs()
        # jumps[i] lies between pixels i and i + 1; mean over everything but this axis
        profile = jumps.movedim(axis - 2, -1).flatten(0, -2).mean(dim=0)
        length = windows.picture[axis]
        lines = torch.tensor(windows.borders(axis), dtype=torch.int64) - 1
        if not len(lines):
            continue
        on += torch.tensor([float(profile[lines].sum()), len(lines)])
        for offset in _spread(windows.stride[axis], grid, offsets):
            moved = lines + offset
            moved = moved[moved < length - 1]
            moved = moved[~torch.isin(moved, lines)]
            beside += torch.tensor([float(profile[moved].sum()), len(moved)])
    if not on[1] or not beside[1]:
        raise ValueError(f"windows: have no borders inside the picture of {windows.picture}")
    return float((on[0] / on[1]) / (beside[0] / beside[1]))


def seam(
    x: Tensor, truth: Tensor, windows: Windows, grid: int = 1, offsets: int = OFFSETS
) -> float:
    """:func:`border_ratio` of restored pictures, relative to that of the truth, minus 1.

    0 where borders do not show; above where they are edges, below where they are blurred. A photograph's
    own ratio is not exactly 1, which the truth takes out.
    """
    return border_ratio(x, windows, grid, offsets) / border_ratio(truth, windows, grid, offsets) - 1


def _spread(stride: int, grid: int, offsets: int) -> list[int]:
    """Multiples of the grid from 0 to the stride, both excluded, evenly."""
    places = range(grid, stride, grid)
    count = min(offsets, len(places))
    return [places[round((k + 0.5) * len(places) / count - 0.5)] for k in range(count)]

"""Where the windows of a large picture lie, in which order, and which of their pixels are new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..operators.cuts import Box
from ..priors.tiled import pair

ORDERS = ("rows", "columns", "snake")


@dataclass(frozen=True)
class Windows(Sequence[Box]):
    """Overlapping windows of a picture, in the order in which they are restored.

    Along each axis windows start at 0, stride, 2 stride, ... and a last one ends at the border, as in
    the published code of "Unlimited-Size Diffusion Restoration" (Wang et al. 2023).

    Args:
        picture:
            (H, W).
        size, stride:
            (rows, columns) of a window, and between the starts of two.
        order:
            "rows" (from left to right, then down), "columns" (down, then to the right), "snake" (rows,
            every second one from right to left), or a permutation of the numbers that the windows have
            in the order "rows".
        margin:
            Rows and columns at those edges of a window that are not edges of the picture of which
            nothing is kept: where the measurement of a window is only approximate.

    Raises:
        ValueError: a window is larger than the picture, windows leave gaps, or the order is none.
    """

    picture: tuple[int, int]
    size: tuple[int, int]
    stride: tuple[int, int]
    order: str | tuple[int, ...] = "rows"
    margin: int = 0

    def __post_init__(self) -> None:
        for name in ("picture", "size", "stride"):
            for value in getattr(self, name):
                if not isinstance(value, int) or value < 1:
                    raise ValueError(f"{name}: expected integers >= 1, got {getattr(self, name)}")
        if not isinstance(self.margin, int) or self.margin < 0:
            raise ValueError(f"margin: expected an integer >= 0, got {self.margin!r}")
        axes = zip(self.picture, self.size, self.stride, strict=True)
        for length, size, stride in axes:
            if size > length:
                raise ValueError(
                    f"window: {self.size[0]} x {self.size[1]} is larger than the picture of "
                    f"{self.picture[0]} x {self.picture[1]}"
                )
            if stride > size:
                raise ValueError(
                    f"stride: {stride} is larger than the window of {size}: pixels would be left out"
                )
            if size < length and 2 * self.margin >= size:
                raise ValueError(
                    f"margin: {self.margin} pixels at each edge leave nothing of a window of {size}, "
                    f"expected at most {(size - 1) // 2}"
                )
            if size < length and stride > size - 2 * self.margin:
                raise ValueError(
                    f"stride: {stride} leaves pixels out, of a window of {size} at most "
                    f"{size - 2 * self.margin} are kept (margin {self.margin})"
                )
        self._order()  # wrong orders are refused here

    @cached_property
    def starts(self) -> tuple[list[int], list[int]]:
        """First rows and first columns of the windows."""
        axes = zip(self.picture, self.size, self.stride, strict=True)
        rows, columns = ([*range(0, n - size, stride), n - size] for n, size, stride in axes)
        return rows, columns

    def _order(self) -> list[tuple[int, int]]:
        """(row, column) of every window in the grid of windows, in order."""
        down, right = (range(len(starts)) for starts in self.starts)
        places = [(i, j) for i in down for j in right]
        if isinstance(self.order, str):
            if self.order == "columns":
                return [(i, j) for j in right for i in down]
            if self.order == "snake":
                return [(i, j if i % 2 == 0 else len(right) - 1 - j) for i, j in places]
            if self.order != "rows":
                raise ValueError(
                    f"order: expected one of {', '.join(ORDERS)} or a permutation, "
                    f"got {self.order!r}"
                )
            return places
        if sorted(self.order) != list(range(len(places))):
            raise ValueError(f"order: expected a permutation of 0 to {len(places) - 1}")
        return [places[number] for number in self.order]

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        return self._order()

    @cached_property
    def _rank(self) -> np.ndarray:
        """Place in the order of every window of the grid."""
        rank = np.empty((len(self.starts[0]), len(self.starts[1])), dtype=np.int64)
        for k, place in enumerate(self._places):
            rank[place] = k
        return rank

    def __len__(self) -> int:
        return len(self._places)

    # (a Sequence without slices)
    def __getitem__(self, k: int) -> Box:  # type: ignore[override]
        row, column = self._places[k]
        return Box(self.starts[0][row], self.starts[1][column], *self.size)

    def kept(self, k: int) -> Box:
        """What a window contributes: all but the margin at edges inside the picture."""
        box, (height, width), margin = self[k], self.picture, self.margin
        top = box.top + margin * (box.top > 0)
        left = box.left + margin * (box.left > 0)
        bottom = box.bottom - margin * (box.bottom < height)
        right = box.right - margin * (box.right < width)
        return Box(top, left, bottom - top, right - left)

    def borders(self, axis: int) -> list[int]:
        """Rows (axis 0) or columns (axis 1) inside the picture where what a window keeps begins or ends."""
        begins = {start + self.margin for start in self.starts[axis][1:]}
        ends = {start + self.size[axis] - self.margin for start in self.starts[axis][:-1]}
        return sorted(begins | ends)

    def earlier(self, k: int) -> list[int]:
        """Earlier windows that overlap a window, in their order."""

        def near(starts: list[int], at: int, size: int) -> list[int]:
            return [i for i, start in enumerate(starts) if abs(start - starts[at]) < size]

        row, column = self._places[k]
        rows = near(self.starts[0], row, self.size[0])
        columns = near(self.starts[1], column, self.size[1])
        ranks = self._rank[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].ravel()
        return sorted(int(rank) for rank in ranks if rank < k)

    def known(self, k: int) -> Tensor:
        """Pixels of a window that earlier windows have fixed, bool (rows, columns)."""
        mask = torch.zeros(self.size, dtype=torch.bool)
        for j in self.earlier(k):
            part = self.kept(j).meet(self[k])
            if part is not None:
                mask[part.inside(self[k])] = True
        return mask

    def new(self, k: int) -> int:
        """Number of pixels that a window fixes."""
        kept = self.kept(k)
        return int((~self.known(k)[kept.inside(self[k])]).sum())


def windows_of(
    picture: Sequence[int],
    window: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    order: str | Sequence[int] = "rows",
    *,
    grid: int = 1,
    margin: int = 0,
) -> Windows:
    """The windows of a picture.

    Args:
        picture:
            (H, W).
        window:
            Side of a window, or (rows, columns).
        stride:
            From window to window, default half of the window (rounded up to the grid); likewise.
        order, margin:
            See :class:`Windows`.
        grid:
            Pixels that belong together in the measurement (super-resolution: its factor): windows,
            strides and the picture have to be multiples of it.

    Raises:
        ValueError: see :class:`Windows`; a size is no multiple of ``grid``.
    """
    size = pair("window", window)
    if stride is None:
        room = [max(1, min((n + 1) // 2, n - 2 * margin)) for n in size]
        rows, columns = (min(n, max(grid, m - m % grid)) for n, m in zip(size, room, strict=True))
        stride = rows, columns
    stride = pair("stride", stride)
    if margin % grid:
        raise ValueError(f"margin: expected a multiple of {grid}, got {margin}")
    for name, sides in (("picture", picture), ("window", size), ("stride", stride)):
        for side in sides:
            if side % grid:
                raise ValueError(
                    f"{name}: expected multiples of {grid}, which pixels of the measurement belong "
                    f"together, got {sides[0]} x {sides[1]}"
                )
    order = order if isinstance(order, str) else tuple(order)
    height, width = picture
    return Windows((height, width), size, stride, order, margin)

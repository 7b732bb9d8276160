"""A stage of a convolutional network, evaluated in tiles that stay in the processor's caches.

The stages of a U-shaped network, one for each scale and way, reach a few places each, the whole network
hundreds. So a large picture goes through stage by stage, each in tiles with an edge of that few places: the
same output, little more work, and of everything in between only a tile is ever in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Box:
    """Some rows and columns of a stage's grid.

    Args:
        size:
            (rows, columns) of the grid.
        rows, columns:
            (first, one after the last).
    """

    size: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]

    def of(self, tensor: Tensor) -> Tensor:
        """This part of a (B, C, H, W) tensor, whose resolution may be another than the grid's."""
        height, width = tensor.shape[-2:]
        top, bottom = (place * height // self.size[0] for place in self.rows)
        left, right = (place * width // self.size[1] for place in self.columns)
        return tensor[:, :, top:bottom, left:right]

    def within(self, outer: Box) -> Box:
        """This box as part of another one that holds it."""
        (top, bottom), (left, right) = outer.rows, outer.columns
        rows = (self.rows[0] - top, self.rows[1] - top)
        return Box(
            (bottom - top, right - left), rows, (self.columns[0] - left, self.columns[1] - left)
        )


def in_tiles(
    size: tuple[int, int],
    side: int | None,
    reach: int,
    compute: Callable[[Box], Sequence[Tensor]],
) -> Sequence[Tensor]:
    """What ``compute`` gives for a whole grid, computed in tiles.

    Args:
        size:
            (rows, columns) of the grid, even where there is more than one tile.
        side:
            Of a tile, roughly; None: one tile.
        reach:
            How far what `compute` gives at a place depends on other places.
        compute:
            Outputs (B, C, h, w) for a part of the grid, of the part's resolution or of a half,
            twice ... of it; beyond the part's edges are zeros, as in a padded convolution.

    Returns:
        The outputs for the whole grid.
    """
    rows, columns = (_cuts(length, side) for length in size)
    whole = Box(size, (0, size[0]), (0, size[1]))
    if len(rows) == len(columns) == 1:
        return compute(whole)
    reach += reach % 2
    outputs: list[Tensor] = []
    for top, bottom in rows:
        for left, right in columns:
            written = Box(size, (top, bottom), (left, right))
            seen = Box(
                size,
                (max(0, top - reach), min(size[0], bottom + reach)),
                (max(0, left - reach), min(size[1], right + reach)),
            )
            parts = compute(seen)
            if not outputs:
                outputs = [_room(part, seen) for part in parts]
            for output, part in zip(outputs, parts, strict=True):
                written.of(output).copy_(written.within(seen).of(part))
    return outputs


def _cuts(length: int, side: int | None) -> list[tuple[int, int]]:
    """Parts of an axis, of nearly equal and even lengths about `side`."""
    count = 1 if side is None else max(1, round(length / side))
    ends = [length * k // count // 2 * 2 for k in range(count)] + [length]
    return list(zip(ends[:-1], ends[1:], strict=True))


def _room(part: Tensor, seen: Box) -> Tensor:
    """An output for the whole grid, like that of a part of it."""
    height, width = part.shape[-2:]
    (top, bottom), (left, right) = seen.rows, seen.columns
    rows, columns = seen.size[0] * height // (bottom - top), seen.size[1] * width // (right - left)
    shape = (part.shape[0], part.shape[1], rows, columns)
    channels_last = part.stride(1) == 1 and part.shape[1] > 1
    if channels_last:
        return part.new_empty((shape[0], rows, columns, shape[1])).permute(0, 3, 1, 2)
    return part.new_empty(shape)

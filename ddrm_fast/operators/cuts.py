"""Rectangles of a picture, and batches of them cut out of a batch of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Box(NamedTuple):
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of this box in an array that holds the whole picture."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def meet(self, other: Box) -> Box | None:
        """What both boxes cover, or None."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        height = min(self.bottom, other.bottom) - top
        width = min(self.right, other.right) - left
        return Box(top, left, height, width) if height > 0 and width > 0 else None

    def inside(self, outer: Box) -> tuple[slice, slice]:
        """Rows and columns of this box in an array that holds ``outer``."""
        return Box(self.top - outer.top, self.left - outer.left, self.height, self.width).slices

    def shrunk(self, factor: int) -> Box:
        """The same box in a picture whose pixels are means of factor x factor."""
        return Box(*(side // factor for side in self))


@dataclass(frozen=True)
class Cuts:
    """Windows of equal size, each of one picture of a batch.

    Args:
        boxes:
            Where each window lies.
        pictures:
            Which picture of the batch it is cut from.
    """

    boxes: tuple[Box, ...]
    pictures: tuple[int, ...]

    def of(self, x: Tensor, grid: int = 1) -> Tensor:
        """The windows of ``x`` as a batch.

        Args:
            x:
                (B or 1, C, H / grid, W / grid, ...); a batch of 1 serves every picture.
        """
        parts = []
        for box, picture in zip(self.boxes, self.pictures, strict=True):
            first = picture if x.shape[0] > 1 else 0
            parts.append(x[first : first + 1, :, *box.shrunk(grid).slices])
        return torch.cat(parts)

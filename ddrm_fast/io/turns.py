"""Orientation of a picture in its file (EXIF and TIFF tag 274): upright pixels, and where a region lies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Turn(NamedTuple):
    """How stored pixels become upright: rows and columns exchanged first, then mirrored.

    Attributes:
        exchange:
            Rows become columns.
        rows, columns:
            Their order is reversed, after that.
    """

    exchange: bool = False
    rows: bool = False
    columns: bool = False

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) of the upright picture from that of the stored one, and the other way round."""
        return (width, height) if self.exchange else (height, width)

    def upright(self, values: np.ndarray) -> np.ndarray:
        """Stored pixels (H, W, C) turned upright: a view."""
        values = values.swapaxes(0, 1) if self.exchange else values
        return values[:: -1 if self.rows else 1, :: -1 if self.columns else 1]

    def stored(
        self, region: tuple[int, int, int, int], size: tuple[int, int]
    ) -> tuple[int, int, int, int]:
        """Where a region (top, left, height, width) of the upright picture is stored.

        Args:
            region:
                In the upright picture.
            size:
                (H, W) of the upright picture.
        """
        top, left, height, width = region
        top = size[0] - top - height if self.rows else top
        left = size[1] - left - width if self.columns else left
        return (left, top, width, height) if self.exchange else (top, left, height, width)


_TURNS = {
    1: Turn(),
    2: Turn(columns=True),
    3: Turn(rows=True, columns=True),
    4: Turn(rows=True),
    5: Turn(exchange=True),
    6: Turn(exchange=True, columns=True),
    7: Turn(exchange=True, rows=True, columns=True),
    8: Turn(exchange=True, rows=True),
}


def turn_of(orientation: object) -> Turn:
    """The turn of an EXIF orientation, 1 to 8; of anything else none, as viewers do."""
    return _TURNS.get(orientation, Turn()) if isinstance(orientation, int) else Turn()

"""The random masks of the published DPS, with the published draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_KINDS = ("random", "box", "extreme")


class mask_generator:
    """Draws a mask for pictures: 1 where a pixel is known. Uses numpy's global generator.

    Args:
        mask_type:
            "random": single pixels are missing, the same for all colours; "box": a rectangle; "extreme":
            all but a rectangle. ("both", which the published class accepts, gives nothing there and is
            refused.)
        mask_len_range:
            Least side of the rectangle, and one more than the largest.
        mask_prob_range:
            Least and largest share of missing pixels.
        image_size:
            Side of the square pictures.
        margin:
            Rows and columns between rectangle and edge, at least.
    """

    def __init__(
        self,
        mask_type: str,
        mask_len_range: Sequence[int] | None = None,
        mask_prob_range: Sequence[float] | None = None,
        image_size: int = 256,
        margin: Sequence[int] = (16, 16),
    ) -> None:
        if mask_type not in _KINDS:
            raise ValueError(f"mask_type: expected one of {', '.join(_KINDS)}, got {mask_type!r}")
        needed = "mask_prob_range" if mask_type == "random" else "mask_len_range"
        if (mask_prob_range if mask_type == "random" else mask_len_range) is None:
            raise ValueError(f"{needed}: expected two numbers for a {mask_type} mask, got None")
        self.mask_type, self.image_size, self.margin = mask_type, image_size, tuple(margin)
        self.mask_len_range, self.mask_prob_range = mask_len_range, mask_prob_range

    def __call__(self, img: Tensor) -> Tensor:
        """A mask of the shape of ``img``, (B, C, H, W)."""
        size = self.image_size
        if tuple(img.shape[-2:]) != (size, size):
            raise ValueError(
                f"img: expected pictures of {size} x {size} (image_size), got {tuple(img.shape)}"
            )
        known = self._random() if self.mask_type == "random" else self._box()
        return known.to(img).expand(img.shape).clone()

    def _random(self) -> Tensor:
        assert self.mask_prob_range is not None
        low, high = self.mask_prob_range
        total = self.image_size**2
        share = np.random.uniform(low, high)
        missing = np.random.choice(total, int(total * share), replace=False)
        known = torch.ones(total)
        known[torch.from_numpy(missing)] = 0
        return known.view(self.image_size, self.image_size)

    def _box(self) -> Tensor:
        assert self.mask_len_range is not None
        low, high = (int(n) for n in self.mask_len_range)
        height, width = np.random.randint(low, high), np.random.randint(low, high)
        top, left = (
            np.random.randint(margin, self.image_size - margin - side)
            for margin, side in zip(self.margin, (height, width), strict=True)
        )
        known = torch.ones(self.image_size, self.image_size)
        known[top : top + height, left : left + width] = 0
        return known if self.mask_type == "box" else 1 - known

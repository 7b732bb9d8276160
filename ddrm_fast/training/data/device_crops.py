"""Random crops drawn where the network is: as :mod:`.crops` draws them, thousands at a time.

A GPU learns from more crops a second than processors can cut. So all pictures lie in its memory, a batch is
read from them by one gather, and a crop is scaled by two small matrices, its rows and its columns: Pillow's
bicubic filter, antialiased where it scales down.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .crops import CropSource

#: Keys' cubic kernel as Pillow has it
_KEYS = -0.5


class DeviceCrops:
    """The pictures of a :class:`~.crops.CropSource` in the memory of a device, and crops of them."""

    def __init__(self, source: CropSource, device: torch.device) -> None:
        """Copy the pictures.

        Args:
            source:
                What is drawn from, and how.
            device:
                Where to; it holds 3 bytes a pixel of all pictures.
        """
        packs = (source.photographs, source.leaves)
        self.config, self.device = source.config, device
        self._leaves_share, self._photographs = source.leaves_share, len(packs[0])
        self._pixels = torch.cat([torch.from_numpy(pack.pixels) for pack in packs]).to(device)
        first = len(packs[0].pixels)
        starts = [*packs[0].starts[:-1], *(first + start for start in packs[1].starts[:-1])]
        shapes = [*packs[0].shapes, *packs[1].shapes]
        self._starts = torch.tensor(starts, device=device)
        self._heights, self._widths = torch.tensor(shapes, device=device).unbind(1)
        self._ends = torch.tensor(_chances(source), dtype=torch.float64, device=device).cumsum(0)
        config = self.config
        low = min(config.scale_low, config.leaves_scale_low if source.leaves_share else 1.0)
        self._window = min(round(config.patch / low), int(torch.tensor(shapes).amin(1).amax()))

    def batch(self, generator: torch.Generator, size: int) -> Tensor:
        """Crops of one step.

        Args:
            generator:
                Of the device; what it gives decides everything.
            size:
                Number of crops.

        Returns:
            float32 tensor (size, 3, patch, patch): whole numbers from 0 to 255.
        """
        config = self.config

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, device=self.device)

        leaves = uniform(size) < self._leaves_share
        magnified = uniform(size) < config.smooth_share
        low = torch.where(leaves, config.leaves_scale_low, config.scale_low).log()
        high = torch.where(leaves, 1.0, config.scale_high).log()
        scale = torch.lerp(low, high, uniform(size)).exp()
        spread = math.log(config.smooth_high / config.smooth_low)
        factor = config.smooth_low * (uniform(size) * spread).exp()
        inner = torch.where(magnified, (config.patch / factor).round().clamp(min=3), config.patch)
        wanted = (inner / scale).round().long()
        pictures = self._pictures(uniform(size, config.detail), leaves[:, None])
        sides = torch.minimum(self._heights, self._widths)[pictures].minimum(wanted[:, None])
        top, left = (
            (uniform(size, config.detail) * (extent[pictures] - sides + 1)).long()
            for extent in (self._heights, self._widths)
        )
        best = torch.zeros(size, dtype=torch.long, device=self.device)
        if config.detail > 1:
            found = self._detail(pictures, top, left, sides)
            best = torch.where(magnified | leaves, best, found.argmax(1))
        picture, row, column, side = (
            value.gather(1, best[:, None])[:, 0] for value in (pictures, top, left, sides)
        )
        crops = _scaled(self._windows(picture, row, column, side), side, inner, config.patch)
        return _turned(crops, uniform(3, size) < 0.5)

    def _pictures(self, u: Tensor, leaves: Tensor) -> Tensor:
        """Numbers of pictures, from uniform numbers."""
        count = self._photographs
        known = torch.searchsorted(self._ends, u.double(), right=True).clamp(max=max(count - 1, 0))
        drawn = (u * (len(self._starts) - count)).long() + count
        return torch.where(leaves, drawn.clamp(max=len(self._starts) - 1), known)

    def _windows(
        self,
        picture: Tensor,
        top: Tensor,
        left: Tensor,
        side: Tensor,
        every: int = 1,
        channels: range = range(3),
    ) -> Tensor:
        """Squares of pictures, float32 (B, channels, window / every, window), every so-manieth row of them.

        Beyond the side of a square its last row and column go on.
        """
        place = torch.arange(self._window, device=self.device).minimum(side[:, None] - 1)
        lines = (top[:, None] + place[:, ::every]) * self._widths[picture][:, None]
        pixels = lines[:, :, None] + (left[:, None] + place)[:, None]
        bytes_ = self._starts[picture][:, None, None] + 3 * pixels
        place = torch.arange(channels.start, channels.stop, device=self.device)[:, None, None]
        return self._pixels[bytes_[:, None] + place].float()

    def _detail(self, picture: Tensor, top: Tensor, left: Tensor, side: Tensor) -> Tensor:
        """How much each candidate varies from pixel to pixel, (B, candidates)."""
        numbers, rows, columns, sides = (x.reshape(-1) for x in (picture, top, left, side))
        green = self._windows(numbers, rows, columns, sides, every=2, channels=range(1, 2))[:, 0]
        # (what goes on beyond a square adds nothing to the columns, and little to the rows)
        steps = green.diff(dim=2).abs().sqrt().sum(dim=2).mean(1)
        return (steps / (sides - 1).clamp(min=1)).view(picture.shape)


def _chances(source: CropSource) -> list[float]:
    """Probability of each photograph."""
    photographs, shares = source.photographs, source.config.shares
    count = len(photographs)
    if not shares or not count:
        return [1 / count] * count
    total = sum(shares)
    return [
        share / total / number
        for share, number in zip(shares, photographs.groups, strict=True)
        for _ in range(number)
    ]


def _turned(x: Tensor, flips: Tensor) -> Tensor:
    """Squares turned and mirrored at random, each of the eight ways alike."""
    rows, columns, transposed = flips[:, :, None, None, None]
    x = torch.where(rows, x.flip(2), x)
    x = torch.where(columns, x.flip(3), x)
    return torch.where(transposed, x.transpose(2, 3), x)


def _scaled(windows: Tensor, side: Tensor, inner: Tensor, patch: int) -> Tensor:
    """Squares of some side in the corner of their windows, scaled to the inner size, then to the patch."""
    down = _bicubic(side, inner, patch, windows.shape[-1])
    up = _bicubic(inner, torch.full_like(inner, patch), patch, patch)
    x = windows
    for matrix in (down, up):  # rounded between, as pictures of 8 bits are
        m = matrix[:, None]
        x = (m @ x @ m.mT).clamp(0, 255).round()
    return x


def _bicubic(old: Tensor, new: Tensor, rows: int, columns: int) -> Tensor:
    """Matrices (B, rows, columns) that scale `old` samples to `new` ones; what lies beyond is 0."""
    old, new = old.double()[:, None, None], new.double()[:, None, None]
    step = old / new
    stretch = step.clamp(min=1)
    out = torch.arange(rows, device=old.device, dtype=torch.float64)[:, None]
    column = torch.arange(columns, device=old.device, dtype=torch.float64)
    distance = ((column + 0.5 - (out + 0.5) * step) / stretch).abs()
    near = ((_KEYS + 2) * distance - (_KEYS + 3)) * distance.square() + 1
    far = ((distance - 5) * distance + 8) * distance * _KEYS - 4 * _KEYS
    weight = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
    weight = torch.where((out < new) & (column < old), weight, 0.0)
    total = weight.sum(2, keepdim=True)
    return (weight / torch.where(total == 0, 1.0, total)).float()

"""A picture in memory, and what has to survive its restoration."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .metadata import Metadata


@dataclass(frozen=True)
class JpegGrid:
    """How a JPEG file was quantised, for the upright picture.

    Attributes:
        tables:
            64 steps each in units of 1/255, row by row, luminance first.
        top, left:
            Rows and columns before the first whole block: not 0 where the picture was turned.
        subsampling:
            Of the colours, "4:2:0" and the like; None: not known, or grey.
        before:
            Rows and columns before the first whole block of 16 x 16.
    """

    tables: tuple[tuple[int, ...], ...]
    top: int = 0
    left: int = 0
    subsampling: str | None = None
    before: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Picture:
    """A picture and what has to survive its restoration.

    Attributes:
        pixels:
            float32 (1 or 3, H, W) in [0, 1], as encoded in the file (not linear light), upright.
        alpha:
            Opacity, float32 (H, W) in [0, 1], or None.
        bits:
            Per channel in the file: 8 or 16.
        icc:
            Colour profile, of grey or RGB as the pixels are, or None.
        sha256:
            Digest of the file, hex.
        exif, xmp, dpi:
            See :class:`ddrm_fast.io.metadata.Metadata`.
        jpeg:
            How a JPEG file was quantised, or None.
        notes:
            What was not read as it stands in the file, sentences that go on after its name.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    bits: int = 8
    icc: bytes | None = None
    sha256: str = ""
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    jpeg: JpegGrid | None = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        _, height, width = self.pixels.shape
        return height, width

    @property
    def meta(self) -> Metadata:
        """What stands beside the pixels, as far as it fits them."""
        found = Metadata(self.icc, self.exif, self.xmp, self.dpi)
        return found.for_channels(self.pixels.shape[0])

    def with_pixels(self, pixels: Tensor) -> Picture:
        """Other pixels with this alpha, depth, profile and words.

        Alpha is resized where the size differs; the profile is dropped where the channels do.
        """
        alpha = self.alpha
        if alpha is not None and alpha.shape != pixels.shape[1:]:
            alpha = torch.nn.functional.interpolate(
                alpha[None, None], size=tuple(pixels.shape[1:]), mode="bicubic", antialias=True
            )[0, 0].clamp(0, 1)
        icc = self.icc if pixels.shape[0] == self.pixels.shape[0] else None
        return replace(self, pixels=pixels, alpha=alpha, icc=icc)

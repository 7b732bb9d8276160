"""Phase retrieval: the magnitudes of an oversampled Fourier transform."""

from __future__ import annotations

import torch
from torch import Tensor

from ..base import Forward, Shape

__all__ = ["PhaseRetrieval", "centred_amplitude"]


def centred_amplitude(x: Tensor, pad: int) -> Tensor:
    """|F P x|: magnitudes of the centred orthonormal FFT of a picture with ``pad`` zeros on every side."""
    x = torch.nn.functional.pad(x, (pad,) * 4)
    x = torch.fft.ifftshift(x, dim=(-2, -1))
    return torch.fft.fftshift(torch.fft.fft2(x, norm="ortho"), dim=(-2, -1)).abs()


class PhaseRetrieval(Forward):
    """y = |F P x|, of pictures in [-1, 1] (Chung et al. 2023, appendix B), per colour.

    A picture and the one turned by 180 degrees have the same measurement, so have shifted ones: draw several
    samples and keep the best.

    Args:
        oversample:
            Zeros on every side, in eighths of the shorter side: 2.0 makes 256 to 384.
        pad:
            The same in pixels; replaces ``oversample``.
    """

    range = (-1.0, 1.0)
    mixes = "everything"
    parameter_names = ("oversample", "pad")

    def __init__(self, oversample: float = 2.0, pad: int | None = None) -> None:
        if isinstance(oversample, bool) or not 0 <= float(oversample) <= 64:
            raise ValueError(f"oversample: expected a number from 0 to 64, got {oversample}")
        if pad is not None and (isinstance(pad, bool) or not isinstance(pad, int) or pad < 0):
            raise ValueError(f"pad: expected an integer >= 0 or None, got {pad!r}")
        self.oversample, self.pad = float(oversample), pad

    def padding(self, size: tuple[int, ...]) -> int:
        """Zeros on every side of a picture (H, W)."""
        return int(self.oversample / 8 * min(size)) if self.pad is None else self.pad

    def image_shape(self, y: Tensor) -> Shape:
        if y.dim() != 4:
            raise ValueError(f"y: expected (B, C, H, W), got shape {tuple(y.shape)}")
        channels, *size = y.shape[1:]
        pad = self.pad
        if pad is None:  # the picture whose padding makes this size
            shorter = min(size)
            fits = (n for n in range(shorter, 0, -1) if n + 2 * self.padding((n,)) == shorter)
            found = next(fits, None)
            pad = -1 if found is None else (shorter - found) // 2
        height, width = (n - 2 * pad for n in size)
        if pad < 0 or min(height, width) < 1:
            raise ValueError(f"y: no picture has a transform of {size[0]} x {size[1]} with {self}")
        return channels, height, width

    def check_image(self, shape: Shape) -> None:
        if len(shape) != 3:
            raise ValueError(f"x: expected pictures (C, H, W), got shape {shape}")

    def H(self, x: Tensor) -> Tensor:
        self._check(x)
        return centred_amplitude(x, self.padding(tuple(x.shape[2:])))

    def __repr__(self) -> str:
        if self.pad is not None:
            return f"PhaseRetrieval(pad={self.pad})"
        return f"PhaseRetrieval(oversample={self.oversample})"

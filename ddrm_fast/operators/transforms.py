"""Fast orthonormal transforms T of image planes, each with its inverse.

A transform maps (B, C, H, W) to the coefficients that a kernel works on. All are orthonormal, so the
adjoint is the inverse; all but the half spectrum of the FFT are differentiable in both directions.
"""

import torch
from torch import Tensor

from ..ops import dct, fft, fwht


class Fourier:
    """Unitary FFT of a real image: the half spectrum (internal to a step), and the full one.

    FFT libraries refuse a batch of 0, so that is handled here.
    """

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        if not x.numel():
            return x.new_zeros((*x.shape[:-1], x.shape[-1] // 2 + 1), dtype=_complex(x.dtype))
        return fft.rfft2(x, norm="ortho")

    @staticmethod
    def inverse(c: Tensor, width: int, out: Tensor | None = None) -> Tensor:
        if not c.numel():
            return c.real.new_zeros((*c.shape[:-1], width))
        return fft.irfft2(c, width, norm="ortho", out=out)

    @staticmethod
    def full(x: Tensor) -> Tensor:
        return torch.fft.fft2(x, norm="ortho") if x.numel() else x.to(_complex(x.dtype))

    @staticmethod
    def full_inverse(c: Tensor) -> Tensor:
        return torch.fft.ifft2(c, norm="ortho").real if c.numel() else c.real


def _complex(dtype: torch.dtype) -> torch.dtype:
    """(not dtype.to_complex(), which torch.compile cannot trace)"""
    return torch.complex64 if dtype == torch.float32 else torch.complex128


class Cosine:
    """Orthonormal two-dimensional DCT-II."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return dct.forward(x)

    @staticmethod
    def inverse(c: Tensor) -> Tensor:
        return dct.inverse(c)


class GroupedCosine:
    """The DCT-II with the r x r coefficients that alias under decimation by r in one block.

    Along each axis of N = r M coefficients, k, 2M - k, 2M + k, 4M - k, ... stand at r k, r k + 1, ...; odd
    multiples of M beside 0.
    """

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return dct.forward(x, self.factor)

    def inverse(self, c: Tensor) -> Tensor:
        return dct.inverse(c, self.factor)

    def regroup(self, c: Tensor) -> Tensor:
        """Numbers (..., H, W), one for each coefficient, from their own order into that of groups."""
        return dct.select(c, dct.alias_order, self.factor)

    def regroup_axis(self, c: Tensor) -> Tensor:
        """The same of one axis, [N]."""
        return c.index_select(0, dct.alias_order(len(c), self.factor, c.device))


class WalshHadamard:
    """Walsh-Hadamard transform of the plane flattened row by row; its own inverse."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return fwht(x)

    @staticmethod
    def inverse(c: Tensor, out: Tensor | None = None) -> Tensor:
        return fwht(c, out=out)


class Kronecker:
    """Two small orthogonal matrices: c = A^T x B for each plane."""

    def __init__(self, vertical: Tensor, horizontal: Tensor) -> None:
        self.vertical, self.horizontal = vertical, horizontal

    def forward(self, x: Tensor) -> Tensor:
        return self.vertical.mT @ x @ self.horizontal

    def inverse(self, c: Tensor) -> Tensor:
        return self.vertical @ c @ self.horizontal.mT


class Blocks:
    """Orthonormal columns (k^2, m), one small matrix for every k x k block, flattened row by row.

    Coefficients have shape (B, C, number of blocks, m).
    """

    def __init__(self, basis: Tensor, block: int) -> None:
        self.basis, self.block = basis, block

    def forward(self, x: Tensor) -> Tensor:
        k = self.block
        batch, channels, height, width = x.shape
        blocks = x.reshape(batch, channels, height // k, k, width // k, k).transpose(3, 4)
        return blocks.reshape(batch, channels, height // k * (width // k), k * k) @ self.basis

    def inverse(self, c: Tensor, height: int, width: int) -> Tensor:
        k = self.block
        blocks = (c @ self.basis.mT).reshape(*c.shape[:2], height // k, width // k, k, k)
        return blocks.transpose(3, 4).reshape(*c.shape[:2], height, width)

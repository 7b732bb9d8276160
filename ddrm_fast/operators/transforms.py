"""Fast orthonormal transforms T of image planes, each with its inverse.

A transform maps (B, C, H, W) to the coefficients that a kernel works on. All are orthonormal, so the
adjoint is the inverse; all but the half spectrum of the FFT are differentiable in both directions.
"""

from functools import cache

import torch
from torch import Tensor

from ..ops import fwht


class Fourier:
    """Half spectrum of a real image, ``rfft2(norm="ortho")``; internal to a step."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.fft.rfft2(x, norm="ortho")

    @staticmethod
    def inverse(c: Tensor, width: int, out: Tensor | None = None) -> Tensor:
        return torch.fft.irfft2(c, s=(c.shape[-2], width), norm="ortho", out=out)


@cache
def _twiddle(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """exp(-i pi k / 2N) times the orthonormal scale, for k = 0 .. N // 2."""
    k = torch.arange(length // 2 + 1, dtype=torch.float64, device=device)
    scale = torch.full_like(k, (2.0 / length) ** 0.5)
    scale[0] = (1.0 / length) ** 0.5
    return torch.polar(scale, -torch.pi * k / (2 * length)).to(dtype.to_complex())


def _dct_rows(x: Tensor) -> Tensor:
    """Orthonormal DCT-II of the last axis through one real FFT of the same length (Makhoul 1980)."""
    n = x.shape[-1]
    folded = torch.cat((x[..., ::2], x[..., 1::2].flip(-1)), dim=-1)
    spectrum = torch.fft.rfft(folded) * _twiddle(n, x.dtype, x.device)
    tail = -spectrum.imag[..., 1 : (n + 1) // 2].flip(-1)
    return torch.cat((spectrum.real, tail), dim=-1)


def _idct_rows(c: Tensor) -> Tensor:
    """Inverse of :func:`_dct_rows`."""
    n = c.shape[-1]
    twiddle = _twiddle(n, c.dtype, c.device)
    half = n // 2 + 1
    mirrored = torch.nn.functional.pad(-c[..., n - half + 1 :].flip(-1), (1, 0))
    folded = torch.fft.irfft(torch.complex(c[..., :half], mirrored) / twiddle, n=n)
    even, odd = folded[..., : (n + 1) // 2], folded[..., (n + 1) // 2 :].flip(-1)
    if n % 2:
        odd = torch.nn.functional.pad(odd, (0, 1))
    return torch.stack((even, odd), dim=-1).flatten(-2)[..., :n]


class Cosine:
    """Orthonormal two-dimensional DCT-II."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _dct_rows(_dct_rows(x).mT.contiguous()).mT.contiguous()

    @staticmethod
    def inverse(c: Tensor) -> Tensor:
        return _idct_rows(_idct_rows(c.mT.contiguous()).mT.contiguous())


class WalshHadamard:
    """Walsh-Hadamard transform of the plane flattened row by row; its own inverse."""

    forward = staticmethod(fwht)
    inverse = staticmethod(fwht)


class Kronecker:
    """Two small orthogonal matrices: c = A^T x B for each plane."""

    def __init__(self, vertical: Tensor, horizontal: Tensor) -> None:
        self.vertical, self.horizontal = vertical, horizontal

    def forward(self, x: Tensor) -> Tensor:
        return self.vertical.mT @ x @ self.horizontal

    def inverse(self, c: Tensor) -> Tensor:
        return self.vertical @ c @ self.horizontal.mT


class Blocks:
    """One small orthogonal matrix applied to every k x k block, flattened row by row.

    Coefficients have shape (B, C, number of blocks, k^2).
    """

    def __init__(self, basis: Tensor, block: int) -> None:
        self.basis, self.block = basis, block

    def forward(self, x: Tensor) -> Tensor:
        k = self.block
        batch, channels, height, width = x.shape
        blocks = x.reshape(batch, channels, height // k, k, width // k, k).transpose(3, 4)
        return blocks.reshape(batch, channels, -1, k * k) @ self.basis

    def inverse(self, c: Tensor, height: int, width: int) -> Tensor:
        k = self.block
        blocks = (c @ self.basis.mT).reshape(*c.shape[:2], height // k, width // k, k, k)
        return blocks.transpose(3, 4).reshape(*c.shape[:2], height, width)

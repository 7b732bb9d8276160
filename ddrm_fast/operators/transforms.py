"""Fast orthonormal transforms T of image planes, each with its inverse.

A transform maps (B, C, H, W) to the coefficients that a kernel works on. All are orthonormal, so the
adjoint is the inverse; all but the half spectrum of the FFT are differentiable in both directions.
"""

from functools import cache

import torch
from torch import Tensor

from ..ops import fwht
from .base import kept


class Fourier:
    """Unitary FFT of a real image: the half spectrum (internal to a step), and the full one.

    FFT libraries refuse a batch of 0, so that is handled here.
    """

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        if not x.numel():
            return x.new_zeros((*x.shape[:-1], x.shape[-1] // 2 + 1), dtype=_complex(x.dtype))
        return torch.fft.rfft2(x, norm="ortho")

    @staticmethod
    def inverse(c: Tensor, width: int, out: Tensor | None = None) -> Tensor:
        if not c.numel():
            return c.real.new_zeros((*c.shape[:-1], width))
        return torch.fft.irfft2(c, s=(c.shape[-2], width), norm="ortho", out=out)

    @staticmethod
    def full(x: Tensor) -> Tensor:
        return torch.fft.fft2(x, norm="ortho") if x.numel() else x.to(_complex(x.dtype))

    @staticmethod
    def full_inverse(c: Tensor) -> Tensor:
        return torch.fft.ifft2(c, norm="ortho").real if c.numel() else c.real


def _complex(dtype: torch.dtype) -> torch.dtype:
    """(not dtype.to_complex(), which torch.compile cannot trace)"""
    return torch.complex64 if dtype == torch.float32 else torch.complex128


@cache
def _twiddle(length: int, dim: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """exp(-i pi k / 2N) times the orthonormal scale, for k = 0 .. N // 2 along ``dim``."""

    def make() -> Tensor:
        k = torch.arange(length // 2 + 1, dtype=torch.float64, device=device)
        scale = torch.full_like(k, (2.0 / length) ** 0.5)
        scale[0] = (1.0 / length) ** 0.5
        twiddle = torch.polar(scale, -torch.pi * k / (2 * length)).to(_complex(dtype))
        return twiddle[(..., *[None] * (-1 - dim))]

    return kept(make)


def _dct(x: Tensor, dim: int) -> Tensor:
    """Orthonormal DCT-II of one axis through one real FFT of the same length (Makhoul 1980)."""
    n = x.shape[dim]
    even, odd = _every_second(x, dim)
    folded = torch.cat((even, odd.flip(dim)), dim=dim)
    spectrum = torch.fft.rfft(folded, dim=dim) * _twiddle(n, dim, x.dtype, x.device)
    tail = spectrum.imag.narrow(dim, 1, (n - 1) // 2).flip(dim).neg_()
    return torch.cat((spectrum.real, tail), dim=dim)


def _idct(c: Tensor, dim: int) -> Tensor:
    """Inverse of :func:`_dct`."""
    n = c.shape[dim]
    half = n // 2 + 1
    mirrored = torch.zeros_like(c.narrow(dim, 0, 1))
    tail = c.narrow(dim, n - half + 1, half - 1).flip(dim)
    spectrum = torch.complex(c.narrow(dim, 0, half), torch.cat((mirrored, -tail), dim=dim))
    folded = torch.fft.irfft(spectrum / _twiddle(n, dim, c.dtype, c.device), n=n, dim=dim)
    even, odd = folded.narrow(dim, 0, n - n // 2), folded.narrow(dim, n - n // 2, n // 2).flip(dim)
    if n % 2:
        odd = torch.cat((odd, mirrored), dim=dim)
    pairs = torch.stack((even, odd), dim=even.dim() + dim + 1)
    return pairs.flatten(even.dim() + dim, even.dim() + dim + 1).narrow(dim, 0, n)


def _every_second(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return (x[..., ::2], x[..., 1::2]) if dim == -1 else (x[..., ::2, :], x[..., 1::2, :])


class Cosine:
    """Orthonormal two-dimensional DCT-II."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _dct(_dct(x, -2), -1) if x.numel() else x.clone()

    @staticmethod
    def inverse(c: Tensor) -> Tensor:
        return _idct(_idct(c, -1), -2) if c.numel() else c.clone()


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
    """One small orthogonal matrix applied to every k x k block, flattened row by row.

    Coefficients have shape (B, C, number of blocks, k^2).
    """

    def __init__(self, basis: Tensor, block: int) -> None:
        self.basis, self.block = basis, block

    def forward(self, x: Tensor) -> Tensor:
        k = self.block
        batch, channels, height, width = x.shape
        blocks = x.reshape(batch, channels, height // k, k, width // k, k).transpose(3, 4)
        return blocks.reshape(batch, channels, height * width // k**2, k * k) @ self.basis

    def inverse(self, c: Tensor, height: int, width: int) -> Tensor:
        k = self.block
        blocks = (c @ self.basis.mT).reshape(*c.shape[:2], height // k, width // k, k, k)
        return blocks.transpose(3, 4).reshape(*c.shape[:2], height, width)

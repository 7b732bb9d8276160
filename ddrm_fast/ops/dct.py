"""The orthonormal two-dimensional DCT-II of image planes, as an operation with its adjoint.

Through one real FFT of the same size (Makhoul, "A fast cosine transform in one and two dimensions",
1980). A backend may bring ``dct2(y, x)`` and ``idct2(x, y)``, which fill buffers; the others share
the plain PyTorch of this file, whose FFT is that of ``torch.fft`` as well.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from . import dispatch, library


def _complex(dtype: torch.dtype) -> torch.dtype:
    """(not dtype.to_complex(), which torch.compile cannot trace)"""
    return torch.complex64 if dtype == torch.float32 else torch.complex128


@cache
def twiddle(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """exp(-i pi k / 2N) times the orthonormal scale, complex, for k = 0 .. N // 2."""
    with torch.inference_mode(False):
        k = torch.arange(length // 2 + 1, dtype=torch.float64, device=device)
        scale = torch.full_like(k, (2.0 / length) ** 0.5)
        scale[0] = (1.0 / length) ** 0.5
        return torch.polar(scale, -torch.pi * k / (2 * length)).to(_complex(dtype))


@cache
def inverse_twiddle(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """1 / :func:`twiddle`, taken before it is rounded."""
    with torch.inference_mode(False):
        return twiddle(length, torch.float64, device).reciprocal().to(_complex(dtype))


@cache
def alias_places(length: int, factor: int, device: torch.device) -> Tensor:
    """Where coefficient k stands among the groups that alias under decimation; int64 [length].

    With M = length / factor, coefficient 2 a M +- k' is member 2 a or 2 a - 1 of group k'; odd multiples of
    M belong to group 0.
    """
    with torch.inference_mode(False):
        small = length // factor
        k = torch.arange(length, device=device)
        block, place = k // small, k % small
        group = torch.where(block % 2 == 0, place, (small - place) % small)
        return group * factor + block


@cache
def alias_order(length: int, factor: int, device: torch.device) -> Tensor:
    """Inverse of :func:`alias_places`: which coefficient stands at a place."""
    with torch.inference_mode(False):
        return alias_places(length, factor, device).argsort()


def _along(factors: Tensor, dim: int) -> Tensor:
    return factors[(..., *[None] * (-1 - dim))]


def _dct(x: Tensor, dim: int) -> Tensor:
    n = x.shape[dim]
    even, odd = _every_second(x, dim)
    folded = torch.cat((even, odd.flip(dim)), dim=dim)
    factors = _along(twiddle(n, x.dtype, x.device), dim)
    spectrum = torch.fft.rfft(folded, dim=dim) * factors
    tail = spectrum.imag.narrow(dim, 1, (n - 1) // 2).flip(dim).neg_()
    return torch.cat((spectrum.real, tail), dim=dim)


def _idct(c: Tensor, dim: int) -> Tensor:
    n = c.shape[dim]
    half = n // 2 + 1
    zero = torch.zeros_like(c.narrow(dim, 0, 1))
    tail = c.narrow(dim, n - half + 1, half - 1).flip(dim)
    spectrum = torch.complex(c.narrow(dim, 0, half), torch.cat((zero, -tail), dim=dim))
    factors = _along(twiddle(n, c.dtype, c.device), dim)
    folded = torch.fft.irfft(spectrum / factors, n=n, dim=dim)
    even, odd = folded.narrow(dim, 0, n - n // 2), folded.narrow(dim, n - n // 2, n // 2).flip(dim)
    if n % 2:
        odd = torch.cat((odd, zero), dim=dim)
    pairs = torch.stack((even, odd), dim=even.dim() + dim + 1)
    return pairs.flatten(even.dim() + dim, even.dim() + dim + 1).narrow(dim, 0, n)


def _every_second(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return (x[..., ::2], x[..., 1::2]) if dim == -1 else (x[..., ::2, :], x[..., 1::2, :])


def select(c: Tensor, order: Callable[[int, int, torch.device], Tensor], factor: int) -> Tensor:
    """Coefficients (..., H, W) in another order along both axes: :func:`alias_order` or its inverse."""
    if factor == 1 or not c.numel():
        return c
    for dim in (-2, -1):
        c = c.index_select(dim, order(c.shape[dim], factor, c.device))
    return c


def dct2(y: Tensor, x: Tensor, factor: int) -> None:
    """Fill ``y`` with the coefficients of ``x``, both (B, C, H, W): one axis after the other.

    With a factor r > 1, which divides both sides, along both axes in the order of the groups that alias
    under decimation by r: :func:`alias_places`.
    """
    y.copy_(select(_dct(_dct(x, -2), -1), alias_order, factor))


def idct2(x: Tensor, y: Tensor, factor: int) -> None:
    """Fill ``x`` with the image of the coefficients ``y``: inverse and adjoint of :func:`dct2`."""
    x.copy_(_idct(_idct(select(y, alias_places, factor), -1), -2))


_PLAIN = {"dct2": dct2, "idct2": idct2}


def _register(name: str, adjoint: str) -> None:
    def implementation(x: Tensor, factor: int = 1) -> Tensor:
        y = library._like(x)
        if x.numel():
            backend = dispatch.choose(x.device.type, x.dtype)
            getattr(backend, name, _PLAIN[name])(y, library._dense(x), factor)
        return y

    def keep_factor(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        ctx.factor = inputs[1]

    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return getattr(torch.ops.ddrm_fast, adjoint)(grad, ctx.factor), None

    def fake(x: Tensor, factor: int = 1) -> Tensor:
        return library._like(x)

    library._define(name, "Tensor x, int factor=1", implementation, fake)
    torch.library.register_autograd(
        f"ddrm_fast::{name}", backward, setup_context=keep_factor, lib=library._library
    )


_register("dct2", "idct2")
_register("idct2", "dct2")


def forward(x: Tensor, factor: int = 1) -> Tensor:
    """Orthonormal DCT-II of each plane of (B, C, H, W); :func:`inverse` is inverse and adjoint.

    With a factor > 1 in the order of groups: see :func:`dct2`.
    """
    _check_factor(x, factor)
    return torch.ops.ddrm_fast.dct2(x, factor)


def inverse(c: Tensor, factor: int = 1) -> Tensor:
    """The image with these coefficients."""
    _check_factor(c, factor)
    return torch.ops.ddrm_fast.idct2(c, factor)


def _check_factor(x: Tensor, factor: int) -> None:
    if factor < 1 or x.shape[-2] % factor or x.shape[-1] % factor:
        raise ValueError(
            f"factor: expected a divisor of both sides of {tuple(x.shape)}, got {factor}"
        )

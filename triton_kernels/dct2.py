"""The orthonormal two-dimensional DCT-II through one real FFT of the same size.

Makhoul, "A fast cosine transform in one and two dimensions", 1980. With the samples of both axes in
the order 0 2 4 ... 5 3 1, V the half spectrum of that and t_k = scale_k exp(-i pi k / 2N):

    P = t_k t_l V(k, l),  Q = conj(t_k) t_l V(-k, l)
    C(k, l) = (Re P + Re Q) / 2          C(k, W - l) = -(Im P + Im Q) / 2
    C(H - k, l) = (Im Q - Im P) / 2      C(H - k, W - l) = (Re Q - Re P) / 2

One pass over memory before the FFT and one behind it; the same on the way back.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops.dct import inverse_twiddle, twiddle
from .launch import STREAM_TILE, STREAM_WARPS, blocks, launch, stream_tile
from .pairs import load_pairs, store_pairs
from .tiles import tile


@triton.jit
def _source(i, n, FOLD: tl.constexpr):
    """Where place i takes its sample from: folded, 0 2 4 ... 5 3 1; or unfolded again."""
    if FOLD:
        place = tl.where(2 * i < n, 2 * i, 2 * (n - i) - 1)
    else:
        place = tl.where(i % 2 == 0, i // 2, n - (i + 1) // 2)
    return place


@triton.jit
def dct_fold_kernel(
    to, source, height, width, FOLD: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr
):
    """A tile of planes with the samples of both axes in another order."""
    plane, _, row0, first = tile(1, height, width, ROWS, COLS)
    h = row0 + tl.arange(0, ROWS)[:, None]
    w = first + tl.arange(0, COLS)[None, :]
    inside = (h < height) & (w < width)
    start = plane.to(tl.int64) * height
    from_row, from_column = _source(h, height, FOLD), _source(w, width, FOLD)
    x = tl.load(source + ((start + from_row) * width + from_column), inside, 0.0)
    tl.store(to + ((start + h) * width + w), x, inside)


@triton.jit
def _times(a_re, a_im, b_re, b_im):
    return a_re * b_re - a_im * b_im, a_re * b_im + a_im * b_re


@triton.jit
def _corners(height, width, ROWS: tl.constexpr, COLS: tl.constexpr):
    """This program's plane and its tile of (k, l), k up to H / 2 and l up to W / 2."""
    plane, _, row0, first = tile(1, height // 2 + 1, width // 2 + 1, ROWS, COLS)
    k = row0 + tl.arange(0, ROWS)[:, None]
    l = first + tl.arange(0, COLS)[None, :]
    return plane.to(tl.int64) * height, k, l


@triton.jit
def _grouped(k, n, FACTOR: tl.constexpr):
    """Place of coefficient k of n in the groups that alias: ``grouped`` of csrc/include/ddrm_fast/dct.h."""
    if FACTOR == 1:
        place = k
    else:
        small = n // FACTOR
        block = k // small
        inside = k - block * small
        group = tl.where((block % 2 == 0) | (inside == 0), inside, small - inside)
        place = group * FACTOR + block
    return place


@triton.jit
def _places(start, k, l, mirror, height, width, FACTOR: tl.constexpr):
    """Rows k and H - k as offsets, and columns l and W - l, where coefficients stand."""
    near = (start + _grouped(k, height, FACTOR)) * width
    below = (start + _grouped(mirror, height, FACTOR)) * width
    return near, below, _grouped(l, width, FACTOR), _grouped(width - l, width, FACTOR)


@triton.jit
def dct_twist_kernel(
    y, spectrum, vertical, horizontal, height, width,
    ROWS: tl.constexpr, COLS: tl.constexpr, FACTOR: tl.constexpr,
):  # fmt: skip
    """The four coefficients that V(k, l) and V(-k, l) make, for a tile of (k, l)."""
    start, k, l = _corners(height, width, ROWS, COLS)
    half = width // 2 + 1
    rows, columns = k <= height // 2, l < half
    inside = rows & columns
    mirror = tl.where(k == 0, 0, height - k)
    k_re, k_im = load_pairs(vertical, k, rows)
    l_re, l_im = load_pairs(horizontal, l, columns)
    p_re, p_im = load_pairs(spectrum, (start + k) * half + l, inside)
    q_re, q_im = load_pairs(spectrum, (start + mirror) * half + l, inside)
    t_re, t_im = _times(k_re, k_im, l_re, l_im)
    p_re, p_im = _times(t_re, t_im, p_re, p_im)
    t_re, t_im = _times(k_re, -k_im, l_re, l_im)
    q_re, q_im = _times(t_re, t_im, q_re, q_im)
    # H - k and W - l, where they exist and are not k and l themselves
    row = inside & (k != 0) & (2 * k != height)
    column = inside & (l != 0) & (2 * l != width)
    near, below, left, right = _places(start, k, l, mirror, height, width, FACTOR)
    tl.store(y + (near + left), 0.5 * (q_re + p_re), inside)
    tl.store(y + (near + right), -0.5 * (q_im + p_im), column)
    tl.store(y + (below + left), 0.5 * (q_im - p_im), row)
    tl.store(y + (below + right), 0.5 * (q_re - p_re), row & column)


@triton.jit
def dct_untwist_kernel(
    spectrum, y, vertical, horizontal, height, width,
    ROWS: tl.constexpr, COLS: tl.constexpr, FACTOR: tl.constexpr,
):  # fmt: skip
    """V(k, l) and V(-k, l) of the four coefficients that they make; here t = exp(i pi k / 2N) / scale."""
    start, k, l = _corners(height, width, ROWS, COLS)
    half = width // 2 + 1
    rows, columns = k <= height // 2, l < half
    inside = rows & columns
    mirror = tl.where(k == 0, 0, height - k)
    k_re, k_im = load_pairs(vertical, k, rows)
    l_re, l_im = load_pairs(horizontal, l, columns)
    near, below, left, right = _places(start, k, l, mirror, height, width, FACTOR)
    # where k = H - k or l = W - l a coefficient stands for both; where there is none it is 0
    row, column = inside & (k != 0), inside & (l != 0)
    c1 = tl.load(y + (near + left), inside, 0.0)
    c2 = tl.load(y + (near + right), column, 0.0)
    c3 = tl.load(y + (below + left), row, 0.0)
    c4 = tl.load(y + (below + right), row & column, 0.0)
    t_re, t_im = _times(k_re, k_im, l_re, l_im)
    p_re, p_im = _times(t_re, t_im, c1 - c4, -(c2 + c3))
    t_re, t_im = _times(k_re, -k_im, l_re, l_im)
    q_re, q_im = _times(t_re, t_im, c1 + c4, c3 - c2)
    store_pairs(spectrum, (start + k) * half + l, p_re, p_im, inside)
    store_pairs(spectrum, (start + mirror) * half + l, q_re, q_im, row & (2 * k != height))


def _fold(to: Tensor, x: Tensor, fold: bool) -> None:
    height, width = x.shape[-2:]
    rows, columns = stream_tile(height, width)
    programs = x.shape[0] * x.shape[1] * blocks(height, rows) * blocks(width, columns)
    launch(
        dct_fold_kernel, programs, x, to, x, height, width,
        num_warps=STREAM_WARPS, FOLD=fold, ROWS=rows, COLS=columns,
    )  # fmt: skip


def _twisted(kernel, to: Tensor, source: Tensor, x: Tensor, factors, factor: int) -> None:
    height, width = x.shape[-2:]
    rows, columns = stream_tile(height // 2 + 1, width // 2 + 1, STREAM_TILE // 4)
    vertical, horizontal = (
        torch.view_as_real(factors(n, x.dtype, x.device)) for n in (height, width)
    )
    programs = blocks(height // 2 + 1, rows) * blocks(width // 2 + 1, columns)
    launch(
        kernel, x.shape[0] * x.shape[1] * programs, x,
        to, source, vertical, horizontal, height, width,
        num_warps=STREAM_WARPS, ROWS=rows, COLS=columns, FACTOR=factor,
    )  # fmt: skip


def dct2(y: Tensor, x: Tensor, factor: int) -> None:
    """Arguments as in :func:`ddrm_fast.ops.dct.dct2`."""
    folded = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    _fold(folded, x, True)
    spectrum = torch.fft.rfft2(folded).contiguous()
    _twisted(dct_twist_kernel, y, torch.view_as_real(spectrum), x, twiddle, factor)


def idct2(x: Tensor, y: Tensor, factor: int) -> None:
    """Arguments as in :func:`ddrm_fast.ops.dct.idct2`."""
    height, width = y.shape[-2:]
    half = (*y.shape[:-1], width // 2 + 1)
    spectrum = torch.empty(half, dtype=torch.complex64, device=y.device)
    _twisted(dct_untwist_kernel, torch.view_as_real(spectrum), y, y, inverse_twiddle, factor)
    _fold(x, torch.fft.irfft2(spectrum, s=(height, width)).contiguous(), False)

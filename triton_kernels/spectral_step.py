"""One step on half spectra."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .affine import draws_noise, null_weights, predict, select_weights
from .launch import (
    STREAM_TILE,
    STREAM_WARPS,
    batch_stride,
    blocks,
    launch,
    stream_tile,
    strides,
    table_strides,
)
from .noise import hermitian_noise
from .pairs import load_pairs, store_pairs
from .tiles import row_of, tile


@triton.jit(do_not_specialize=["channels", "table_rows", "table_step", "table_b"])
def spectral_step_kernel(
    x_next, x_t, out, u, s, table, step, keys, noise,
    channels, height, half, width, u_b, s_b, s_c, s_h, s_w, table_rows, table_step, table_b,
    ROWS: tl.constexpr, COLS: tl.constexpr, S_ROWS: tl.constexpr, S_COLS: tl.constexpr,
):  # fmt: skip
    """X_next = a(s) X0 + b(s) EPS + c(s) U + d(s) Z on a tile [ROWS, COLS] of a half spectrum.

    Spectra (B, C, height, half = width // 2 + 1) as pairs of floats, Z Hermitian; weights are
    evaluated once for the two parts of a coefficient.
    """
    b, c, row0, first = tile(channels, height, half, ROWS, COLS)
    h = row0 + tl.arange(0, ROWS)[:, None]
    k = first + tl.arange(0, COLS)[None, :]
    inside = (h < height) & (k < half)
    in_plane = h.to(tl.int64) * half + k
    at = (b.to(tl.int64) * channels + c) * height * half + in_plane
    row, iteration, poison = row_of(table, step, table_rows, table_step, table_b, b)

    a, b_eps, d = null_weights(row)
    if u is not None:
        s_h_at = row0 + tl.arange(0, S_ROWS)[:, None]
        s_k_at = first + tl.arange(0, S_COLS)[None, :]
        s_inside = (s_h_at < height) & (s_k_at < half)
        s_at = b.to(tl.int64) * s_b + c.to(tl.int64) * s_c + s_h_at.to(tl.int64) * s_h
        sigma = tl.load(s + (s_at + s_k_at * s_w), s_inside, 0.0)
        a, b_eps, c_u, d = select_weights(row, sigma)
    re = tl.zeros([ROWS, COLS], tl.float32)
    im = re
    if x_t is not None:
        state_re, state_im = load_pairs(x_t, at, inside)
        out_re, out_im = load_pairs(out, at, inside)
        clean_re, eps_re = predict(row, state_re, out_re)
        clean_im, eps_im = predict(row, state_im, out_im)
        re = a * clean_re + b_eps * eps_re
        im = a * clean_im + b_eps * eps_im
    if u is not None:
        u_at = b.to(tl.int64) * u_b + c.to(tl.int64) * height * half + in_plane
        u_re, u_im = load_pairs(u, u_at, inside)
        re = tl.where(sigma > 0.0, re + c_u * u_re, re)
        im = tl.where(sigma > 0.0, im + c_u * u_im, im)
    if draws_noise(row):
        if noise is not None:
            z_re, z_im = load_pairs(noise, at, inside)
        else:
            z_re, z_im = hermitian_noise(keys, b, c, channels, h, k, height, width, iteration)
        re = re + d * z_re
        im = im + d * z_im
    store_pairs(x_next, at, re + poison, im + poison, inside)


def _pairs(x: Tensor | None) -> Tensor | None:
    return None if x is None else torch.view_as_real(x)


def spectral_step(
    x_next: Tensor,
    x_t: Tensor | None,
    out: Tensor | None,
    u: Tensor | None,
    s: Tensor,
    table: Tensor,
    step: Tensor,
    keys: Tensor,
    noise: Tensor | None,
    width: int,
) -> None:
    """Arguments as in :func:`ddrm_fast.ops.reference.spectral_step`."""
    batch, channels, height, half = x_next.shape
    rows, columns = stream_tile(height, half, STREAM_TILE // 2)
    launch(
        spectral_step_kernel,
        batch * channels * blocks(height, rows) * blocks(half, columns),
        x_next,
        _pairs(x_next), _pairs(x_t), _pairs(out), _pairs(u), s, table, step, keys, _pairs(noise),
        channels, height, half, width, batch_stride(u), *strides(s), *table_strides(table),
        num_warps=STREAM_WARPS,
        ROWS=rows, COLS=columns,
        S_ROWS=rows if s.shape[2] > 1 else 1, S_COLS=columns if s.shape[3] > 1 else 1,
    )  # fmt: skip

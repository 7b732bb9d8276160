"""One step where every coefficient is a group of its own."""

import triton
import triton.language as tl
from torch import Tensor

from .affine import draws_noise, null_weights, predict_clipped, select_weights
from .launch import (
    STREAM_WARPS,
    batch_stride,
    blocks,
    launch,
    output_strides,
    stream_tile,
    strides,
    table_strides,
)
from .noise import normal_tile
from .tiles import load_output, row_of, tile


@triton.jit(do_not_specialize=["channels", "table_rows", "table_step", "table_b"])
def pointwise_step_kernel(
    x_next, x0, x_t, out, u, s, table, step, keys, noise,
    channels, height, width, out_b, out_c, u_b, s_b, s_c, s_h, s_w, table_rows, table_step, table_b,
    ROWS: tl.constexpr, COLS: tl.constexpr, S_ROWS: tl.constexpr, S_COLS: tl.constexpr,
):  # fmt: skip
    """x_next = a(s) x0 + b(s) eps + c(s) u + d(s) z on a tile [ROWS, COLS] of a plane.

    One pass: x_t, out, u and s are read once, x_next (and x0) written once, z never leaves registers.
    S_ROWS and S_COLS are 1 where s is the same along that side: its weights are then evaluated once
    for a row, or for the tile, instead of for each number.
    Kawar et al., "Denoising Diffusion Restoration Models", 2022, eqs. 7 and 8, for DDRM's weights.
    """
    b, c, row0, first = tile(channels, height, width, ROWS, COLS)
    rows = row0 + tl.arange(0, ROWS)[:, None]
    columns = first + tl.arange(0, COLS)[None, :]
    inside = (rows < height) & (columns < width)
    in_plane = rows.to(tl.int64) * width + columns
    plane = (b.to(tl.int64) * channels + c) * height * width
    row, iteration, poison = row_of(table, step, table_rows, table_step, table_b, b)

    a, b_eps, d = null_weights(row)
    if u is not None:
        s_rows = row0 + tl.arange(0, S_ROWS)[:, None]
        s_columns = first + tl.arange(0, S_COLS)[None, :]
        s_inside = (s_rows < height) & (s_columns < width)
        s_at = b.to(tl.int64) * s_b + c.to(tl.int64) * s_c + s_rows.to(tl.int64) * s_h
        sigma = tl.load(s + (s_at + s_columns * s_w), s_inside, 0.0)
        a, b_eps, c_u, d = select_weights(row, sigma)
    x = tl.zeros([ROWS, COLS], tl.float32)
    clean = x
    if x_t is not None:
        state = tl.load(x_t + (plane + in_plane), inside, 0.0)
        out_at = b.to(tl.int64) * out_b + c.to(tl.int64) * out_c
        predicted = load_output(out, out_at + in_plane, inside)
        clean, eps = predict_clipped(row, state, predicted)
        x = a * clean + b_eps * eps
    if u is not None:
        u_at = b.to(tl.int64) * u_b + c.to(tl.int64) * height * width
        measured = tl.load(u + (u_at + in_plane), inside, 0.0)
        x = tl.where(sigma > 0.0, x + c_u * measured, x)
    if draws_noise(row):
        if noise is not None:
            z = tl.load(noise + (plane + in_plane), inside, 0.0)
        else:
            z = normal_tile(keys, b, c, channels, rows, first, iteration, ROWS, COLS)
        x = x + d * z
    if x0 is not None:
        tl.store(x0 + (plane + in_plane), clean + poison, inside)
    tl.store(x_next + (plane + in_plane), x + poison, inside)


def pointwise_step(
    x_next: Tensor,
    x0: Tensor | None,
    x_t: Tensor | None,
    out: Tensor | None,
    u: Tensor | None,
    s: Tensor,
    table: Tensor,
    step: Tensor,
    keys: Tensor,
    noise: Tensor | None,
) -> None:
    """Arguments as in :func:`ddrm_fast.ops.reference.pointwise_step`."""
    batch, channels, height, width = x_next.shape
    rows, columns = stream_tile(height, width)
    launch(
        pointwise_step_kernel,
        batch * channels * blocks(height, rows) * blocks(width, columns),
        x_next,
        x_next, x0, x_t, out, u, s, table, step, keys, noise,
        channels, height, width, *output_strides(out), batch_stride(u), *strides(s),
        *table_strides(table),
        num_warps=STREAM_WARPS,
        ROWS=rows, COLS=columns,
        S_ROWS=rows if s.shape[2] > 1 else 1, S_COLS=columns if s.shape[3] > 1 else 1,
    )  # fmt: skip

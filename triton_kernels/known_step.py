"""Known pixels of a new state."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .affine import null_weights, predict
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
def known_step_kernel(
    x_next, x_t, out, image, mask, table, step, keys, noise,
    channels, height, width, out_b, out_c, image_b, mask_b, mask_c, table_rows, table_step, table_b,
    ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """x_next = a image + b eps + d z where mask is not 0, with the null branch's weights, in place.

    eps is the network's own, not one derived from a clipped x0. Only known pixels are read and written.
    """
    b, c, row0, first = tile(channels, height, width, ROWS, COLS)
    rows = row0 + tl.arange(0, ROWS)[:, None]
    columns = first + tl.arange(0, COLS)[None, :]
    in_plane = rows.to(tl.int64) * width + columns
    mask_at = b.to(tl.int64) * mask_b + c.to(tl.int64) * mask_c + in_plane
    known = tl.load(mask + mask_at, (rows < height) & (columns < width), 0) != 0
    plane = (b.to(tl.int64) * channels + c) * height * width
    row, iteration, poison = row_of(table, step, table_rows, table_step, table_b, b)

    a, b_eps, d = null_weights(row)
    state = tl.load(x_t + (plane + in_plane), known, 0.0)
    out_at = b.to(tl.int64) * out_b + c.to(tl.int64) * out_c
    _, eps = predict(row, state, load_output(out, out_at + in_plane, known))
    image_at = b.to(tl.int64) * image_b + c.to(tl.int64) * height * width
    x = a * tl.load(image + (image_at + in_plane), known, 0.0) + b_eps * eps
    if d != 0.0:
        if noise is not None:
            z = tl.load(noise + (plane + in_plane), known, 0.0)
        else:
            z = normal_tile(keys, b, c, channels, rows, first, iteration, ROWS, COLS)
        x = x + d * z
    tl.store(x_next + (plane + in_plane), x + poison, known)


def known_step(
    x_next: Tensor,
    x_t: Tensor,
    out: Tensor,
    image: Tensor,
    mask: Tensor,
    table: Tensor,
    step: Tensor,
    keys: Tensor,
    noise: Tensor | None,
) -> None:
    """Arguments as in :func:`ddrm_fast.ops.reference.known_step`."""
    batch, channels, height, width = x_next.shape
    rows, columns = stream_tile(height, width)
    launch(
        known_step_kernel,
        batch * channels * blocks(height, rows) * blocks(width, columns),
        x_next,
        x_next, x_t, out, image, mask.view(torch.uint8), table, step, keys, noise,
        channels, height, width, *output_strides(out), batch_stride(image), *strides(mask)[:2],
        *table_strides(table),
        num_warps=STREAM_WARPS,
        ROWS=rows, COLS=columns,
    )  # fmt: skip

"""The clean-image prediction of a step."""

import triton
import triton.language as tl
from torch import Tensor

from .affine import predict_clipped
from .launch import STREAM_WARPS, blocks, launch, output_strides, stream_tile, table_strides
from .tiles import load_output, row_of, tile


@triton.jit(do_not_specialize=["channels", "table_rows", "table_step", "table_b"])
def predict_x0_kernel(
    x0, x_t, out, table, step, channels, height, width, out_b, out_c, table_rows, table_step, table_b,
    ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """x0 = clip(p_x x_t + p_out out) on a tile of a plane."""
    b, c, row0, first = tile(channels, height, width, ROWS, COLS)
    rows = row0 + tl.arange(0, ROWS)[:, None]
    columns = first + tl.arange(0, COLS)[None, :]
    inside = (rows < height) & (columns < width)
    in_plane = rows.to(tl.int64) * width + columns
    at = (b.to(tl.int64) * channels + c) * height * width + in_plane
    out_at = b.to(tl.int64) * out_b + c.to(tl.int64) * out_c + in_plane
    row, _, poison = row_of(table, step, table_rows, table_step, table_b, b)
    predicted = load_output(out, out_at, inside)
    clean, _ = predict_clipped(row, tl.load(x_t + at, inside, 0.0), predicted)
    tl.store(x0 + at, clean + poison, inside)


def predict_x0(x0: Tensor, x_t: Tensor, out: Tensor, table: Tensor, step: Tensor) -> None:
    """Arguments as in :func:`ddrm_fast.ops.reference.predict_x0`."""
    batch, channels, height, width = x0.shape
    rows, columns = stream_tile(height, width)
    launch(
        predict_x0_kernel,
        batch * channels * blocks(height, rows) * blocks(width, columns),
        x0,
        x0, x_t, out, table, step, channels, height, width, *output_strides(out),
        *table_strides(table),
        num_warps=STREAM_WARPS,
        ROWS=rows, COLS=columns,
    )  # fmt: skip

"""White noise by place: ``docs/noise.md``."""

import triton
import triton.language as tl
from torch import Tensor

from .launch import STREAM_WARPS, blocks, launch, stream_tile
from .noise import normal_tile
from .tiles import tile


@triton.jit(do_not_specialize=["channels", "last"])
def normal_kernel(
    z, keys, channels, height, width, last, ROWS: tl.constexpr, COLS: tl.constexpr
):  # fmt: skip
    """Fills a tile of z (B, C, H, W); ``last`` is the counter's last word."""
    b, c, row0, first = tile(channels, height, width, ROWS, COLS)
    rows = row0 + tl.arange(0, ROWS)[:, None]
    columns = first + tl.arange(0, COLS)[None, :]
    word = tl.zeros([1, 1], tl.uint32) + last.to(tl.uint32)
    numbers = normal_tile(keys, b, c, channels, rows, first, word, ROWS, COLS)
    at = ((b.to(tl.int64) * channels + c) * height + rows) * width + columns
    tl.store(z + at, numbers, (rows < height) & (columns < width))


def normal(z: Tensor, keys: Tensor, iteration: int, stream: int) -> None:
    """Arguments as in :func:`ddrm_fast.ops.reference.normal`."""
    batch, channels, height, width = z.shape
    rows, columns = stream_tile(height, width)
    launch(
        normal_kernel,
        batch * channels * blocks(height, rows) * blocks(width, columns),
        z,
        z, keys, channels, height, width, iteration + (stream << 24),
        num_warps=STREAM_WARPS,
        ROWS=rows, COLS=columns,
    )  # fmt: skip

"""The coefficient along each block's measured direction."""

import triton
import triton.language as tl
from torch import Tensor

from .block_common import (
    direction_scale,
    grid_place,
    group_sums,
    load_groups,
    member_columns,
    members,
)
from .block_tiles import block_tile
from .launch import launch, strides


@triton.jit
def block_measure_kernel(
    measured, x, s, weights, mask, channels, height, width, s_b, s_c, s_h, s_w, m_b, m_c,
    GREY: tl.constexpr, FACTOR: tl.constexpr, PADDED: tl.constexpr,
    BLOCKS: tl.constexpr, ROWS: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """c = sum_j w_j x_j over the members of each group, w_j = weight_c mask_j / (s r^2)."""
    grid_height, grid_width = height // FACTOR, width // FACTOR
    b, group, block_row, first_block = grid_place(channels, grid_height, grid_width, GREY, BLOCKS)
    columns, columns_inside = member_columns(first_block, grid_width, FACTOR, PADDED, BLOCKS)
    total = tl.zeros([1, BLOCKS], tl.float32)
    for part in range(PARTS):
        c, _, inside, in_plane, profile = members(
            part * ROWS, b, group, block_row, channels, width, columns, columns_inside,
            weights, mask, m_b, m_c, GREY, FACTOR, ROWS,
        )  # fmt: skip
        at = (b.to(tl.int64) * channels + c) * height * width + in_plane
        total += group_sums(profile * tl.load(x + at, inside, 0.0), ROWS, BLOCKS, PADDED)
    place = b, group, block_row, first_block, grid_width
    sigma = load_groups(s, place, s_b, s_c, s_h, s_w, BLOCKS)
    block = first_block + tl.arange(0, BLOCKS)[None, :]
    groups = 1 if GREY else channels
    at = ((b.to(tl.int64) * groups + group) * grid_height + block_row) * grid_width + block
    tl.store(measured + at, direction_scale(sigma, FACTOR) * total, block < grid_width)


def block_measure(
    c: Tensor, x: Tensor, s: Tensor, weights: Tensor | None, mask: Tensor | None, factor: int
) -> None:
    """Arguments as in :func:`ddrm_fast.ops.reference.block_measure`."""
    tile = block_tile(x.shape, weights is not None, factor)
    launch(
        block_measure_kernel,
        tile.programs,
        x,
        c, x, s, weights, mask, *x.shape[1:], *strides(s), *strides(mask)[:2],
        num_warps=tile.warps,
        **tile.constants,
    )  # fmt: skip

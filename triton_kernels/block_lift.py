"""The image of a coefficient along each block's measured direction."""

import triton
import triton.language as tl
from torch import Tensor

from .block_common import (
    direction_scale,
    grid_place,
    load_groups,
    member_columns,
    members,
    spread,
)
from .block_tiles import block_tile
from .launch import launch, strides


@triton.jit
def block_lift_kernel(
    x, measured, s, weights, mask, channels, height, width, c_b, c_c, c_h, c_w,
    s_b, s_c, s_h, s_w, m_b, m_c,
    GREY: tl.constexpr, FACTOR: tl.constexpr, PADDED: tl.constexpr,
    BLOCKS: tl.constexpr, ROWS: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """x_j = w_j c of the group, w_j = weight_c mask_j / (s r^2): the adjoint of block_measure."""
    grid_height, grid_width = height // FACTOR, width // FACTOR
    b, group, block_row, first_block = grid_place(channels, grid_height, grid_width, GREY, BLOCKS)
    columns, columns_inside = member_columns(first_block, grid_width, FACTOR, PADDED, BLOCKS)
    place = b, group, block_row, first_block, grid_width
    sigma = load_groups(s, place, s_b, s_c, s_h, s_w, BLOCKS)
    coefficient = load_groups(measured, place, c_b, c_c, c_h, c_w, BLOCKS)
    lifted = spread(direction_scale(sigma, FACTOR) * coefficient, BLOCKS, PADDED)
    for part in range(PARTS):
        c, _, inside, in_plane, profile = members(
            part * ROWS, b, group, block_row, channels, width, columns, columns_inside,
            weights, mask, m_b, m_c, GREY, FACTOR, ROWS,
        )  # fmt: skip
        at = (b.to(tl.int64) * channels + c) * height * width + in_plane
        tl.store(x + at, profile * lifted, inside)


def block_lift(
    x: Tensor, c: Tensor, s: Tensor, weights: Tensor | None, mask: Tensor | None, factor: int
) -> None:
    """Arguments as in :func:`ddrm_fast.ops.reference.block_lift`."""
    tile = block_tile(x.shape, weights is not None, factor)
    launch(
        block_lift_kernel,
        tile.programs,
        x,
        x, c, s, weights, mask, *x.shape[1:], *strides(c), *strides(s), *strides(mask)[:2],
        num_warps=tile.warps,
        **tile.constants,
    )  # fmt: skip

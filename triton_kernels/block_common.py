"""Tiles of groups: r x r pixels of one channel, or of all channels."""

import triton
import triton.language as tl


@triton.jit
def grid_place(channels, grid_height, grid_width, GREY: tl.constexpr, BLOCKS: tl.constexpr):
    """This program's image, group of channels, row of blocks and first block."""
    groups = 1 if GREY else channels
    program = tl.program_id(0)
    wide = tl.cdiv(grid_width, BLOCKS)
    strip = program // wide
    plane = strip // grid_height
    return plane // groups, plane % groups, strip % grid_height, program % wide * BLOCKS


@triton.jit
def member_columns(
    first_block, grid_width, FACTOR: tl.constexpr, PADDED: tl.constexpr, BLOCKS: tl.constexpr
):
    """Picture columns [1, BLOCKS * PADDED] of a run of blocks, and which of them exist.

    PADDED is FACTOR made a power of two; where it already was, the columns are neighbours.
    """
    j = tl.arange(0, BLOCKS * PADDED)[None, :]
    block = first_block + j // PADDED
    columns = block * FACTOR + j % PADDED
    return columns, (j % PADDED < FACTOR) & (block < grid_width)


@triton.jit
def members(
    first, b, group, block_row, channels, width, columns, columns_inside,
    weights, mask, m_b, m_c, GREY: tl.constexpr, FACTOR: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Member rows ``first`` ... of the groups of a row of blocks.

    Returns their channels and picture rows [ROWS, 1], which places exist, their offsets in a plane, and
    weight_c mask_j, the direction up to the factor 1 / (s r^2) of its group.
    """
    m = first + tl.arange(0, ROWS)[:, None]
    c = group + m // FACTOR
    h = block_row * FACTOR + m % FACTOR
    inside = columns_inside & (m < FACTOR)
    if GREY:
        inside = columns_inside & (c < channels)
    in_plane = h.to(tl.int64) * width + columns
    profile = tl.full([ROWS, 1], 1.0, tl.float32)
    if GREY:
        profile = tl.load(weights + c, c < channels, 0.0)
    if mask is not None:
        mask_at = b.to(tl.int64) * m_b + c.to(tl.int64) * m_c + in_plane
        profile = profile * tl.load(mask + mask_at, inside, 0.0)
    return c, h, inside, in_plane, profile


@triton.jit
def group_sums(x, ROWS: tl.constexpr, BLOCKS: tl.constexpr, PADDED: tl.constexpr):
    """Sums over the members of each block, [1, BLOCKS]: columns first, those of a thread are near."""
    in_columns = tl.sum(tl.reshape(x, [ROWS, BLOCKS, PADDED]), 2)
    return tl.sum(in_columns, 0)[None, :]


@triton.jit
def spread(change, BLOCKS: tl.constexpr, PADDED: tl.constexpr):
    """Every column receives its block's number: [1, BLOCKS] to [1, BLOCKS * PADDED]."""
    return tl.reshape(
        tl.broadcast_to(change[:, :, None], [1, BLOCKS, PADDED]), [1, BLOCKS * PADDED]
    )


@triton.jit
def direction_scale(s, FACTOR: tl.constexpr):
    """1 / (s r^2), and 0 where nothing is measured."""
    area = (FACTOR * FACTOR) * 1.0
    return tl.where(s > 0.0, tl.div_rn(1.0, tl.where(s > 0.0, s, 1.0) * area), 0.0)


@triton.jit
def load_groups(field, place, f_b, f_c, f_h, f_w, BLOCKS: tl.constexpr):
    """A number of each block, [1, BLOCKS], from a field on the measured grid.

    ``place``: image, group of channels, row of blocks, first block, blocks in a row.
    """
    b, group, block_row, first_block, grid_width = place
    block = first_block + tl.arange(0, BLOCKS)[None, :]
    at = b.to(tl.int64) * f_b + group.to(tl.int64) * f_c + block_row.to(tl.int64) * f_h
    return tl.load(field + (at + block * f_w), block < grid_width, 0.0)

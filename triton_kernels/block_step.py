"""One step where r x r pixels (and, with weights, all channels) form a group."""

import triton
import triton.language as tl
from torch import Tensor

from .affine import draws_noise, measured_weights, null_weights, predict_clipped
from .block_common import (
    direction_scale,
    grid_place,
    group_sums,
    load_groups,
    member_columns,
    members,
    spread,
)
from .block_tiles import block_tile
from .launch import launch, output_strides, strides, table_strides
from .noise import normal_pixels, normal_tile
from .pointwise_step import pointwise_step
from .tiles import load_output, row_of


@triton.jit
def _members_and_sums(
    x0, x_t, out, weights, mask, row, keys, noise, iteration, draws, first, b, group, block_row,
    first_block, channels, height, width, out_b, out_c, m_b, m_c,
    GREY: tl.constexpr, FACTOR: tl.constexpr, PADDED: tl.constexpr,
    ROWS: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """ROWS member rows of a run of groups, from row ``first`` on.

    Returns their places, n_j and profile_j = weight_c mask_j, and the sums of profile_j times x0, eps
    and z.
    """
    columns, columns_inside = member_columns(
        first_block, width // FACTOR, FACTOR, PADDED, BLOCKS
    )  # fmt: skip
    c, h, inside, in_plane, profile = members(
        first, b, group, block_row, channels, width, columns, columns_inside,
        weights, mask, m_b, m_c, GREY, FACTOR, ROWS,
    )  # fmt: skip
    at = (b.to(tl.int64) * channels + c) * height * width + in_plane
    clean = tl.zeros([ROWS, BLOCKS * PADDED], tl.float32)
    eps, z = clean, clean
    if x_t is not None:
        state = tl.load(x_t + at, inside, 0.0)
        out_at = b.to(tl.int64) * out_b + c.to(tl.int64) * out_c + in_plane
        predicted = load_output(out, out_at, inside)
        clean, eps = predict_clipped(row, state, predicted)
    if draws:
        if noise is not None:
            z = tl.load(noise + at, inside, 0.0)
        elif FACTOR == PADDED:  # neighbouring columns: a counter serves four of them
            z = normal_tile(
                keys, b, c, channels, h, first_block * FACTOR, iteration, ROWS, BLOCKS * PADDED
            )  # fmt: skip
        else:
            z = normal_pixels(keys, b, c, channels, h, columns, iteration)
    if x0 is not None:
        tl.store(x0 + at, clean, inside)
    null_a, null_b, null_d = null_weights(row)
    n = (null_a * clean + null_b * eps) + null_d * z
    profile = tl.where(inside, profile, 0.0)
    sum_x0 = group_sums(profile * clean, ROWS, BLOCKS, PADDED)
    sum_eps = group_sums(profile * eps, ROWS, BLOCKS, PADDED)
    sum_z = group_sums(profile * z, ROWS, BLOCKS, PADDED)
    return at, inside, n, profile, sum_x0, sum_eps, sum_z


@triton.jit(do_not_specialize=["channels", "table_rows", "table_step", "table_b"])
def block_step_kernel(
    x_next, x0, x_t, out, u, s, weights, mask, table, step, keys, noise,
    channels, height, width, out_b, out_c, u_b, u_c, u_h, u_w, s_b, s_c, s_h, s_w, m_b, m_c,
    table_rows, table_step, table_b,
    GREY: tl.constexpr, FACTOR: tl.constexpr, PADDED: tl.constexpr,
    BLOCKS: tl.constexpr, ROWS: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """x_next_j = n_j + w_j ((a - a_null) <w, x0> + (b - b_null) <w, eps> + c u + (d - d_null) <w, z>)

    with n_j = a_null x0_j + b_null eps_j + d_null z_j and w_j = weight_c mask_j / (s r^2).

    A program holds the members of BLOCKS groups in registers (PARTS = 1): one pass over memory. Groups too
    large for that are visited by ROWS of members, twice: n_j is written, and then changed.
    """
    grid_height, grid_width = height // FACTOR, width // FACTOR
    b, group, block_row, first_block = grid_place(channels, grid_height, grid_width, GREY, BLOCKS)
    row, iteration, poison = row_of(table, step, table_rows, table_step, table_b, b)
    draws = draws_noise(row)
    if PARTS == 1:
        at, inside, n, profile, sum_x0, sum_eps, sum_z = _members_and_sums(
            x0, x_t, out, weights, mask, row, keys, noise, iteration, draws, 0, b, group,
            block_row, first_block, channels, height, width, out_b, out_c, m_b, m_c,
            GREY, FACTOR, PADDED, ROWS, BLOCKS,
        )  # fmt: skip
    else:
        sum_x0 = tl.zeros([1, BLOCKS], tl.float32)
        sum_eps, sum_z = sum_x0, sum_x0
        for part in range(PARTS):
            at, inside, n, _, more_x0, more_eps, more_z = _members_and_sums(
                x0, x_t, out, weights, mask, row, keys, noise, iteration, draws, part * ROWS, b, group,
                block_row, first_block, channels, height, width, out_b, out_c, m_b, m_c,
                GREY, FACTOR, PADDED, ROWS, BLOCKS,
            )  # fmt: skip
            sum_x0 += more_x0
            sum_eps += more_eps
            sum_z += more_z
            tl.store(x_next + at, n, inside)

    place = b, group, block_row, first_block, grid_width
    sigma = load_groups(s, place, s_b, s_c, s_h, s_w, BLOCKS)
    measured = load_groups(u, place, u_b, u_c, u_h, u_w, BLOCKS)
    scale = direction_scale(sigma, FACTOR)
    null_a, null_b, null_d = null_weights(row)
    a, b_eps, c_u, d = measured_weights(row, sigma)
    change = (a - null_a) * (scale * sum_x0) + (b_eps - null_b) * (scale * sum_eps)
    change = (change + c_u * measured) + (d - null_d) * (scale * sum_z)
    change = spread(tl.where(sigma > 0.0, scale * change, 0.0), BLOCKS, PADDED)

    if PARTS == 1:
        tl.store(x_next + at, n + profile * change + poison, inside)
    else:
        tl.debug_barrier()  # what other threads of the program have written is read
        columns, columns_inside = member_columns(first_block, grid_width, FACTOR, PADDED, BLOCKS)
        for part in range(PARTS):
            c, _, inside, in_plane, profile = members(
                part * ROWS, b, group, block_row, channels, width, columns, columns_inside,
                weights, mask, m_b, m_c, GREY, FACTOR, ROWS,
            )  # fmt: skip
            at = (b.to(tl.int64) * channels + c) * height * width + in_plane
            n = tl.load(x_next + at, inside, 0.0)
            tl.store(x_next + at, n + profile * change + poison, inside)


def block_step(
    x_next: Tensor,
    x0: Tensor | None,
    x_t: Tensor | None,
    out: Tensor | None,
    u: Tensor | None,
    s: Tensor,
    weights: Tensor | None,
    mask: Tensor | None,
    factor: int,
    table: Tensor,
    step: Tensor,
    keys: Tensor,
    noise: Tensor | None,
) -> None:
    """Arguments as in :func:`ddrm_fast.ops.reference.block_step`."""
    if u is None:  # nothing is measured: every pixel takes the null branch by itself
        return pointwise_step(x_next, x0, x_t, out, None, s, table, step, keys, noise)
    tile = block_tile(x_next.shape, weights is not None, factor)
    launch(
        block_step_kernel,
        tile.programs,
        x_next,
        x_next, x0, x_t, out, u, s, weights, mask, table, step, keys, noise,
        *x_next.shape[1:], *output_strides(out), *strides(u), *strides(s), *strides(mask)[:2],
        *table_strides(table),
        num_warps=tile.warps,
        **tile.constants,
    )  # fmt: skip
    return None

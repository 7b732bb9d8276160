"""One step for a blur followed by decimation: the r^2 frequencies that alias form a group."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .affine import draws_noise, measured_weights, null_weights, predict
from .launch import (
    GROUP_TILE,
    batch_stride,
    blocks,
    launch,
    power_of_two,
    strides,
    table_strides,
    warps,
)
from .noise import hermitian_noise
from .pairs import load_pairs, store_pairs
from .spectral_step import _pairs, spectral_step
from .tiles import row_of


@triton.jit
def _weighted_sum(re, im, kernel_re, kernel_im):
    """sum_j K_j V_j over the members of each group, [1, Q]."""
    product_re = re * kernel_re - im * kernel_im
    product_im = im * kernel_re + re * kernel_im
    return tl.sum(product_re, 0)[None, :], tl.sum(product_im, 0)[None, :]


@triton.jit
def _groups(
    x_t, out, u, kernel, s, row, keys, noise, iteration, b, c, p, q, columns_inside,
    channels, height, half, width, u_b, k_b, k_c, s_b, s_c, s_h, s_w,
    FACTOR: tl.constexpr, MEMBERS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """The groups (p, q): new coefficients of their members, and where they belong.

    Member (p + i height / r, q + j width / r) of the full grid lies beyond the half spectrum for
    some j; there its mirror is read, conjugated, and written back likewise.
    """
    measured_height, measured_width = height // FACTOR, width // FACTOR
    member = tl.arange(0, MEMBERS)[:, None]
    h = p + member // FACTOR * measured_height
    f = q + member % FACTOR * measured_width
    inside = (member < FACTOR * FACTOR) & columns_inside
    mirrored = 2 * f > width
    h = tl.where(mirrored & (h > 0), height - h, h)
    k = tl.where(mirrored, width - f, f)
    in_plane = h.to(tl.int64) * half + k
    at = (b.to(tl.int64) * channels + c) * height * half + in_plane

    kernel_at = b.to(tl.int64) * k_b + c.to(tl.int64) * k_c + in_plane
    kernel_re, kernel_im = load_pairs(kernel, kernel_at, inside)
    kernel_im = tl.where(mirrored, -kernel_im, kernel_im)
    zero = tl.zeros([MEMBERS, COLS], tl.float32)
    clean_re, clean_im, eps_re, eps_im, z_re, z_im = zero, zero, zero, zero, zero, zero
    if x_t is not None:
        state_re, state_im = load_pairs(x_t, at, inside)
        out_re, out_im = load_pairs(out, at, inside)
        clean_re, eps_re = predict(row, state_re, out_re)
        clean_im, eps_im = predict(row, state_im, out_im)
        clean_im = tl.where(mirrored, -clean_im, clean_im)
        eps_im = tl.where(mirrored, -eps_im, eps_im)
    if draws_noise(row):
        if noise is not None:
            z_re, z_im = load_pairs(noise, at, inside)
        else:
            z_re, z_im = hermitian_noise(keys, b, c, channels, h, k, height, width, iteration)
        z_im = tl.where(mirrored, -z_im, z_im)

    place = (b.to(tl.int64) * s_b + c.to(tl.int64) * s_c) + (p.to(tl.int64) * s_h + q * s_w)
    sigma = tl.load(s + place, columns_inside, 0.0)
    measured_half = measured_width // 2 + 1
    u_at = b.to(tl.int64) * u_b + (c.to(tl.int64) * measured_height + p) * measured_half + q
    u_re, u_im = load_pairs(u, u_at, columns_inside)
    null_a, null_b, null_d = null_weights(row)
    a, b_eps, c_u, d = measured_weights(row, sigma)
    scale = tl.div_rn(1.0, tl.where(sigma > 0.0, sigma, 1.0) * FACTOR)
    rho_x0_re, rho_x0_im = _weighted_sum(clean_re, clean_im, kernel_re, kernel_im)
    rho_eps_re, rho_eps_im = _weighted_sum(eps_re, eps_im, kernel_re, kernel_im)
    rho_z_re, rho_z_im = _weighted_sum(z_re, z_im, kernel_re, kernel_im)
    change_re = (a - null_a) * (scale * rho_x0_re) + (b_eps - null_b) * (scale * rho_eps_re)
    change_im = (a - null_a) * (scale * rho_x0_im) + (b_eps - null_b) * (scale * rho_eps_im)
    change_re = (change_re + c_u * u_re) + (d - null_d) * (scale * rho_z_re)
    change_im = (change_im + c_u * u_im) + (d - null_d) * (scale * rho_z_im)
    change_re = tl.where(sigma > 0.0, scale * change_re, 0.0)
    change_im = tl.where(sigma > 0.0, scale * change_im, 0.0)

    re = (null_a * clean_re + null_b * eps_re) + null_d * z_re
    im = (null_a * clean_im + null_b * eps_im) + null_d * z_im
    re = re + (change_re * kernel_re + change_im * kernel_im)
    im = im + (change_im * kernel_re - change_re * kernel_im)
    # in columns of groups that are their own mirror, each place is a member twice: written once
    twice = mirrored & ((q == 0) | (2 * q == measured_width))
    return at, re, tl.where(mirrored, -im, im), inside & (twice == 0)


@triton.jit(do_not_specialize=["channels", "table_rows", "table_step", "table_b"])
def alias_step_kernel(
    x_next, x_t, out, u, kernel, s, table, step, keys, noise,
    channels, height, half, width, u_b, k_b, k_c, s_b, s_c, s_h, s_w, table_rows, table_step, table_b,
    FACTOR: tl.constexpr, MEMBERS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """X_next_j = N_j + conj(w_j) ((a - a_null) <w, X0> + (b - b_null) <w, EPS> + c U + (d - d_null) <w, Z>)

    with N_j = a_null X0_j + b_null EPS_j + d_null Z_j and w_j = K_j / (s r), on half spectra.

    A program works on rows p and -p of the measured grid, COLS of its columns and all members of
    their groups: with the conjugate mirror of the half spectrum that set is closed, so each
    coefficient is read and written by one program, once, and x_next may be x_t.
    """
    measured_height, measured_width = height // FACTOR, width // FACTOR
    measured_half = measured_width // 2 + 1
    wide = tl.cdiv(measured_half, COLS)
    pairs = measured_height // 2 + 1
    program = tl.program_id(0)
    q = program % wide * COLS + tl.arange(0, COLS)[None, :]
    p = program // wide % pairs
    plane = program // wide // pairs
    b, c = plane // channels, plane % channels
    row, iteration, poison = row_of(table, step, table_rows, table_step, table_b, b)
    inside = q < measured_half
    other = (measured_height - p) % measured_height
    other_inside = q < tl.where(other != p, measured_half, 0)
    at, re, im, stored = _groups(
        x_t, out, u, kernel, s, row, keys, noise, iteration, b, c, p, q, inside,
        channels, height, half, width, u_b, k_b, k_c, s_b, s_c, s_h, s_w,
        FACTOR, MEMBERS, COLS,
    )  # fmt: skip
    other_at, other_re, other_im, other_stored = _groups(
        x_t, out, u, kernel, s, row, keys, noise, iteration, b, c, other, q, other_inside,
        channels, height, half, width, u_b, k_b, k_c, s_b, s_c, s_h, s_w,
        FACTOR, MEMBERS, COLS,
    )  # fmt: skip
    tl.debug_barrier()  # in place: all members are read before the first is overwritten
    store_pairs(x_next, at, re + poison, im + poison, stored)
    store_pairs(x_next, other_at, other_re + poison, other_im + poison, other_stored)


def alias_step(
    x_next: Tensor,
    x_t: Tensor | None,
    out: Tensor | None,
    u: Tensor | None,
    kernel: Tensor,
    s: Tensor,
    table: Tensor,
    step: Tensor,
    keys: Tensor,
    noise: Tensor | None,
    factor: int,
    width: int,
) -> None:
    """Arguments as in :func:`ddrm_fast.ops.reference.alias_step`."""
    if u is None:  # nothing is measured: every coefficient takes the null branch by itself
        return spectral_step(x_next, x_t, out, None, s, table, step, keys, noise, width)
    batch, channels, height, half = x_next.shape
    members = power_of_two(factor**2)
    measured_half = width // factor // 2 + 1
    # two rows of groups, two numbers a coefficient
    columns = max(1, min(power_of_two(measured_half), GROUP_TILE // 4 // members))
    pairs = height // factor // 2 + 1
    launch(
        alias_step_kernel,
        batch * channels * pairs * blocks(measured_half, columns),
        x_next,
        _pairs(x_next), _pairs(x_t), _pairs(out), _pairs(u), torch.view_as_real(kernel), s,
        table, step, keys, _pairs(noise),
        channels, height, half, width, batch_stride(u), *strides(kernel)[:2], *strides(s),
        *table_strides(table),
        num_warps=warps(4 * members * columns),
        FACTOR=factor, MEMBERS=members, COLS=columns,
    )  # fmt: skip
    return None

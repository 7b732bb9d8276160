"""One step on Walsh-Hadamard coefficients, in the last pass of the transform of the network's output."""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from .affine import draws_noise, null_weights, predict_clipped, select_weights
from .fwht import first_number, fwht_kernel, levels, load_numbers, passes, places
from .launch import batch_stride, launch, output_strides, strides, table_strides
from .noise import normal_runs
from .tiles import row_of


@triton.jit(do_not_specialize=["channels", "table_rows", "table_step", "table_b", "width_bits"])
def fwht_step_kernel(
    x_next, x, x_t, u, s, table, step, keys, noise,
    total, stride, scale, length, width_bits, channels, x_b, x_c, u_b, s_b, s_c, s_h, s_w,
    table_rows, table_step, table_b,
    BITS: tl.constexpr, INNER: tl.constexpr, OUTER: tl.constexpr, OUTPUT: tl.constexpr,
    ALIGNED: tl.constexpr,
):  # fmt: skip
    """x_next = a(s) x0 + b(s) eps + c(s) u + d(s) z, x0 and eps predicted from x_t and the transform
    of which this is the last pass.

    A tile lies in one plane. x holds what the pass before left, or the network's output (OUTPUT) where
    one pass is enough. The permutation of compressive sensing is the place of u and s.
    """
    SPAN: tl.constexpr = 2**BITS
    NUMBERS: tl.constexpr = OUTER * SPAN * INNER
    start = first_number(tl.program_id(0).to(tl.int64), stride, SPAN, INNER, NUMBERS)
    at = places(tl.arange(0, NUMBERS), stride, INNER)
    out = load_numbers(x, start, at, total, length, channels, x_b, x_c, OUTPUT, ALIGNED)
    plane = start // length
    b = plane // channels
    c = plane % channels
    begin = (start % length).to(tl.int32)
    h = (begin + at) >> width_bits
    w = (begin + at) - (h << width_bits)
    # before the levels, so that all of a tile's reads wait for memory together
    state = tl.load(x_t + start + at)
    if u is not None:
        sigma = tl.load(s + (b * s_b + c * s_c) + (h.to(tl.int64) * s_h + w * s_w))
        measured = tl.load(u + (b * u_b + c * length) + (begin + at))

    out = levels(out, BITS, INNER, NUMBERS) * scale
    row, iteration, poison = row_of(table, step, table_rows, table_step, table_b, b)
    a, b_eps, d = null_weights(row)
    if u is not None:
        a, b_eps, c_u, d = select_weights(row, sigma)
    clean, eps = predict_clipped(row, state, out)
    new = a * clean + b_eps * eps
    if u is not None:
        new = tl.where(sigma > 0.0, new + c_u * measured, new)
    if draws_noise(row):
        if noise is not None:
            z = tl.load(noise + start + at)
        else:
            runs = begin + places(4 * tl.arange(0, NUMBERS // 4), stride, INNER)
            runs_h = runs >> width_bits
            runs_w = runs - (runs_h << width_bits)
            z = normal_runs(keys, b, c, channels, runs_h, runs_w, h, w, iteration, NUMBERS // 4)
        new = new + d * z
    tl.store(x_next + start + at, new + poison)


def fwht_step(
    x_next: Tensor,
    x_t: Tensor,
    out: Tensor,
    u: Tensor | None,
    s: Tensor,
    table: Tensor,
    step: Tensor,
    keys: Tensor,
    noise: Tensor | None,
) -> None:
    """Arguments as in :func:`ddrm_fast.ops.fwht_step`, for planes of at least 32 numbers in rows of
    at least 4; x_next may be x_t."""
    channels, height, width = x_next.shape[1:]
    total, length = x_next.numel(), height * width
    x, plan = out, passes(total, length, with_step=True)
    for part in plan:
        x_strides = output_strides(out) if x is out else (0, 0)
        aligned = all(stride % 16 == 0 for stride in x_strides)
        tail = {**part.constants, "OUTPUT": x is out, "ALIGNED": aligned}
        if part.last:
            launch(
                fwht_step_kernel,
                part.programs,
                x_next,
                x_next, x, x_t, u, s, table, step, keys, noise,
                total, part.stride, 1.0 / math.sqrt(length), length, width.bit_length() - 1,
                channels, *x_strides, batch_stride(u), *strides(s), *table_strides(table),
                **tail,
            )  # fmt: skip
        else:
            scratch = torch.empty_like(x_next) if x is out else x
            launch(
                fwht_kernel,
                part.programs,
                x_next,
                scratch, x, total, part.stride, 1.0, length, channels, *x_strides,
                **tail,
            )  # fmt: skip
            x = scratch

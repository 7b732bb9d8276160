"""The Walsh-Hadamard transform."""

import math

import triton
import triton.language as tl
from torch import Tensor

from .launch import TRANSFORM_TILE, launch, warps


@triton.jit
def _level(x, SPAN: tl.constexpr, NUMBERS: tl.constexpr):
    """Sums and differences of the numbers of a flat tile that are SPAN apart."""
    pairs = tl.permute(tl.reshape(x, [NUMBERS // (2 * SPAN), 2, SPAN]), (0, 2, 1))
    first, second = tl.split(pairs)
    pairs = tl.permute(tl.join(first + second, first - second), (0, 2, 1))
    return tl.reshape(pairs, [NUMBERS])


@triton.jit
def fwht_kernel(
    y, x, total, stride, scale, BITS: tl.constexpr, INNER: tl.constexpr, OUTER: tl.constexpr
):
    """Levels of the transform y = (H_2 x ... x H_2) x scale, H_2 = [[1, 1], [1, -1]].

    A tile is OUTER runs of 2^BITS numbers, ``stride`` apart, times INNER neighbours. The matrix is a
    Kronecker power, so a plane of 2^(j + k) numbers is a matrix of 2^j x 2^k whose rows and columns
    are transformed in turn: one pass over memory each.
    """
    SPAN: tl.constexpr = 2**BITS
    NUMBERS: tl.constexpr = OUTER * SPAN * INNER
    program = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, NUMBERS)
    if INNER == 1:
        at = program * NUMBERS + i
    else:
        strips = stride // INNER
        start = program // strips * (stride * SPAN) + program % strips * INNER
        at = start + (i // INNER).to(tl.int64) * stride + i % INNER
    v = tl.load(x + at, at < total, 0.0)
    for level in tl.static_range(BITS):
        v = _level(v, INNER * 2**level, NUMBERS)
    tl.debug_barrier()  # in place: every number is read before the first is overwritten
    tl.store(y + at, v * scale, at < total)


def passes(bits: int) -> list[int]:
    """How many levels each pass over memory does: as few passes as fit the tile, evenly.

    The first runs along memory; the others across it, over at least 8 neighbours (32 bytes).
    """
    most = TRANSFORM_TILE.bit_length() - 1
    if bits <= most:
        return [bits]
    count = 1 + -(-(bits - most) // (most - 3))
    first = max(bits - (count - 1) * (most - 3), -(-bits // count))
    rest = bits - first
    return [first] + [rest // (count - 1) + (i < rest % (count - 1)) for i in range(count - 1)]


def fwht(y: Tensor, x: Tensor) -> None:
    """Arguments as in :func:`ddrm_fast.ops.reference.fwht`; y may be x."""
    total, length = x.numel(), x.shape[-2] * x.shape[-1]
    done = 0
    plan = passes(length.bit_length() - 1)
    for index, bits in enumerate(plan):
        scale = 1.0 / math.sqrt(length) if index == len(plan) - 1 else 1.0
        stride = 2**done
        inner = 1 if index == 0 else min(stride, TRANSFORM_TILE >> bits)
        outer = max(1, min(TRANSFORM_TILE >> bits, -(-total // 2**bits))) if index == 0 else 1
        outer = 1 << (outer - 1).bit_length()
        tile = outer * inner << bits
        launch(
            fwht_kernel,
            -(-total // tile),
            y,
            y, x, total, stride, scale,
            num_warps=warps(tile),
            BITS=bits, INNER=inner, OUTER=outer,
        )  # fmt: skip
        x = y
        done += bits

"""The Walsh-Hadamard transform."""

import math
from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from .launch import (
    TRANSFORM_STEP_TILE,
    TRANSFORM_TILE,
    launch,
    power_of_two,
    warps,
)
from .tiles import load_output


@triton.jit
def _level(x, SPAN: tl.constexpr, NUMBERS: tl.constexpr):
    """Sums and differences of the numbers of a flat tile that are SPAN apart."""
    pairs = tl.permute(tl.reshape(x, [NUMBERS // (2 * SPAN), 2, SPAN]), (0, 2, 1))
    first, second = tl.split(pairs)
    pairs = tl.permute(tl.join(first + second, first - second), (0, 2, 1))
    return tl.reshape(pairs, [NUMBERS])


@triton.jit
def levels(x, BITS: tl.constexpr, INNER: tl.constexpr, NUMBERS: tl.constexpr):
    """All levels of a tile: 2^BITS numbers that are INNER apart."""
    for level in tl.static_range(BITS):
        x = _level(x, INNER * 2**level, NUMBERS)
    return x


@triton.jit
def first_number(program, stride, SPAN: tl.constexpr, INNER: tl.constexpr, NUMBERS: tl.constexpr):
    """Where a program's tile begins."""
    if INNER == 1:
        start = program * NUMBERS
    else:
        strips = stride // INNER
        start = program // strips * (stride * SPAN) + program % strips * INNER
    return start


@triton.jit
def places(i, stride, INNER: tl.constexpr):
    """Distance of numbers ``i`` of a tile from its first: runs of INNER neighbours, ``stride`` apart.

    Below 2^31, since a tile lies in a plane: 32 bits, and half the registers for addresses.
    """
    return i if INNER == 1 else i // INNER * stride + i % INNER


@triton.jit
def load_numbers(
    x, start, at, total, length, channels, x_b, x_c, OUTPUT: tl.constexpr, ALIGNED: tl.constexpr
):
    """Numbers ``at`` of a tile: of planes one behind the other, or of a network's output in place.

    A tile of an OUTPUT lies in one plane; its batch and channel strides are x_b and x_c. ALIGNED: they
    are multiples of 16.
    """
    if OUTPUT:
        plane = start // length
        begin = plane // channels * x_b + plane % channels * x_c + start % length
        if ALIGNED:
            begin = tl.multiple_of(begin, 16)
        v = load_output(x + begin, at, start + at < total)
    else:
        v = tl.load(x + start + at, start + at < total, 0.0)
    return v


@triton.jit
def fwht_kernel(
    y, x, total, stride, scale, length, channels, x_b, x_c,
    BITS: tl.constexpr, INNER: tl.constexpr, OUTER: tl.constexpr, OUTPUT: tl.constexpr,
    ALIGNED: tl.constexpr,
):  # fmt: skip
    """Levels of the transform y = (H_2 x ... x H_2) x scale, H_2 = [[1, 1], [1, -1]].

    A tile is OUTER runs of 2^BITS numbers, ``stride`` apart, times INNER neighbours. The matrix is a
    Kronecker power, so a plane of 2^(j + k) numbers is a matrix of 2^j x 2^k whose rows and columns
    are transformed in turn: one pass over memory each.
    """
    SPAN: tl.constexpr = 2**BITS
    NUMBERS: tl.constexpr = OUTER * SPAN * INNER
    start = first_number(tl.program_id(0).to(tl.int64), stride, SPAN, INNER, NUMBERS)
    at = places(tl.arange(0, NUMBERS), stride, INNER)
    v = load_numbers(x, start, at, total, length, channels, x_b, x_c, OUTPUT, ALIGNED)
    v = levels(v, BITS, INNER, NUMBERS)
    tl.debug_barrier()  # in place: every number is read before the first is overwritten
    tl.store(y + start + at, v * scale, start + at < total)


@dataclass(frozen=True)
class Pass:
    """One pass over memory: which levels, and how large its tiles are."""

    bits: int
    stride: int
    inner: int
    outer: int
    programs: int
    last: bool

    @property
    def numbers(self) -> int:
        return self.outer * self.inner << self.bits

    @property
    def constants(self) -> dict[str, int]:
        """What the kernel is compiled for, and its warps."""
        sizes = {"BITS": self.bits, "INNER": self.inner, "OUTER": self.outer}
        return {**sizes, "num_warps": warps(self.numbers)}


def shares(bits: int, with_step: bool = False) -> list[int]:
    """How many levels each pass over memory does: as few passes as fit the tile.

    The first runs along memory and does as many as it can, so that the others, which run across it,
    take as many neighbours as they can: at least 8 (32 bytes), 64 for a plane of 1024 x 1024; with a step
    at most 128. A plane that fits the tile, but not that of a step, takes a pass more.
    """
    most = TRANSFORM_TILE.bit_length() - 1
    alone = TRANSFORM_STEP_TILE.bit_length() - 1 if with_step else most
    if bits <= alone:
        return [bits]
    if bits <= most:
        return [bits - 3, 3]
    rest = bits - most
    count = -(-rest // (alone - 3))
    return [most] + [rest // count + (i < rest % count) for i in range(count)]


def passes(total: int, length: int, with_step: bool = False) -> list[Pass]:
    """The passes of planes of ``length`` numbers, ``total`` in all.

    Args:
        with_step:
            Whether the last takes a step: a tile then holds numbers of one plane, and fewer of them.
    """
    plan, done = shares(length.bit_length() - 1, with_step), 0
    result = []
    for index, bits in enumerate(plan):
        last = index == len(plan) - 1
        step = with_step and last
        tile = TRANSFORM_STEP_TILE if step else TRANSFORM_TILE
        neighbours = min(2**done, max(tile >> bits, 8))
        inner = 1 if index == 0 else min(neighbours, 128) if step else neighbours
        # along memory: runs of several planes where they are short
        fitting = min(TRANSFORM_TILE, length if with_step else TRANSFORM_TILE) >> bits
        outer = power_of_two(min(fitting, -(-total // 2**bits))) if index == 0 else 1
        programs = -(-total // (outer * inner << bits))
        result.append(Pass(bits, 2**done, inner, outer, programs, last))
        done += bits
    return result


def fwht(y: Tensor, x: Tensor) -> None:
    """Arguments as in :func:`ddrm_fast.ops.reference.fwht`; y may be x."""
    total, length = x.numel(), x.shape[-2] * x.shape[-1]
    for part in passes(total, length):
        scale = 1.0 / math.sqrt(length) if part.last else 1.0
        launch(
            fwht_kernel,
            part.programs,
            y,
            y, x, total, part.stride, scale, length, 1, 0, 0,
            **part.constants, OUTPUT=False, ALIGNED=False,
        )  # fmt: skip
        x = y

"""Floating-point operations of the fused operations, counted from their formulas.

A sum, a product, a division and a square root are one operation each, as ``csrc/include/ddrm_fast/affine.h``
and ``box_muller.h`` write them; comparisons, choices, conversions and the integer arithmetic of the noise
(Philox: some 20 integer operations a normal) are none. Fast Fourier transforms count as customary,
5/2 n log2 n for n real numbers.
"""

from __future__ import annotations

import math

from ..operators import (
    BlockCS,
    Blur,
    BlurDecimate,
    Colorization,
    Gain,
    Operator,
    Separable,
    SuperResolution,
    WalshHadamardCS,
)

#: x0 = p_x x_t + p_out out, eps = q_x x_t + q_out out
PREDICT = 6
#: ((a x0 + b eps) + c u) + d z
UPDATE = 7
#: a 4, c 4, 1/s 1, d 7, at one singular value
WEIGHTS = 16
#: half of a pair: 13 for the radius, 19 for cosine and sine of the angle
NORMAL = 16


def pointwise(shared_s: bool, noise: bool = True) -> float:
    """A coefficient of ``pointwise_step``.

    Args:
        shared_s:
            Whether four neighbours share their singular value, as in masks and constants.
        noise:
            Whether the noise is made inside.
    """
    return PREDICT + UPDATE + (WEIGHTS / 4 if shared_s else WEIGHTS) + NORMAL * noise


def spectral(noise: bool = True) -> float:
    """A complex coefficient of ``spectral_step``."""
    return 2 * (PREDICT + UPDATE) + WEIGHTS + 2 * (NORMAL + 1) * noise


def block(group: int) -> float:
    """A pixel of ``block_step``, groups of so many: null part 5, three sums 6, share of the change 2."""
    return PREDICT + 5 + NORMAL + 6 + 2 + (WEIGHTS + 16) / group


def alias(group: int) -> float:
    """A complex coefficient of ``alias_step``: null part 10, products with the kernel 24, the change 8."""
    return 2 * PREDICT + 10 + 2 * (NORMAL + 1) + 24 + 8 + (WEIGHTS + 24) / group


def known() -> float:
    """A pixel of ``known_step``: eps 3, three products and two sums."""
    return 3 + 5 + NORMAL


def fwht(length: int) -> float:
    """A number of the Walsh-Hadamard transform of a plane of so many, its scale included."""
    return math.log2(length) + 1


def fourier(length: int) -> float:
    """A real number of a plane of so many, in one direction."""
    return 2.5 * math.log2(length)


def cosine(length: int) -> float:
    """A number of the cosine transform, in one direction: twiddles of four coefficients take 32."""
    return fourier(length) + 8


def step(operator: Operator, shape: tuple[int, ...]) -> float:
    """A whole step of an operator on pictures (B, C, H, W), transforms included."""
    batch, channels, height, width = shape
    pixels, length = batch * channels * height * width, height * width
    shared = pixels * pointwise(shared_s=True)
    if isinstance(operator, Colorization):
        return pixels * block(channels)
    if isinstance(operator, SuperResolution):
        members = operator.factor**2 * (1 if operator.weights is None else channels)
        return pixels * block(members)
    if isinstance(operator, WalshHadamardCS):
        return shared + 2 * pixels * fwht(length)
    if isinstance(operator, BlockCS):
        # measured and unmeasured update, their difference, there, back and added
        return 2 * shared + pixels * (2 + 4 * (operator.keep or 0))
    half = batch * channels * height * (width // 2 + 1)
    if isinstance(operator, BlurDecimate):
        return half * alias(operator.factor**2) + 2 * pixels * fourier(length)
    if isinstance(operator, Blur):
        if operator.boundary == "periodic":
            return half * spectral() + 2 * pixels * fourier(length)
        return pixels * pointwise(shared_s=False) + 2 * pixels * cosine(length)
    if isinstance(operator, Separable):
        return pixels * (pointwise(shared_s=False) + 4 * (height + width))
    return pixels * pointwise(shared_s=type(operator) is not Gain)

"""Philox4x32-10 and Box-Muller: Salmon, Moraes, Dror, Shaw, "Parallel random numbers", SC 2011.

``docs/noise.md`` tells the layout. The same operations in the same order as
``csrc/include/ddrm_fast/philox.h`` and ``csrc/cpu/noise.h``: the same bits.
"""

import triton
import triton.language as tl

_M0 = tl.constexpr(0xD2511F53)
_M1 = tl.constexpr(0xCD9E8D57)
_W0 = tl.constexpr(0x9E3779B9)
_W1 = tl.constexpr(0xBB67AE85)
_ROUNDS = tl.constexpr(10)
_SIGN = tl.constexpr(0x80000000)


@triton.jit
def philox4x32(c0, c1, c2, c3, k0, k1):
    """Four random words of each counter; all words uint32, shapes broadcast.

    Products of 64 bits: one wide multiplication gives both halves. What does not depend on the
    column has fewer elements in the first two rounds.
    """
    for _ in tl.static_range(_ROUNDS):
        p0 = c0.to(tl.uint64) * _M0
        p1 = c2.to(tl.uint64) * _M1
        c0 = (p1 >> 32).to(tl.uint32) ^ c1 ^ k0
        c2 = (p0 >> 32).to(tl.uint32) ^ c3 ^ k1
        c1 = p1.to(tl.uint32)
        c3 = p0.to(tl.uint32)
        k0 += _W0
        k1 += _W1
    return c0, c1, c2, c3


@triton.jit
def _as_float(bits):
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def _flip(x, signs):
    """x, negated where the top bit of ``signs`` is set."""
    return _as_float(x.to(tl.uint32, bitcast=True) ^ (signs & _SIGN))


@triton.jit
def box_muller(radius_word, angle_word):
    """Two normals sqrt(-2 ln u) (cos, sin)(2 pi v) of two words; Box, Muller 1958.

    -ln u = -(e ln 2 + 2 atanh((m - 1) / (m + 1))) with u = 2^e m and m in [sqrt(1/2), sqrt(2)). The
    angle is pi/4 (2 q + 1) + pi/2 t, q the top two bits and t in (-1/2, 1/2): polynomials in t give
    cos and sin up to signs that are bits of the word. A hardware logarithm would not do: near u = 1
    its error may exceed the result and turn the root's argument negative.
    """
    u = _as_float((radius_word >> 9) | 0x3F800000) - 0.999999940395355224609375
    bits = u.to(tl.uint32, bitcast=True)
    offset = bits - 0x3F3504F3
    exponent = (offset.to(tl.int32, bitcast=True) >> 23).to(tl.float32)
    mantissa = _as_float(bits - (offset & 0xFF800000))
    ratio = tl.div_rn(mantissa - 1.0, mantissa + 1.0)
    square = ratio * ratio
    series = (-0.41297468543052673 * square + -0.6665219068527222) * square + -2.000000238418579
    radius = tl.sqrt_rn(-0.693147180559945 * exponent + series * ratio)

    doubled = angle_word + angle_word
    fraction = _as_float(((angle_word >> 7) & 0x007FFFFC) | 0x3F800002)
    t = _flip(fraction - 1.5, doubled)
    t2 = t * t
    s = -0.0045930929481983185 * t2 + 0.07967628538608551
    s = t * ((s * t2 + -0.6459630131721497) * t2 + 1.570796251296997)
    c = -0.020408352836966515 * t2 + 0.2535986304283142
    c = (c * t2 + -1.2336970567703247) * t2 + 1.0
    cosine = _flip(radius * (c - s), angle_word ^ doubled)
    sine = _flip(radius * (c + s), angle_word)
    return cosine, sine

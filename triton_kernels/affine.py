"""The affine map of a step, x_next = a(s) x0 + b(s) eps + c(s) u + d(s) z, from a row of the table.

The order of operations is that of ``csrc/include/ddrm_fast/affine.h``; with contraction off, exact
roots and exact divisions, all backends give the same bits.
"""

import triton
import triton.language as tl

from ..ops import rows

P_X, P_OUT = tl.constexpr(rows.P_X), tl.constexpr(rows.P_OUT)
Q_X, Q_OUT = tl.constexpr(rows.Q_X), tl.constexpr(rows.Q_OUT)
R_X, R_X0 = tl.constexpr(rows.R_X), tl.constexpr(rows.R_X0)
CLIP_LO, CLIP_HI = tl.constexpr(rows.CLIP_LO), tl.constexpr(rows.CLIP_HI)
THR = tl.constexpr(rows.THR)
NULL, LOW, HIGH = tl.constexpr(rows.NULL), tl.constexpr(rows.LOW), tl.constexpr(rows.HIGH)
RATIONAL, B2, OVER = tl.constexpr(rows.RATIONAL), tl.constexpr(rows.B2), tl.constexpr(rows.OVER)
P, Q = tl.constexpr(rows.P), tl.constexpr(rows.Q)


@triton.jit
def predict(row, x_t, out):
    """(x0, eps) without a clip: x0 = p_x x_t + p_out out, eps = q_x x_t + q_out out."""
    x0 = tl.load(row + P_X) * x_t + tl.load(row + P_OUT) * out
    eps = tl.load(row + Q_X) * x_t + tl.load(row + Q_OUT) * out
    return x0, eps


@triton.jit
def predict_clipped(row, x_t, out):
    """(x0, eps) with x0 clipped, and eps = r_x x_t + r_x0 x0 derived anew where that changed it."""
    x0, eps = predict(row, x_t, out)
    low, high = tl.load(row + CLIP_LO), tl.load(row + CLIP_HI)
    # written so that NaN passes through
    clipped = tl.where(low > x0, low, x0)
    clipped = tl.where(high < clipped, high, clipped)
    edited = tl.load(row + R_X) * x_t + tl.load(row + R_X0) * clipped
    return clipped, tl.where(clipped != x0, edited, eps)


@triton.jit
def null_weights(row):
    """a, b, d where nothing is measured (c is 0)."""
    return tl.load(row + NULL), tl.load(row + NULL + 1), tl.load(row + NULL + 2)


@triton.jit
def _pick(row, low, index: tl.constexpr):
    return tl.where(low, tl.load(row + LOW + index), tl.load(row + HIGH + index))


@triton.jit
def _over(row, low, which: tl.constexpr, weight, factor):
    return tl.where(_pick(row, low, OVER + which) != 0.0, weight * factor, weight)


@triton.jit
def measured_weights(row, s):
    """a, b, c, d at singular values s > 0; where s <= 0 they have no meaning, but are finite."""
    s = tl.where(s > 0.0, s, 1.0)
    low = s < tl.load(row + THR)
    inverse = tl.div_rn(1.0, s)
    a = _pick(row, low, 0) + s * (_pick(row, low, 1) + s * _pick(row, low, 2))
    b = _pick(row, low, 3)
    c = (_pick(row, low, 4) + _pick(row, low, 5) * inverse) + _pick(row, low, 6) * s
    variance = _pick(row, low, 7) + _pick(row, low, 8) * (inverse * inverse)
    variance = variance + _pick(row, low, 9) * (s * s)
    if tl.load(row + RATIONAL) != 0.0:
        factor = tl.div_rn(1.0, _pick(row, low, P) + _pick(row, low, Q) * (s * s))
        a = _over(row, low, 0, a, factor)
        b = _over(row, low, 1, b + _pick(row, low, B2) * (s * s), factor)
        c = _over(row, low, 2, c, factor)
        variance = _over(row, low, 3, variance, factor)
    return a, b, c, tl.sqrt_rn(tl.where(variance < 0.0, 0.0, variance))


@triton.jit
def select_weights(row, s):
    """a, b, c, d at any s: of the null branch where s <= 0."""
    measured = s > 0.0
    a, b, c, d = measured_weights(row, s)
    null_a, null_b, null_d = null_weights(row)
    a = tl.where(measured, a, null_a)
    b = tl.where(measured, b, null_b)
    return a, b, tl.where(measured, c, 0.0), tl.where(measured, d, null_d)


@triton.jit
def draws_noise(row):
    """False where no branch of the row has any noise weight, as in the last step of a run."""
    any_noise = tl.load(row + NULL + 2) != 0.0
    for i in tl.static_range(7, 10):
        any_noise |= (tl.load(row + LOW + i) != 0.0) | (tl.load(row + HIGH + i) != 0.0)
    return any_noise

"""The row table: everything a kernel knows about a sampler.

A row describes one step for one image (or for all images of a batch): how the clean image and the
noise follow from the state and the network's output, and the weights of the affine update

    x_next = a(s) x0 + b(s) eps + c(s) u + d(s) z

on each of three branches: null (s = 0), low (0 < s < thr) and high (s >= thr), where

    a = a0 + a1 s + a2 s^2    b = b0 + b2 s^2    c = c0 + c1/s + c2 s
    d = sqrt(max(0, d0 + d1/s^2 + d2 s^2))

and each of a, b, c and d^2 may stand over the branch's denominator p + q s^2.

A table has shape ``[rows, B or 1, WIDTH]``: row 0 makes the initial state, row k + 1 is step k. It is
built once per run in float64 (:mod:`ddrm_fast.samplers.table`) and handed to kernels in float32.
``csrc/include/ddrm_fast/row.h`` repeats the indices below.
"""

from types import ModuleType

P_X, P_OUT = 0, 1  # x0 = P_X x_t + P_OUT out
Q_X, Q_OUT = 2, 3  # eps = Q_X x_t + Q_OUT out
R_X, R_X0 = 4, 5  # eps = R_X x_t + R_X0 x0, after an edit of x0
CLIP_LO, CLIP_HI = 6, 7  # range of x0; -inf and inf: no clipping
THR = 8  # the singular value at which the branch changes
ROOT_ABAR_NEXT = 9  # sqrt(abar_next)
NULL = 10  # a, b, d
RATIONAL = 13  # 0: b2 = 0 in both branches, and nothing stands over a denominator
LOW = 14  # a0 a1 a2 b0 c0 c1 c2 d0 d1 d2, and from B2 on b2 p q, then for a, b, c, d^2 whether it is over it
HIGH = 31  # likewise
WIDTH = 48

B2, P, Q, OVER = 10, 11, 12, 13  # places in a branch; OVER: 1 or 0 for each of a, b, c, d^2


def mismatch(extension: ModuleType) -> str | None:
    """Why a compiled extension cannot read these rows (it was built from other sources), or None."""
    width = getattr(extension, "ROW_WIDTH", "another number of")
    if width == WIDTH:
        return None
    return (
        f"{extension.__name__} was built from another version of ddrm_fast: its rows have {width} columns, "
        f"expected {WIDTH}; build it again (`pip install .`)"
    )

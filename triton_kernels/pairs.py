"""Complex numbers as neighbouring floats: (re, im)."""

import triton
import triton.language as tl


@triton.jit
def load_pairs(field, at, inside):
    """re and im of the complex numbers at places ``at``, two dimensions; 0 outside."""
    place = (2 * at)[:, :, None] + tl.arange(0, 2)[None, None, :]
    return tl.split(tl.load(field + place, inside[:, :, None], 0.0))


@triton.jit
def store_pairs(field, at, re, im, inside):
    place = (2 * at)[:, :, None] + tl.arange(0, 2)[None, None, :]
    tl.store(field + place, tl.join(re, im), inside[:, :, None])

"""Normals by place: those of a tile of pixels, of single pixels, of coefficients of a half spectrum."""

import triton
import triton.language as tl

from .philox import box_muller, philox4x32

_ROOT_HALF = tl.constexpr(0.70710678118654752)


@triton.jit
def load_key(keys, b):
    """Seed words, sample id and origin of an image: row b of the int64 [B, 4] keys."""
    seed = tl.load(keys + 4 * b)
    sample = tl.load(keys + 4 * b + 1)
    top = tl.load(keys + 4 * b + 2)
    left = tl.load(keys + 4 * b + 3)
    return seed.to(tl.uint32), (seed >> 32).to(tl.uint32), sample, top, left


@triton.jit
def normal_at(column, row, plane, last, k0, k1):
    """One normal for each uint32 column of a uint32 row: lane ``column & 3`` of its counter."""
    w0, w1, w2, w3 = philox4x32(column >> 2, row, plane, last, k0, k1)
    upper = (column & 2) != 0
    cosine, sine = box_muller(tl.where(upper, w2, w0), tl.where(upper, w3, w1))
    return tl.where((column & 1) != 0, sine, cosine)


@triton.jit
def _normals_of_counters(counter, row, plane, last, k0, k1, ROWS: tl.constexpr, COLS: tl.constexpr):
    """All four normals of each counter, as consecutive columns."""
    w0, w1, w2, w3 = philox4x32(counter, row, plane, last, k0, k1)
    z0, z1 = box_muller(w0, w1)
    z2, z3 = box_muller(w2, w3)
    z = tl.join(tl.join(z0, z2), tl.join(z1, z3))
    return tl.reshape(z, [ROWS, COLS])


@triton.jit
def normal_tile(
    keys, b, plane_of_image, channels, rows, first, last, ROWS: tl.constexpr, COLS: tl.constexpr
):
    """Normals [ROWS, COLS] of consecutive pixels.

    A counter makes four neighbours. Where an image's origin is not a multiple of four columns its
    pixels do not fall on whole counters, and each pixel computes the counter that it is in.

    Args:
        keys, b:
            Keys of the batch, and the image.
        plane_of_image, channels:
            Channel c, a number or [ROWS, 1], out of how many.
        rows:
            Rows of the image, [ROWS, 1].
        first:
            First column, a multiple of four.
        last:
            The counter's last word: iteration and stream, uint32.
    """
    k0, k1, sample, top, left = load_key(keys, b)
    plane = (sample * channels + plane_of_image).to(tl.uint32)
    row = (top + rows).to(tl.uint32)
    column = (left + first).to(tl.uint32)
    if (left & 3) == 0:
        counter = (column >> 2) + tl.arange(0, COLS // 4)[None, :].to(tl.uint32)
        z = _normals_of_counters(counter, row, plane, last, k0, k1, ROWS, COLS)
    else:
        columns = column + tl.arange(0, COLS)[None, :].to(tl.uint32)
        z = normal_at(columns, row, plane, last, k0, k1)
    return z


@triton.jit
def normal_runs(
    keys, b, c, channels, runs_h, runs_w, rows, columns, last, RUNS: tl.constexpr
):  # fmt: skip
    """Normals [4 RUNS] of runs of four neighbours, which need not be neighbours of each other.

    Args:
        runs_h, runs_w:
            Row and first column of each run, [RUNS]; the column is a multiple of four.
        rows, columns:
            Those of each number, [4 RUNS].

    The other arguments are those of :func:`normal_tile`.
    """
    k0, k1, sample, top, left = load_key(keys, b)
    plane = (sample * channels + c).to(tl.uint32)
    if (left & 3) == 0:
        row_of_run = (top + runs_h).to(tl.uint32)[:, None]
        counter = ((left + runs_w).to(tl.uint32) >> 2)[:, None]
        z = _normals_of_counters(counter, row_of_run, plane, last, k0, k1, RUNS, 4)
        z = tl.reshape(z, [4 * RUNS])
    else:
        row = (top + rows).to(tl.uint32)
        z = normal_at((left + columns).to(tl.uint32), row, plane, last, k0, k1)
    return z


@triton.jit
def normal_pixels(keys, b, plane_of_image, channels, rows, columns, last):
    """Normals of pixels in any columns, [1, COLS]; otherwise as :func:`normal_tile`."""
    k0, k1, sample, top, left = load_key(keys, b)
    plane = (sample * channels + plane_of_image).to(tl.uint32)
    row = (top + rows).to(tl.uint32)
    return normal_at((left + columns).to(tl.uint32), row, plane, last, k0, k1)


@triton.jit
def hermitian_noise(keys, b, c, channels, h, k, height, width, last):
    """Noise (re, im) of coefficients (h, k) of a half spectrum; h and k broadcast against each other.

    The normals of columns 2k and 2k + 1, times sqrt(1/2). In a column that is its own mirror (k = 0,
    and k = width / 2 for even width) a row with 2h > height is the conjugate of row height - h, and a
    coefficient that is its own mirror is the first normal alone.
    """
    k0, k1, sample, top, left = load_key(keys, b)
    plane = (sample * channels + c).to(tl.uint32)
    own_mirror = (k == 0) | (2 * k == width)
    conjugate = own_mirror & (2 * h > height)
    real = own_mirror & ((h == 0) | (2 * h == height))
    row = (top + tl.where(conjugate, height - h, h)).to(tl.uint32)
    column = (left + 2 * k).to(tl.uint32)
    if (left & 1) == 0:  # both normals are one pair of one counter
        w0, w1, w2, w3 = philox4x32(column >> 2, row, plane, last, k0, k1)
        upper = (column & 2) != 0
        re, im = box_muller(tl.where(upper, w2, w0), tl.where(upper, w3, w1))
    else:
        re = normal_at(column, row, plane, last, k0, k1)
        im = normal_at(column + 1, row, plane, last, k0, k1)
    im = tl.where(conjugate, -(im * _ROOT_HALF), im * _ROOT_HALF)
    return tl.where(real, re, re * _ROOT_HALF), tl.where(real, 0.0, im)

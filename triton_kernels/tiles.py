"""Which part of a batch of planes a program works on, and how large it is."""

import triton
import triton.language as tl

# the bits of a NaN: as a number it differs from itself, and Triton, which looks before every launch whether
# a kernel's globals changed, would refuse the second one
_NAN = tl.constexpr(0x7FC00000)


@triton.jit
def tile(channels, height, width, ROWS: tl.constexpr, COLS: tl.constexpr):
    """This program's tile: image, channel, first row and first column.

    One grid dimension, columns first: grids of CUDA hold 2^31 - 1 programs along x, but 65,535 along
    y and z.
    """
    program = tl.program_id(0)
    wide = tl.cdiv(width, COLS)
    high = tl.cdiv(height, ROWS)
    strip = program // wide
    plane = strip // high
    return plane // channels, plane % channels, strip % high * ROWS, program % wide * COLS


@triton.jit
def row_of(table, step, table_rows, stride_step, stride_b, b):
    """The row of this step and image, the step as the noise's iteration word, and 0 or NaN.

    The step is known on the device alone, where nothing can be raised. One outside the table reads row
    0, and the NaN, added to the results, makes them what no one mistakes for a picture.
    """
    index = tl.load(step)
    place = tl.where(index < table_rows, index, -1)
    poison = tl.where(place >= 0, 0, _NAN).to(tl.int32).to(tl.float32, bitcast=True)
    place = tl.where(place >= 0, place, 0)
    return table + (place * stride_step + b * stride_b), index.to(tl.uint32), poison


@triton.jit
def load_output(out, at, inside):
    """Numbers of a network's output in float32, from any of its types; exact, subnormals too."""
    x = tl.load(out + at, inside, 0.0)
    if (
        x.dtype == tl.bfloat16
    ):  # the upper half of a float32; the interpreter's own way loses subnormals
        x = (x.to(tl.uint16, bitcast=True).to(tl.uint32) << 16).to(tl.float32, bitcast=True)
    else:
        x = x.to(tl.float32)
    return x

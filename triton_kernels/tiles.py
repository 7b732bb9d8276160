"""Which part of a batch of planes a program works on, and how large it is."""

import triton
import triton.language as tl


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
def row_of(table, step, stride_step, stride_b, b):
    """The row of this step and image, and the step as the noise's iteration word."""
    index = tl.load(step)
    return table + (index * stride_step + b * stride_b), index.to(tl.uint32)

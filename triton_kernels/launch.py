"""Sizes of tiles, and the one way in which all kernels are launched.

The sizes are a small table instead of run-time autotuning: a step must not run many times to find its
speed, and its first call must not depend on what else the GPU does.
"""

import contextlib

import torch
from torch import Tensor

#: numbers in a tile of a kernel that streams through planes, and the warps that work on it: two
#: 16-byte accesses of a thread to each field
STREAM_TILE, STREAM_WARPS = 1024, 4
#: numbers in a tile of groups, and those of a thread: with twice as many, steps of groups spill
GROUP_TILE, NUMBERS_OF_A_THREAD = 4096, 8
#: numbers in a tile of the Walsh-Hadamard transform, which holds one field
TRANSFORM_TILE = 8192
#: and of its last pass where a step is taken in it: with twice as many, or twice as many warps, registers
#: spill (of Triton 3.6, or of 3.9)
TRANSFORM_STEP_TILE = 4096


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()


def stream_tile(height: int, width: int, limit: int = STREAM_TILE) -> tuple[int, int]:
    """Rows and columns of a tile of a plane: whole rows, several where they are short."""
    columns = min(max(4, power_of_two(width)), limit)
    return min(power_of_two(height), limit // columns), columns


def warps(numbers: int) -> int:
    """Warps for a tile of so many numbers."""
    return min(max(1, numbers // (32 * NUMBERS_OF_A_THREAD)), 16)


def blocks(n: int, size: int) -> int:
    return -(-n // size)


def launch(kernel, programs: int, like: Tensor, *arguments, num_warps: int, **constants) -> None:
    """Runs ``programs`` programs of a kernel on the device of ``like``, in its current stream.

    Products and sums are not contracted: see :mod:`.affine`.
    """
    other = like.is_cuda and like.device.index != torch.cuda.current_device()
    with torch.cuda.device(like.device) if other else contextlib.nullcontext():
        kernel[(programs,)](*arguments, **constants, num_warps=num_warps, enable_fp_fusion=False)


def batch_stride(x: Tensor | None) -> int:
    """Distance of the images of a contiguous field; 0 if there is one for all."""
    return 0 if x is None or x.shape[0] == 1 else x.stride(0)


def strides(x: Tensor | None) -> tuple[int, int, int, int]:
    """Strides of a contiguous field that broadcasts over its dimensions of size 1."""
    if x is None:
        return 0, 0, 0, 0
    return tuple(0 if n == 1 else stride for n, stride in zip(x.shape, x.stride(), strict=True))


def output_strides(out: Tensor | None) -> tuple[int, int]:
    """Batch and channel stride of a network's output, which is read in place."""
    return (0, 0) if out is None else out.stride()[:2]


def table_strides(table: Tensor) -> tuple[int, int, int]:
    """Number of steps, and the distance of their rows and of the images' rows (0: one for all)."""
    return table.shape[0], table.stride(0), batch_stride(table.transpose(0, 1))

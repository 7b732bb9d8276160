"""How the compiled modules are told about tensors: addresses, shapes and strides."""

import torch
from torch import Tensor

_OUTPUT_TYPES = {
    torch.float32: 0,
    torch.complex64: 0,
    torch.float16: 1,
    torch.bfloat16: 2,
}
NO_OUTPUT = (0, 0, 0, 0)

Shape = tuple[int, ...]
# address of the weights, address and shape of the mask, factor
Profile = tuple[int, int, Shape | None, int]
# addresses, shapes, strides and types of what every step shares, as step_fields orders them
Fields = tuple[int | Shape | None, ...]


def address(x: Tensor | None) -> int:
    """Of the first number; 0 where there is no tensor."""
    return 0 if x is None else x.data_ptr()


def shape(x: Tensor | None) -> Shape | None:
    """As plain numbers; None where there is no tensor."""
    return None if x is None else tuple(x.shape)


def output(out: Tensor | None) -> tuple[int, int, int, int]:
    """Address, type and the strides that a kernel needs to read a network's output in place."""
    if out is None:
        return NO_OUTPUT
    batch_stride, channel_stride = out.stride()[:2]
    return out.data_ptr(), _OUTPUT_TYPES[out.dtype], batch_stride, channel_stride


def profile(weights: Tensor | None, mask: Tensor | None, factor: int) -> Profile:
    """What defines the groups of a block operation."""
    return address(weights), address(mask), shape(mask), factor


def step_fields(
    x_next: Tensor,
    x0: Tensor | None,
    x_t: Tensor | None,
    out: Tensor | None,
    u: Tensor | None,
    s: Tensor | None,
    table: Tensor,
    step: Tensor,
    keys: Tensor,
    noise: Tensor | None,
) -> Fields:
    """What every step shares, in the order that the modules expect."""
    return (
        x_next.data_ptr(),
        tuple(x_next.shape),
        address(x_t),
        *output(out),
        address(u),
        shape(u),
        address(s),
        shape(s),
        table.data_ptr(),
        *table.shape[:2],
        step.data_ptr(),
        address(keys),
        address(noise),
        address(x0),
    )

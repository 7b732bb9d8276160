"""Operations of networks as functions of tensors, for the compiled modules: C++ and CUDA.

Functions and arguments are those of :mod:`.channels_reference`. Sums over pixels come from the kernels in
parts whose number does not depend on threads, and are added here in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .addresses import _OUTPUT_TYPES, address

#: pixels of a part of the gradients of gain and offset
NORM_TILE = 256
#: rows of a part of the gradients of a depthwise convolution
BAND = 32
#: most parts of a picture's channel products, and fewest rows of one
MOST_PARTS, LEAST_ROWS = 32, 8

Place = Callable[[Tensor], tuple[int, ...]]


def planes(x: Tensor | None) -> tuple[int, int, int, int]:
    """Address, type, batch and channel stride."""
    if x is None:
        return 0, 0, 0, 0
    batch, channel = x.stride()[:2]
    return x.data_ptr(), _OUTPUT_TYPES[x.dtype], batch, channel


def _rows(x: Tensor | None) -> tuple[int, int]:
    """Address and batch stride of (B or 1, C)."""
    if x is None:
        return 0, 0
    return x.data_ptr(), x.shape[1] if x.shape[0] > 1 else 0


def parts_of(height: int) -> int:
    """Rows of a part of the channel products."""
    return max(LEAST_ROWS, -(-height // MOST_PARTS))


class ChannelKernels:
    """The operations on one module of kernels.

    Args:
        module:
            ``ddrm_fast._C`` or ``ddrm_fast._cuda``, or one with the same functions.
        place:
            What follows the arguments of a call on a tensor: the number of threads, or device and
            stream.
    """

    def __init__(self, module: ModuleType | Any, place: Place) -> None:
        self._module, self._place = module, place

    def channel_norm(
        self,
        y: Tensor,
        x: Tensor,
        gain: Tensor,
        offset: Tensor | None,
        centred: bool,
        eps: float,
    ) -> None:
        """See :func:`.channels_reference.channel_norm`."""
        arguments = (*x.shape, *planes(x), *planes(y), *_rows(gain), *_rows(offset), centred, eps)
        self._module.channel_norm(arguments, *self._place(x))

    def channel_norm_backward(
        self, dx: Tensor, x: Tensor, grad: Tensor, gain: Tensor, centred: bool, eps: float
    ) -> tuple[Tensor, Tensor]:
        """See :func:`.channels_reference.channel_norm_backward`."""
        batch, channels, height, width = x.shape
        tiles = -(-height * width // NORM_TILE)
        partial = torch.empty(batch, tiles, 2, channels, device=x.device)
        arguments = (
            *x.shape, *planes(x), *planes(grad), *planes(dx), *_rows(gain), partial.data_ptr(),
            NORM_TILE, centred, eps,
        )  # fmt: skip
        self._module.channel_norm_backward(arguments, *self._place(x))
        sums = partial.sum(dim=1)
        return sums[:, 0], sums[:, 1]

    def gated_depthwise(
        self, y: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, top: int, bottom: int
    ) -> None:
        """See :func:`.channels_reference.gated_depthwise`."""
        arguments = (
            *y.shape, *planes(x), *planes(y), weight.data_ptr(), address(bias), top, bottom
        )  # fmt: skip
        self._module.gated_depthwise(arguments, *self._place(x))

    def gated_depthwise_backward(
        self, dx: Tensor, x: Tensor, grad: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See :func:`.channels_reference.gated_depthwise_backward`."""
        batch, channels, height = x.shape[:3]
        bands = -(-height // BAND)
        partial = torch.empty(batch * bands, channels, 10, device=x.device)
        arguments = (
            *grad.shape, *planes(x), *planes(grad), *planes(dx), weight.data_ptr(), address(bias),
            1, 1, partial.data_ptr(), BAND,
        )  # fmt: skip
        self._module.gated_depthwise_backward(arguments, *self._place(x))
        sums = partial.sum(dim=0)
        return sums[:, :9].reshape(-1, 3, 3), sums[:, 9].contiguous()

    def depthwise_gram(
        self,
        v: Tensor | None,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        heads: int,
        top: int,
        bottom: int,
    ) -> tuple[Tensor, Tensor]:
        """See :func:`.channels_reference.depthwise_gram`."""
        batch, channels, height, width = x.shape
        channels, height = channels // 3, height + top + bottom - 2
        band = parts_of(height)
        parts, each = -(-height // band), channels // heads
        gram = torch.empty(batch, parts, heads, each, each, device=x.device)
        squares = torch.empty(batch, parts, 2, channels, device=x.device)
        arguments = (
            batch, channels, height, width, *planes(x), *planes(v), weight.data_ptr(),
            address(bias), top, bottom, heads, band, gram.data_ptr(), squares.data_ptr(),
        )  # fmt: skip
        self._module.depthwise_gram(arguments, *self._place(x))
        return gram.sum(dim=1), squares.sum(dim=1)

    def attention_fold(
        self, folded: Tensor, gram: Tensor, squares: Tensor, temperature: Tensor, projection: Tensor
    ) -> None:
        """See :func:`.channels_reference.attention_fold`."""
        batch, heads = gram.shape[:2]
        share = torch.empty_like(gram)
        tensors = (gram, squares, temperature, projection, share, folded)
        arguments = (batch, folded.shape[1], heads, *(x.data_ptr() for x in tensors))
        self._module.attention_fold(arguments, *self._place(gram))

"""A blur, or anything else, that a network computes."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import Tensor

from .same_size import SameSize

__all__ = ["NetworkBlur"]


class NetworkBlur(SameSize):
    """y = network(x) or network(x, kernel): a non-linear blur of pictures in [0, 1].

    The kernel of such a network is a tensor of normal numbers. It is drawn once, from a seed, so that
    guidance follows the very blur that made the measurement.

    Args:
        network:
            A module or function; ``kernel`` is its keyword where it has one.
        kernel_shape:
            Shape of the kernel without a batch, such as (512, 2, 2); None: the network takes none.
        scale:
            Standard deviation of the kernel's numbers.
        seed:
            Of the kernel.
        value_range:
            (black, white) of the pictures that the network takes and gives.
    """

    mixes = "neighbours"
    parameter_names = ("kernel_shape", "scale", "seed")

    def __init__(
        self,
        network: Callable[..., Tensor],
        kernel_shape: tuple[int, ...] | None = None,
        scale: float = 1.2,
        seed: int = 0,
        value_range: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        if not callable(network) or inspect.isclass(network):
            raise ValueError(
                f"network: expected a module or function, got {type(network).__name__}"
            )
        self.network, self.kernel_shape = network, kernel_shape
        self.scale, self.seed, self.range = float(scale), int(seed), value_range
        if isinstance(network, torch.nn.Module):
            network.eval().requires_grad_(False)
        self._kernel: Tensor | None = None
        if kernel_shape is not None:
            generator = torch.Generator().manual_seed(self.seed)
            self._kernel = self.scale * torch.randn(1, *kernel_shape, generator=generator)

    def H(self, x: Tensor) -> Tensor:
        self._check(x)
        if self._kernel is None:
            y = self.network(x)
        else:
            y = self.network(x, kernel=self._kernel.to(x).expand(len(x), *self._kernel.shape[1:]))
        if not isinstance(y, Tensor) or y.shape[:1] != x.shape[:1] or y.shape[2:] != x.shape[2:]:
            got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise ValueError(f"network: expected pictures of shape {tuple(x.shape)}, got {got}")
        return y

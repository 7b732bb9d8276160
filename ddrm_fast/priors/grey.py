"""A colour prior for grey pictures."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .adapters import DenoiserPrior
from .prior import Prior


def for_channels(prior: Prior, channels: int) -> Prior:
    """A prior for pictures of so many channels: one for colours serves grey pictures too.

    A grey picture with noise sigma, shown to a colour network as three equal channels, has noise of
    sqrt(3) sigma along the grey axis and none across it; so the network is told sqrt(3) sigma, and the
    mean of its channels is taken. (Told sigma it would leave a third of the noise: 5 dB at 25/255.)
    """
    if channels != 1 or prior.channels != 3:
        return prior

    if prior.num_classes is not None:
        raise ValueError(f"{prior.name} is for colour pictures with a class, the picture is grey")

    return _Grey(prior)


class _Grey(DenoiserPrior):
    """A colour prior for grey pictures; see :func:`for_channels`."""

    def __init__(self, prior: Prior) -> None:
        self.colour = prior
        super().__init__(self._denoise_grey, (-1.0, 1.0), channels=1, name=f"{prior.name} (grey)")

    def _denoise_grey(self, x: Tensor, sigma: Tensor) -> Tensor:
        x = x.expand(-1, 3, -1, -1)
        return self.colour.denoise(x, math.sqrt(3) * sigma).mean(1, keepdim=True)

    def in_float32(self, device: torch.device | str = "cpu") -> Prior | None:
        exact = self.colour.in_float32(device)
        return None if exact is None else _Grey(exact)

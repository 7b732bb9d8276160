"""The noise models of the published DPS; measurements of pictures in [-1, 1]."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .names import Names

_NOISES = Names("noise")
register_noise = _NOISES.register


def get_noise(name: str, **settings: Any) -> Any:
    """A noise model by its name in a task's configuration.

    >>> get_noise("gaussian", sigma=0.05)

    Args:
        name:
            "clean", "gaussian", "poisson", or one of your own (:func:`register_noise`).
        settings:
            Of its class.

    Raises:
        NameError: no class has the name.
    """
    noise = _NOISES.make(name, **settings)
    noise.__name__ = name
    return noise


class Noise(ABC):
    """Something that adds noise to a measurement."""

    __name__: str

    def __call__(self, data: Tensor) -> Tensor:
        return self.forward(data)

    @abstractmethod
    def forward(self, data: Tensor) -> Tensor:
        """The measurement with noise."""


@register_noise("clean")
class Clean(Noise):
    """None."""

    def forward(self, data: Tensor) -> Tensor:
        return data


@register_noise("gaussian")
class GaussianNoise(Noise):
    """y + sigma n, n from torch's global generator.

    Args:
        sigma:
            For pictures in [-1, 1].
    """

    def __init__(self, sigma: float) -> None:
        if not 0 <= float(sigma) < float("inf"):
            raise ValueError(f"sigma: expected a finite number >= 0, got {sigma}")
        self.sigma = sigma

    def forward(self, data: Tensor) -> Tensor:
        return data + torch.randn_like(data) * self.sigma


@register_noise("poisson")
class PoissonNoise(Noise):
    """Counts of 255 rate v photons for a value v of [0, 1], from numpy's global generator; float64.

    Args:
        rate:
            Photons for one 255th of white.
    """

    def __init__(self, rate: float) -> None:
        if not 0 < float(rate) < float("inf"):
            raise ValueError(f"rate: expected a number > 0, got {rate}")
        self.rate = rate

    def forward(self, data: Tensor) -> Tensor:
        values = ((data.detach() + 1) / 2).clamp(0, 1).cpu()
        counts = np.random.poisson((values * 255.0 * self.rate).numpy())
        y = torch.from_numpy(counts / 255.0 / self.rate)
        return (2 * y - 1).clamp(-1, 1).to(data.device)

"""What a camera and a program do to a pixel: saturation, gamma, few bits."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..base import Shape
from .same_size import OfPixels

__all__ = ["Gamma", "Quantised", "Saturated"]


class Saturated(OfPixels):
    """y = min(gain x, 1): too much light; what is above white is lost ("HDR" in Chung et al. 2023).

    Args:
        gain:
            > 1: brighter. Black stays black.
    """

    parameter_names = ("gain",)

    def __init__(self, gain: float = 2.0) -> None:
        if isinstance(gain, bool) or not 0 < float(gain) < math.inf:
            raise ValueError(f"gain: expected a number > 0, got {gain}")
        self.gain = float(gain)

    def picture_of(self, y: Tensor) -> Tensor:
        return y / self.gain

    def H(self, x: Tensor) -> Tensor:
        self._check(x)
        return (self.gain * x).clamp(0, 1)


class Gamma(OfPixels):
    """y = x^gamma, of pictures in [0, 1].

    Args:
        gamma:
            > 1: darker.
    """

    parameter_names = ("gamma",)
    #: values below it are raised to it: the slope of x^gamma is infinite at 0 for gamma < 1
    least = 1e-4

    def __init__(self, gamma: float = 2.2) -> None:
        if isinstance(gamma, bool) or not 0 < float(gamma) < math.inf:
            raise ValueError(f"gamma: expected a number > 0, got {gamma}")
        self.gamma = float(gamma)

    def picture_of(self, y: Tensor) -> Tensor:
        return y.clamp(min=0) ** (1 / self.gamma)

    def H(self, x: Tensor) -> Tensor:
        self._check(x)
        return x.clamp(min=self.least) ** self.gamma


class Quantised(OfPixels):
    """y: the nearest of 2^bits values from 0 to 1, after adding a pattern where it is dithered.

    Rounding has no slope; the gradient is that of the values before it (a straight-through estimate).

    Args:
        bits:
            1 to 16.
        dither:
            Adds uniform noise of one step before rounding, the same for every call with the same shape.
        seed:
            Of that noise.
    """

    parameter_names = ("bits", "dither", "seed")

    def __init__(self, bits: int = 3, dither: bool = False, seed: int = 0) -> None:
        if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 16:
            raise ValueError(f"bits: expected an integer from 1 to 16, got {bits!r}")
        self.bits, self.dither, self.seed = bits, bool(dither), int(seed)
        #: what is lost by rounding, as noise
        self.rounding = 12**-0.5 / (2**bits - 1)

    def windows(self, cuts: object) -> Quantised:
        if self.dither:
            raise ValueError(
                "operator: the pattern of a dithered picture belongs to the whole picture; use "
                "large.windowed(prior) (--large joint), which keeps it whole"
            )
        return self

    def H(self, x: Tensor) -> Tensor:
        self._check(x)
        steps = 2**self.bits - 1
        values = x.clamp(0, 1) * steps
        if self.dither:
            values = values + (self._pattern(tuple(x.shape[1:])).to(values) - 0.5)
        rounded = values.round().clamp(0, steps)
        return (values + (rounded - values).detach()) / steps

    def _pattern(self, shape: Shape) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.rand(1, *shape, generator=generator)

"""DDPM: ancestral sampling, variances fixed (Ho, Jain, Abbeel, NeurIPS 2020) or learned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..operators import Forward
from .edits import Edit
from .edits.learned_noise import LearnedNoise
from .steps import StepsLike
from .weights import Branch, Weights, pure_noise


@dataclass(frozen=True)
class DDPM:
    """Algorithm 2: the posterior q(x_next | x_t, x0) of eqs. 6 and 7 at the predicted x0.

    With alpha = abar / abar_next (steps may be skipped) the mean is
    sqrt(abar_next) (1 - alpha) / (1 - abar) x0 + sqrt(alpha) (1 - abar_next) / (1 - abar) x_t, and x_t is
    sqrt(abar) x0 + sqrt(1 - abar) eps. The measurement plays no part.

    Args:
        steps:
            Number of steps, or descending timesteps.
        variance:
            "small": that of the posterior, (1 - abar_next) / (1 - abar) beta; "large": beta;
            "learned": between the two for every pixel, by the channels behind the network's first C
            (Nichol and Dhariwal 2021, eq. 15).
    """

    #: whether the first step may start where abar = 0; only a network that predicts x0 or v can
    from_pure_noise: ClassVar[bool] = True
    needs: ClassVar[type[Forward]] = Forward

    steps: StepsLike = 1000
    variance: str = "small"

    def __post_init__(self) -> None:
        if self.variance not in ("small", "large", "learned"):
            raise ValueError(
                f"variance: expected 'small', 'large' or 'learned', got {self.variance!r}"
            )

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return pure_noise()

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        if abar_next == 1:
            return Weights.everywhere(Branch(a0=1.0))
        alpha = abar / abar_next
        x_t = math.sqrt(alpha) * (1 - abar_next) / (1 - abar)
        x0 = math.sqrt(abar_next) * (1 - alpha) / (1 - abar) + x_t * math.sqrt(abar)
        variance = 0.0 if self.variance == "learned" else 1 - alpha
        if self.variance == "small":
            variance *= (1 - abar_next) / (1 - abar)
        return Weights.everywhere(Branch(a0=x0, b0=x_t * math.sqrt(1 - abar), d0=variance))

    def edits(self) -> list[Edit]:
        """What the sampler brings: the noise of a learned variance."""
        return [LearnedNoise(self.noise_range)] if self.variance == "learned" else []

    def noise_range(self, abar: float, abar_next: float) -> tuple[float, float]:
        """Logarithms of the smallest and the largest variance of a learned one, for abar_next < 1."""
        large = math.log(1 - abar / abar_next)
        return large + math.log((1 - abar_next) / (1 - abar)), large

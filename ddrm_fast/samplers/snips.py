"""SNIPS: annealed Langevin dynamics in the singular basis (Kawar, Vaksman, Elad, NeurIPS 2021)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from .steps import Steps, StepsLike
from .weights import Branch, Weights, check_whole, divide, pure_noise


@dataclass(frozen=True)
class SNIPS:
    """Algorithm 1: at every noise level sigma some steps of Langevin dynamics, on x = x_t / sqrt(abar).

    Along a singular vector of value s, with u the measurement there, sigma_y its noise, eps the noise that
    the network sees in x_t, z fresh noise and c the step size, in units of the paper's for each:

        s = 0:                 x + c (x0 - x)                                         + sqrt(2 c) sigma z
        0 < sigma s < sigma_y: x + c (r s (u - s x) + (1 - r s^2) (x0 - x)),          r = (sigma / sigma_y)^2,
                                                                        + sqrt(2 c (1 - r s^2)) sigma z
        sigma s >= sigma_y:    x + c (u / s - x)             + sqrt(2 c (sigma^2 - (sigma_y / s)^2)) z

    The result is x0 of the last call. (In the second line eps counts by sigma (1 - c), whatever s.)

    Args:
        steps:
            Noise levels by name, number of levels, or descending timesteps. The paper has 500 levels.
        rounds:
            Langevin steps at a level, one network call each, >= 1; 5 in the paper.
        size:
            Step size c, above 0, at most 1: some 0.03 in the paper; few levels want larger ones.
    """

    steps: StepsLike = Steps("geometric", 50, 2.0, 0.01)  # noqa: RUF009
    rounds: int = 2
    size: float = 0.3

    def __post_init__(self) -> None:
        check_whole("rounds", self.rounds)
        if not 0 < self.size <= 1:
            raise ValueError(f"size: expected 0 < size <= 1, got {self.size}")

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return pure_noise()

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        if abar_next == 1:
            return Weights.everywhere(Branch(a0=1.0))
        c, variance = self.size, (1 - abar) / abar
        # b is a factor of eps in x_t = sqrt(abar) x0 + sqrt(1 - abar) eps
        kept, fresh = (1 - c) * math.sqrt(variance), 2 * c * variance
        ratio = divide(variance, sigma_y.square())
        null = Branch(a0=1.0, b0=kept, d0=fresh)
        low = Branch(a0=1.0, a2=-c * ratio, b0=kept, c2=c * ratio, d0=fresh, d2=-fresh * ratio)
        high = Branch(a0=1 - c, b0=kept, c1=c, d0=fresh, d1=-2 * c * sigma_y.square())
        weights = Weights(null, low, high, sigma_y / math.sqrt(variance))
        return weights.scaled(math.sqrt(abar_next))

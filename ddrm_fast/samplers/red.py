"""RED: regularisation by denoising, as a fixed point (Romano, Elad, Milanfar, SIAM J. Imaging Sci. 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ..operators import Operator
from ..problems import Problem
from .guess import smooth_guess
from .steps import Steps, StepsLike
from .weights import Branch, Weights, check_whole, proximal

#: 5 / 255
_LEVEL = 0.0196


@dataclass(frozen=True)
class RED:
    """The fixed-point strategy (section 4.2), z standing still while x moves:

        x = argmin ||y - H x||^2 / sigma_y^2 + ||x - D(z)||^2 / width^2,  then z = x

    D denoises at one level throughout, where :class:`HQS` lets it fall; the minimum is the proximal step, in
    closed form for every operator. Nothing is drawn: the picture is the same whatever the seed.

    Args:
        steps:
            Noise levels by name, number of steps, or descending timesteps: one level, as the paper has it, is
            ``Steps("geometric", 1, level, level)``.
        rounds:
            Iterations at a level, >= 1.
        width:
            Standard deviation given to a denoised picture, unit of [0, 1] pictures, > 0
            (lambda = 1 / width^2).
        least_noise:
            A measurement of less noise is taken to have this much, same unit.
    """

    steps: StepsLike = Steps("geometric", 1, _LEVEL, _LEVEL)  # noqa: RUF009
    rounds: int = 30
    width: float = 0.03
    least_noise: float = 0.0039

    def __post_init__(self) -> None:
        check_whole("rounds", self.rounds)
        if not 0 < self.width < math.inf:
            raise ValueError(f"width: expected a number > 0, got {self.width}")
        if not 0 <= self.least_noise < math.inf:
            raise ValueError(f"least_noise: expected a number >= 0, got {self.least_noise}")

    def begin(self, problem: Problem, count: int) -> Tensor | None:
        """The first clean image of so many pictures: a smooth Gaussian field that fits the measurement."""
        assert isinstance(problem.operator, Operator)
        return smooth_guess(problem, count, 2 * self.least_noise)

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return Weights(Branch(), Branch(c1=1.0), Branch(c1=1.0)).scaled(math.sqrt(abar))

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        noise = sigma_y.clamp(min=2 * self.least_noise).square()  # networks live in [-1, 1]
        return proximal((2 * self.width) ** 2, noise).scaled(math.sqrt(abar_next))

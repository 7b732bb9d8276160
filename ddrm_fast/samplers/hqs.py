"""PnP-HQS: half-quadratic splitting with a denoiser (Zhang, Li, Zuo, Zhang, Van Gool, Timofte, 2021)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..operators import Forward, Operator
from ..problems import Problem
from .edits import Edit
from .edits.fit import Fit
from .guess import as_picture, smooth_guess
from .steps import Steps, StepsLike
from .weights import Branch, Weights, proximal

#: noise level of the first call, as published, and 8-bit rounding, below which no call is worth it
FIRST, ROUNDING = 0.192, 0.0039


@dataclass(frozen=True)
class HQS:
    """Eq. 6 of the paper, in turn, for noise levels sigma that fall from call to call: the best estimate.

        x0 = D(x, sigma)
        x  = argmin ||y - H x||^2 / sigma_y^2 + trust ||x - x0||^2 / sigma^2

    The second is x0 + g (u/s - <w, x0>), g = s^2 R / (s^2 R + sigma_y^2), R = sigma^2 / trust: in closed
    form for every operator, and part of the fused step; of a map without a decomposition it is an edit
    (:class:`~ddrm_fast.samplers.edits.fit.Fit`). The result is x0 of the last call. Nothing is drawn: the
    picture is the same whatever the seed.

    Args:
        steps:
            Noise levels by name, number of steps, or descending timesteps.
        trust:
            In the denoiser, against the measurement, > 0 (lambda of the paper).
        guess:
            Where to start: "smooth", a Gaussian field that fits the measurement
            (:func:`~ddrm_fast.samplers.guess.smooth_guess`: some transforms, no network), or "pinv".
        least_noise:
            A measurement of less noise is taken to have this much, unit of [0, 1] pictures.
    """

    needs: ClassVar[type[Forward]] = Forward

    steps: StepsLike = Steps("geometric", 10, FIRST, ROUNDING)  # noqa: RUF009
    trust: float = 0.23
    guess: str = "smooth"
    least_noise: float = ROUNDING

    def __post_init__(self) -> None:
        if not 0 < self.trust < math.inf:
            raise ValueError(f"trust: expected a number > 0, got {self.trust}")
        if self.guess not in ("smooth", "pinv"):
            raise ValueError(f"guess: expected 'smooth' or 'pinv', got {self.guess!r}")
        if not 0 <= self.least_noise < math.inf:
            raise ValueError(f"least_noise: expected a number >= 0, got {self.least_noise}")

    def edits(self) -> list[Edit]:
        """What the sampler brings: the second line, where there is no closed form."""
        return [Fit(self.trust, max(self.least_noise, 1e-6))]

    def begin(self, problem: Problem, count: int) -> Tensor | None:
        """The first clean image of so many pictures; None: that of :meth:`start`."""
        if not isinstance(problem.operator, Operator):
            return as_picture(problem, count)
        if self.guess == "pinv":
            return None
        return smooth_guess(problem, count, 2 * self.least_noise)

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return Weights(Branch(), Branch(c1=1.0), Branch(c1=1.0)).scaled(math.sqrt(abar))

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        if abar_next == 1:
            return Weights.everywhere(Branch(a0=1.0))
        variance = (1 - abar) / abar / self.trust
        noise = sigma_y.clamp(min=2 * self.least_noise).square()  # networks live in [-1, 1]
        return proximal(variance, noise).scaled(math.sqrt(abar_next))

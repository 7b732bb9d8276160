"""DDRM for JPEG (Kawar, Song, Ermon, Elad, "JPEG Artifact Correction using Denoising Diffusion Restoration
Models", 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from ..operators import Forward
from ..problems import Problem
from .guess import as_picture
from .state import State
from .stepper import Stepper
from .steps import Steps, StepsLike
from .weights import Branch, Weights, check_unit, pure_noise

#: noise levels of the 300 lowest timesteps of 1,000, which the released code takes at every 15th
_FIRST, _LAST = 0.56, 0.005


@dataclass(frozen=True)
class DDRMJPEG:
    """Section 3, with H^+ H(x), what compression makes of a picture, in the place of a projection.

        x0'    = x0 - H^+ H(x0) + H^+ y
        x_next = sqrt(abar_next) (eta_b x0' + (1 - eta_b) x0) + sqrt(1 - abar_next) (eta z + (1 - eta) eps)

    For any degradation whose measurement is a picture of the same size: JPEG, few bits, saturation. It
    starts from the measurement with the noise of the first step.

    Args:
        steps:
            Noise levels by name, or descending timesteps (those of the released code: range(285, -1, -15)); a
            number of steps begins at the highest one, which leaves nothing of the measurement in the start.
        eta:
            Of fresh noise, 0 to 1.
        eta_b:
            Trust in the measurement, 0 to 1.
    """

    needs: ClassVar[type[Forward]] = Forward
    follows: ClassVar[bool] = True

    steps: StepsLike = Steps("karras", 20, _FIRST, _LAST)  # noqa: RUF009
    eta: float = 1.0
    eta_b: float = 0.4

    def __post_init__(self) -> None:
        check_unit("eta", self.eta)
        check_unit("eta_b", self.eta_b)

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return pure_noise()

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        noise = self.eta**2 * (1 - abar_next)
        return Weights.everywhere(Branch(a0=math.sqrt(abar_next), d0=noise))

    def advance(self, stepper: Stepper, state: State, x_next: Tensor) -> Tensor:
        """The new state, in the buffer ``x_next``."""
        problem, abar, after = stepper.problem, state.abar, state.abar_next
        if "started" not in state.memory:
            first = as_picture(problem, state.x_t.shape[0])
            state.x_t.mul_(math.sqrt(1 - abar)).add_(first, alpha=math.sqrt(abar))
            state.memory["started"] = True
        x0 = state.x0 = stepper.clean(state)
        eps = (state.x_t - math.sqrt(abar) * x0) / math.sqrt(1 - abar)
        missing = as_picture(problem, x0.shape[0]) - made_picture(problem, x0)  # H^+ y - H^+ H(x0)
        stepper.map(state, x0 + self.eta_b * missing, x_next)
        return x_next.add_(eps, alpha=(1 - self.eta) * math.sqrt(1 - after))


def made_picture(problem: Problem, x: Tensor) -> Tensor:
    """H^+ H(x)."""
    y = problem.H(x)
    if problem.operator.picture_of(y) is None:
        raise ValueError(
            f"operator: {problem.operator} gives {tuple(y.shape)}, DDRMJPEG expects pictures of "
            f"{tuple(x.shape)}"
        )
    return as_picture(replace(problem, y=y), len(y))

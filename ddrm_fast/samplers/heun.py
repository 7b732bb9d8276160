"""Heun's method for the probability flow (Karras, Aittala, Aila, Laine, NeurIPS 2022, algorithm 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..operators import Forward
from .ddim import DDIM
from .state import State
from .stepper import Stepper
from .steps import StepsLike
from .weights import Weights, pure_noise


@dataclass(frozen=True)
class Heun:
    """A step of Euler (:class:`DDIM`), then the mean of the slopes at both its ends: two calls a step.

    With x / sqrt(abar) as the state and sigma = sqrt((1 - abar) / abar) as time the slope is eps; the last
    step, which ends on the clean image, is Euler's. The measurement plays no part.

    Args:
        steps:
            Number of steps, or descending timesteps; network calls are twice as many, less one.
    """

    needs: ClassVar[type[Forward]] = Forward

    steps: StepsLike = 20

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return pure_noise()

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        return DDIM().weights(abar, abar_next, sigma_y)

    def advance(self, stepper: Stepper, state: State, x_next: Tensor) -> Tensor:
        """The new state, in the buffer ``x_next``."""
        first = state.x0 = stepper.clean(state)
        stepper.map(state, first, x_next)
        if state.t_next == -1:
            return x_next
        second = stepper.clean(state, x_next, state.t_next)
        slope = _eps(state.x_t, first, state.abar)
        change = _eps(x_next, second, state.abar_next) - slope
        # the map's eps follows from x_t and the clean image: that of the mean slope
        return stepper.map(state, first - 0.5 * state.sigma * change, x_next)


def _eps(x_t: Tensor, x0: Tensor, abar: float) -> Tensor:
    return (x_t - math.sqrt(abar) * x0) / math.sqrt(1 - abar)

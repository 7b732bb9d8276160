"""PiGDM: pseudo-inverse guided diffusion models (Song, Vahdat, Mardani, Kautz, ICLR 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..problems import Problem
from .ddim import DDIM
from .edits import Edit
from .state import State
from .steps import Steps
from .weights import Weights, check_unit, pure_noise


class PseudoInverseGuidance(Edit):
    """x_next <- x_next + sqrt(abar) J^T H^T (H H^T + sigma_y^2 / r^2)^-1 (y - H x0).

    r^2 = sigma^2 / (sigma^2 + 1) is the variance of the clean image that is known up to sigma. The vector
    that J^T takes is project(x0) - x0 with r as the error of x0: one pass in the singular basis
    where a dense matrix is inverted in published code (algorithm 1, eq. 7).
    """

    differentiates = True
    title = "PiGDM"

    def pull(self, problem: Problem, state: State) -> Tensor:
        r = state.sigma / math.sqrt(1 + state.sigma**2)
        return problem.decomposed.project(state.x0, problem.y, r, problem.sigma_y) - state.x0

    def after(self, problem: Problem, state: State) -> Tensor:
        return state.x_next.add_(state.pull.to(state.x_next), alpha=math.sqrt(state.abar))


@dataclass(frozen=True)
class PiGDM:
    """Algorithm 1: a step of :class:`DDIM`, then guidance by the pseudo-inverse, through the network.

    Args:
        steps:
            Number of steps, noise levels by name, or descending timesteps.
        eta:
            Share of fresh noise in each step, 0 to 1.
    """

    steps: int | str | Steps | Sequence[float] = 100
    eta: float = 1.0

    def __post_init__(self) -> None:
        check_unit("eta", self.eta)

    def edits(self) -> list[Edit]:
        """What the sampler brings."""
        return [PseudoInverseGuidance()]

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return pure_noise()

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        return DDIM(eta=self.eta).weights(abar, abar_next, sigma_y)

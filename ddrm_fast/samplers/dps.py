"""DPS: diffusion posterior sampling (Chung, Kim, McCann, Klasky, Ye, ICLR 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..operators import Forward
from ..problems import Problem
from .ddpm import DDPM
from .edits import Edit
from .state import State
from .steps import Steps
from .weights import Weights

NOISES = ("gaussian", "poisson")


class ResidualDescent(Edit):
    """x_next <- x_next - scale grad ||y - H(x0)||, the gradient at x_t, through the network (algorithm 1).

    The norm is not squared, and each picture has its own. For Poisson noise it is weighted with the mean of
    1 / abs(y), as in the released code.

    Args:
        scale:
            Length of the step; pictures in [-1, 1].
        noise:
            "gaussian" or "poisson".
        joint:
            One norm for the whole batch, as in the released code: then a picture depends on its batch.
    """

    differentiates = True
    title = "DPS"

    def __init__(self, scale: float, noise: str = "gaussian", joint: bool = False) -> None:
        self.scale, self.noise, self.joint = scale, noise, joint

    def pull(self, problem: Problem, state: State) -> Tensor:
        y = problem.y
        with torch.enable_grad():
            x0 = state.x0.detach().requires_grad_()
            missing = y - problem.H(x0)
            if missing.shape[1:] != y.shape[1:]:
                raise ValueError(
                    f"operator: {problem.operator} gives {tuple(missing.shape)}, y is {tuple(y.shape)}"
                )
            rows = missing.reshape(1, -1) if self.joint else missing.flatten(1)
            norms = torch.linalg.vector_norm(rows, dim=1)
            if self.noise == "poisson":
                values = y.reshape(1, -1) if self.joint else y.flatten(1)
                norms = norms * (1 / values.abs()).mean(dim=1)
            total = norms.sum()
        (gradient,) = torch.autograd.grad(total, x0)
        return gradient

    def after(self, problem: Problem, state: State) -> Tensor:
        return state.x_next.sub_(state.pull.to(state.x_next), alpha=self.scale)


@dataclass(frozen=True)
class DPS:
    """Algorithm 1: a step of :class:`DDPM`, then one down the distance to the measurement.

    Needs H alone, not its decomposition, and a network with gradients: a step costs one call forward and one
    back. The steps of the released configurations are 1,000; with fewer the scale stays what it is.

    Args:
        steps:
            Number of steps, noise levels by name, or descending timesteps.
        scale:
            Of the descent, > 0, for pictures in [-1, 1]: 0.3 for super-resolution and blurs, 0.5 for
            missing pixels, 1 for phase retrieval (released configurations).
        variance:
            Of the ancestral steps: "small", "large" or "learned", see :class:`DDPM`.
        noise:
            What the distance is weighted for: "gaussian", or "poisson" (y without zeros).
    """

    needs: ClassVar[type[Forward]] = Forward

    steps: int | str | Steps | Sequence[float] = 1000
    scale: float = 0.3
    variance: str = "small"
    noise: str = "gaussian"

    def __post_init__(self) -> None:
        if not 0 < self.scale < math.inf:
            raise ValueError(f"scale: expected a number > 0, got {self.scale}")
        if self.noise not in NOISES:
            raise ValueError(f"noise: expected 'gaussian' or 'poisson', got {self.noise!r}")
        DDPM(variance=self.variance)

    def edits(self) -> list[Edit]:
        """What the sampler brings: a learned variance's noise, and the descent."""
        return [*DDPM(variance=self.variance).edits(), ResidualDescent(self.scale, self.noise)]

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return DDPM().start(abar, sigma_y)

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        return DDPM(variance=self.variance).weights(abar, abar_next, sigma_y)

"""RED-diff: a variational sampler (Mardani, Song, Kautz, Vahdat, ICLR 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..operators import Forward, Operator
from ..problems import Problem
from .guess import as_picture
from .state import State
from .stepper import Stepper
from .steps import StepsLike
from .weights import Branch, Weights, pure_noise


@dataclass(frozen=True)
class REDDiff:
    """Algorithm 1: an optimisation by Adam, one network call a step, from noisy levels to clean ones.

        x_t = sqrt(abar) mu + sqrt(1 - abar) z
        mu  goes down  ||y - H(mu)||^2 / (2 m) + weight (sigma_t / sqrt(abar_t)) <eps(x_t) - z, mu> / n

    m and n are the numbers of measured values and of pixels of a picture. The second gradient is
    weight (mu - x0) / n, x0 the clean image that the network sees in x_t, which is not differentiated. The
    result is mu: one picture, that depends on the seed a little.

    Args:
        steps:
            Number of steps, noise levels by name, or descending timesteps.
        rate:
            Of Adam, > 0.
        weight:
            Of the prior, > 0 (lambda of the paper, whose released code has 0.25).
    """

    needs: ClassVar[type[Forward]] = Forward
    follows: ClassVar[bool] = True

    steps: StepsLike = 100
    rate: float = 0.1
    weight: float = 0.25

    #: decay of Adam's two means, and what its root is not below
    _betas: ClassVar[tuple[float, float]] = (0.9, 0.99)
    _least: ClassVar[float] = 1e-8

    def __post_init__(self) -> None:
        for name in ("rate", "weight"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected a number > 0, got {getattr(self, name)}")

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return pure_noise()

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        return Weights.everywhere(Branch(a0=math.sqrt(abar_next), d0=1 - abar_next))

    def advance(self, stepper: Stepper, state: State, x_next: Tensor) -> Tensor:
        """The new state, in the buffer ``x_next``."""
        kept, abar = state.memory, state.abar
        if "mu" not in kept:
            kept["mu"] = first_picture(stepper.problem, state.x_t.shape[0])
            kept["mean"], kept["square"] = (
                torch.zeros_like(kept["mu"]),
                torch.zeros_like(kept["mu"]),
            )
            state.x_t.mul_(math.sqrt(1 - abar)).add_(kept["mu"], alpha=math.sqrt(abar))
        x0 = state.x0 = stepper.clean(state)
        gradient = self.weight * (kept["mu"] - x0) + misfit(stepper.problem, kept["mu"])
        self._descend(kept, gradient, state.index + 1)
        return stepper.map(state, kept["mu"], x_next)

    def _descend(self, kept: dict[str, Any], gradient: Tensor, count: int) -> None:
        """A step of Adam."""
        first, second = self._betas
        kept["mean"].lerp_(gradient, 1 - first)
        kept["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = (kept["square"] / (1 - second**count)).sqrt_().add_(self._least)
        kept["mu"].addcdiv_(kept["mean"], root, value=-self.rate / (1 - first**count))


def misfit(problem: Problem, x: Tensor) -> Tensor:
    """Gradient of n / (2 m) ||y - H(x)||^2 for every picture."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        missing = problem.y - problem.H(leaf)
        scale = x[0].numel() / (2 * missing[0].numel())
        total = scale * missing.square().sum()
    return torch.autograd.grad(total, leaf)[0]


def first_picture(problem: Problem, count: int) -> Tensor:
    """H^+ y, or the measurement where it is a picture, or grey."""
    if isinstance(problem.operator, Operator):
        x = problem.operator.H_pinv(problem.y)
        return x.expand(count, *x.shape[1:]).clone()
    return as_picture(problem, count).clone()

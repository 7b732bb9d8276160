"""Decoupled annealing: DAPS (Zhang, Chu, Berner, Meng, Anandkumar, Song, CVPR 2025), and split Gibbs, PnP-DM.

Both go from a noisy state to a clean image by several network calls, follow the measurement from there, and
take the noise of the next level; what lies between is one affine map, whose weights are rational in s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from .state import State
from .stepper import Stepper
from .steps import StepsLike
from .weights import Branch, Weights, check_whole, pure_noise, shares


def flow(stepper: Stepper, state: State, calls: int) -> Tensor:
    """The clean image at the end of the probability flow from x_t, by Euler's method.

    Args:
        stepper, state:
            Of the step.
        calls:
            Of the network, at t (1 - k / calls); fewer where these are the same whole timesteps.
    """
    x, t = state.x_t, state.t
    x0 = state.x0 = stepper.clean(state)
    schedule = stepper.prior.schedule
    between = sorted({math.floor(state.t * (1 - k / calls)) for k in range(1, calls)}, reverse=True)
    for lower in between:
        if not 0 <= lower < t:
            continue
        abar, below = schedule.abar(t), schedule.abar(lower)
        eps = (x - math.sqrt(abar) * x0) / math.sqrt(1 - abar)
        x, t = math.sqrt(below) * x0 + math.sqrt(1 - below) * eps, lower
        x0 = stepper.clean(state, x, t)
    return x0


@dataclass(frozen=True)
class _Decoupled:
    """What both have in common.

    Args:
        steps:
            Number of steps, noise levels by name, or descending timesteps.
        calls:
            Of the network in a step.
        least_noise:
            A measurement of less noise is taken to have this much, unit of [0, 1] pictures.
    """

    steps: StepsLike = 50
    calls: int = 4
    least_noise: float = 0.001

    def __post_init__(self) -> None:
        check_whole("calls", self.calls)
        if not 0 <= self.least_noise < math.inf:
            raise ValueError(f"least_noise: expected a number >= 0, got {self.least_noise}")

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return pure_noise()

    def advance(self, stepper: Stepper, state: State, x_next: Tensor) -> Tensor:
        """The new state, in the buffer ``x_next``."""
        return stepper.map(state, flow(stepper, state, self.calls), x_next)

    def _noise(self, sigma_y: Tensor) -> Tensor:
        return sigma_y.clamp(min=2 * self.least_noise).square()  # networks live in [-1, 1]


@dataclass(frozen=True)
class DAPS(_Decoupled):
    """Algorithm 1, with its draw in closed form where the released code runs Langevin dynamics.

        x0    = the end of the flow from x_t
        x0'   ~ N(x0, r^2) conditioned on the measurement, r = width sigma_t
        x_next = sqrt(abar_next) x0' + sqrt(1 - abar_next) z

    With R = r^2, A = sqrt(abar_next), B = 1 - abar_next and p, q of
    :func:`~ddrm_fast.samplers.weights.shares`,

        x_next = A (p x0 + q s u) / (p + q s^2) + sqrt(A^2 R p / (p + q s^2) + B) z.

    Args:
        steps, calls, least_noise:
            See :class:`_Decoupled`: 50 steps of 4 calls, where the paper takes 200 of 5 and more.
        width:
            Of the draw: the standard deviation given to the clean image, in noise levels, > 0.
    """

    width: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.width < math.inf:
            raise ValueError(f"width: expected a number > 0, got {self.width}")

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        R, B = self.width**2 * (1 - abar) / abar, 1 - abar_next
        p, q = shares(R, self._noise(sigma_y))
        A = math.sqrt(abar_next)
        measured = Branch(
            a0=A * p, c2=A * q, d0=(abar_next * R + B) * p, d2=B * q, p=p, q=q, over="acd"
        )
        return Weights(Branch(a0=A, d0=abar_next * R + B), measured, measured)


@dataclass(frozen=True)
class PnPDM(_Decoupled):
    """Split Gibbs: plug-and-play with a diffusion model as the prior's step (Wu, Sun, Chen, Zhang, Yue,
    Bouman, NeurIPS 2024, algorithm 1), its likelihood step an exact draw in the singular basis.

        x      = the end of the flow from z, which is a picture with noise of level rho
        z_next ~ exp(-||y - H z||^2 / (2 sigma_y^2) - ||z - x||^2 / (2 rho_next^2))

    The noise levels of the steps are rho. With A = sqrt(abar_next), B = 1 - abar_next and p, q of
    :func:`~ddrm_fast.samplers.weights.shares` for R = rho_next^2 = B / A^2,

        x_next = A z_next = A (p x + q s u) / (p + q s^2) + sqrt(B p / (p + q s^2)) z.

    The last step ends on x. (The prior's step is the flow, as in the paper's ODE variant.)

    Args:
        steps, calls, least_noise:
            See :class:`_Decoupled`.
    """

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        A, B = math.sqrt(abar_next), 1 - abar_next
        p, q = shares(B / abar_next, self._noise(sigma_y))
        measured = Branch(a0=A * p, c2=A * q, d0=B * p, p=p, q=q, over="acd")
        return Weights(Branch(a0=A, d0=B), measured, measured)

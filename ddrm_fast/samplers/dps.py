"""DPS: diffusion posterior sampling (Chung, Kim, McCann, Klasky, Ye, ICLR 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..operators import Forward, Operator
from ..ops import Stream, normal
from ..problems import Problem
from .ddim import DDIM
from .ddpm import DDPM
from .edits import Edit
from .state import State
from .steps import Steps
from .weights import Weights, check_unit, check_whole, pure_noise

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
        draws, spread:
            The mean of so many norms, of pictures x0 + spread times noise.
        own_spread:
            The noise has the standard deviation sigma / sqrt(1 + sigma^2) that x0 has, times ``spread``.
    """

    differentiates = True
    title = "DPS"

    def __init__(
        self,
        scale: float,
        noise: str = "gaussian",
        joint: bool = False,
        draws: int = 0,
        spread: float = 0.0,
        own_spread: bool = False,
    ) -> None:
        self.scale, self.noise, self.joint = scale, noise, joint
        self.draws, self.spread, self.own_spread = draws, spread, own_spread

    def pull(self, problem: Problem, state: State) -> Tensor:
        x0 = state.x0.detach().requires_grad_()
        gradient = torch.zeros_like(x0)
        for draw in range(max(1, self.draws)):
            with torch.enable_grad():
                total = self._distance(problem, x0 + self._near(state, draw)).sum()
            gradient += torch.autograd.grad(total, x0)[0] / max(1, self.draws)
        return gradient

    def _near(self, state: State, draw: int) -> Tensor | float:
        """How far a draw is from the estimate."""
        if not self.draws or not self.spread:
            return 0.0
        spread = self.spread
        if self.own_spread:
            spread *= state.sigma / math.sqrt(1 + state.sigma**2)
        fused, (_, channels, height, width) = state.own_fused, state.x0.shape
        iteration = fused.iteration * self.draws + draw
        z = normal(
            fused.noise.keys, channels, height, width, iteration=iteration, stream=Stream.GUIDANCE
        )
        return spread * z.to(state.x0)

    def _distance(self, problem: Problem, x0: Tensor) -> Tensor:
        """||y - H(x0)||, [B], or [1] for all."""
        y = problem.y
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
        return norms

    def after(self, problem: Problem, state: State) -> Tensor:
        return state.x_next.sub_(state.pull.to(state.x_next), alpha=self.scale)


@dataclass(frozen=True)
class DPS:
    """Algorithm 1: a step of :class:`DDPM` (or DDIM), then one down the distance to the measurement.

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
        eta:
            A step of :class:`DDIM` with so much noise instead, 0 to 1; None: ancestral.
        draws:
            The mean distance of so many pictures near the estimate ("ps+" of the released code); 0: its own.
        spread:
            Standard deviation of these about it, for pictures in [-1, 1].
    """

    needs: ClassVar[type[Forward]] = Forward

    steps: int | str | Steps | Sequence[float] = 1000
    scale: float = 0.3
    variance: str = "small"
    noise: str = "gaussian"
    eta: float | None = None
    draws: int = 0
    spread: float = 0.03

    def __post_init__(self) -> None:
        if self.eta is not None:
            check_unit("eta", self.eta)
        if isinstance(self.draws, bool) or not isinstance(self.draws, int) or self.draws < 0:
            raise ValueError(f"draws: expected an integer >= 0, got {self.draws!r}")
        if not 0 <= self.spread < math.inf:
            raise ValueError(f"spread: expected a number >= 0, got {self.spread}")
        if not 0 < self.scale < math.inf:
            raise ValueError(f"scale: expected a number > 0, got {self.scale}")
        if self.noise not in NOISES:
            raise ValueError(f"noise: expected 'gaussian' or 'poisson', got {self.noise!r}")
        DDPM(variance=self.variance)

    def edits(self) -> list[Edit]:
        """What the sampler brings: a learned variance's noise, and the descent."""
        learned = DDPM(variance=self.variance).edits() if self.eta is None else []
        descent = ResidualDescent(self.scale, self.noise, draws=self.draws, spread=self.spread)
        return [*learned, descent]

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return pure_noise()

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        if self.eta is not None:
            return DDIM(eta=self.eta).weights(abar, abar_next, sigma_y)
        return DDPM(variance=self.variance).weights(abar, abar_next, sigma_y)


@dataclass(frozen=True)
class LGD:
    """Loss-guided diffusion (Song, Zhang, Yin, Mardani, Liu, Kautz, Chen, Vahdat, ICML 2023): DPS whose
    distance is a mean over draws of the clean image, N(x0, r^2) with r = sigma / sqrt(1 + sigma^2).

    Section 4, with the distance of DPS as the loss and steps of :class:`DDIM`.

    Args:
        steps:
            Number of steps, noise levels by name, or descending timesteps.
        scale:
            Of the descent, > 0, for pictures in [-1, 1].
        draws:
            Of the clean image in each step.
        spread:
            Of these, in r, > 0.
        eta:
            Share of fresh noise in each step, 0 to 1.
    """

    needs: ClassVar[type[Forward]] = Forward

    steps: int | str | Steps | Sequence[float] = 100
    scale: float = 0.3
    draws: int = 4
    spread: float = 0.1
    eta: float = 1.0

    def __post_init__(self) -> None:
        DPS(
            scale=self.scale,
            draws=check_whole("draws", self.draws),
            spread=self.spread,
            eta=self.eta,
        )

    def edits(self) -> list[Edit]:
        """What the sampler brings: the descent."""
        return [ResidualDescent(self.scale, draws=self.draws, spread=self.spread, own_spread=True)]

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return pure_noise()

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        return DDIM(eta=self.eta).weights(abar, abar_next, sigma_y)


class PutIn(Edit):
    """The measured part of the new state becomes that of the measurement with the new state's noise."""

    needs = Operator
    title = "MCG"

    def after(self, problem: Problem, state: State) -> Tensor:
        operator, y, after = problem.decomposed, problem.y, state.abar_next
        fused = state.own_fused
        noise = normal(
            fused.noise.keys, 1, 1, y[0].numel(),
            iteration=fused.iteration, stream=Stream.GUIDANCE,
        )  # fmt: skip
        y_next = math.sqrt(after) * y + math.sqrt(1 - after) * noise.to(y).view(-1, *y.shape[1:])
        missing = y_next - operator.H(state.x_next)
        return state.x_next.add_(operator.H_pinv(missing))


@dataclass(frozen=True)
class MCG:
    """Manifold-constrained gradients (Chung, Sim, Ryu, Ye, NeurIPS 2022): DPS, then the measurement is put
    in.

    Algorithm 1: x_next <- x_next + H^+ (y_next - H x_next), the orthogonal projection, with y_next of the new
    state's noise level; the released code's own projection is in ``ddrm_fast.compat.dps``. The measurement
    is taken for free of noise.

    Args:
        steps, scale, variance:
            See :class:`DPS`.
    """

    steps: int | str | Steps | Sequence[float] = 1000
    scale: float = 1.0
    variance: str = "small"

    def __post_init__(self) -> None:
        DPS(scale=self.scale, variance=self.variance)

    def edits(self) -> list[Edit]:
        """What the sampler brings: that of DPS, and the projection."""
        return [*DPS(scale=self.scale, variance=self.variance).edits(), PutIn()]

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return pure_noise()

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        return DDPM(variance=self.variance).weights(abar, abar_next, sigma_y)

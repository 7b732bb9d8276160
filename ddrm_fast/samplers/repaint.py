"""RePaint: inpainting by resampling (Lugmayr, Danelljan, Romero, Yu, Timofte, Van Gool, CVPR 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .ddpm import DDPM
from .steps import StepsLike
from .travel import Travel
from .weights import Branch, Weights, check_whole, pure_noise, replaced


def ancestral(variance: str, abar: float, abar_next: float, sigma_y: Tensor) -> Branch:
    """The null space of samplers that draw as DDPM does."""
    return DDPM(variance=variance).weights(abar, abar_next, sigma_y).null


def check_fixed(variance: str) -> None:
    """Raises ValueError unless a variance is one of DDPM's fixed ones."""
    if variance not in ("small", "large"):
        raise ValueError(f"variance: expected 'small' or 'large', got {variance!r}")


@dataclass(frozen=True)
class RePaint:
    """Algorithm 1: known pixels from the forward process of y, the others ancestral, with resampling.

    What was measured takes sqrt(abar_next) u / s + sqrt(1 - abar_next) z (eq. 8a), the null space a step of
    DDPM (eq. 8b). Jumps back along the forward process let both fit each other. Published for masks; here
    for every operator. For measurements without noise.

    Args:
        steps:
            Number of steps, or descending timesteps.
        variance:
            Of the ancestral steps: "small" or "large", see :class:`DDPM`.
        jump_length, jump_n_sample:
            Time travel: every stretch of ``jump_length`` steps is sampled ``jump_n_sample`` times, at that
            many times the network calls.
    """

    steps: StepsLike = 250
    variance: str = "small"
    jump_length: int = 10
    jump_n_sample: int = 10

    def __post_init__(self) -> None:
        check_fixed(self.variance)
        check_whole("jump_length", self.jump_length)
        check_whole("jump_n_sample", self.jump_n_sample)

    @property
    def travel(self) -> Travel:
        """Where the run goes back up."""
        return Travel(self.jump_length, self.jump_n_sample)

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return pure_noise()

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        return replaced(ancestral(self.variance, abar, abar_next, sigma_y), abar_next)

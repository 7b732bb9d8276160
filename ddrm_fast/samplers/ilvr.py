"""ILVR: iterative latent variable refinement (Choi, Kim, Jeong, Gwon, Yoon, ICCV 2021)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .repaint import ancestral, check_fixed
from .steps import StepsLike
from .weights import Weights, pure_noise, replaced


@dataclass(frozen=True)
class ILVR:
    """Algorithm 1: x_next = phi(y_next) + (I - phi) x', x' a step of DDPM, y_next the noised reference.

    The low-pass filter phi is the projection H_pinv H on what the operator measures, and the reference
    H_pinv y: with a downscaling operator its low frequencies, as published, and with any other operator
    what it keeps. In the singular basis that is sqrt(abar_next) u / s + sqrt(1 - abar_next) z where
    something was measured: :class:`RePaint` without resampling. For measurements without noise.

    Args:
        steps:
            Number of steps, or descending timesteps.
        variance:
            Of the ancestral steps: "small" or "large", see :class:`DDPM`.
    """

    steps: StepsLike = 100
    variance: str = "small"

    def __post_init__(self) -> None:
        check_fixed(self.variance)

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return pure_noise()

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        return replaced(ancestral(self.variance, abar, abar_next, sigma_y), abar_next)

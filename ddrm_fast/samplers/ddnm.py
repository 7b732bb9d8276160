"""DDNM and DDNM+: denoising diffusion null-space models (Wang, Yu, Zhang, ICLR 2023)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .steps import StepsLike
from .weights import Branch, Weights, check_unit, divide, pure_noise


def _plain(abar_next: float, eta: float) -> tuple[Branch, Branch]:
    """Null and measured branch of DDNM: x0 gives way to u / s, with DDIM noise on all directions."""
    sigma_t = math.sqrt(1 - abar_next)
    b, d = sigma_t * math.sqrt(1 - eta**2), (sigma_t * eta) ** 2
    a = math.sqrt(abar_next)
    return Branch(a0=a, b0=b, d0=d), Branch(c1=a, b0=b, d0=d)


@dataclass(frozen=True)
class DDNM:
    """Algorithm 1: x0_hat = x0 - H_pinv (H x0 - y), then a DDIM step. For measurements without noise.

    Args:
        steps:
            Number of steps, or descending timesteps.
        eta:
            Share of fresh noise in each step.
    """

    steps: StepsLike = 100
    eta: float = 0.85

    def __post_init__(self) -> None:
        check_unit("eta", self.eta)

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return pure_noise()

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        null, measured = _plain(abar_next, self.eta)
        return Weights(null, measured, measured)


@dataclass(frozen=True)
class DDNMPlus:
    """DDNM+ (section 3.3): the correction scaled by lambda(s), the noise by the matching amount.

    With a = sqrt(abar_next) and sigma_t = sqrt(1 - abar_next): where s sigma_t >= a sigma_y, lambda = 1 and
    the noise has variance sigma_t^2 - (a sigma_y / s)^2; elsewhere lambda = s sigma_t sqrt(1 - eta^2) /
    (a sigma_y) and the noise is eta sigma_t. The null space takes a DDIM step. For every operator, since
    lambda lives in its singular basis. Where sigma_y = 0 this is :class:`DDNM`.

    Args:
        steps:
            Number of steps, or descending timesteps.
        eta:
            Share of fresh noise where lambda < 1 and in the null space.
    """

    steps: StepsLike = 100
    eta: float = 0.85

    def __post_init__(self) -> None:
        check_unit("eta", self.eta)

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return pure_noise()

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        a, sigma_t = math.sqrt(abar_next), math.sqrt(1 - abar_next)
        null, measured = _plain(abar_next, self.eta)
        noisy = sigma_y > 0
        scale = divide(sigma_t * math.sqrt(1 - self.eta**2), sigma_y)  # a lambda / s
        low = Branch(a0=a, a1=-scale, c0=scale, d0=(sigma_t * self.eta) ** 2)
        high = Branch(
            b0=torch.where(noisy, 0.0, measured.b0),
            c1=a,
            d0=torch.where(noisy, sigma_t**2, measured.d0),
            d1=-((a * sigma_y) ** 2),
        )
        reached = a * sigma_y / sigma_t if sigma_t > 0 else torch.where(noisy, torch.inf, 0.0)
        return Weights(null, low, high, reached)

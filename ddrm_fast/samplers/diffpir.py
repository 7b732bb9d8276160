"""DiffPIR: denoising diffusion models for plug-and-play restoration (Zhu et al., CVPR workshops 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .steps import Steps
from .weights import Branch, Weights, check_unit, pure_noise, shares


@dataclass(frozen=True)
class DiffPIR:
    """Algorithm 1: the proximal step of :class:`HQS` on the clean image, then noise of the next level.

        x0' = argmin ||y - H x||^2 / sigma_y^2 + trust ||x - x0||^2 / sigma^2
        eps' = (x_t - sqrt(abar) x0') / sqrt(1 - abar)
        x_next = sqrt(abar_next) x0' + sqrt(1 - abar_next) (sqrt(1 - zeta) eps' + sqrt(zeta) z)

    All of it is one affine map, whose weights are rational in s: with k = 1 / sigma, A = sqrt(abar_next),
    B = sqrt((1 - abar_next)(1 - zeta)), D = sqrt((1 - abar_next) zeta) and p, q of
    :func:`~ddrm_fast.samplers.weights.shares`,

        x_next = (A p + B k q s^2) / (p + q s^2) x0 + B eps + (A - B k) q s / (p + q s^2) u + D z.

    Args:
        steps:
            Number of steps, noise levels by name, or descending timesteps.
        trust:
            In the denoiser, against the measurement, > 0 (lambda: 7 to 15 in the released code, which has
            [0, 1] noise levels in [-1, 1]).
        zeta:
            Share of fresh noise, 0 to 1.
        least_noise:
            A measurement of less noise is taken to have this much, unit of [0, 1] pictures.
    """

    steps: int | str | Steps | Sequence[float] = 100
    trust: float = 7.0
    zeta: float = 0.3
    least_noise: float = 0.001

    def __post_init__(self) -> None:
        if not 0 < self.trust < math.inf:
            raise ValueError(f"trust: expected a number > 0, got {self.trust}")
        check_unit("zeta", self.zeta)
        if not 0 <= self.least_noise < math.inf:
            raise ValueError(f"least_noise: expected a number >= 0, got {self.least_noise}")

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return pure_noise()

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        variance = (1 - abar) / abar
        noise = sigma_y.clamp(min=2 * self.least_noise).square()  # networks live in [-1, 1]
        p, q = shares(variance / self.trust, noise)
        signal = math.sqrt(abar_next)
        kept = math.sqrt((1 - abar_next) * (1 - self.zeta))
        slope = kept / math.sqrt(variance)
        fresh = (1 - abar_next) * self.zeta
        measured = Branch(
            a0=signal * p, a2=slope * q, b0=kept, c2=(signal - slope) * q, d0=fresh, p=p, q=q, over="ac"
        )  # fmt: skip
        return Weights(Branch(a0=signal, b0=kept, d0=fresh), measured, measured)

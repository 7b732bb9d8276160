"""DDRM: denoising diffusion restoration models (Kawar, Elad, Ermon, Song, NeurIPS 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from .steps import StepsLike
from .weights import Branch, Weights, check_unit, divide


@dataclass(frozen=True)
class DDRM:
    """Eqs. 7 and 8 of the paper, per singular value s, with sigma = sqrt((1 - abar) / abar) at t_next:

        s = 0                   x0 + sigma sqrt(1 - eta_c^2) eps + sigma eta_c z
        0 < s sigma < sigma_y   (1 - k s) x0 + k u + sigma eta z,  k = sigma sqrt(1 - eta^2) / sigma_y
        s sigma >= sigma_y      (1 - eta_b) x0 + eta_b u / s + sqrt(sigma^2 - (sigma_y eta_b / s)^2) z

    times sqrt(abar_next). The last step gives x0, as in the released code.

    Args:
        steps:
            Number of steps, or descending timesteps.
        eta:
            Noise of directions with s sigma < sigma_y (eta_a of the released code).
        eta_b:
            Trust in the measurement of the other measured directions.
        eta_c:
            Noise of the null space; default ``eta``.
        start_scale:
            "exact": the initial state is scaled by sqrt(abar_T), so that it has the distribution that the
            network was trained on. "published": divided by sigma_T, as in the released code (the two
            differ by the factor sqrt(1 - abar_T), 0.9999 for the usual first step).
    """

    steps: StepsLike = 20
    eta: float = 0.85
    eta_b: float = 1.0
    eta_c: float | None = None
    start_scale: str = "exact"

    def __post_init__(self) -> None:
        check_unit("eta", self.eta)
        check_unit("eta_b", self.eta_b)
        if self.eta_c is not None:
            check_unit("eta_c", self.eta_c)
        if self.start_scale not in ("exact", "published"):
            raise ValueError(
                f"start_scale: expected 'exact' or 'published', got {self.start_scale!r}"
            )

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        sigma = math.sqrt((1 - abar) / abar)
        noise = Branch(d0=sigma**2)
        measured = Branch(c1=1.0, d0=sigma**2, d1=-(sigma_y**2))
        weights = Weights(noise, noise, measured, sigma_y / sigma)
        return weights.scaled(1 / sigma if self.start_scale == "published" else math.sqrt(abar))

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        sigma = math.sqrt((1 - abar_next) / abar_next)
        if sigma == 0:
            return Weights.everywhere(Branch(a0=1.0))
        eta_c = self.eta if self.eta_c is None else self.eta_c
        null = Branch(a0=1.0, b0=sigma * math.sqrt(1 - eta_c**2), d0=(sigma * eta_c) ** 2)
        k = divide(sigma * math.sqrt(1 - self.eta**2), sigma_y)
        low = Branch(a0=1.0, a1=-k, c0=k, d0=(sigma * self.eta) ** 2)
        high = Branch(
            a0=1 - self.eta_b, c1=self.eta_b, d0=sigma**2, d1=-((sigma_y * self.eta_b) ** 2)
        )
        return Weights(null, low, high, sigma_y / sigma).scaled(math.sqrt(abar_next))

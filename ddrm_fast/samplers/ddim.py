"""DDIM: denoising diffusion implicit models (Song, Meng, Ermon, ICLR 2021). Draws from the prior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..operators import Forward
from .steps import StepsLike
from .weights import Branch, Weights, check_unit, pure_noise


@dataclass(frozen=True)
class DDIM:
    """Eq. 12: sqrt(abar_next) x0 + sqrt(1 - abar_next - sigma^2) eps + sigma z, eq. 16 for sigma.

    The measurement plays no part: this draws pictures from the prior itself.

    Args:
        steps:
            Number of steps, or descending timesteps.
        eta:
            0: deterministic; 1: as much noise as ancestral sampling.
    """

    needs: ClassVar[type[Forward]] = Forward

    steps: StepsLike = 50
    eta: float = 0.0

    def __post_init__(self) -> None:
        check_unit("eta", self.eta)

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return pure_noise()

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        variance = self.eta**2 * (1 - abar_next) / (1 - abar) * (1 - abar / abar_next)
        deterministic = math.sqrt(max(0.0, 1 - abar_next - variance))
        return Weights.everywhere(Branch(a0=math.sqrt(abar_next), b0=deterministic, d0=variance))

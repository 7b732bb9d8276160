"""How a measurement scatters about what the degradation gives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Gaussian:
    """White noise: y = H(x) + sigma_y n.

    Args:
        sigma_y:
            Standard deviation in the unit of y, >= 0, float64 [B or 1] on the CPU; see :meth:`of`.
    """

    sigma_y: Tensor

    @classmethod
    def of(cls, sigma_y: float | Tensor, batch: int) -> Gaussian:
        """From a number, or one for each picture of a batch.

        Raises:
            ValueError: it is neither, or negative, NaN or infinite.
        """
        return cls(noise_levels(sigma_y, batch))

    def select(self, pictures: Tensor) -> Gaussian:
        """That of some pictures of the batch."""
        return self if len(self.sigma_y) == 1 else Gaussian(self.sigma_y[pictures.cpu()])

    def scaled(self, factor: float) -> Gaussian:
        """That of ``factor`` times the measurement."""
        return Gaussian(factor * self.sigma_y)


def noise_levels(sigma_y: float | Tensor, batch: int) -> Tensor:
    """Noise of the measurement, float64 [B or 1] on the CPU.

    Raises:
        ValueError: it is no number >= 0, or another count than one or ``batch``.
    """
    if isinstance(sigma_y, bool) or (isinstance(sigma_y, Tensor) and not _is_real(sigma_y)):
        raise ValueError(f"sigma_y: expected a number or [{batch}], got {sigma_y!r}")
    try:
        levels = torch.as_tensor(sigma_y, dtype=torch.float64).detach().cpu().reshape(-1)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"sigma_y: expected a number or [{batch}], got {sigma_y!r}") from None
    if len(levels) not in (1, batch):
        raise ValueError(f"sigma_y: expected one number or [{batch}], got {len(levels)} numbers")
    if not (torch.isfinite(levels) & (levels >= 0)).all():
        raise ValueError(f"sigma_y: expected finite numbers >= 0, got {levels.tolist()}")
    return levels


def _is_real(x: Tensor) -> bool:
    return not x.is_complex() and x.dtype != torch.bool

"""Noise schedules of diffusion models, and the steps that a sampler visits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Schedule:
    """x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps for t = 0 .. T - 1.

    Args:
        alphas_cumprod:
            abar, float64 [T], not increasing, 0 <= abar <= 1.
    """

    alphas_cumprod: Tensor

    def __post_init__(self) -> None:
        abar = torch.as_tensor(self.alphas_cumprod).detach().cpu().double()
        if abar.dim() != 1 or not len(abar):
            raise ValueError(f"alphas_cumprod: expected [T], got shape {tuple(abar.shape)}")
        if not ((abar >= 0) & (abar <= 1)).all() or (abar.diff() > 0).any():
            raise ValueError("alphas_cumprod: expected numbers from 1 down to 0, not increasing")
        object.__setattr__(self, "alphas_cumprod", abar)

    @classmethod
    def from_betas(cls, betas: Tensor | Sequence[float]) -> Schedule:
        """abar = cumulative product of 1 - beta (Ho et al. 2020, eq. 4)."""
        betas = torch.as_tensor(betas, dtype=torch.float64)
        if not ((betas >= 0) & (betas <= 1)).all():
            raise ValueError("betas: expected numbers from 0 to 1")
        return cls(torch.cumprod(1.0 - betas, dim=0))

    @classmethod
    def linear(cls, T: int = 1000, start: float = 1e-4, end: float = 2e-2) -> Schedule:
        """Betas linear from ``start`` to ``end`` (Ho et al. 2020)."""
        return cls.from_betas(torch.linspace(start, end, T, dtype=torch.float64))

    @classmethod
    def quadratic(cls, T: int = 1000, start: float = 1e-4, end: float = 2e-2) -> Schedule:
        """Betas whose square roots are linear from those of ``start`` and ``end``."""
        return cls.from_betas(torch.linspace(start**0.5, end**0.5, T, dtype=torch.float64) ** 2)

    @classmethod
    def sigmoid(cls, T: int = 1000, start: float = 1e-4, end: float = 2e-2) -> Schedule:
        """Betas along the logistic function from -6 to 6, scaled to ``start`` and ``end``."""
        curve = torch.sigmoid(torch.linspace(-6, 6, T, dtype=torch.float64))
        return cls.from_betas(curve * (end - start) + start)

    @classmethod
    def constant(cls, T: int = 1000, beta: float = 2e-2) -> Schedule:
        """All betas the same."""
        return cls.from_betas(torch.full((T,), beta, dtype=torch.float64))

    @classmethod
    def jsd(cls, T: int = 1000) -> Schedule:
        """Betas 1 / T, 1 / (T - 1), ..., 1 (Sohl-Dickstein et al. 2015): abar falls linearly to 0.

        Nothing of the image is left at the last timestep, so restoration leaves it out.
        """
        return cls.from_betas(1.0 / torch.linspace(T, 1, T, dtype=torch.float64))

    @classmethod
    def cosine(cls, T: int = 1000, largest: float = 0.999) -> Schedule:
        """abar as a squared cosine, betas at most ``largest`` (Nichol and Dhariwal 2021, eq. 17)."""
        u = torch.arange(T + 1, dtype=torch.float64) / T
        abar = torch.cos((u + 0.008) / 1.008 * torch.pi / 2) ** 2
        return cls.from_betas((1 - abar[1:] / abar[:-1]).clamp(max=largest))

    @property
    def T(self) -> int:
        return len(self.alphas_cumprod)

    def abar(self, t: int) -> float:
        """abar_t; 1 for t = -1 (the clean image)."""
        return 1.0 if t == -1 else float(self.alphas_cumprod[t])

    def sigma(self, t: int) -> float:
        """sqrt((1 - abar_t) / abar_t): the noise level of x_t / sqrt(abar_t)."""
        abar = self.abar(t)
        return ((1.0 - abar) / abar) ** 0.5 if abar > 0 else float("inf")

    def steps(self, steps: int | Sequence[int], *, from_pure_noise: bool = False) -> list[int]:
        """The timesteps that a sampler visits, descending.

        Args:
            steps:
                A number of steps: every (T // steps)-th timestep from 0 on, as published (20 of 1000: 950,
                ..., 50, 0; a number that does not divide T gives a few more). Or the timesteps
                themselves, strictly descending.
            from_pure_noise:
                Allow abar = 0 at the first of them: ancestral sampling can start there, restoration
                cannot.

        Raises:
            ValueError: the number is outside 1 .. T, a timestep is outside 0 .. T - 1 or out of order,
                or has abar = 0 (nothing of the image is left there to predict from).
        """
        if isinstance(steps, int):
            if not 1 <= steps <= self.T:
                raise ValueError(f"steps: expected 1 to {self.T}, got {steps}")
            visited = list(range(0, self.T, self.T // steps))[::-1]
        else:
            try:
                visited = [index(t) for t in steps]
            except TypeError:
                raise ValueError(
                    f"steps: expected a whole number, or a list of them, got {steps!r}"
                ) from None
            if not visited:
                raise ValueError("steps: the list is empty")
            if any(not 0 <= t < self.T for t in visited):
                raise ValueError(f"steps: expected timesteps from 0 to {self.T - 1}, got {visited}")
            if any(a <= b for a, b in zip(visited, visited[1:], strict=False)):
                raise ValueError(f"steps: expected descending timesteps, got {visited}")
        empty = [t for t in visited[int(from_pure_noise) :] if self.abar(t) == 0]
        if empty:
            raise ValueError(
                f"steps: abar is 0 at timestep {empty[0]}: the state holds nothing of the image "
                "there; leave it out"
            )
        clean = [t for t in visited if self.abar(t) == 1]
        if clean:
            raise ValueError(
                f"steps: abar is 1 at timestep {clean[0]}: there is no noise to predict"
            )
        return visited


def pairs(visited: Sequence[int]) -> list[tuple[int, int]]:
    """(t, t_next) of every step; the last one ends on the clean image, t_next = -1."""
    return list(zip(visited, [*visited[1:], -1], strict=True))

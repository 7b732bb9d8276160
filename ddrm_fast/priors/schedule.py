"""Noise schedules of diffusion models, and the steps that a sampler visits."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import index
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..machine.arguments import checked

#: timesteps of a schedule
_MOST = 10**6
#: copies of schedules, by schedule and device; not in them, so that they are sent to workers without
_ON_DEVICES: WeakKeyDictionary[Schedule, dict[torch.device, Tensor]] = WeakKeyDictionary()


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
    @partial(checked, arrays=True)
    def from_betas(cls, betas: Tensor | Sequence[float]) -> Schedule:
        """abar = cumulative product of 1 - beta (Ho et al. 2020, eq. 4)."""
        betas = torch.as_tensor(betas, dtype=torch.float64)
        if betas.dim() != 1 or not len(betas):
            raise ValueError(f"betas: expected [T], got shape {tuple(betas.shape)}")
        if not ((betas >= 0) & (betas <= 1)).all():
            raise ValueError("betas: expected numbers from 0 to 1")
        return cls(torch.cumprod(1.0 - betas, dim=0))

    @classmethod
    @checked
    def linear(cls, T: int = 1000, start: float = 1e-4, end: float = 2e-2) -> Schedule:
        """Betas linear from ``start`` to ``end`` (Ho et al. 2020)."""
        return cls.from_betas(torch.linspace(start, end, _count(T), dtype=torch.float64))

    @classmethod
    @checked
    def quadratic(cls, T: int = 1000, start: float = 1e-4, end: float = 2e-2) -> Schedule:
        """Betas whose square roots are linear from those of ``start`` and ``end``."""
        return cls.from_betas(
            torch.linspace(start**0.5, end**0.5, _count(T), dtype=torch.float64) ** 2
        )

    @classmethod
    @checked
    def sigmoid(cls, T: int = 1000, start: float = 1e-4, end: float = 2e-2) -> Schedule:
        """Betas along the logistic function from -6 to 6, scaled to ``start`` and ``end``."""
        curve = torch.sigmoid(torch.linspace(-6, 6, _count(T), dtype=torch.float64))
        return cls.from_betas(curve * (end - start) + start)

    @classmethod
    @checked
    def constant(cls, T: int = 1000, beta: float = 2e-2) -> Schedule:
        """All betas the same."""
        return cls.from_betas(torch.full((_count(T),), beta, dtype=torch.float64))

    @classmethod
    @checked
    def jsd(cls, T: int = 1000) -> Schedule:
        """Betas 1 / T, 1 / (T - 1), ..., 1 (Sohl-Dickstein et al. 2015): abar falls linearly to 0.

        Nothing of the image is left at the last timestep, so restoration leaves it out.
        """
        return cls.from_betas(1.0 / torch.linspace(_count(T), 1, T, dtype=torch.float64))

    @classmethod
    @checked
    def cosine(cls, T: int = 1000, largest: float = 0.999) -> Schedule:
        """abar as a squared cosine, betas at most ``largest`` (Nichol and Dhariwal 2021, eq. 17)."""
        u = torch.arange(_count(T) + 1, dtype=torch.float64) / T
        abar = torch.cos((u + 0.008) / 1.008 * torch.pi / 2) ** 2
        return cls.from_betas((1 - abar[1:] / abar[:-1]).clamp(max=largest))

    def to_zero_snr(self) -> Schedule:
        """sqrt(abar) moved and stretched so that it ends at 0 and begins where it did.

        Lin et al., "Common diffusion noise schedules and sample steps are flawed", 2024, algorithm 1.
        Nothing of the image is left at the last timestep: drawing may start there with a network that
        predicts x0 or v, restoration leaves it out.
        """
        root = self.alphas_cumprod.sqrt()
        moved = (root - root[-1]) * root[0] / (root[0] - root[-1])
        return Schedule(moved.square())

    @property
    def T(self) -> int:
        return len(self.alphas_cumprod)

    @checked
    def abar(self, t: float) -> float:
        """abar_t; 1 for t = -1 (the clean image).

        Between two timesteps log sigma is linear in t; between -1 and 0 sigma itself is. (Where sigma is 0 at
        one of two timesteps it is linear there too, where abar is 0 at one of them abar is.)

        Raises:
            ValueError: t is not from -1 to T - 1.
        """
        if not -1 <= t <= self.T - 1:
            raise ValueError(f"t: expected -1 to {self.T - 1}, got {t}")
        first = math.floor(t)
        below, share = self._abar(first), t - first
        if share == 0:
            return below
        above = self._abar(first + 1)
        if above == 0:
            return (1 - share) * below
        low, high = (math.sqrt((1 - abar) / abar) for abar in (below, above))
        sigma = high * share if low == 0 else low * (high / low) ** share
        return 1 / (1 + sigma**2)

    def _abar(self, t: int) -> float:
        return 1.0 if t == -1 else float(self.alphas_cumprod[t])

    @checked
    def sigma(self, t: float) -> float:
        """sqrt((1 - abar_t) / abar_t): the noise level of x_t / sqrt(abar_t).

        Raises:
            ValueError: t is not from -1 to T - 1.
        """
        abar = self.abar(t)
        return ((1.0 - abar) / abar) ** 0.5 if abar > 0 else float("inf")

    @checked
    def timestep(self, sigma: float) -> float:
        """The t with this noise level, from -1 (0) to T - 1, whole or between: the inverse of :meth:`sigma`.

        A level above the schedule's largest gives the last timestep; where abar is 0 there, the last one
        before it.

        Raises:
            ValueError: sigma is negative or no number.
        """
        if not sigma >= 0:
            raise ValueError(f"sigma: expected a noise level of 0 or more, got {sigma}")
        known = ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()
        levels: list[float] = known[known.isfinite()].tolist()
        first = bisect_right(levels, sigma) - 1  # the last timestep at or below this level
        if first == len(levels) - 1:
            return float(first)
        low, high = (levels[first] if first >= 0 else 0.0), levels[first + 1]
        if low == 0:
            return first + sigma / high
        return first + math.log(sigma / low) / math.log(high / low)

    def abar_at(self, t: Tensor) -> Tensor:
        """:meth:`abar` for timesteps on any device, without reading them: float64 of t's shape.

        Args:
            t:
                Any shape, from -1 to T - 1.
        """
        abar = self._on(t.device)
        place = t.double() + 1
        first = place.floor().long()
        below, above = abar[first], abar[(first + 1).clamp(max=self.T)]
        share = place - first
        low, high = (((1 - a) / a).sqrt() for a in (below, above))
        sigma = torch.where(low == 0, high * share, low * (high / low) ** share)
        between = torch.where(above == 0, (1 - share) * below, 1 / (1 + sigma**2))
        return torch.where(share == 0, below, between)

    def _on(self, device: torch.device) -> Tensor:
        """abar from t = -1 on, on a device, copied there once: a graph being captured must not copy it."""
        known = _ON_DEVICES.setdefault(self, {})
        if device not in known:
            clean = torch.ones(1, dtype=torch.float64)
            known[device] = torch.cat([clean, self.alphas_cumprod]).to(device)
        return known[device]

    def steps(
        self,
        steps: int | Sequence[float],
        *,
        from_pure_noise: bool = False,
        lowest: float | None = None,
    ) -> list[float]:
        """The timesteps that a sampler visits, descending.

        Args:
            steps:
                A number of steps: every (T // steps)-th timestep from 0 on, as published (20 of 1000: 950,
                ..., 50, 0; a number that does not divide T gives a few more). Or the timesteps
                themselves, strictly descending.
            from_pure_noise:
                Allow abar = 0 at the first of them: ancestral sampling can start there, restoration
                cannot.
            lowest:
                Allow timesteps that are not whole, from this one on, above -1: for a network that takes them
                (:meth:`Prior.steps` knows).

        Raises:
            ValueError: the number is outside 1 .. T, a timestep is outside 0 .. T - 1, not whole or out of
                order, or has abar = 0 (nothing of the image is left there to predict from).
        """
        if isinstance(steps, int):
            if not 1 <= steps <= self.T:
                raise ValueError(f"steps: expected 1 to {self.T}, got {steps}")
            visited: list[float] = [*range(0, self.T, self.T // steps)][::-1]
        else:
            visited = self._listed(steps, lowest)
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

    def _listed(self, steps: Sequence[float], lowest: float | None) -> list[float]:
        """Timesteps that were given one by one, checked; whole ones are int."""
        try:
            visited: list[float]
            if lowest is None:
                visited = [index(t) for t in steps]  # type: ignore[arg-type]  # refuses what is not whole
            else:
                visited = [_whole(float(0.0 + t)) for t in steps]  # text has no sum
        except (TypeError, ValueError, OverflowError):
            kind = "them" if lowest is None else "numbers"
            raise ValueError(
                f"steps: expected a whole number, or a list of {kind}, got {steps!r}"
            ) from None
        if not visited:
            raise ValueError("steps: the list is empty")
        low = 0 if lowest is None else lowest
        if any(not low <= t <= self.T - 1 for t in visited):
            raise ValueError(
                f"steps: expected timesteps from {low:.4g} to {self.T - 1}, got {visited}"
            )
        if any(a <= b for a, b in zip(visited, visited[1:], strict=False)):
            raise ValueError(f"steps: expected descending timesteps, got {visited}")
        return visited


def _count(T: int) -> int:
    """A number of timesteps, of at least 1 and such that they fit into memory."""
    if not 1 <= T <= _MOST:
        raise ValueError(f"T: got {T}, expected a whole number from 1 to {_MOST}")
    return T


def _whole(t: float) -> float:
    return int(t) if t == int(t) else t


def pairs(visited: Sequence[float]) -> list[tuple[float, float]]:
    """(t, t_next) of every step; the last one ends on the clean image, t_next = -1."""
    return list(zip(visited, [*visited[1:], -1], strict=True))

"""A plain denoiser D(x, sigma) as a prior."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .networks.denoiser import SIGMA_MIN, Denoiser
from .prior import Prior, held_score
from .schedule import Schedule


class DenoiserPrior(Prior):
    """A plain denoiser D(x, sigma) as a diffusion prior: x0 = D(x_t / sqrt(abar), sigma_t).

    Fits deepinv's protocol and any network that takes a picture and its noise level.

    Args:
        denoiser:
            ``(x, sigma[, labels]) -> clean``: x (B, C, H, W), sigma float32 [B], both in the unit of
            ``value_range``.
        value_range:
            (low, high) of the pictures that the denoiser knows: (0, 1) as in deepinv, or (-1, 1).
        channels:
            C if the denoiser is made for a certain number.
        num_classes:
            Classes of a denoiser that takes labels; None: it takes none, and labels are refused.
        sigma_min:
            The lowest noise level that the denoiser was made for, > 0, in the unit of ``value_range``; below
            it the score stays that of this level (:meth:`Prior.denoise`). None: that of a :class:`Denoiser`
            is known, any other one is asked at every level above 0.
    """

    def __init__(
        self,
        denoiser: Callable[[Tensor, Tensor], Tensor],
        value_range: tuple[float, float] = (0.0, 1.0),
        *,
        channels: int | None = None,
        name: str = "denoiser",
        dtype: torch.dtype | None = None,
        num_classes: int | None = None,
        sigma_min: float | None = None,
    ) -> None:
        low, high = value_range
        if not low < high:
            raise ValueError(f"value_range: expected low < high, got {value_range}")
        self.denoiser = denoiser
        self._half, self._middle = (high - low) / 2, (high + low) / 2
        self._same_unit = (low, high) == (-1, 1)
        if sigma_min is None:
            sigma_min = SIGMA_MIN * self._half if isinstance(denoiser, Denoiser) else 0.0
        elif not 0 < sigma_min < math.inf:
            raise ValueError(f"sigma_min: expected a noise level above 0, got {sigma_min}")
        module = denoiser if isinstance(denoiser, torch.nn.Module) else None
        super().__init__(
            self._clean, "x0", Schedule.linear(), channels, name, dtype, num_classes,
            module=module, fractional=True, sigma_min=sigma_min / self._half,
        )  # fmt: skip
        abar = self.schedule.alphas_cumprod
        self._levels = torch.stack((abar.rsqrt(), ((1 - abar) / abar).sqrt()), dim=1).float()

    def _restore(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        extra = self._extra(labels)
        if self._same_unit:  # nothing to convert, and no copies of large pictures
            return self.denoiser(x, sigma, *extra)
        scaled = self.denoiser(x * self._half + self._middle, sigma * self._half, *extra)
        return (scaled - self._middle) / self._half

    def _extra(self, labels: Tensor | None) -> tuple[Tensor, ...]:
        if labels is None:
            return ()
        if self.num_classes is None:
            raise ValueError(
                f"labels: {self.name} takes none (num_classes is None); beside a classifier, use "
                "ddrm_fast.priors.without_labels(prior)"
            )
        return (labels,)

    def _at(self, t: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """1 / sqrt(abar) and sigma [B]: those of the table for whole t, as the schedule says between."""
        if self._levels.device != device:
            self._levels = self._levels.to(device)
        first = t.floor().clamp(min=0)
        place = first.long()
        gain, sigma = self._levels.index_select(0, place).unbind(1)
        above = self._levels[:, 1].index_select(0, (place + 1).clamp(max=self.schedule.T - 1))
        share = t - first
        level = sigma * torch.where(share < 0, 1 + share, (above / sigma) ** share)
        gain = torch.where(share == 0, gain, (1 + level.square()).sqrt())
        return gain, level.clamp(min=self.sigma_min)

    def _clean(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        gain, sigma = self._at(t.to(x_t.device, torch.float32), x_t.device)
        if self._same_unit and isinstance(self.denoiser, Denoiser):
            return self.denoiser(x_t, sigma, gain, *self._extra(labels))
        return self._restore(x_t * gain.view(-1, 1, 1, 1).to(x_t.dtype), sigma, labels)

    def _denoised(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None) -> Tensor:
        """See :meth:`Prior.denoise`; the noise level reaches the denoiser as it is, without an upper end."""
        levels = self._levels_of(x, sigma)
        asked = levels.clamp(min=self.sigma_min).to(x.device, torch.float32)
        extra = () if labels is None else (labels,)
        x0 = self._cast(self._restore, x, asked, *extra)
        return held_score(x0, x, levels / self.sigma_min) if self.sigma_min else x0

"""A prior in closed form: stationary Gaussian images. For tests, examples and measurements."""

from __future__ import annotations

import torch
from torch import Tensor

from .prior import Prior
from .schedule import Schedule


class GaussianPrior(Prior):
    """Images that are Gaussian with mean ``mean`` and covariance F^* diag(power) F per channel.

    The network is exact: eps(x_t) = sqrt(1 - abar) (x_t - sqrt(abar) m) / (abar power + 1 - abar) per
    frequency of the unitary FFT. Fits any linear operator with a closed-form posterior.

    Args:
        power:
            Variance of each frequency, (H, W) on the unshifted FFT grid, >= 0 and symmetric under
            negation of the frequency; or None: falls as 1 / frequency^2, as in photographs, for any size.
        mean:
            Number or (C, H, W).
        schedule:
            Default: linear, T = 1000.
    """

    def __init__(
        self,
        power: Tensor | None = None,
        mean: float | Tensor = 0.0,
        schedule: Schedule | None = None,
    ) -> None:
        self.power, self.mean = power, mean
        # numbers come from the host once: a CUDA graph takes no copies from there
        self._there: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}
        schedule = schedule or Schedule.linear()
        super().__init__(self._eps, "eps", schedule, name="gaussian", fractional=True)

    def _numbers(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and spectrum for pictures such as x."""
        key = (*x.shape[-2:], x.dtype, x.device)
        if key not in self._there:
            self._there = {key: (torch.as_tensor(self.mean).to(x), self._spectrum(x))}
        return self._there[key]

    def _spectrum(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if self.power is not None:
            power = torch.as_tensor(self.power)
            if tuple(power.shape[-2:]) != (height, width):
                raise ValueError(
                    f"power: this prior is for {tuple(power.shape[-2:])} pixels, got {height} x {width}"
                )
            return power[..., : width // 2 + 1].to(x)
        vertical = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
        horizontal = torch.fft.rfftfreq(width, dtype=torch.float64)[None]
        power = 1.0 / (vertical**2 + horizontal**2 + 1.0 / (height * width))
        whole = power.sum() * 2 / (height * width)
        return (0.3 * power / whole).to(x)

    def _eps(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        abar = self.schedule.abar_at(t.to(x_t.device)).to(x_t).view(-1, 1, 1, 1)
        mean, spectrum = self._numbers(x_t)
        centred = torch.fft.rfft2(x_t - abar.sqrt() * mean)
        scaled = centred * (1 - abar).sqrt() / (abar * spectrum + 1 - abar)
        return torch.fft.irfft2(scaled, s=x_t.shape[-2:])

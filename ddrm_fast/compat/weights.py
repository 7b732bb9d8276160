"""The published weights, as weight functions of this package's samplers.

Sigma, products and comparisons are float32 and the comparisons strict, as in the published code; the
package's own :class:`ddrm_fast.DDRM` works in float64 and puts equality with the measured branch.

A kernel knows three branches: s = 0, s < thr, s >= thr. The published DDRM has a fourth case, a measured
direction whose singular value was set to 0: with noise in y it belongs to s < thr. ``TINY`` stands for
such a value. Directions where s sigma equals sigma_0 exactly (:meth:`DDRMWeights.tie`) belong to
s = 0: the loop sets them to 0 for that step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from ..samplers.weights import Branch, Weights

#: stands for a singular value of 0 of a measured direction; its inverse square is a float32
TINY = 1e-18

F32 = np.float32


def first_float(reached: Callable[[np.float32], bool], guess: float) -> float:
    """The smallest float32 > TINY where ``reached``, which is False below and True above some value.

    Args:
        reached:
            A comparison in float32.
        guess:
            About where it becomes True.
    """
    low = np.nextafter(F32(TINY), F32(1))
    if not guess < 1e30:
        return math.inf
    s = max(F32(guess), low)
    with np.errstate(all="ignore"):
        while s > low and reached(np.nextafter(s, F32(0))):
            s = np.nextafter(s, F32(0))
        while np.isfinite(s) and not reached(s):
            s = np.nextafter(s, F32(np.inf))
    return float(s)


def _roots32(abar: float) -> tuple[np.float32, np.float32]:
    """sqrt(abar) and sqrt(1 - abar) in float32, as torch rounds them (numpy's last bit may differ)."""
    level = torch.tensor(abar, dtype=torch.float32)
    return F32(level.sqrt().item()), F32((1 - level).sqrt().item())


def sigma32(abar: float) -> np.float32:
    """sqrt(1 - abar) / sqrt(abar) in float32: the noise level of x_t / sqrt(abar_t)."""
    a, root = _roots32(abar)
    return root / a


@dataclass(frozen=True)
class DDRMWeights:
    """Eqs. 7 and 8 of Kawar et al. 2022 as released.

    Per singular value s, before the factor sqrt(abar_next), with sigma at t_next:

        s sigma > sigma_0    (1 - etaB) x0 + etaB u / s + sqrt(sigma^2 - (sigma_0 etaB / s)^2) z
        s sigma < sigma_0    (1 - k s) x0 + k u + sigma etaA z,  k = sigma sqrt(1 - etaA^2) / sigma_0
        else                 x0 + sigma sqrt(1 - etaC^2) eps + sigma etaC z
    """

    eta_b: float
    eta_a: float
    eta_c: float
    steps: int = 0

    @staticmethod
    def _above(sigma: np.float32, sigma_0: float) -> float:
        level = F32(sigma_0)
        return first_float(lambda s: bool(s * sigma > level), sigma_0 / float(sigma))

    def tie(self, abar_next: float, sigma_0: float) -> tuple[float, float]:
        """Singular values low <= s < high lie in neither branch, by equality in float32."""
        sigma, level = sigma32(abar_next), F32(sigma_0)
        if sigma == 0 or sigma_0 == 0:
            return math.inf, math.inf
        high = self._above(sigma, sigma_0)
        return first_float(lambda s: bool(s * sigma >= level), high), high

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        """The initial state, divided by sigma_T as released."""
        sigma_0, sigma = float(sigma_y), sigma32(abar)
        noise = Branch(d0=1.0)
        measured = Branch(c1=1 / float(sigma), d0=1.0, d1=-((sigma_0 / float(sigma)) ** 2))
        return Weights(noise, noise, measured, self._above(sigma, sigma_0))

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        sigma_0, sigma = float(sigma_y), float(sigma32(abar_next))
        if sigma == 0:
            return Weights.everywhere(Branch(a0=1.0)).scaled(math.sqrt(abar_next))
        null = Branch(a0=1.0, b0=sigma * math.sqrt(1 - self.eta_c**2), d0=(sigma * self.eta_c) ** 2)
        low = null  # without noise in y nothing is in between: what was set to 0 counts as s = 0
        if sigma_0 > 0:
            k = sigma * math.sqrt(1 - self.eta_a**2) / sigma_0
            low = Branch(a0=1.0, a1=-k, c0=k, d0=(sigma * self.eta_a) ** 2)
        high = Branch(
            a0=1 - self.eta_b, c1=self.eta_b, d0=sigma**2, d1=-((sigma_0 * self.eta_b) ** 2)
        )
        threshold = self._above(sigma32(abar_next), sigma_0)
        return Weights(null, low, high, threshold).scaled(math.sqrt(abar_next))


class _Noise(TypedDict):
    b0: float
    d0: float


def _ddim(abar_next: float, eta: float) -> _Noise:
    """Noise of a DDIM step: sigma_t (sqrt(1 - eta^2) eps + eta z)."""
    sigma_t = math.sqrt(1 - abar_next)
    return {"b0": sigma_t * math.sqrt(1 - eta**2), "d0": (sigma_t * eta) ** 2}


def _pure() -> Weights:
    return Weights.everywhere(Branch(d0=1.0))


@dataclass(frozen=True)
class DDNMWeights:
    """Algorithm 1 of Wang et al. 2023: x0 gives way to u / s, with DDIM noise on all directions."""

    eta: float
    steps: int = 0

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return _pure()

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        noise, a = _ddim(abar_next, self.eta), math.sqrt(abar_next)
        return Weights(Branch(a0=a, **noise), Branch(a0=a, **noise), Branch(c1=a, **noise), TINY)


@dataclass(frozen=True)
class DDNMPlusWeights:
    """Section 3.3 of Wang et al. 2023 as released: with a = sqrt(abar_next), r = a sigma_y / s:

        sigma_t > r    a u / s + sqrt(sigma_t^2 - r^2) z
        sigma_t < r    a (x0 + lambda (u / s - x0)) + eta sigma_t z,
                       lambda = s sigma_t sqrt(1 - eta^2) / (a sigma_y)
        s = 0          a x0 + a DDIM step's noise

    Equality (:meth:`tie`) has lambda = 1 with a DDIM step's noise, no branch of a row: the loop takes
    such a step apart.

    Args:
        eps:
            False: the degradation is plain denoising, whose published noise never uses eps, and for
            which equality belongs to sigma_t > r.
    """

    eta: float
    eps: bool = True
    steps: int = 0

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return _pure()

    @staticmethod
    def _ratio(abar_next: float, sigma_y: float) -> tuple[np.float32, np.float32]:
        """sigma_t and a sigma_y in float32."""
        a, sigma_t = _roots32(abar_next)
        return sigma_t, a * F32(sigma_y)

    def _thresholds(self, abar_next: float, sigma_y: float) -> tuple[float, float]:
        """From which s on sigma_t >= r, and sigma_t > r."""
        sigma_t, level = self._ratio(abar_next, sigma_y)
        if sigma_t == 0:
            return math.inf, math.inf
        guess = float(level) / float(sigma_t)
        high = first_float(lambda s: bool(sigma_t > level * (F32(1) / s)), guess)
        return first_float(lambda s: bool(sigma_t >= level * (F32(1) / s)), high), high

    def tie(self, abar_next: float, sigma_y: float) -> tuple[float, float]:
        """Singular values low <= s < high with sigma_t = r in float32."""
        if sigma_y == 0 or not self.eps:
            return math.inf, math.inf
        return self._thresholds(abar_next, sigma_y)

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        level, a, sigma_t = float(sigma_y), math.sqrt(abar_next), math.sqrt(1 - abar_next)
        noise = _ddim(abar_next, self.eta)
        null = Branch(a0=a, **noise)
        if level == 0:
            high = Branch(c1=a, **noise) if self.eps else Branch(c1=a, d0=sigma_t**2)
            return Weights(null, null, high, TINY)
        scale = sigma_t * math.sqrt(1 - self.eta**2) / level  # a lambda / s
        low = Branch(a0=a, a1=-scale, c0=scale, d0=(sigma_t * self.eta) ** 2)
        high = Branch(c1=a, d0=sigma_t**2, d1=-((a * level) ** 2))
        reached, above = self._thresholds(abar_next, level)
        return Weights(null, low, high, above if self.eps else reached)


@dataclass(frozen=True)
class RenoiseWeights:
    """Time travel: sqrt(abar_next) x0 + sqrt(1 - abar_next) z, from a clean image x0."""

    steps: int = 0

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return _pure()

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        return Weights.everywhere(Branch(a0=math.sqrt(abar_next), d0=1 - abar_next))


def split_noise(
    s: Tensor, a: Tensor, sigma_y: float, sigma_t: Tensor, eta: float
) -> tuple[Tensor, Tensor, Tensor]:
    """lambda and the weights d1 (of white noise) and d2 (of eps) per singular value; see the table in
    ``docs/fidelity.md``.

    Args:
        s:
            Singular values, 0 where nothing is measured.
        a, sigma_t:
            sqrt(abar_next) and sqrt(1 - abar_next), one number each.
    """
    a, sigma_t = (torch.as_tensor(v, dtype=s.dtype, device=s.device) for v in (a, sigma_t))
    root = (1 - eta**2) ** 0.5
    ones = torch.ones_like(s)
    lam, d1, d2 = ones, ones * sigma_t * eta, ones * sigma_t * root
    if float(a) == 0 or sigma_y == 0:
        return lam, d1, d2
    measured = s > 0
    r = torch.where(measured, a * sigma_y * (1.0 / torch.where(measured, s, 1.0)), 0.0)
    low, high = measured & (sigma_t < r), measured & (sigma_t > r)
    lam = torch.where(low, s * sigma_t * root / a / sigma_y, lam)
    d1 = torch.where(high, torch.sqrt(torch.clamp(sigma_t**2 - r**2, min=0.0)), d1)
    d2 = torch.where(low | high, 0.0, d2)
    return lam, d1, d2

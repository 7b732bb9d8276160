"""The sequence of operations of DDRM's published algorithm, in plain PyTorch, to compare with."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import ops
from ..operators import Operator


class PublishedStep:
    """One step as the published program takes it: in the space of V^T, a branch after the other.

    Three forward transforms (of the state, of the clean image and of the noise; that of the state is not
    used) and an inverse, gathers and scatters by boolean masks for the branches that were measured, and
    copies of the new state and of the clean image to the host. The transforms are those of this package
    in plain PyTorch, which is kinder than the published ones: some of those multiply by a matrix of all
    groups, or loop. Kawar et al., "Denoising Diffusion Restoration Models", 2022, eqs. 7 and 8.

    Args:
        operator:
            The degradation; its images have no masks of their own.
        y:
            Measurement (1 or B, ...), on the device of the run.
        shape:
            (C, H, W) of a picture.
        sigma_y:
            Noise of y, > 0.
        abar, abar_next:
            Cumulative products of the schedule at this step and the next.
        eta, eta_b:
            As of :class:`ddrm_fast.DDRM`.
    """

    def __init__(
        self,
        operator: Operator,
        y: Tensor,
        shape: tuple[int, int, int],
        sigma_y: float,
        abar: float,
        abar_next: float,
        eta: float = 0.85,
        eta_b: float = 1.0,
    ) -> None:
        self.operator, self.sigma_y, self.eta, self.eta_b = operator, sigma_y, eta, eta_b
        self.abar, self.abar_next = (torch.tensor([v], device=y.device) for v in (abar, abar_next))
        self.kept: list[Tensor] = []
        with ops.use_backend("reference"):
            u = operator.Ut(y)
            s = operator.singulars(shape).to(u.device, u.real.dtype).expand(1, *u.shape[1:])
            # singular values and measurement in the places of all coefficients
            spread = operator.Vt(operator.lift(s.to(u.dtype), shape))
            self._shape = spread.shape[1:]
            spread = spread.flatten(1)[0].real
            self.s = torch.where(spread.abs() > 1e-5 * s.max(), spread.abs(), 0.0)
            self.u = operator.Vt(operator.lift(u, shape)).flatten(1)

    def _forward(self, x: Tensor) -> Tensor:
        return self.operator.Vt(x).flatten(1)

    def __call__(self, x_t: Tensor, eps: Tensor, z: Tensor | None = None) -> Tensor:
        """The next state (B, C, H, W); z: the noise as pixels, else it is drawn in the space of V^T."""
        with ops.use_backend("reference"):
            return self._step(x_t, eps, z)

    def _step(self, x_t: Tensor, eps: Tensor, z: Tensor | None) -> Tensor:
        s, u, eta = self.s, self.u, self.eta
        fresh = (1 - eta**2) ** 0.5
        x0 = (x_t - eps * (1 - self.abar).sqrt()) / self.abar.sqrt()
        sigma = (1 - self.abar_next).sqrt() / self.abar_next.sqrt()
        self._forward(x_t)
        c, c_eps = self._forward(x0), self._forward(eps)
        noise = torch.randn_like(c) if z is None else self._forward(z)

        new = c + fresh * sigma * c_eps + eta * sigma * noise
        low = (s > 0) & (s * sigma < self.sigma_y)
        pulled = (u[:, low] - s[low] * c[:, low]) * (fresh * sigma / self.sigma_y)
        new[:, low] = c[:, low] + pulled + eta * sigma * noise[:, low]
        high = (s > 0) & (s * sigma >= self.sigma_y)
        spread = sigma**2 - (self.sigma_y * self.eta_b / s[high]) ** 2
        measured = self.eta_b * u[:, high] / s[high] + spread.clamp_min(0).sqrt() * noise[:, high]
        new[:, high] = (1 - self.eta_b) * c[:, high] + measured

        x_next = self.abar_next.sqrt() * self.operator.V(new.unflatten(1, self._shape))
        self.kept = [x_next.to("cpu"), x0.to("cpu")]
        return x_next

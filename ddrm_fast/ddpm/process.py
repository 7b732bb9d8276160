"""The forward process of DDPM and its posterior, both Gaussian and known in closed form.

Ho, Jain, Abbeel, "Denoising diffusion probabilistic models", NeurIPS 2020. Their timesteps 1 .. T are
0 .. T - 1 here, and x_{-1} is the clean image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..priors.schedule import Schedule


class Process:
    """q(x_t | x0) and q(x_{t-1} | x_t, x0) of a schedule.

    Attributes:
        schedule:
            The schedule.
        beta:
            1 - alpha, float64 [T].
        signal, noise:
            sqrt(abar) and sqrt(1 - abar), float64 [T].
        mean_x0, mean_x_t:
            The posterior's mean is mean_x0 x0 + mean_x_t x_t (eq. 7), float64 [T].
        log_small:
            Logarithm of the posterior's variance (eq. 7), float64 [T]. At t = 0 that variance is 0;
            the one of t = 1 stands there, as in Ho et al.'s decoder.
        log_beta:
            Logarithm of beta, float64 [T].
        log_large:
            The same, with log_small at t = 0, as in Ho et al.'s decoder.
    """

    def __init__(self, schedule: Schedule) -> None:
        """Precompute everything in float64.

        Args:
            schedule:
                T >= 2; every step adds noise; abar may be 0 at the last timestep alone.

        Raises:
            ValueError: The schedule is otherwise.
        """
        abar = schedule.alphas_cumprod
        if len(abar) < 2:
            raise ValueError(f"schedule: got T = {len(abar)}, expected at least 2")
        if (abar[:-1] == 0).any():
            t = int((abar == 0).nonzero()[0])
            raise ValueError(
                f"schedule: abar is 0 from timestep {t} on, expected that at the last one, {len(abar) - 1}"
            )
        before = torch.cat([torch.ones(1, dtype=torch.float64), abar[:-1]])
        alpha = abar / before
        self.schedule = schedule
        self.beta = 1 - alpha
        if not (self.beta > 0).all():
            t = int((self.beta <= 0).nonzero()[0])
            raise ValueError(f"schedule: beta is 0 at timestep {t}, expected noise at every step")
        self.signal, self.noise = abar.sqrt(), (1 - abar).sqrt()
        self.mean_x0 = before.sqrt() * self.beta / (1 - abar)
        self.mean_x_t = alpha.sqrt() * (1 - before) / (1 - abar)
        variance = self.beta * (1 - before) / (1 - abar)
        self.log_small = torch.cat([variance[1:2], variance[1:]]).log()
        self.log_beta = self.beta.log()
        self.log_large = torch.cat([self.log_small[:1], self.log_beta[1:]])

    @property
    def T(self) -> int:
        """Number of timesteps."""
        return self.schedule.T

    @property
    def reaches_zero(self) -> bool:
        """Whether nothing of the image is left at the last timestep."""
        return bool(self.signal[-1] == 0)

    def diffuse(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise (eq. 4).

        Args:
            x0:
                Clean images in [-1, 1], (B, C, H, W).
            t:
                Timesteps 0 .. T - 1, int64 [B].
            noise:
                White noise of x0's shape.
        """
        return at(self.signal, t, x0) * x0 + at(self.noise, t, x0) * noise

    def posterior_mean(self, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Mean of q(x_{t-1} | x_t, x0) (eq. 7); x0 itself at t = 0. Shapes as in :meth:`diffuse`."""
        return at(self.mean_x0, t, x_t) * x0 + at(self.mean_x_t, t, x_t) * x_t


def at(table: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """Entries t of a table, (B, 1, 1, 1) in the precision and on the device of ``like``."""
    return table.to(t.device)[t].to(like.device, like.dtype).view(-1, 1, 1, 1)

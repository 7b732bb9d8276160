"""The diffusion of the prior vector: four steps that predict x0, and no noise on the way.

Xia et al. 2023, section 3.3 and algorithms 1 and 2; posterior coefficients of Ho et al. 2020, equation 7.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .encoder import CPEN, _act

SCHEDULES = ("linear", "sqrt_linear", "sqrt")


def betas(schedule: str, timesteps: int, start: float, end: float) -> np.ndarray:
    """The schedule in float64.

    Args:
        schedule:
            "linear" (straight in sqrt(beta)), "sqrt_linear" (straight in beta) or "sqrt".
        timesteps:
            T.
        start, end:
            First and last value.

    Raises:
        ValueError: The schedule is unknown.
    """
    if schedule == "linear":
        return np.linspace(start**0.5, end**0.5, timesteps) ** 2
    if schedule == "sqrt_linear":
        return np.linspace(start, end, timesteps)
    if schedule == "sqrt":
        return np.linspace(start, end, timesteps) ** 0.5
    raise ValueError(f"schedule: got {schedule!r}, expected one of {', '.join(SCHEDULES)}")


def tables(beta: np.ndarray) -> dict[str, np.ndarray]:
    """The twelve published tables of a schedule, float64."""
    alphas = 1.0 - beta
    bar = np.cumprod(alphas)
    previous = np.append(1.0, bar[:-1])
    variance = beta * (1.0 - previous) / (1.0 - bar)
    return {
        "betas": beta,
        "alphas_cumprod": bar,
        "alphas_cumprod_prev": previous,
        "sqrt_alphas_cumprod": np.sqrt(bar),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1.0 - bar),
        "log_one_minus_alphas_cumprod": np.log(1.0 - bar),
        "sqrt_recip_alphas_cumprod": np.sqrt(1.0 / bar),
        "sqrt_recipm1_alphas_cumprod": np.sqrt(1.0 / bar - 1.0),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
        "posterior_mean_coef1": beta * np.sqrt(previous) / (1.0 - bar),
        "posterior_mean_coef2": (1.0 - previous) * np.sqrt(alphas) / (1.0 - bar),
    }


class ResMLP(nn.Module):
    """Linear and LeakyReLU (no residual, for all its published name)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.resmlp = nn.Sequential(nn.Linear(width, width), _act())

    def forward(self, x: Tensor) -> Tensor:
        return self.resmlp(x)


class Denoiser(nn.Module):
    """(z, t, c) -> x0 of the prior vector.

    Args:
        n_denoise_res:
            Further layers.
        timesteps:
            T, which scales t.
        n_feats:
            Width / 4; 64 in the published networks.
    """

    def __init__(self, n_denoise_res: int, timesteps: int, n_feats: int = 64) -> None:
        super().__init__()
        width = 4 * n_feats
        self.most = 10.0 * timesteps
        self.resmlp = nn.Sequential(
            nn.Linear(2 * width + 1, width),
            _act(),
            *(ResMLP(width) for _ in range(n_denoise_res)),
        )

    def forward(self, z: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """The clean vector.

        Args:
            z:
                State, (B, 4 n_feats).
            t:
                Timesteps, (B,).
            c:
                Output of the condition encoder, (B, 4 n_feats).
        """
        t = (t.to(z.dtype) / self.most)[:, None]
        return self.resmlp(torch.cat([c, t, z], dim=1))


class VectorDiffusion(nn.Module):
    """The chain from noise to the prior vector.

    The encoder and the denoiser belong to the network, and, under names of their own, to this module too: the
    published files hold them twice.
    """

    betas: Tensor
    posterior_mean_coef1: Tensor
    posterior_mean_coef2: Tensor
    sqrt_alphas_cumprod: Tensor
    sqrt_one_minus_alphas_cumprod: Tensor

    def __init__(
        self, denoise: Denoiser, condition: CPEN, timesteps: int, start: float, end: float,
        schedule: str = "linear",
    ) -> None:  # fmt: skip
        super().__init__()
        for name, values in tables(betas(schedule, timesteps, start, end)).items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32))
        self.model, self.condition = denoise, condition

    @property
    def timesteps(self) -> int:
        return self.betas.numel()

    def mean(self, x0: Tensor, z: Tensor, t: int) -> Tensor:
        """Mean of the posterior of the state before t: the next state."""
        first, second = self.posterior_mean_coef1[t], self.posterior_mean_coef2[t]
        return first.to(z.dtype) * x0 + second.to(z.dtype) * z

    def noisy(self, x0: Tensor, noise: Tensor) -> Tensor:
        """The state of the last timestep, from a clean vector (training)."""
        keep, add = self.sqrt_alphas_cumprod[-1], self.sqrt_one_minus_alphas_cumprod[-1]
        return keep.to(x0.dtype) * x0 + add.to(x0.dtype) * noise

    def chain(self, z: Tensor, c: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """All steps from z down.

        Args:
            z:
                First state, (B, 256).
            c:
                Output of the condition encoder, (B, 256).

        Returns:
            The states after each step, noisiest first (the last is the prior vector), and the network's
            outputs.
        """
        states, outputs = [], []
        for t in reversed(range(self.timesteps)):
            x0 = self.model(z, torch.full((z.shape[0],), t, device=z.device), c)
            z = self.mean(x0, z, t)
            outputs.append(x0)
            states.append(z)
        return states, outputs

"""The respaced diffusion process of the published DPS: its tables, its predictions, its single steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Model = Callable[..., Tensor]
MEANS = ("epsilon", "start_x", "previous_x")
VARIANCES = ("fixed_small", "fixed_large", "learned", "learned_range")


def get_named_beta_schedule(schedule_name: str, num_diffusion_timesteps: int) -> np.ndarray:
    """Variances of the forward process, float64 [N].

    Args:
        schedule_name:
            "linear": 1e-4 to 2e-2, times 1000 / N (Ho et al. 2020); "cosine" (Nichol and Dhariwal 2021).
        num_diffusion_timesteps:
            N.
    """
    n = num_diffusion_timesteps
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"num_diffusion_timesteps: expected an integer >= 1, got {n!r}")
    if schedule_name == "linear":
        return np.linspace(0.1 / n, 20 / n, n, dtype=np.float64)
    if schedule_name == "cosine":
        levels = [math.cos((i / n + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(n + 1)]
        return np.array([min(1 - b / a, 0.999) for a, b in zip(levels, levels[1:], strict=False)])
    raise ValueError(f"schedule_name: expected 'linear' or 'cosine', got {schedule_name!r}")


def space_timesteps(num_timesteps: int, section_counts: str | int | Sequence[int]) -> set[int]:
    """The timesteps that are kept.

    Args:
        num_timesteps:
            N of the process.
        section_counts:
            How many of each of so many equal sections, as a list, as "10,15,25", or one number; "ddimM":
            every so many-th, M in all.

    Raises:
        ValueError: it cannot be done.
    """
    if isinstance(section_counts, str) and section_counts.startswith("ddim"):
        count = int(section_counts.removeprefix("ddim"))
        for stride in range(1, num_timesteps):
            if len(range(0, num_timesteps, stride)) == count:
                return set(range(0, num_timesteps, stride))
        raise ValueError(f"section_counts: no whole stride makes {count} steps of {num_timesteps}")
    if isinstance(section_counts, str):
        section_counts = [int(word) for word in section_counts.split(",")]
    elif isinstance(section_counts, int):
        section_counts = [section_counts]
    shares, left = divmod(num_timesteps, len(section_counts))
    kept: set[int] = set()
    start = 0
    for number, count in enumerate(section_counts):
        size = shares + (number < left)
        if size < count:
            raise ValueError(f"section_counts: a section of {size} steps has no {count}")
        pace = 1.0 if count <= 1 else (size - 1) / (count - 1)
        place = 0.0
        for _ in range(count):
            kept.add(start + round(place))
            place += pace  # added up, so that rounding is the published one
        start += size
    return kept


class SpacedDiffusion:
    """A process that keeps some timesteps of another.

    Args:
        use_timesteps:
            Those that are kept.
        betas:
            Of the whole process, [N].
        model_mean_type:
            "epsilon", "start_x" or "previous_x": what the network predicts.
        model_var_type:
            "fixed_small", "fixed_large", "learned" or "learned_range".
        dynamic_threshold:
            Multiply clean images by the 0.95 quantile of their absolute values over the batch and clip them,
            as published.
        clip_denoised:
            Clip clean images to [-1, 1].
        rescale_timesteps:
            The network sees t 1000 / N.
        corrected:
            The dynamic threshold *divides* by the quantile of each picture where that is above 1 (Saharia et
            al. 2022), and clean images of a state are those of its own picture alone.
    """

    def __init__(
        self,
        use_timesteps: Iterable[int],
        betas: Any,
        model_mean_type: str,
        model_var_type: str,
        dynamic_threshold: bool,
        clip_denoised: bool,
        rescale_timesteps: bool,
        corrected: bool = False,
    ) -> None:
        for name, value, known in (
            ("model_mean_type", model_mean_type, MEANS),
            ("model_var_type", model_var_type, VARIANCES),
        ):
            if value not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
        whole = np.asarray(betas, dtype=np.float64)
        if whole.ndim != 1 or not ((whole > 0) & (whole <= 1)).all():
            raise ValueError("betas: expected a list of numbers between 0 and 1")
        self.original_num_steps = len(whole)
        self.use_timesteps = set(use_timesteps)
        self.timestep_map = sorted(t for t in self.use_timesteps if 0 <= t < len(whole))
        self.model_mean_type, self.model_var_type = model_mean_type, model_var_type
        self.dynamic_threshold, self.clip_denoised = dynamic_threshold, clip_denoised
        self.rescale_timesteps, self.corrected = rescale_timesteps, corrected
        self.original_alphas_cumprod = np.cumprod(1 - whole)
        self._tables(self.original_alphas_cumprod[self.timestep_map])

    def _tables(self, kept: np.ndarray) -> None:
        """Everything that follows from abar of the steps, in float64."""
        self.betas = betas = 1 - kept / np.append(1.0, kept[:-1])
        self.num_timesteps = len(betas)
        self.alphas_cumprod = abar = np.cumprod(1 - betas)
        self.alphas_cumprod_prev = before = np.append(1.0, abar[:-1])
        self.alphas_cumprod_next = np.append(abar[1:], 0.0)
        self.posterior_variance = betas * (1 - before) / (1 - abar)
        second = self.posterior_variance[min(1, len(betas) - 1)]
        with np.errstate(divide="ignore"):
            self.posterior_log_variance_clipped = np.log(
                np.append(second, self.posterior_variance[1:])
            )
        self.posterior_mean_coef1 = betas * np.sqrt(before) / (1 - abar)
        self.posterior_mean_coef2 = (1 - before) * np.sqrt(1 - betas) / (1 - abar)

    def q_sample(self, x_start: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """A clean picture or measurement at the noise level of step t."""
        noise = torch.randn_like(x_start) if noise is None else noise
        return (
            _at(np.sqrt(self.alphas_cumprod), t, x_start) * x_start
            + _at(np.sqrt(1 - self.alphas_cumprod), t, x_start) * noise
        )

    def q_posterior_mean_variance(
        self, x_start: Tensor, x_t: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, variance and logarithm of the variance of q(x_(t-1) | x_t, x_0)."""
        mean = (
            _at(self.posterior_mean_coef1, t, x_start) * x_start
            + _at(self.posterior_mean_coef2, t, x_t) * x_t
        )
        variance = _at(self.posterior_variance, t, x_t).expand_as(x_t)
        logarithm = _at(self.posterior_log_variance_clipped, t, x_t).expand_as(x_t)
        return mean, variance, logarithm

    def predict_xstart(self, x: Tensor, t: Tensor, out: Tensor) -> Tensor:
        """The clean image behind a network's output, before it is clipped; differentiable."""
        if self.model_mean_type == "start_x":
            return out
        if self.model_mean_type == "epsilon":
            abar = self.alphas_cumprod
            return _at(np.sqrt(1 / abar), t, x) * x - _at(np.sqrt(1 / abar - 1), t, x) * out
        c1, c2 = self.posterior_mean_coef1, self.posterior_mean_coef2
        return _at(1 / c1, t, x) * out - _at(c2 / c1, t, x) * x

    def process_xstart(self, x0: Tensor) -> Tensor:
        """A clean image, thresholded and clipped; differentiable."""
        if self.dynamic_threshold and self.corrected:
            level = torch.quantile(x0.abs().flatten(1), 0.95, dim=1).clamp(min=1)
            x0 = x0 / level.view(-1, 1, 1, 1)
            x0 = x0.clamp(-1, 1)
        elif self.dynamic_threshold:
            x0 = (x0 * torch.quantile(x0.abs(), 0.95)).clamp(-1, 1)
        return x0.clamp(-1, 1) if self.clip_denoised else x0

    def p_mean_variance(self, model: Model, x: Tensor, t: Tensor) -> dict[str, Tensor]:
        """What the network says of x_(t-1).

        Args:
            model:
                ``(x, t) -> (B, C or 2 C, H, W)``.
            x:
                State (B, C, H, W).
            t:
                Steps of this process, int64 [B].

        Returns:
            "mean", "variance", "log_variance" and "pred_xstart", each (B, C, H, W).
        """
        out = model(x, self.model_times(t))
        channels = x.shape[1]
        values = out[:, channels:] if out.shape[1] == 2 * channels else out
        out = out[:, :channels]
        x0 = self.process_xstart(self.predict_xstart(x, t, out))
        mean = out
        if self.model_mean_type != "previous_x":
            mean = self.q_posterior_mean_variance(x0, x, t)[0]
        variance, logarithm = self._variance(values, t)
        return {
            "mean": mean,
            "variance": variance.expand_as(x),
            "log_variance": logarithm.expand_as(x),
            "pred_xstart": x0,
        }

    def _variance(self, values: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        if self.model_var_type == "learned":
            return values.exp(), values
        if self.model_var_type == "learned_range":
            small = _at(self.posterior_log_variance_clipped, t, values)
            large = _at(np.log(self.betas), t, values)
            share = (values + 1) / 2
            logarithm = share * large + (1 - share) * small
            return logarithm.exp(), logarithm
        table = self.posterior_variance
        if self.model_var_type == "fixed_large":
            table = np.append(table[min(1, len(table) - 1)], self.betas[1:])
        with np.errstate(divide="ignore"):
            return _at(table, t, values), _at(np.log(table), t, values)

    def model_times(self, t: Tensor) -> Tensor:
        """What the network sees of steps of this process."""
        times = torch.tensor(self.timestep_map, device=t.device, dtype=t.dtype)[t]
        return (
            times.float() * (1000.0 / self.original_num_steps) if self.rescale_timesteps else times
        )


def _at(table: np.ndarray, t: Tensor, like: Tensor) -> Tensor:
    """Entries of a table as float32, (B, 1, 1, 1)."""
    values = torch.from_numpy(np.asarray(table)).to(like.device)[t].float()
    return values.view(-1, *[1] * (like.dim() - 1))

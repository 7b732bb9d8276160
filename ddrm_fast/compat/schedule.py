"""The published schedule: abar in float32, and the path of time travel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..samplers.travel import Travel
from .degradations.base import whole


def compute_alpha(beta: Tensor, t: Tensor) -> Tensor:
    """abar_t of each timestep, (B, 1, 1, 1); 1 for t = -1.

    Args:
        beta:
            Variances of the forward process, [T].
        t:
            Timesteps, int64 [B], -1 to T - 1.
    """
    return _table(beta).index_select(0, t + 1).view(-1, 1, 1, 1)


def _table(beta: Tensor) -> Tensor:
    """(1, abar_0, ..., abar_(T-1)), the cumulative product in the precision of ``beta``."""
    return torch.cat((beta.new_ones(1), 1 - beta)).cumprod(dim=0)


def alphas_cumprod(beta: Tensor) -> Tensor:
    """abar_t for t = 0 .. T - 1, in the precision of ``beta``, on the CPU.

    Raises:
        ValueError: not one-dimensional, or not between 0 and 1 (neither included).
    """
    beta = torch.as_tensor(beta).detach()
    if beta.dim() != 1 or not beta.numel() or not beta.is_floating_point():
        raise ValueError(f"b: expected betas [T], got {beta.dtype} {tuple(beta.shape)}")
    if not bool(((beta > 0) & (beta < 1)).all()):
        raise ValueError("b: expected betas between 0 and 1")
    return _table(beta)[1:].cpu()


def get_schedule_jump(T_sampling: int, travel_length: int, travel_repeat: int) -> list[int]:
    """Times of a run with time travel (Wang et al. 2023, section 3.3; Lugmayr et al. 2022).

    From T - 1 down to -1; see :meth:`ddrm_fast.samplers.Travel.path`.

    Args:
        T_sampling, travel_length, travel_repeat:
            T, l and the number of passes, integers >= 1.
    """
    whole("T_sampling", T_sampling)
    whole("travel_length", travel_length)
    whole("travel_repeat", travel_repeat)
    return Travel(travel_length, travel_repeat).path(T_sampling)


def travel_pairs(config: Any, T: int) -> list[tuple[int, int]]:
    """(t, t_next) of every iteration that ``config`` asks for; -1 is the clean image.

    Raises:
        ValueError: an entry is missing or does not fit T timesteps.
    """
    try:
        travel, total = config.time_travel, config.diffusion.num_diffusion_timesteps
        numbers = (travel.T_sampling, travel.travel_length, travel.travel_repeat)
    except AttributeError as error:
        raise ValueError(
            "config: expected diffusion.num_diffusion_timesteps and time_travel.T_sampling, "
            f"travel_length, travel_repeat; {error}"
        ) from None
    times = get_schedule_jump(*numbers)
    skip = whole("config.diffusion.num_diffusion_timesteps", total) // numbers[0]
    if skip < 1 or (numbers[0] - 1) * skip >= T:
        raise ValueError(
            f"config: {numbers[0]} sampling steps of {total} timesteps do not fit b with {T} betas"
        )
    visited = [t * skip if t >= 0 else -1 for t in times]
    return list(zip(visited, visited[1:], strict=False))

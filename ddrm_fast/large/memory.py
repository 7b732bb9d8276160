"""Numbers of bytes in words, and what a window of a network takes."""

from __future__ import annotations

import re

import torch

from ..machine.heap import give_back
from ..machine.memory import forget_peak, peak, resident
from ..priors import Prior

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def bytes_of(text: str) -> int:
    """A number of bytes, such as 1GiB, 512M or 3e9.

    Raises:
        ValueError: It is none.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([kmgt]?)(?:i?b)?\s*", text.lower())
    try:
        value = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    except (ValueError, OverflowError):
        value = 0
    if value < 1:
        raise ValueError(f"got {text!r}, expected bytes such as 2GiB or 512M")
    return value


@torch.no_grad()
def cost_of_window(prior: Prior, shape: tuple[int, int, int]) -> int:
    """Bytes that one more window of a batch takes on the CPU, measured on a call of the network.

    Args:
        shape:
            (C, H, W) of a window.

    Returns:
        The call's peak, what its libraries keep included, and a dozen planes for the step around it.
    """
    x = torch.zeros(1, *shape)
    labels = None if prior.num_classes is None else torch.zeros(1, dtype=torch.int64)
    give_back()  # memory that is reused would not be counted
    before = resident() if forget_peak() else peak()
    prior(x, torch.full((1,), float(prior.schedule.T // 2)), labels)
    return 12 * x.nbytes + peak() - before

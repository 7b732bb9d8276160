"""The path of a shaken camera as a blur kernel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..machine.arguments import checked

__all__ = ["shake_kernel"]

_STEPS = 2000
_INERTIA = 0.999  # of the velocity from step to step


@checked
def shake_kernel(size: int = 61, intensity: float = 0.5, seed: int = 0) -> Tensor:
    """A random camera shake: how long a point stays on each pixel.

    A point moves with a velocity of which a share is kept from step to step and the rest is drawn anew; the
    path is centred, scaled to the kernel, and drawn with bilinear weights.

    Args:
        size:
            Side of the kernel in pixels, odd.
        intensity:
            0: nearly straight; 1: shaken.
        seed:
            Of the path.

    Returns:
        float32 (size, size), sum 1.

    Raises:
        ValueError: an argument is out of range.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1 or size % 2 == 0:
        raise ValueError(f"size: expected an odd integer >= 1, got {size!r}")
    if isinstance(intensity, bool) or not 0 <= intensity <= 1:
        raise ValueError(f"intensity: expected a number from 0 to 1, got {intensity!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed: expected an integer >= 0, got {seed!r}")
    generator = np.random.default_rng(seed)
    turns = 1 + 30 * intensity  # about so many in a path
    keep = _INERTIA**turns
    kicks = generator.normal(size=(_STEPS, 2))
    velocity = np.empty((_STEPS, 2))
    v = kicks[0]
    for step in range(_STEPS):
        v = keep * v + np.sqrt(1 - keep**2) * kicks[step]
        velocity[step] = v
    path = velocity.cumsum(axis=0)
    path -= (path.max(axis=0) + path.min(axis=0)) / 2
    reach = (size - 1) / 2 * (0.35 + 0.6 * generator.random())
    path *= reach / max(np.abs(path).max(), 1e-12)
    path += (size - 1) / 2
    kernel = np.zeros((size, size))
    low = np.floor(path).astype(int)
    share = path - low
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - down - share[:, 0]) * np.abs(1 - right - share[:, 1])
            places = np.minimum(low + (down, right), size - 1)
            np.add.at(kernel, (places[:, 0], places[:, 1]), weight)
    return torch.from_numpy(kernel / kernel.sum()).float()

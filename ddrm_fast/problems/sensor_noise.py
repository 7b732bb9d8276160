"""Noise of a sensor, as a picture shows it: variance against signal, a line."""

from __future__ import annotations

import torch
from torch import Tensor

from ..machine.arguments import checked
from .counts import PoissonGaussian

_WINDOW = 8
_LEVELS = 24  # groups of windows of like brightness
_EACH = 20  # windows that a group has at least
#: what the variance of a quarter of the windows stays below, for white noise of variance 1
_QUARTER = 0.767
_ROUNDS = 5


@checked
def estimate_sensor_noise(picture: Tensor, known: Tensor | None = None) -> PoissonGaussian:
    """The line a signal + b that the variance of the noise in a picture follows.

    Second differences (Immerkaer 1996) of windows of 8 x 8, in groups of like brightness; of each group that
    counts which a quarter of its windows stay below, since noise is everywhere and texture is not. Through
    these the line is laid by least squares, each weighted by its own variance, with a and b not below 0.
    Windows with a clipped pixel are left out.

    Args:
        picture:
            (C, H, W) in [0, 1], linear in the light: as a raw file has it. In pictures that were made to look
            at, bright parts were compressed, and the line need not rise.
        known:
            (H, W) or (C, H, W), True where a pixel is known; default everywhere.

    Returns:
        The law; a is at least 1e-7.

    Raises:
        ValueError: There are fewer than 60 usable windows.
    """
    if picture.dim() != 3:
        raise ValueError(f"picture: expected (C, H, W), got shape {tuple(picture.shape)}")
    x = picture.double()
    usable = (x > 0) & (x < 1)
    if known is not None:
        usable = usable & known.to(x.device).bool()
    kernel = torch.tensor([1.0, -2.0, 1.0], dtype=torch.float64, device=x.device)
    field = torch.nn.functional.conv2d(x[:, None], (kernel[:, None] * kernel)[None, None] / 6)[:, 0]
    whole = torch.nn.functional.avg_pool2d(usable.double(), 3, 1) > 1 - 1e-9
    pool = torch.nn.functional.avg_pool2d
    share = pool(whole.double(), _WINDOW) if min(field.shape[1:]) >= _WINDOW else field[:, :0]
    keep = share == 1
    variance = pool(field.square(), _WINDOW)[keep] if keep.numel() else field.new_zeros(0)
    mean = pool(x[:, 1:-1, 1:-1], _WINDOW)[keep] if keep.numel() else variance
    if len(mean) < 3 * _EACH:
        raise ValueError(
            f"picture: got {len(mean)} windows of {_WINDOW} x {_WINDOW} known pixels that are not clipped, "
            f"expected {3 * _EACH}"
        )
    order = mean.argsort()
    groups = order.tensor_split(min(_LEVELS, len(mean) // _EACH))
    level = torch.stack([mean[group].mean() for group in groups])
    found = torch.stack([variance[group].quantile(0.25) for group in groups]) / _QUARTER
    return _line(level, found)


def _line(level: Tensor, found: Tensor) -> PoissonGaussian:
    """Least squares of a level + b, each point weighted by one over its own square; a, b not below 0."""
    fitted = found.clamp(min=1e-9)
    a, b = 0.0, float(found.median())
    for _ in range(_ROUNDS):
        weight = 1 / fitted.square()
        total = weight.sum()
        centre, height = (weight * level).sum() / total, (weight * found).sum() / total
        spread = (weight * (level - centre).square()).sum()
        a = float((weight * (level - centre) * (found - height)).sum() / spread.clamp(min=1e-30))
        b = float(height - a * centre)
        if a < 0:
            a, b = 0.0, float(height)
        elif b < 0:  # through the origin
            a, b = float((weight * level * found).sum() / (weight * level.square()).sum()), 0.0
        fitted = (a * level + b).clamp(min=1e-9)
    return PoissonGaussian(max(a, 1e-7), max(b, 0.0))

"""What the published networks share: time embeddings, attention over pixels, half and double size."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def timestep_embedding(t: Tensor, width: int, *, cosine_first: bool) -> Tensor:
    """Sines and cosines of the time (Vaswani et al. 2017, section 3.5).

    Args:
        t:
            Timesteps [B].
        width:
            Numbers per timestep; an odd one ends in a zero.
        cosine_first:
            True as in guided-diffusion: cosines first, frequencies 10000^(-i / half). False as in DDPM:
            sines first, frequencies 10000^(-i / (half - 1)).

    Returns:
        float32 [B, width].
    """
    half = width // 2
    index = torch.arange(half, dtype=torch.float32, device=t.device)
    # The order of the operations is theirs: at t = 1000 a rounding of a frequency shows in the angle.
    if cosine_first:
        exponent = -math.log(10000) * index / half
    else:
        exponent = index * -(math.log(10000) / (half - 1))
    angle = t.float()[:, None] * exponent.exp()[None]
    parts = [angle.cos(), angle.sin()] if cosine_first else [angle.sin(), angle.cos()]
    return F.pad(torch.cat(parts, dim=1), (0, width - 2 * half))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q^T k / sqrt(channels)) v, for (B, heads, channels, pixels)."""
    q, k, v = (x.transpose(2, 3) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(2, 3)


def half_size(x: Tensor) -> Tensor:
    """Means over blocks of 2 x 2 pixels."""
    return F.avg_pool2d(x, 2)


def double_size(x: Tensor) -> Tensor:
    """Every pixel four times."""
    return F.interpolate(x, scale_factor=2, mode="nearest")

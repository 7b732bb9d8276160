"""DDNM+ without a singular value decomposition: A and its pseudo-inverse as functions of pictures.

The published path takes sigma_t = sqrt(1 - abar_next^2), where the paper has sqrt(1 - abar_next), and scales
the noise by gamma and by sqrt(1 - abar_next) again. ``official=True`` does so; the default is the paper's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..samplers.weights import check_unit
from . import published
from .degradations.base import whole
from .loop import (
    GivenNoise,
    Model,
    Network,
    Randomness,
    check_batch,
    check_level,
    check_state,
    sample,
)
from .schedule import alphas_cumprod, travel_pairs
from .steps import PartSteps

PictureMap = Callable[[Tensor], Tensor]


def color2gray(x: Tensor) -> Tensor:
    """Mean of the three channels, on all three: (B, 3, H, W)."""
    return _three(x).mean(dim=1, keepdim=True).expand(-1, 3, -1, -1).contiguous()


def gray2color(x: Tensor) -> Tensor:
    """The first channel, on all three: (B, 3, H, W)."""
    return _three(x)[:, :1].expand(-1, 3, -1, -1).contiguous()


def MeanUpsample(x: Tensor, scale: int) -> Tensor:
    """Every number repeated in a block of scale x scale."""
    return x.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)


def _three(x: Tensor) -> Tensor:
    if x.dim() != 4 or x.shape[1] != 3:
        raise ValueError(f"x: expected (B, 3, H, W), got {tuple(x.shape)}")
    return x


def simplified_operators(
    deg: str, deg_scale: float = 1, mask: Tensor | None = None
) -> tuple[PictureMap, PictureMap]:
    """A and its pseudo-inverse of the published path without SVD.

    Args:
        deg:
            "colorization", "denoising", "sr_averagepooling", "inpainting" or "mask_color_sr" (old
            photographs: mask, then grey, then block means).
        deg_scale:
            Side of a block, for "sr_averagepooling" and "mask_color_sr".
        mask:
            (H, W), 1 where a pixel is known, for "inpainting" and "mask_color_sr".

    Raises:
        ValueError: the name is unknown, a scale is not whole, or the mask is missing or does not fit.
    """
    if deg == "colorization":
        return color2gray, gray2color
    if deg == "denoising":
        return lambda x: x, lambda y: y
    if deg == "sr_averagepooling":
        return _pool(deg_scale)
    if deg == "inpainting":
        cover = _cover(mask)
        return cover, cover
    if deg == "mask_color_sr":
        cover, (pool, spread) = _cover(mask), _pool(deg_scale)
        return lambda x: pool(color2gray(cover(x))), lambda y: cover(gray2color(spread(y)))
    raise ValueError(
        "deg: expected colorization, denoising, sr_averagepooling, inpainting or mask_color_sr, "
        f"got {deg!r}"
    )


def _pool(deg_scale: float) -> tuple[PictureMap, PictureMap]:
    if deg_scale != int(deg_scale):
        raise ValueError(f"deg_scale: expected an integer >= 1, got {deg_scale!r}")
    scale = whole("deg_scale", int(deg_scale))

    def pool(x: Tensor) -> Tensor:
        if x.shape[2] % scale or x.shape[3] % scale:
            raise ValueError(
                f"x: height and width must be multiples of {scale}, got {tuple(x.shape[2:])}"
            )
        return avg_pool2d(x, scale)

    return pool, lambda y: MeanUpsample(y, scale)


def _cover(mask: Tensor | None) -> PictureMap:
    if mask is None:
        raise ValueError("mask: is needed for inpainting and mask_color_sr")
    mask = torch.as_tensor(mask)

    def cover(x: Tensor) -> Tensor:
        if mask.shape[-2:] != x.shape[-2:]:
            raise ValueError(f"x: expected the mask's {tuple(mask.shape)}, got {tuple(x.shape)}")
        return x * mask.to(x)

    return cover


def _published(abar_next: float, sigma_y: float) -> tuple[float, float]:
    """lambda, and the factor of the DDIM noise."""
    sigma_t = math.sqrt(1 - abar_next**2)
    if sigma_t >= abar_next * sigma_y:
        return 1.0, math.sqrt(sigma_t**2 - (abar_next * sigma_y) ** 2)
    return sigma_t / (abar_next * sigma_y), 0.0


def _paper(abar_next: float, sigma_y: float) -> tuple[float, float]:
    """lambda_t of eq. 19, and sqrt(gamma_t) over sqrt(1 - abar_next): what the noise of y leaves over."""
    sigma_t, level = math.sqrt(1 - abar_next), math.sqrt(abar_next) * sigma_y
    if sigma_t >= level:
        return 1.0, math.sqrt(1 - (level / sigma_t) ** 2) if sigma_t > 0 else 0.0
    return sigma_t / level, 0.0


@torch.no_grad()
def simplified_ddnm_plus(
    x: Tensor,
    model: Model,
    b: Tensor,
    eta: float,
    A: PictureMap,
    Ap: PictureMap,
    y: Tensor,
    sigma_y: float,
    config: Any,
    *,
    official: bool | None = None,
    noise: GivenNoise | None = None,
    keep: bool = False,
) -> tuple[list[Tensor], list[Tensor]]:
    """Draws restored pictures with DDNM+ without SVD (Wang et al. 2023, eqs. 17 and 19).

    A and Ap are the caller's own functions, so a step is plain torch, not a fused one.

    Args:
        A, Ap:
            The degradation of a picture (B, C, H, W) in [-1, 1], and its pseudo-inverse.
        y:
            A(picture), plus noise.
        official:
            The published sigma_t and noise; see the module's first lines. None: as
            :func:`ddrm_fast.compat.ddnm.published_noise` says.

    The other arguments and results are those of :func:`ddrm_fast.compat.ddnm.ddnm_plus_diffusion`.
    """
    x = check_state(x)
    eta, sigma_y = check_unit("eta", float(eta)), check_level("sigma_y", sigma_y)
    abar = alphas_cumprod(b)
    pairs = travel_pairs(config, len(abar))
    y = check_batch("y", y, x)
    as_published = published.in_use() if official is None else official

    def update(x0: Tensor, out: Tensor, z: Tensor, abar_next: float) -> Tensor:
        scale, gamma = (_published if as_published else _paper)(abar_next, sigma_y)
        measured = A(x0)
        if measured.shape[1:] != y.shape[1:]:
            raise ValueError(f"y: expected A(x), {tuple(measured.shape)}, got {tuple(y.shape)}")
        x0_hat = x0 - scale * Ap(measured - y)
        sigma_t = math.sqrt(1 - abar_next)
        fresh = sigma_t * eta * z + sigma_t * math.sqrt(1 - eta**2) * out
        return math.sqrt(abar_next) * x0_hat + gamma * fresh

    steps = PartSteps(update, abar, pairs, x.device)
    return sample(steps, Network(model, None, None, x), Randomness(noise, x), abar, pairs, x, keep)

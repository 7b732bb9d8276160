"""The number format that a network computes in; the sampling state is float32 in any case."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from ..ops import noise_keys, normal

if TYPE_CHECKING:
    from .prior import Prior

DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
PRECISIONS = ("auto", *DTYPES)
#: noise levels of the check, and how far bfloat16 may move the clean picture, in parts of the level.
#: A denoiser's own error is ten times that, so that it adds a hundredth to the squared error (0.04 dB).
LEVELS, TOLERANCE = (0.1, 0.5, 2.0), 0.02


def check_precision(precision: str) -> str:
    """The name of a number format.

    Raises:
        ValueError: it is none of ``PRECISIONS``.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}")
    return precision


def fastest_precision(prior: Prior, device: torch.device) -> str:
    """What "auto" means: bfloat16 on processors with instructions for it, if the network bears it.

    Depends on machine and network alone, never on timings, so that a picture can be made again. On a GPU
    half precision is asked for by name.
    """
    if device.type == "cpu" and native_bfloat16() and _bears(prior, "bfloat16"):
        return "bfloat16"
    return "float32"


def native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@torch.no_grad()
def _bears(prior: Prior, precision: str) -> bool:
    """Whether a small picture comes out the same at several noise levels, within TOLERANCE."""
    channels = prior.channels or 3
    across = torch.linspace(-1, 1, 64)
    picture = torch.where(across[:, None] * across < 0, -across.abs(), across.abs()).sin()
    noise = normal(noise_keys(1, 0), channels, 64, 64)
    labels = None if prior.num_classes is None else torch.zeros(1, dtype=torch.int64)
    exact, rough = copy.copy(prior), copy.copy(prior)
    exact.precision, rough.precision = "float32", precision
    try:
        for level in LEVELS:
            x = picture.expand(1, channels, 64, 64) + level * noise
            change = rough.denoise(x, level, labels) - exact.denoise(x, level, labels)
            if not float(change.square().mean().sqrt()) <= TOLERANCE * level:  # (nor NaN)
                return False
    except (RuntimeError, ValueError):  # not made for 64 x 64 pixels, or for these levels
        return False
    return True

"""The number format that a network computes in; the sampling state is float32 in any case."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..ops import noise_keys, normal

Denoise = Callable[[str, Tensor, float], Tensor]

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


def fastest_precision(denoise: Denoise, channels: int, device: torch.device) -> str:
    """What "auto" means: bfloat16 on processors with instructions for it, if the network bears it.

    Depends on machine and network alone, never on timings, so that a picture can be made again. On a GPU
    half precision is asked for by name.

    Args:
        denoise:
            ``(precision, x, sigma) -> clean``: the network in a number format, x (1, C, 64, 64).
        channels:
            C.
        device:
            Where it would compute.
    """
    if device.type == "cpu" and native_bfloat16() and _bears(denoise, channels, "bfloat16"):
        return "bfloat16"
    return "float32"


def native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@torch.no_grad()
def _bears(denoise: Denoise, channels: int, precision: str) -> bool:
    """Whether a small picture comes out the same at several noise levels, within TOLERANCE."""
    across = torch.linspace(-1, 1, 64)
    picture = torch.where(across[:, None] * across < 0, -across.abs(), across.abs()).sin()
    noise = normal(noise_keys(1, 0), channels, 64, 64)
    try:
        for level in LEVELS:
            x = picture.expand(1, channels, 64, 64) + level * noise
            change = denoise(precision, x, level) - denoise("float32", x, level)
            if not float(change.square().mean().sqrt()) <= TOLERANCE * level:  # (nor NaN)
                return False
    except (RuntimeError, ValueError):  # not made for 64 x 64 pixels, or for these levels
        return False
    return True

"""Little pictures of what may be wrong: a small scene, degraded by the operators of this package."""

from __future__ import annotations

import base64
from io import BytesIO

import torch
from PIL import Image
from torch import Tensor

from ..operators import (
    JPEG,
    Blur,
    Colorization,
    Gain,
    Inpainting,
    Quantised,
    Saturated,
    SuperResolution,
    gaussian_kernel,
    motion_kernel,
)
from ..problems.arrays import gain
from .desk import shown
from .wrongs import WRONGS

_SIDE = 48


def scene() -> Tensor:
    """A hill, a sun and a fence, (1, 3, 48, 48) in [0, 1]."""
    n = 4 * _SIDE  # drawn larger, for smooth edges
    y, x = torch.meshgrid(torch.linspace(0, 1, n), torch.linspace(0, 1, n), indexing="ij")
    sky = torch.stack([0.55 + 0.25 * y, 0.72 + 0.15 * y, 0.93 - 0.1 * y])
    sun = (x - 0.7).square() + (y - 0.28).square() < 0.022
    hill = y > 0.62 - 0.16 * torch.sin(3.4 * x + 0.3)
    fence = (y > 0.66) & (y < 0.94) & ((8 * x) % 1 < 0.38)
    for where, colour in (
        (sun, (1.0, 0.85, 0.3)),
        (hill, (0.3, 0.55, 0.25)),
        (fence, (0.85, 0.8, 0.72)),
    ):
        sky = torch.where(where, torch.tensor(colour).view(3, 1, 1), sky)
    return torch.nn.functional.avg_pool2d(sky[None], 4)


def degraded() -> dict[str, Tensor]:
    """The scene with each thing wrong, (3, 48, 48)."""
    x = scene()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    scratched = torch.ones(_SIDE, _SIDE)
    rows = torch.arange(_SIDE)
    for slope, start in ((0.4, 6), (-0.7, 40), (0.2, 26)):
        columns = (start + slope * rows).long().clamp(0, _SIDE - 2)
        scratched[rows, columns] = scratched[rows, columns + 1] = 0
    small = SuperResolution(4)
    found = {
        "noise": x + 0.13 * noise,
        "blur": Blur(gaussian_kernel(1.8), "reflect").H(x),
        "shake": Blur(motion_kernel(11, 20), "periodic").H(x),
        "small": small.H(x).repeat_interleave(4, -1).repeat_interleave(4, -2),
        "damage": Inpainting(scratched).H(x) + (1 - scratched),
        "grey": Colorization().H(x).expand(1, 3, -1, -1),
        "jpeg": JPEG(6).H(x),
        "corners": Gain(gain("vignette:0.15", (_SIDE, _SIDE))).H(x),
        "light": Saturated(2.2).H(x),
        "bands": Quantised(2).H(x),
    }
    return {name: found[name][0].float().clamp(0, 1) for name in WRONGS}


def data_uri(pixels: Tensor) -> str:
    """A picture as an address that holds it."""
    buffer = BytesIO()
    Image.fromarray(shown(pixels)).save(buffer, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def style(element: str) -> str:
    """CSS that puts the little pictures before the words of a group of choices."""
    rules = [
        f"#{element} label:nth-of-type({number}) span::before "
        f"{{ background-image: url({data_uri(picture)}) }}"
        for number, picture in enumerate(degraded().values(), 1)
    ]
    return "\n".join(rules)

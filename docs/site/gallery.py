"""Draws the pictures of docs/tasks.md: what may be wrong, and what becomes of it, failures included.

    python docs/site/gallery.py

The photographs are scikit-image's astronaut (NASA, public domain), coffee and rocket, and the cat of the
examples (CC0); none of them was learned from.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data
from torch import Tensor

from ddrm_fast import degrade, load_prior, operators, restore
from ddrm_fast.evaluation.metrics import psnr
from ddrm_fast.io import Panel, read_picture, sheet
from ddrm_fast.web.desk import shown
from ddrm_fast.web.icons import degraded

IMAGES = Path(__file__).parent.parent / "images"


def photo(name: str, top: int, left: int, side: int = 192) -> Tensor:
    """A part of a photograph, (1, 3, side, side) in [0, 1]."""
    if name == "chelsea":
        x = read_picture(IMAGES.parent.parent / "examples/chelsea.png").pixels
    else:
        x = (
            torch.from_numpy(np.ascontiguousarray(getattr(data, name)())).permute(2, 0, 1).float()
            / 255
        )
    return x[None, :, top : top + side, left : left + side].contiguous()


def rows() -> list[list[Panel]]:
    """Input, estimate and truth: what works, then what does not."""
    hole = torch.ones(1, 192, 192)
    hole[:, 60:130, 50:140] = 0
    scratches = torch.ones(1, 192, 192)
    for k in range(5):
        y = torch.arange(192)
        x = (20 + 35 * k + (0.3 - 0.15 * k) * y).long().clamp(0, 190)
        scratches[:, y, x] = scratches[:, y, x + 1] = 0
    motion = operators.motion_kernel(15, 30)
    face = photo("astronaut", 20, 130)
    cases = [
        ("grain of 25 of 255", photo("chelsea", 40, 120), operators.Denoising(), 25 / 255),
        ("scratches", photo("coffee", 100, 200), operators.Inpainting(scratches), 0.01),
        ("shaken by 15 pixels", photo("rocket", 60, 220), operators.Blur(motion, "periodic"), 0.01),
        ("half as large", photo("chelsea", 40, 120), operators.SuperResolution(2), 0.02),
        ("not well: a face at a quarter", face, operators.SuperResolution(4), 0.0),
        ("not well: colour", photo("coffee", 100, 200), operators.Colorization(), 0.0),
        ("not well: a large hole", photo("chelsea", 40, 120), operators.Inpainting(hole), 0.0),
    ]
    prior = load_prior()
    found = []
    for said, x, operator, sigma in cases:
        y = degrade(x, operator, sigma, seed=0)
        estimate = restore(y, operator, sigma, prior).mean
        seen = y if y.dim() == 4 else operator.H_pinv(y)
        found.append(
            [
                Panel(seen[0].clamp(0, 1), f"{said}\n"),
                Panel(estimate[0], f"restored\n{psnr(estimate, x):.1f} dB"),
                Panel(x[0], "truth\n"),
            ]
        )
    return found


def main() -> None:
    """Writes all of them."""
    (IMAGES / "wrong").mkdir(exist_ok=True)
    for name, picture in degraded().items():
        Image.fromarray(shown(picture)).save(IMAGES / "wrong" / f"{name}.webp", quality=88)
    every = rows()
    two = [every[k] + (every[k + 1] if k + 1 < 4 else []) for k in (0, 2)] + [
        every[4],
        every[5],
        every[6],
    ]
    drawn = IMAGES / "gallery.png"
    sheet(drawn, two)
    buffer = BytesIO()
    Image.open(drawn).convert("RGB").save(buffer, "JPEG", quality=85)
    drawn.unlink()
    (IMAGES / "gallery.jpg").write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()

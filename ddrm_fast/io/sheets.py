"""Sheets to look at: pictures side by side with labels, and the colours of an uncertainty map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .files import write_atomically

_LARGEST_SIDE = 640
_SMALLEST_SIDE = 192
_GAP = 8
_INK, _PAPER = (30, 30, 30), (255, 255, 255)
# dark to bright: equal steps of the map are about equal steps in lightness
_HEAT = ((10, 8, 30), (75, 20, 110), (165, 40, 100), (235, 95, 45), (250, 180, 40), (252, 250, 190))


@dataclass(frozen=True)
class Panel:
    """One picture of a sheet.

    Attributes:
        pixels:
            (1 or 3, H, W) in [0, 1].
        label:
            What stands above it; lines separated by newlines.
    """

    pixels: Tensor
    label: str


def heat(values: Tensor, white: float) -> Tensor:
    """Colours of a map of numbers, (3, H, W) in [0, 1].

    Args:
        values:
            (H, W), >= 0.
        white:
            The value that gets the brightest colour, > 0; larger ones get it too.
    """
    palette = torch.tensor(_HEAT, dtype=torch.float32) / 255
    place = (values.float() / white).clamp(0, 1) * (len(palette) - 1)
    below = place.floor().long().clamp(max=len(palette) - 2)
    part = (place - below)[..., None]
    return (palette[below] * (1 - part) + palette[below + 1] * part).permute(2, 0, 1)


def sheet(path: str | Path, rows: Sequence[Sequence[Panel]], title: str = "") -> None:
    """Write a PNG of panels side by side, a row of the sheet for each row of panels; atomically.

    The panels of a row are shown at the size of its largest one (smaller ones with whole pixels
    repeated, so that a measurement looks as coarse as it is), no side over 640 pixels.

    Raises:
        ValueError: There is no panel.
        OutputError: The file cannot be written.
    """
    if not rows or not all(rows):
        raise ValueError("rows: expected at least one panel in every row")
    drawn = [_row(row) for row in rows]
    if title:
        drawn.insert(0, _text(title, max(row.width for row in drawn) - 2 * _GAP, 20))
    width = max(row.width for row in drawn)
    page = Image.new("RGB", (width, sum(row.height for row in drawn)), _PAPER)
    top = 0
    for index, row in enumerate(drawn):
        page.paste(row, (_GAP if title and index == 0 else 0, top))
        top += row.height
    buffer = BytesIO()
    page.save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def _row(panels: Sequence[Panel]) -> Image.Image:
    height = max(panel.pixels.shape[1] for panel in panels)
    width = max(panel.pixels.shape[2] for panel in panels)
    scale = min(1.0, _LARGEST_SIDE / max(height, width))
    scale = max(1, -(-_SMALLEST_SIDE // max(height, width))) if scale == 1 else scale
    size = max(1, round(width * scale)), max(1, round(height * scale))
    column = max(size[0], 160)
    letters = max(15, column // 22)
    labels = [_text(panel.label, column, letters) for panel in panels]
    head = max(label.height for label in labels)
    page = Image.new("RGB", (len(panels) * (column + _GAP) + _GAP, head + size[1] + _GAP), _PAPER)
    for index, (panel, label) in enumerate(zip(panels, labels, strict=True)):
        left = _GAP + index * (column + _GAP)
        page.paste(label, (left, head - label.height))
        picture = _image(panel.pixels)
        enlarged = picture.width < size[0]
        how = Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
        page.paste(picture.resize(size, how), (left + (column - size[0]) // 2, head))
    return page


def _image(pixels: Tensor) -> Image.Image:
    pixels = pixels.detach().float().clamp(0, 1).expand(3, -1, -1)
    return Image.fromarray(np.rint(pixels.permute(1, 2, 0).numpy() * 255).astype(np.uint8))


def _text(text: str, width: int, size: int) -> Image.Image:
    font = ImageFont.load_default(size)
    lines = text.split("\n")
    line = size + 4
    page = Image.new("RGB", (width, line * len(lines) + _GAP), _PAPER)
    draw = ImageDraw.Draw(page)
    for index, words in enumerate(lines):
        draw.text((0, _GAP // 2 + index * line), words, fill=_INK, font=font)
    return page

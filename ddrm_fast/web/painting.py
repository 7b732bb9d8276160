"""What is painted on the page: damage becomes a mask, a stroke becomes the kernel of a shake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

Size = tuple[int, int]


def painted(layers: Sequence[np.ndarray], size: Size) -> Tensor:
    """Where something is painted, bool (H, W).

    Args:
        layers:
            (h, w, 4) of 8 bits each, transparent where nothing is.
        size:
            (H, W) of the picture, which the layers show smaller or larger.
    """
    found = torch.zeros(size, dtype=torch.bool)
    for layer in layers:
        opaque = torch.from_numpy(np.ascontiguousarray(layer[..., 3])).float() / 255
        found |= _resized(opaque, size) > 0.25
    return found


def of_colour(pixels: Tensor, colour: str, tolerance: float) -> Tensor:
    """Where a picture has one colour, bool (H, W).

    Args:
        pixels:
            (1 or 3, H, W) in [0, 1].
        colour:
            ``#rrggbb``, or ``rgb(r, g, b)`` as browsers also say it.
        tolerance:
            Largest difference of a channel, in [0, 1].

    Raises:
        ValueError: It is no colour.
    """
    wanted = torch.tensor(_rgb(colour)).view(3, 1, 1)
    return ((pixels - wanted).abs() <= tolerance).all(dim=0)


def _rgb(colour: str) -> tuple[float, float, float]:
    text = colour.strip()
    try:
        if text.startswith("#") and len(text) in (7, 9):
            red, green, blue = (int(text[k : k + 2], 16) / 255 for k in (1, 3, 5))
        else:
            inside = text[text.index("(") + 1 : text.index(")")].split(",")
            red, green, blue = (float(word) / 255 for word in inside[:3])
    except ValueError:
        raise ValueError(f"colour: got {colour!r}, expected one such as #ff0000") from None
    return red, green, blue


def stroke_kernel(drawn: np.ndarray, length: int) -> Tensor | None:
    """The kernel of a shake that was drawn, with odd sides and the sum 1; None: nothing is.

    Args:
        drawn:
            (h, w, 4) of 8 bits, transparent where nothing is.
        length:
            Longer side of what was drawn, in pixels of the picture.
    """
    opaque = torch.from_numpy(np.ascontiguousarray(drawn[..., 3])).float() / 255
    rows, columns = opaque.amax(1).nonzero(), opaque.amax(0).nonzero()
    if not len(rows):
        return None
    inside = opaque[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = length / max(inside.shape)
    size = [max(1, round(n * scale)) for n in inside.shape]
    shape = [n + 1 - n % 2 for n in size]  # the middle of a kernel is a pixel
    small = _resized(inside, (size[0], size[1]))
    kernel = torch.zeros(shape)
    kernel[: size[0], : size[1]] = small
    return kernel / kernel.sum()


def _resized(plane: Tensor, size: Size) -> Tensor:
    found = interpolate(plane[None, None], size=size, mode="bilinear", antialias=True)
    return found[0, 0]


def layers_of(value: Any) -> list[np.ndarray]:
    """The layers of an editor's value; none where there is no picture."""
    return [] if value is None else [layer for layer in value["layers"] if layer is not None]

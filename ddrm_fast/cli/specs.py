"""Values of the command line that name an array: masks, kernels, gains; and numbers."""

from __future__ import annotations

import json
import math
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..io import read_picture
from ..io.files import OutputError, check_writable, read_bytes
from ..operators import bayer_mask, gaussian_kernel, motion_kernel

MASKS = "FILE, random:SHARE, box:TOP,LEFT,HEIGHT,WIDTH or bayer:RGGB"
KERNELS = "FILE, gaussian:SIGMA, motion:LENGTH,ANGLE or uniform:SIDE"
KERNELS_MEAN = "in pixels, ANGLE in degrees counter-clockwise from the horizontal"
GAINS = "FILE or vignette:CORNER"


def whole(option: str, text: str | int, least: int = 1, most: int | None = None) -> int:
    """An integer of at least ``least`` and at most ``most``."""
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{option}: got {text!r}, expected a whole number {bounds}")
    return value


def sides(option: str, text: str) -> int | tuple[int, int]:
    """A side of a square, such as 256, or rows and columns, such as 256x512."""
    words = text.lower().split("x")
    try:
        found = tuple(whole(option, word) for word in words)
    except ValueError:
        found = ()
    if len(found) not in (1, 2):
        raise ValueError(
            f"{option}: got {text!r}, expected a whole number of at least 1 or ROWSxCOLUMNS, such as 256x512"
        )
    return found[0] if len(found) == 1 else found


def seed(option: str, text: str | int) -> int:
    """A seed: 64 bits."""
    return whole(option, text, 0, 2**64 - 1)


def threads(option: str, text: str | int) -> int:
    """CPU threads, no more than there are processors: more would only wait for each other."""
    return whole(option, text, 1, os.cpu_count())


def number(option: str, text: str | float, low: float, high: float = math.inf) -> float:
    """A finite number from ``low`` to ``high``."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and low <= value <= high):
        bounds = f"from {low:g} to {high:g}" if math.isfinite(high) else f"of at least {low:g}"
        raise ValueError(f"{option}: got {text!r}, expected a number {bounds}")
    return value


def settings(option: str, path: str | None) -> dict[str, Any] | None:
    """The object in a JSON file; None without a file."""
    if path is None:
        return None
    try:
        content = read_bytes(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{option}: {error}") from None
    try:
        found = json.loads(content)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{option}: {path} is not readable as JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{option}: {path} holds a {type(found).__name__}, expected an object")
    return found


def writable(option: str, path: str | Path) -> None:
    """Raises OutputError where a file could not be written, before any work is done for it."""
    try:
        check_writable(path)
    except OutputError as error:
        raise OutputError(f"{option}: {error}") from None


def noise_level(option: str, text: str) -> float:
    """A noise level in units of [0, 1], such as 0.1 or 25/255."""
    above, slash, below = text.partition("/")
    try:
        value = float(above) / (float(below) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not 0 <= value <= 1:
        hint = f"; for 8-bit levels write {text}/255" if 1 < value <= 255 and not slash else ""
        raise ValueError(
            f"{option}: got {text!r}, expected a noise level from 0 to 1 "
            f"(pictures are in [0, 1]){hint}"
        )
    return value


def weights(option: str, text: str) -> tuple[float, ...]:
    """Three grey weights, such as 0.299,0.587,0.114; divided by their sum."""
    values = tuple(number(option, word, -10, 10) for word in text.split(","))
    if len(values) != 3 or not sum(values) > 0:
        raise ValueError(
            f"{option}: got {text!r}, expected three numbers with a sum above 0, such as "
            "0.299,0.587,0.114"
        )
    return tuple(value / sum(values) for value in values)


def mask(option: str, text: str, size: tuple[int, int], seed: int | None) -> Tensor:
    """Known pixels, uint8 (H, W) or (3, H, W): 1 where known.

    Args:
        text: See ``MASKS``; a picture or ``.npy`` of the same size, white (1) where pixels are known.
        size: (H, W).
        seed: Of a random mask; None: a random mask has no meaning, it has to be known.
    """
    height, width = size
    kind, _, rest = text.partition(":")
    if kind == "random" and rest:
        share = number(f"{option} random", rest, 0, 1)
        if seed is None:
            raise ValueError(
                f"{option}: got {text!r}, expected a mask file: which pixels are missing has to be "
                "known (`ddrm-fast degrade` stores it in its .npz)"
            )
        drawn = torch.rand(size, generator=torch.Generator().manual_seed(seed))
        return (drawn >= share).to(torch.uint8)
    if kind == "box" and rest:
        top, left, tall, wide = box(option, text, size)
        known = torch.ones(size, dtype=torch.uint8)
        known[top : top + tall, left : left + wide] = 0
        return known
    if kind == "bayer" and rest:
        try:
            return bayer_mask(height, width, rest)[0].to(torch.uint8)
        except ValueError as error:
            raise ValueError(f"{option} bayer: {error}") from None
    plane = _plane(option, text, size)
    return (plane >= 0.5).to(torch.uint8)


def box(option: str, text: str, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The missing rectangle of box:TOP,LEFT,HEIGHT,WIDTH, inside a picture of (H, W)."""
    sides = [whole(f"{option} box", word, 0) for word in text.partition(":")[2].split(",")]
    top, left, tall, wide = sides if len(sides) == 4 else (0, 0, 0, 0)
    if not (tall and wide) or top + tall > size[0] or left + wide > size[1]:
        raise ValueError(
            f"{option}: got {text!r}, expected box:TOP,LEFT,HEIGHT,WIDTH inside the picture of "
            f"{size[0]} x {size[1]}"
        )
    return top, left, tall, wide


def gain(option: str, text: str, size: tuple[int, int]) -> Tensor:
    """Gain of each pixel, float64 (H, W)."""
    kind, _, rest = text.partition(":")
    if kind == "vignette" and rest:
        corner = number(f"{option} vignette", rest, 0, 1)
        down, right = (torch.linspace(-1, 1, n, dtype=torch.float64) for n in size)
        radius = (down[:, None].square() + right[None].square()) / 2  # 1 in the corners
        return 1 - (1 - corner) * radius
    return _plane(option, text, size).double()


def kernel(option: str, text: str) -> Tensor:
    """A blur kernel with sum 1, float64 (kh, kw)."""
    kind, _, rest = text.partition(":")
    if kind == "gaussian" and rest:
        return gaussian_kernel(number(f"{option} gaussian", rest, 0.05, 200))
    if kind == "motion" and rest:
        length, _, angle = rest.partition(",")
        option = f"{option} motion"
        return motion_kernel(whole(option, length, 1, 1000), number(option, angle or 0, -360, 360))
    if kind == "uniform" and rest:
        side = whole(f"{option} uniform", rest, 1, 1000)
        return torch.full((side, side), 1 / side**2, dtype=torch.float64)
    taps = _plane(option, text, None).double()
    if not taps.sum() > 0:
        raise ValueError(f"{option}: {text} sums to {float(taps.sum()):.3g}, expected above 0")
    return taps / taps.sum()


def _plane(option: str, text: str, size: tuple[int, int] | None) -> Tensor:
    """One plane (H, W) from a picture (the mean of its channels) or an ``.npy`` file."""
    path = Path(text)
    if not path.exists():
        known = {"--mask": MASKS, "--kernel": KERNELS, "--gain": GAINS}.get(option, "FILE")
        raise FileNotFoundError(f"{option}: {text!r} is no file; expected {known}")
    if path.suffix.lower() == ".npy":
        try:
            array = np.load(BytesIO(read_bytes(path)), allow_pickle=False)
            plane = torch.from_numpy(np.asarray(array, dtype=np.float64))
        except (ValueError, TypeError, EOFError, OSError) as error:
            raise ValueError(f"{option}: {path} is not readable as an array ({error})") from error
        if plane.dim() != 2 or not plane.numel() or not torch.isfinite(plane).all():
            raise ValueError(
                f"{option}: {path} holds {tuple(plane.shape)}, expected finite numbers (rows, columns)"
            )
    else:
        plane = read_picture(path).pixels.mean(dim=0)
    if size is not None and tuple(plane.shape) != tuple(size):
        raise ValueError(
            f"{option}: {path} has {plane.shape[0]} x {plane.shape[1]} pixels (rows x columns), "
            f"expected the picture's {size[0]} x {size[1]}"
        )
    return plane

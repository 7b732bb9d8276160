"""Masks, kernels and gains: from a tensor, a file, or words such as ``gaussian:2``.

What is said of a wrong one begins with the name of the argument that it was given for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..io import read_picture
from ..io.files import read_bytes
from ..io.foreign import read_arrays
from ..operators import bayer_mask, gaussian_kernel, motion_kernel
from ..registry import Kernel, Mask, Plane
from ..registry.values import number, whole

log = logging.getLogger(__name__)

Size = tuple[int, int]


def mask(value: str | Tensor, size: Size, seed: int | None = None, name: str = "mask") -> Tensor:
    """Which pixels are known, uint8 (H, W) or (C, H, W): 1 where known.

    Args:
        value:
            A tensor of that shape, or ``FILE`` (a picture or ``.npy`` of the same size, white or 1 where
            pixels are known; or with transparency where they are not, or black on transparency there),
            ``random:SHARE`` missing, ``box:TOP,LEFT,HEIGHT,WIDTH`` missing, in pixels, or
            ``bayer:PATTERN``, the colours that a camera's sensor saw, such as ``bayer:RGGB``.
        size:
            (H, W).
        seed:
            Of a random mask; None: a random mask has no meaning, it has to be known.
        name:
            Of the argument, for messages.

    Raises:
        ValueError: It is none, does not fit the size, may not be random, or nothing is known by it.
        FileNotFoundError: There is no such file.
    """
    if isinstance(value, Tensor):
        return (_of_size(value, size, name) >= 0.5).to(torch.uint8)
    height, width = size
    kind, _, rest = value.partition(":")
    if kind == "random" and rest:
        share = number(f"{name} random", rest, 0, 1)
        if seed is None:
            raise ValueError(
                f"{name}: got {value!r}, expected a mask file: which pixels are missing has to be "
                "known (`ddrm-fast degrade` stores it in its .npz)"
            )
        drawn = torch.rand(size, generator=torch.Generator().manual_seed(seed))
        return (drawn >= share).to(torch.uint8)
    if kind == "box" and rest:
        top, left, tall, wide = box(value, size, name)
        known = torch.ones(size, dtype=torch.uint8)
        known[top : top + tall, left : left + wide] = 0
        return known
    if kind == "bayer" and rest:
        try:
            return bayer_mask(height, width, rest)[0].to(torch.uint8)
        except ValueError as error:
            raise ValueError(f"{name} bayer: {error}") from None
    plane = _plane(value, size, name, Mask.WORDS, _known_by_alpha)
    known = (plane >= 0.5).to(torch.uint8)
    if not known.any():
        raise NoWhite(_without_white(value, plane, name))
    if known.all():
        log.warning("%s: %s leaves nothing missing, it is white throughout", name, value)
    return known


def _without_white(text: str, plane: Tensor, name: str) -> str:
    """What is wrong with a mask in which nothing is known."""
    largest = float(plane.max())
    if largest <= 0:
        return (
            f"{name}: {text} measures nothing, it is black throughout; expected white where known"
        )
    levels = "" if Path(text).suffix.lower() == ".npy" else f", {round(largest * 255)} of 255"
    return (
        f"{name}: {text} measures nothing, its largest value is {largest:.4g}{levels}; expected white "
        "(1, or 255 of 255) where pixels are known"
    )


def box(text: str, size: Size, name: str = "mask") -> tuple[int, int, int, int]:
    """The missing rectangle of ``box:TOP,LEFT,HEIGHT,WIDTH``, inside a picture of (H, W).

    Raises:
        ValueError: It is empty, or reaches beyond the picture.
    """
    sides = [whole(f"{name} box", word, 0) for word in text.partition(":")[2].split(",")]
    top, left, tall, wide = sides if len(sides) == 4 else (0, 0, 0, 0)
    if not (tall and wide) or top + tall > size[0] or left + wide > size[1]:
        raise ValueError(
            f"{name}: got {text!r}, expected box:TOP,LEFT,HEIGHT,WIDTH inside the picture of "
            f"{size[0]} x {size[1]}"
        )
    return top, left, tall, wide


def gain(value: str | Tensor, size: Size, name: str = "gain") -> Tensor:
    """A number for each pixel, float64 (H, W).

    Args:
        value:
            A tensor, ``FILE`` (a picture or ``.npy`` of the same size), or ``vignette:CORNER``, which falls
            from 1 in the centre to CORNER in the corners with the square of the radius.
        size:
            (H, W).
        name:
            Of the argument, for messages.

    Raises:
        ValueError: It is none, or does not fit the size.
        FileNotFoundError: There is no such file.
    """
    if isinstance(value, Tensor):
        return _of_size(value, size, name).double()
    kind, _, rest = value.partition(":")
    if kind == "vignette" and rest:
        corner = number(f"{name} vignette", rest, 0, 1)
        down, right = (torch.linspace(-1, 1, n, dtype=torch.float64) for n in size)
        radius = (down[:, None].square() + right[None].square()) / 2  # 1 in the corners
        return 1 - (1 - corner) * radius
    return _plane(value, size, name, Plane.WORDS).double()


def kernel(value: str | Tensor, name: str = "kernel") -> Tensor:
    """A blur kernel with sum 1, float64 (kh, kw).

    Args:
        value:
            A tensor, ``FILE`` (a picture or ``.npy``), ``gaussian:SIGMA``, ``motion:LENGTH,ANGLE`` or
            ``uniform:SIDE``; in pixels, and degrees counter-clockwise from the horizontal.
        name:
            Of the argument, for messages.

    Raises:
        ValueError: It is none, or its sum is not above 0.
        FileNotFoundError: There is no such file.
    """
    if isinstance(value, Tensor):
        taps = value.detach().cpu().double()
    else:
        kind, _, rest = value.partition(":")
        if kind == "gaussian" and rest:
            return gaussian_kernel(number(f"{name} gaussian", rest, 0.05, 200))
        if kind == "motion" and rest:
            length, _, angle = rest.partition(",")
            told = f"{name} motion"
            return motion_kernel(whole(told, length, 1, 1000), number(told, angle or 0, -360, 360))
        if kind == "uniform" and rest:
            side = whole(f"{name} uniform", rest, 1, 1000)
            return torch.full((side, side), 1 / side**2, dtype=torch.float64)
        taps = _plane(value, None, name, Kernel.WORDS).double()
    if taps.dim() != 2 or not taps.sum() > 0:
        raise ValueError(
            f"{name}: {'the tensor' if isinstance(value, Tensor) else value} sums to "
            f"{float(taps.sum()):.3g} in {tuple(taps.shape)}, expected (rows, columns) with a sum above 0"
        )
    return taps / taps.sum()


def pad(x: Tensor, size: Size) -> Tensor:
    """(C, h, w) continued to (C, H, W) by repeating its last row and column."""
    rows = torch.arange(size[0]).clamp(max=x.shape[-2] - 1)
    columns = torch.arange(size[1]).clamp(max=x.shape[-1] - 1)
    return x.index_select(-2, rows).index_select(-1, columns)


def _of_size(x: Tensor, size: Size, name: str) -> Tensor:
    if x.dim() not in (2, 3) or tuple(x.shape[-2:]) != tuple(size):
        raise ValueError(
            f"{name}: got a tensor {tuple(x.shape)}, expected the picture's rows x columns, "
            f"{size[0]} x {size[1]}"
        )
    return x.detach().cpu()


class NoWhite(ValueError):
    """A mask by which nothing is known."""


def _alpha_itself(alpha: Tensor, colour: float) -> Tensor:
    """What is drawn in one colour on transparency has the shape of its opacity."""
    return alpha


def _known_by_alpha(alpha: Tensor, colour: float) -> Tensor:
    """Known pixels of a mask in one colour: white ones, or those that no black is painted over."""
    return alpha if colour >= 0.5 else 1 - alpha


def _plane(
    text: str,
    size: Size | None,
    name: str,
    expected: str,
    by_alpha: Callable[[Tensor, float], Tensor] = _alpha_itself,
) -> Tensor:
    """One plane (H, W) from a picture (the mean of its channels) or an ``.npy`` file.

    A picture in one colour whose opacity varies is the shape of its opacity, as ``by_alpha(alpha, colour)``
    says; where both vary, nobody can say which is meant.
    """
    path = Path(text)
    if not path.exists():
        raise FileNotFoundError(f"{name}: {text!r} is no file; expected {expected}")
    if path.suffix.lower() == ".npy":
        try:
            array = read_arrays(path, read_bytes(path)).get("")
            if array is None:
                raise ValueError("it is an archive of arrays")
            plane = torch.from_numpy(np.asarray(array, dtype=np.float64))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name}: {path} is not readable as an array ({error})") from error
        if plane.dim() != 2 or not plane.numel() or not torch.isfinite(plane).all():
            raise ValueError(
                f"{name}: {path} holds {tuple(plane.shape)}, expected finite numbers (rows, columns)"
            )
    else:
        plane = _of_picture(path, name, by_alpha)
    if size is not None and tuple(plane.shape) != tuple(size):
        raise ValueError(
            f"{name}: {path} has {plane.shape[0]} x {plane.shape[1]} pixels (rows x columns), "
            f"expected the picture's {size[0]} x {size[1]}"
        )
    return plane


def _of_picture(path: Path, name: str, by_alpha: Callable[[Tensor, float], Tensor]) -> Tensor:
    picture = read_picture(path)
    plane, alpha = picture.pixels.mean(dim=0), picture.alpha
    if alpha is None or float(alpha.max() - alpha.min()) == 0:
        return plane
    seen = plane[alpha > 0]
    if float(seen.max() - seen.min()) > 0.02:
        raise ValueError(
            f"{name}: {path} has a varying opacity (alpha) and varying colours, which of them is meant "
            "cannot be told; save it without transparency"
        )
    return by_alpha(alpha, float(seen.mean()))

"""Tasks window by window: the operator of windows of a picture, some of whose pixels may be missing.

The functions that :class:`ddrm_fast.registry.Task` names as ``regions``. A mask is bool (B, 1 or C, H, W),
of the windows of the restored picture; None: everything is measured.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..io.blocks import BlockPicture, is_block_picture
from ..operators import Blur, Denoising, Inpainting, Operator, SuperResolution, bayer_mask
from ..operators.cuts import Box
from ..registry import TASKS, Mask, Task, loaded
from . import arrays
from .arrays import Size
from .degradation import check_options
from .drawn import boundary_of

#: ``(top, left, height, width) -> bool (1 or C, height, width)``
MaskRegion = Callable[[int, int, int, int], Tensor]


def pixels(mask: Tensor | None = None) -> Operator:
    """Noise alone, or missing pixels."""
    return Denoising() if mask is None else Inpainting(mask)


def block_means(
    factor: int = 1, weights: tuple[float, ...] | None = None, mask: Tensor | None = None
) -> Operator:
    """Means of blocks, grey where weights are given."""
    return SuperResolution(factor, weights, mask)


def reflected_blur(kernel: str | Tensor, boundary: str | None = None) -> Operator:
    """A blur whose pictures are reflected at their edges, as windows need it.

    Raises:
        ValueError: The kernel or the boundary does not allow it.
    """
    taps = arrays.kernel(kernel)
    if boundary == "periodic":
        raise ValueError("boundary: pictures on disk are reflected at their edges")
    if boundary_of(taps) != "reflect":
        raise ValueError(
            f"kernel: {kernel} is not of odd sides and the same under each flip, as "
            "windows of pictures on disk need it, which are reflected at their edges; a picture in "
            "memory (.png, or .tif without --memory) may have any kernel, if large with --large joint"
        )
    return Blur(taps, "reflect")


@dataclass(frozen=True)
class Regions:
    """How a picture that is read by regions was degraded, such as one on disk.

    Args:
        operator:
            ``(mask or None) -> operator`` of windows: the mask, bool (B, 1 or C, H, W), says which pixels of
            the restored picture are measured; None: all. For super-resolution, for example,
            ``lambda mask: SuperResolution(4, mask=mask)``.
        factor:
            Side of the block of pixels that a pixel of the measurement is the mean of.
        mask:
            ``(top, left, height, width) -> bool (1 or C, height, width)`` of the restored picture, where it
            is measured in parts only.
        takes_mask:
            Whether the operator takes a mask at all: without one, nothing may be missing.
    """

    operator: Callable[[Tensor | None], Operator] = pixels
    factor: int = 1
    mask: MaskRegion | None = None
    takes_mask: bool = True


def by_regions() -> list[str]:
    """Names of the tasks that split over windows of a picture on disk."""
    return [name for name, task in TASKS.items() if task.regions is not None]


def regions(task: Task | str, options: Mapping[str, Any] | None, size: Size) -> Regions:
    """A task of a picture that is read by regions.

    Args:
        task:
            A task or its name.
        options:
            Its parameters; a mask as :func:`mask_region` takes it.
        size:
            (H, W) of the measurement.

    Raises:
        ValueError: The task does not split over windows; a parameter is missing, wrong, or does not fit.
    """
    task = TASKS.find(task) if isinstance(task, str) else task
    if task.regions is None:
        raise ValueError(
            f"task {task.name}: is not for pictures on disk; expected {', '.join(by_regions())}"
        )
    given = check_options(task, options or {})
    make, values, mask = loaded(task.regions), {}, None
    factor = given.get(task.smaller_by, 1)
    for parameter in task.parameters:
        value = given.get(parameter.name, parameter.default)
        if value is not None and not isinstance(parameter, Mask):
            values[parameter.name] = value
        elif value is not None:
            mask = mask_region(value, tuple(n * factor for n in size), factor)
    if "mask" in inspect.signature(make).parameters:
        return Regions(partial(_windows, make, values), factor, mask)
    operator = make(**values)
    return Regions(lambda mask: operator, factor, takes_mask=False)


def _windows(
    make: Callable[..., Operator], values: dict[str, Any], mask: Tensor | None
) -> Operator:
    return make(**values, mask=mask)


def mask_region(value: str, size: Size, factor: int = 1) -> MaskRegion:
    """A mask that is read by region: a box, a colour filter, or a file in blocks.

    Args:
        value:
            ``box:TOP,LEFT,HEIGHT,WIDTH``, ``bayer:RGGB``, or a ``.zarr`` or ``.tif`` file of the size of the
            restored picture or of its measurement.
        size:
            (H, W) of the restored picture.
        factor:
            How many times smaller the measurement is.

    Raises:
        ValueError: It is none, or does not fit.
    """
    kind, _, rest = value.partition(":")
    if kind == "box" and rest:
        return partial(_outside, Box(*arrays.box(value, size)))
    if kind == "bayer" and rest:
        arrays.mask(value, (2, 2))  # says what is wrong with the pattern
        return partial(_bayer, rest)
    if kind == "random" and rest:
        arrays.mask(value, (2, 2))  # explains
    if not is_block_picture(value):
        raise ValueError(
            f"mask: got {value!r}; for pictures on disk expected a .zarr or .tif file (tiled), "
            "box:TOP,LEFT,HEIGHT,WIDTH or bayer:RGGB"
        )
    file = BlockPicture(value)
    small = tuple(n // factor for n in size)
    if file.size not in (size, small):
        raise ValueError(
            f"mask: {value} has {file.size[0]} x {file.size[1]} pixels (rows x columns), expected the "
            f"picture's {size[0]} x {size[1]}"
        )
    return partial(_white, file, factor if file.size != size else 1)


def _outside(box: Box, top: int, left: int, height: int, width: int) -> Tensor:
    here = Box(top, left, height, width)
    known, hole = torch.ones(1, height, width, dtype=torch.bool), box.meet(here)
    if hole is not None:
        known[:, *hole.inside(here)] = False
    return known


def _bayer(pattern: str, top: int, left: int, height: int, width: int) -> Tensor:
    down, right = top % 2, left % 2
    tile = bayer_mask(height + 2, width + 2, pattern)[0] > 0
    return tile[:, down : down + height, right : right + width]


def _white(file: BlockPicture, shrink: int, top: int, left: int, height: int, width: int) -> Tensor:
    x = file.read(*Box(top, left, height, width).shrunk(shrink)).mean(dim=0, keepdim=True) >= 0.5
    return x.repeat_interleave(shrink, dim=1).repeat_interleave(shrink, dim=2)

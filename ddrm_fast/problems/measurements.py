"""Measurements that are stored: made from clean pictures, and read back with their operator.

>>> stored = read_measurement("degraded/photo.npz")
>>> problem = Problem.of(stored.y[None], operator_of(stored), stored.sigma_y)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .. import ops
from ..io import Picture, StoredMeasurement
from ..operators import Forward
from ..registry import TASKS, Task
from .arrays import pad
from .counts import PoissonGaussian, mean_level
from .degradation import Degradation, degradation, padded_size


def measure(
    picture: Picture,
    task: Task | str,
    options: Mapping[str, Any] | None = None,
    *,
    sigma_y: float | PoissonGaussian = 0.0,
    seed: int = 0,
) -> StoredMeasurement:
    """y = H x + sigma_y n of a clean picture, with everything that defines H.

    Args:
        picture:
            In [0, 1]; padded to the size that the task asks for.
        task:
            A task or its name.
        options:
            Its parameters: values, tensors, or the text that stands for them.
        sigma_y:
            Noise level in the unit of y, >= 0, or a law of noise that grows with the light.
        seed:
            Of the noise, and of masks, coefficients and bases that are random.

    Returns:
        What :func:`ddrm_fast.io.write_measurement` writes.

    Raises:
        ValueError: A parameter is missing or wrong, or the picture does not fit the task.
    """
    task = TASKS.find(task) if isinstance(task, str) else task
    channels = picture.pixels.shape[0]
    if task.grey and channels != 3:
        raise ValueError(f"is grey, task {task.name} expects a picture with colours")
    size = padded_size(task, options or {}, picture.size)
    made = degradation(task, (channels, *size), options, seed=seed, crop=picture.size)
    y = noisy(pad(picture.pixels, size)[None], made.operator(), sigma_y, seed)[0]
    law, level = "", sigma_y
    if isinstance(level, PoissonGaussian):
        law, level = str(level), mean_level(y, level)
    return StoredMeasurement(
        y=y,
        task=made.task,
        parameters=made.parameters,
        arrays=made.arrays,
        sigma_y=level,
        law=law,
        image_shape=made.image_shape,
        crop=picture.size,
        alpha=picture.alpha,
        bits=picture.bits,
        icc=picture.icc,
        exif=picture.exif,
        xmp=picture.xmp,
        dpi=picture.dpi,
    )


def noisy(
    x: Tensor, operator: Forward, sigma_y: float | Tensor | PoissonGaussian, seed: int
) -> Tensor:
    """H x + sigma_y n, unchecked; what :func:`ddrm_fast.degrade` gives.

    Args:
        x:
            (B, C, H, W).
        operator:
            H.
        sigma_y:
            One noise level, float64 [B], or a law of noise that grows with the light.
        seed:
            Of the noise.
    """
    y = operator.H(x)
    if not y.numel():
        return y
    if isinstance(sigma_y, PoissonGaussian):
        return sigma_y.drawn(y, seed)
    levels = torch.as_tensor(sigma_y, dtype=torch.float64).reshape(-1).to(y.device, x.dtype)
    keys = ops.noise_keys(y.shape[0], seed, device=y.device)
    noise = ops.normal(keys, 1, 1, y[0].numel(), stream=ops.Stream.MEASUREMENT)
    return y + levels.view(-1, *[1] * (y.dim() - 1)) * noise.to(y.dtype).view(y.shape)


def operator_of(stored: StoredMeasurement) -> Forward:
    """The operator of a stored measurement.

    Raises:
        ValueError: What is stored does not make one, or y does not fit it.
    """
    made = Degradation(stored.task, stored.parameters, stored.arrays, stored.image_shape)
    operator = made.operator()
    shape = operator.image_shape(stored.y[None])
    if tuple(shape) != tuple(stored.image_shape):
        raise ValueError(f"it is for pictures of {shape}, its header says {stored.image_shape}")
    return operator


def shown(stored: StoredMeasurement) -> Tensor:
    """A measurement that is a picture, without its padding, (C, h, w); it may leave [0, 1]."""
    height, width = (
        -(-crop * small // whole)
        for crop, small, whole in zip(
            stored.crop, stored.y.shape[1:], stored.image_shape[1:], strict=True
        )
    )
    return stored.y[:, :height, :width]

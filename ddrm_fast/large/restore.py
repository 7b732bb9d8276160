"""The public function for large pictures in memory, window by window."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..arguments import (
    check_finite,
    check_holds,
    check_labels,
    check_measures,
    check_prior,
    check_sampler,
    check_travel,
    noise_levels,
    seeds,
)
from ..operators import Operator
from ..priors import Prior, load_prior
from ..restoration import Restoration
from ..samplers import DDRM, Hold, Sampler, Travel
from .draw import Draw
from .mask_shift import InMemory, Memory, mask_shift
from .progress import megapixels
from .windows import Windows, windows_of

#: windows that run together on a GPU unless something else is asked for
GPU_BATCH = 16


def restore_windows(
    y: Tensor,
    operator: Operator,
    sigma_y: float | Tensor = 0.0,
    prior: Prior | str = "default",
    sampler: Sampler | None = None,
    *,
    window: int | tuple[int, int] = 256,
    stride: int | tuple[int, int] | None = None,
    order: str | Sequence[int] = "rows",
    batch: int | None = None,
    num_samples: int = 1,
    seed: int | Tensor = 0,
    labels: Tensor | None = None,
    guidance: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None,
    clip_x0: bool = False,
    end_on_measurement: bool = False,
    clamp: bool = True,
    capture: bool = False,
    holds: Sequence[Hold] = (),
    travel: Travel | None = None,
    progress: bool | None = False,
) -> Restoration:
    """Restores pictures far beyond the network's size, by mask-shift restoration.

    Each window is restored with the pixels that earlier windows fixed; see
    :mod:`ddrm_fast.large.mask_shift`. Noise is a function of a pixel's place in the whole picture, so
    with a network whose output for a window does not depend on its batch the result is the same bit for
    bit for every ``batch``, and whether windows run one by one or in waves.

    Args:
        y, operator, sigma_y, prior, sampler:
            As in :func:`ddrm_fast.restore`. The measurement has to split over windows: noise, masks, gain,
            lost colour, block means, block compressed sensing; blurs with symmetric kernels approximately,
            up to ``operator.margin`` pixels from a window's edge, which are left to its neighbours.
        window:
            Side of a window, or (rows, columns): the size that the network was made for.
        stride:
            From window to window, default half of the window.
        order:
            "rows", "columns", "snake" or a permutation; see :class:`Windows`. A snake runs one window
            at a time.
        batch:
            Windows (times pictures times samples) that run together, at most; default 1 on a CPU and
            16 on a GPU, where fewer are filled up to a power of two.
        num_samples, seed, labels, guidance, clip_x0, end_on_measurement, clamp, capture, holds, travel:
            As in :func:`ddrm_fast.restore`; ``holds`` of whole pictures.
        progress:
            Show a progress bar with megapixels per second; None: only on a terminal.

    Returns:
        :class:`Restoration`.

    Raises:
        ValueError: as in :func:`ddrm_fast.restore`; a window is larger than the picture, a stride larger
            than the window, a size does not fit the operator's blocks, or its measurement does not split.
        FloatingPointError: the network made NaN or infinite pixels.
    """
    prior = load_prior(prior) if isinstance(prior, str) else prior
    sampler = DDRM() if sampler is None else sampler
    if not isinstance(operator, Operator):
        raise ValueError(f"operator: expected an Operator, got {type(operator).__name__}")
    check_finite("y", y)
    y = y.detach()
    shape, pictures = operator.image_shape(y), y.shape[0]
    check_prior(prior, shape[0])
    check_sampler(sampler)
    check_travel(travel)
    check_labels(labels, pictures, prior)
    check_measures(operator, shape)
    check_holds(holds, (pictures, *shape), y)
    for name, value in (("num_samples", num_samples), ("batch", batch)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")
    on_gpu = y.device.type == "cuda"
    if batch is None:
        batch = GPU_BATCH if on_gpu else 1
    windows = windows_for(operator, shape, window, stride, order, holds)
    draw = Draw(
        prior, sampler, noise_levels(sigma_y, pictures), seeds(seed, pictures), labels, travel,
        clip_x0, end_on_measurement, guidance, capture,
    )  # fmt: skip
    samples = torch.zeros(num_samples, pictures, *shape, dtype=y.dtype, device=y.device)
    planes = [(picture, sample) for sample in range(num_samples) for picture in range(pictures)]
    with megapixels(len(planes) * shape[1] * shape[2], progress) as bar:
        restored = mask_shift(
            InMemory(operator, y, holds), Memory(samples), windows, draw, planes,
            batch=batch, pad=on_gpu, clamp=clamp, after_step=bar.update,
        )  # fmt: skip
        for _ in restored:
            pass
    mean = samples.mean(dim=0)
    spread = samples.std(dim=0) if num_samples > 1 else torch.zeros_like(mean)
    return Restoration(samples, mean, spread)


def windows_for(
    operator: Operator,
    shape: tuple[int, int, int],
    window: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    order: str | Sequence[int] = "rows",
    holds: Sequence[Hold] = (),
) -> Windows:
    """Windows whose borders fit the blocks of an operator and of what is held."""
    everything = [operator, *(hold.operator for hold in holds)]
    grid = math.lcm(*(each.grid for each in everything))
    margin = max(each.margin for each in everything)
    return windows_of(shape[1:], window, stride, order, grid=grid, margin=margin)

"""The public function for large pictures in memory, window by window."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..machine.arguments import checked
from ..operators import Forward, Operator, SuperResolution
from ..priors import Prior, load_prior
from ..priors.tiled import pair
from ..problems import Problem
from ..restoration import Restoration
from ..samplers import Drawing, Edit, Hold, Sampler, Travel
from ..samplers.doubts import warn_of
from ..samplers.drawing import usual_edits
from ..samplers.edits.known import check_gradient
from .hierarchical import levels_of
from .mask_shift import InMemory, Memory, mask_shift
from .progress import megapixels
from .windows import Windows, windows_of

#: windows that run together on a GPU unless something else is asked for
GPU_BATCH = 16
#: how much pictures in [0, 1] change from pixel to pixel, for what finished windows say of their neighbours
GRADIENT = 0.03
#: levels draw noise of their own: the sample ids of a level start here times its number
_SAMPLES_OF_A_LEVEL = 1 << 24


@checked
def restore_windows(
    y: Tensor,
    operator: Forward,
    sigma_y: float | Tensor = 0.0,
    prior: Prior | str = "default",
    sampler: Sampler | None = None,
    *,
    window: int | tuple[int, int] | None = 256,
    stride: int | tuple[int, int] | None = None,
    order: str | Sequence[int] = "rows",
    margin: int | None = None,
    batch: int | None = None,
    levels: int = 0,
    factor: int = 4,
    num_samples: int | None = None,
    seed: int | Tensor = 0,
    labels: Tensor | None = None,
    guidance: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None,
    clip_x0: bool = False,
    end_on_measurement: bool = False,
    clamp: bool = True,
    capture: bool = False,
    holds: Sequence[Hold] = (),
    edits: Sequence[Edit] = (),
    travel: Travel | None = None,
    gradient: float | None = GRADIENT,
    progress: bool | None = False,
) -> Restoration:
    """Restores pictures far beyond the network's size, by mask-shift and hierarchical restoration.

    Each window is restored with the pixels that earlier windows fixed; see
    :mod:`ddrm_fast.large.mask_shift`. Noise is a function of a pixel's place in the whole picture, so
    with a network whose output for a window does not depend on its batch the result is the same bit for
    bit for every ``batch``, and whether windows run one by one or in waves.

    Args:
        y, operator, sigma_y, prior, sampler:
            As in :func:`ddrm_fast.restore`. The measurement has to split over windows: noise, masks, gain,
            lost colour, block means, block compressed sensing; blurs with symmetric kernels and bicubic
            downscaling up to ``operator.margin`` pixels from a window's edge, which are left to its
            neighbours.
        window:
            Side of a window, or (rows, columns): the size that the network was made for. None: the whole
            picture, for a prior of :func:`windowed`.
        stride:
            From window to window, default half of the window.
        order:
            "rows", "columns", "snake" or a permutation; see :class:`Windows`. A snake runs one window
            at a time.
        margin:
            Outermost pixels of a window, at edges inside the picture, that are drawn and left to its
            neighbours; a multiple of the operator's blocks. Default half of what two windows share, so that
            every pixel is drawn with as much around it on all sides: what a network makes at its borders
            would show as a seam (0: as published).
        batch:
            Windows (times pictures times samples) that run together, at most; default 1 on a CPU and
            16 on a GPU, where fewer are filled up to a power of two.
        levels:
            Smaller pictures that are restored first, each held to the means of the one before it; for holes
            larger than a window, strong super-resolution, colorization. See
            :mod:`ddrm_fast.large.hierarchical`.
        factor:
            Between the sides of two levels.
        num_samples, seed, labels, guidance, clip_x0, end_on_measurement, clamp, capture, travel:
            As in :func:`ddrm_fast.restore`.
        holds, edits:
            As there, of whole pictures, not of smaller levels.
        gradient:
            How much pictures change from pixel to pixel (standard deviation, of [0, 1]): in every step what
            the network got wrong at pixels that other windows fixed is carried over to the pixels beside
            them, see :class:`~ddrm_fast.samplers.Known`. None: it is not, as published; then
            borders show. None also for a network to which neighbours say nothing.
        progress:
            Show a progress bar with megapixels per second; None: only on a terminal.

    Returns:
        :class:`Restoration`.

    Raises:
        ValueError: as in :func:`ddrm_fast.restore`; a window is larger than the picture, a stride larger
            than the window, a size does not fit the operator's blocks or the levels, or the measurement
            does not split or has no small counterpart.
        FloatingPointError: the network made NaN or infinite pixels.
    """
    problem = Problem.of(y, operator, sigma_y)
    drawing = Drawing(
        load_prior(prior, device=y.device) if isinstance(prior, str) else prior,
        sampler,
        usual_edits(
            guidance=guidance, clip_x0=clip_x0, holds=holds, edits=edits,
            end_on_measurement=end_on_measurement,
        ),
        travel, labels, seed, num_samples, capture=capture, clamp=clamp,
    )  # fmt: skip
    drawing.check(problem)
    warn_of(problem, drawing.prior)
    check_gradient("gradient", gradient)
    for name, value, least in (("batch", batch, 1), ("levels", levels, 0), ("factor", factor, 2)):
        if value is not None and (not isinstance(value, int) or value < least):
            raise ValueError(f"{name}: expected an integer >= {least}, got {value!r}")
    problems = levels_of(problem, levels, factor)
    cut = _windows_of_levels(problems, window, stride, order, margin, holds, factor)
    low: Hold | None = None
    number_of_samples = drawing.pictures
    pixels = number_of_samples * problem.batch * sum(p.shape[1] * p.shape[2] for p in problems)
    plans = drawing.planned(problem)
    with megapixels(pixels, progress) as bar:
        for number in reversed(range(levels + 1)):
            # what was made for the picture does not fit the smaller ones
            fitting = [e for e in drawing.edits if number == 0 or e not in (*holds, *edits)]
            degraded = InMemory(problems[number], fitting, low)
            of_level = [
                (replace(each, edits=(), first_sample=number * _SAMPLES_OF_A_LEVEL), rows)
                for each, rows in plans
            ]
            samples = draw_samples(degraded, cut[number], of_level, batch, gradient, bar.update)
            low = Hold(SuperResolution(factor), samples.flatten(0, 1))
    mean = samples.mean(dim=0)
    spread = samples.std(dim=0) if number_of_samples > 1 else torch.zeros_like(mean)
    return Restoration(samples, mean, spread)


def _windows_of_levels(
    problems: Sequence[Problem],
    window: int | tuple[int, int] | None,
    stride: int | tuple[int, int] | None,
    order: str | Sequence[int],
    margin: int | None,
    holds: Sequence[Hold],
    factor: int,
) -> list[Windows]:
    """Windows of every level, before any work: what does not fit is said first.

    Those of small pictures are no larger than the picture.
    """
    found = []
    for number, problem in enumerate(problems):
        held = [hold.operator for hold in holds] if number == 0 else []
        if number < len(problems) - 1:
            held.append(SuperResolution(factor))
        if number > 0:
            window = _within(window, problem.shape[1:])
            stride = _within(stride, window)
        found.append(
            windows_for(problem.operator, problem.shape, window, stride, order, held, margin)
        )
    return found


def _within(
    sides: int | tuple[int, int] | None, most: Sequence[int] | None
) -> tuple[int, int] | None:
    """(rows, columns), cut to what there is at most."""
    if sides is None or most is None:
        return None
    rows, columns = pair("window", sides)
    return min(rows, most[0]), min(columns, most[1])


def draw_samples(
    degraded: InMemory,
    windows: Windows,
    drawings: Sequence[tuple[Drawing, list[int]]],
    batch: int | None,
    gradient: float | None,
    after_step: Callable[[float], None] | None = None,
) -> Tensor:
    """Samples (num_samples, B, C, H, W) in [0, 1], each drawing with its pictures; see :func:`mask_shift`."""
    y, shape = degraded.problem.y, degraded.problem.shape
    on_gpu = y.device.type == "cuda"
    if batch is None:
        batch = GPU_BATCH if on_gpu else 1
    number, pictures = drawings[0][0].pictures, degraded.problem.batch
    samples = torch.zeros(number, pictures, *shape, dtype=y.dtype, device=y.device)
    for drawing, rows in drawings:
        planes = [(picture, sample) for sample in range(number) for picture in rows]
        restored = mask_shift(
            degraded, Memory(samples), windows, drawing, planes,
            batch=batch, pad=on_gpu, gradient=gradient, after_step=after_step,
        )  # fmt: skip
        for _ in restored:
            pass
    return samples


def windows_for(
    operator: Forward,
    shape: Sequence[int],
    window: int | tuple[int, int] | None,
    stride: int | tuple[int, int] | None = None,
    order: str | Sequence[int] = "rows",
    held: Sequence[Operator] = (),
    margin: int | None = None,
) -> Windows:
    """Windows whose borders fit the blocks of an operator and of what is held.

    Args:
        shape:
            (C, H, W) of the picture.
        window, stride, order, margin:
            See :func:`restore_windows`.
        held:
            Operators of what the windows are held to.
    """
    size = (shape[1], shape[2])
    if window is None:
        return windows_of(size, size, size)
    everything = (operator, *held)
    grid = math.lcm(*(each.grid for each in everything))
    needed = max(each.margin for each in everything)
    if any(
        2 * needed >= n < length for n, length in zip(pair("window", window), size, strict=True)
    ):
        raise ValueError(
            f"window: {window} is too small for {operator}, whose measurement holds but roughly in the "
            f"outermost {needed} pixels of a window; expected more than {2 * needed}"
        )
    if margin is None:
        free = _free_margin(windows_of(size, window, stride, order, grid=grid), grid)
        margin = max(needed, free)
    elif margin < needed:
        raise ValueError(f"margin: expected at least {needed} with {operator}, got {margin}")
    return windows_of(size, window, stride, order, grid=grid, margin=margin)


def _free_margin(windows: Windows, grid: int) -> int:
    """Half of what two windows share, of the axis where that is less."""
    axes = zip(windows.picture, windows.size, windows.stride, strict=True)
    room = min(((size - stride) // 2 for length, size, stride in axes if size < length), default=0)
    return room - room % grid

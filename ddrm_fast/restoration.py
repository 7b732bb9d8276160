"""The public functions: degrade a picture, restore a measurement, draw from a prior."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from . import ops
from .arguments import (
    check_finite,
    check_guidance,
    check_holds,
    check_known,
    check_labels,
    check_measures,
    check_prior,
    check_result,
    check_sampler,
    check_travel,
    noise_levels,
    of_white,
    seeds,
    warn_bytes,
)
from .fallback import FallingBack, fits_black
from .machine.heap import kept_memory
from .operators import Denoising, Operator
from .priors import Prior, load_prior
from .samplers import DDIM, DDRM, Hold, Known, Sampler, StepInfo, Travel, run
from .samplers.loop import planned
from .samplers.travel import network_calls

_MEASUREMENT_STREAM = 2


@dataclass
class Restoration:
    """What :func:`restore` returns; pictures in [0, 1].

    Args:
        samples:
            (num_samples, B, C, H, W), or None where they were not kept.
        mean:
            Mean of the samples, (B, C, H, W): the estimate with the smallest squared error.
        std:
            Their standard deviation, (B, C, H, W): the uncertainty map. Zero for one sample.
    """

    samples: Tensor | None
    mean: Tensor
    std: Tensor


def degrade(
    x: Tensor,
    operator: Operator,
    sigma_y: float | Tensor = 0.0,
    seed: int = 0,
    *,
    keep_going: bool = False,
) -> Tensor:
    """y = H x + sigma_y n, for pictures in [0, 1].

    Args:
        x:
            Clean pictures (B, C, H, W) in [0, 1], float32 or float64.
        operator:
            The degradation.
        sigma_y:
            Standard deviation of the noise in the unit of y, >= 0, one for all or [B].
        seed:
            Of the noise.
        keep_going:
            Allow pixels outside [0, 1].

    Returns:
        The measurement, in the operator's layout. It may leave [0, 1].

    Raises:
        ValueError: wrong shape, dtype or range; NaN or infinite pixels; negative noise.
    """
    check_finite("x", x)
    if x.numel() and not keep_going and not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueError(
            f"x: expected clean pictures in [0, 1], got {float(x.min()):.4g} to {float(x.max()):.4g}"
        )
    levels = noise_levels(sigma_y, x.shape[0]).to(x.device, x.dtype)
    y = operator.H(x)
    if not y.numel():
        return y
    keys = ops.noise_keys(y.shape[0], seed, device=y.device)
    noise = ops.normal(keys, 1, 1, y[0].numel(), stream=_MEASUREMENT_STREAM)
    return y + levels.view(-1, *[1] * (y.dim() - 1)) * noise.to(y.dtype).view(y.shape)


@kept_memory()
def restore(
    y: Tensor,
    operator: Operator,
    sigma_y: float | Tensor = 0.0,
    prior: Prior | str = "default",
    sampler: Sampler | None = None,
    *,
    num_samples: int = 1,
    seed: int | Tensor = 0,
    labels: Tensor | None = None,
    guidance: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None,
    clip_x0: bool = False,
    end_on_measurement: bool = False,
    batch_size: int | None = None,
    keep_samples: bool = True,
    clamp: bool = True,
    origin: tuple[int, int] | Tensor = (0, 0),
    callback: Callable[[StepInfo], None] | None = None,
    capture: bool = False,
    known: Known | None = None,
    holds: Sequence[Hold] = (),
    travel: Travel | None = None,
    progress: bool | None = False,
) -> Restoration:
    """Draws restored pictures from the posterior of a diffusion model, given a degraded picture.

    Args:
        y:
            Measurement of pictures in [0, 1], float32 (float64: reference backend), in the operator's
            layout, batch B. Noise and compressed sensing may leave [0, 1].
        operator:
            How the picture was degraded.
        sigma_y:
            Standard deviation of the noise in y, in the unit of y, >= 0, one for all or [B].
        prior:
            A :class:`Prior` on the device of ``y``, or what :func:`load_prior` takes.
        sampler:
            Default ``DDRM()``: 20 steps.
        num_samples:
            Posterior samples per picture, >= 1.
        seed:
            Picture i of the batch draws its noise from seed + i (modulo 2^64), or from seed[i] where an
            int64 [B] is given; j is the sample id of its sample j. So a picture does not depend on the
            batch that it is in.
        labels:
            Class labels [B] for a conditional network.
        guidance:
            ``(x_t, t, labels) -> gradient`` of log p(condition | x_t), evaluated at x_t; see
            :func:`ddrm_fast.samplers.run`.
        clip_x0:
            Clip the clean-image prediction to [0, 1] in each step.
        end_on_measurement:
            Ends with x0 + V g (u/s - V^T x0): pulls measured directions to the measurement as far as its
            noise allows.
        batch_size:
            Pictures times samples that run together; default: one sample of all pictures. Where memory
            runs out, half of that runs, a quarter and so on, then the network sees tiles
            (:func:`ddrm_fast.large.windowed`); each time with a warning. ``callback`` sees every attempt.
        keep_samples:
            False: only mean and standard deviation are kept.
        clamp:
            Clamp the samples to [0, 1].
        origin:
            (row, column) of the pictures' first pixel in a whole picture they were cut from, or int64
            [B, 2]: noise of pixel-wise operators is then that of the whole picture.
        callback:
            Called after every step with a :class:`StepInfo`.
        capture:
            On a GPU: network and step as one CUDA graph, replayed for every step; see
            :func:`ddrm_fast.samplers.run`.
        known:
            Pixels that are fixed, in [0, 1]: the samples have them exactly, and the rest is drawn to fit.
        holds:
            Measurements of [0, 1] pictures that the clean image of every step is held to, in this order,
            before y is used: such as the low frequencies of a picture that was restored small.
        travel:
            Time travel: stretches of steps that are sampled several times; default: the sampler's own,
            if it has one.
        progress:
            Show a progress bar, which counts network calls; None: only on a terminal.

    Returns:
        :class:`Restoration`.

    Raises:
        ValueError: an argument has a wrong shape, range or dtype, y has NaN or infinite entries, the
            operator measures nothing; the message names the argument, what came and what was expected.
        FloatingPointError: the finished pictures have NaN or infinite pixels: the network made them (one in
            half precision also in float32, in which such pictures are drawn again, with a warning).
        torch.OutOfMemoryError: one picture does not fit, not even with the network in tiles.
    """
    sampler = DDRM() if sampler is None else sampler
    if not isinstance(operator, Operator):
        raise ValueError(f"operator: expected an Operator, got {type(operator).__name__}")
    check_finite("y", y)
    y = y.detach()
    prior = load_prior(prior, device=y.device) if isinstance(prior, str) else prior
    shape = operator.image_shape(y)
    check_prior(prior, shape[0])
    check_sampler(sampler)
    check_guidance(guidance)
    batch = y.shape[0]
    if operator.batch not in (1, batch):
        raise ValueError(f"y: the operator is for a batch of {operator.batch}, got {batch}")
    if not isinstance(num_samples, int) or num_samples < 1:
        raise ValueError(f"num_samples: expected an integer >= 1, got {num_samples!r}")
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size: expected an integer >= 1, got {batch_size!r}")
    levels = noise_levels(sigma_y, batch)
    check_measures(operator, shape)
    prior.schedule.steps(sampler.steps)  # from_pure_noise is for drawing from the prior
    check_travel(travel)
    steps = network_calls(planned(prior, sampler, travel))
    check_labels(labels, batch, prior)
    keys = ops.noise_keys(batch, seeds(seed, batch), 0, origin, y.device)
    if batch and not y.numel():
        raise ValueError(f"y: has no pixels, got shape {tuple(y.shape)}")
    known, holds = check_known(known, (batch, *shape), y), check_holds(holds, (batch, *shape), y)
    if batch == 0:
        empty = y.new_empty(0, *shape)
        return Restoration(y.new_empty(num_samples, 0, *shape), empty, empty)

    # x' = 2 x - 1 in the network's range, so y' = H x' = 2 y - H(1): 2 y - 1 only where H(1) = 1
    with _explained(batch, "fewer pictures in a call"):
        h_ones = of_white(operator, shape, y)
        warn_bytes(y, h_ones)
        scaled = 2 * y - h_ones
        fixed = None if known is None else known.in_network_unit()
        held = [
            Hold(hold.operator, 2 * hold.measurement - of_white(hold.operator, shape, y))
            for hold in holds
        ]
        total = _Moments(batch, shape, y)
    samples = None
    if keep_samples:
        with _explained(batch * num_samples, "keep_samples=False"):
            samples = y.new_empty(num_samples, batch, *shape)
    size = batch if batch_size is None else batch_size
    chunks = list(_chunks(batch, num_samples, size))
    falling_back, black = FallingBack(prior, shape[1:]), fits_black(y, levels)
    disable = None if progress is None else not progress
    with tqdm(total=len(chunks) * steps, unit="step", disable=disable, leave=False) as bar:

        def after_step(info: StepInfo) -> None:
            bar.update()
            if callback is not None:
                callback(info)

        watched = callback is not None or not bar.disable

        def draw(work: Sequence[tuple[int, int]], prior: Prior) -> Tensor:
            images, numbers = (list(column) for column in zip(*work, strict=True))
            index = torch.tensor(images, device=y.device)
            chunk_keys = keys.index_select(0, index)
            chunk_keys[:, 1] = torch.tensor(numbers, device=y.device)
            bar.total = max(bar.total, bar.n + steps)  # more than planned where this falls back
            return run(
                operator.select(index),
                prior,
                sampler,
                scaled if batch == 1 else scaled.index_select(0, index),
                2 * (levels if len(levels) == 1 else levels[index.cpu()]),
                chunk_keys,
                labels=None if labels is None else labels.to(y.device)[index],
                guidance=guidance,
                clip=(-1.0, 1.0) if clip_x0 else None,
                end_on_measurement=end_on_measurement,
                callback=after_step if watched else None,
                capture=capture,
                known=None if fixed is None else fixed.select(index),
                holds=[hold.select(index) for hold in held],
                travel=travel,
            )

        for work in chunks:
            x = falling_back(work, draw, [black[image] for image, _ in work])
            check_result(x, prior)
            x = (x + 1).div_(2)
            if known is not None:
                index = torch.tensor([image for image, _ in work], device=y.device)
                x = known.select(index).put(x)  # without the rounding of the change of range
            if clamp:
                x.clamp_(0, 1)
            for row, (image, number) in enumerate(work):
                total.add(image, x[row])
                if samples is not None:
                    samples[number, image] = x[row]
    return Restoration(samples, total.mean, total.std(num_samples))


def sample(
    prior: Prior | str,
    shape: tuple[int, int, int, int],
    sampler: Sampler | None = None,
    *,
    seed: int | Tensor = 0,
    labels: Tensor | None = None,
    guidance: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None,
    clip_x0: bool = False,
    device: torch.device | str = "cpu",
    callback: Callable[[StepInfo], None] | None = None,
) -> Tensor:
    """Draws pictures from the prior itself.

    Args:
        prior:
            A :class:`Prior`, or what :func:`load_prior` takes.
        shape:
            (B, C, H, W).
        sampler:
            Default ``DDIM()``; or ``DDPM()``.

    Returns:
        (B, C, H, W) in [0, 1], clamped. Other arguments as in :func:`restore`.
    """
    prior = load_prior(prior, device=device) if isinstance(prior, str) else prior
    sampler = DDIM() if sampler is None else sampler
    if len(shape) != 4:
        raise ValueError(f"shape: expected (B, C, H, W), got {tuple(shape)}")
    batch = shape[0]
    check_prior(prior, shape[1])
    check_sampler(sampler)
    check_guidance(guidance)
    check_labels(labels, batch, prior)
    x = run(
        _Unmeasured(),
        prior,
        sampler,
        torch.zeros(shape, device=device),
        torch.zeros(1, dtype=torch.float64),
        ops.noise_keys(batch, seeds(seed, batch), 0, device=device),
        labels=labels,
        guidance=guidance,
        clip=(-1.0, 1.0) if clip_x0 else None,
        callback=callback,
    )
    check_result(x, prior)
    return ((x + 1) / 2).clamp(0, 1)


@contextmanager
def _explained(count: int, remedy: str) -> Iterator[None]:
    """Where memory is not enough for so many pictures, the error says what would need less."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        if count == 1:
            remedy = (
                "a network in half precision (priors.accelerated) needs less, and so do windows of the "
                "picture, each with its origin"
            )
        else:
            remedy = f"{remedy} would need less"
        raise torch.OutOfMemoryError(
            f"memory is not enough for {count} pictures at a time; {remedy}. {error}"
        ) from error


class _Unmeasured(Denoising):
    """No measurement at all: s = 0 everywhere."""

    def singulars(self, shape) -> Tensor:
        return torch.zeros(1, 1, 1, 1, dtype=torch.float64)


class _Moments:
    """Running mean and standard deviation of each picture's samples (Welford 1962)."""

    def __init__(self, batch: int, shape: tuple[int, ...], like: Tensor) -> None:
        self.mean = like.new_zeros(batch, *shape)
        self._square = like.new_zeros(batch, *shape)
        self._count = [0] * batch

    def add(self, image: int, x: Tensor) -> None:
        self._count[image] += 1
        if self._count[image] == 1:
            self.mean[image] = x
            return
        change = x - self.mean[image]
        self.mean[image] += change / self._count[image]
        self._square[image] += change * (x - self.mean[image])

    def std(self, count: int) -> Tensor:
        return (self._square / max(1, count - 1)).clamp_min_(0).sqrt_()


def _chunks(batch: int, num_samples: int, size: int) -> Iterator[list[tuple[int, int]]]:
    """(picture, sample number) of everything that runs together, ``size`` at a time."""
    work = [(image, number) for number in range(num_samples) for image in range(batch)]
    for start in range(0, len(work), size):
        yield work[start : start + size]

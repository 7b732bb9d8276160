"""The public functions: degrade a picture, restore a measurement, draw from a prior."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from tqdm import tqdm

from . import ops
from .machine.arguments import checked
from .machine.heap import kept_memory
from .operators import Forward
from .operators.cuts import Box
from .priors import Prior, load_prior
from .problems import Gaussian, PoissonGaussian, Problem
from .problems.checks import check_finite
from .problems.measurements import noisy
from .problems.problem import NETWORKS
from .samplers import (
    DDIM,
    Batch,
    Drawing,
    Edit,
    Hold,
    Item,
    Known,
    Sampler,
    StepInfo,
    Travel,
    run_batch,
)
from .samplers.checks import check_labels, check_prior, check_result, check_sampler, seeds
from .samplers.doubts import warn_of
from .samplers.drawing import usual_edits, whole_pictures
from .samplers.fallback import FallingBack, fits_black
from .samplers.stepper import Unmeasured


@dataclass
class Restoration:
    """What :func:`restore` returns; pictures in [0, 1].

    Args:
        samples:
            (num_samples, B, C, H, W), or None where they were not kept. The estimate alone where no
            samples were asked for.
        mean:
            Mean of the samples, (B, C, H, W): the estimate with the smallest squared error.
        std:
            Their standard deviation, (B, C, H, W): the uncertainty map. Zero for one sample, and for an
            estimate, which is not drawn.
    """

    samples: Tensor | None
    mean: Tensor
    std: Tensor


@checked
def degrade(
    x: Tensor,
    operator: Forward,
    sigma_y: float | Tensor | PoissonGaussian = 0.0,
    seed: int = 0,
    *,
    keep_going: bool = False,
) -> Tensor:
    """y = H x + sigma_y n, for pictures in [0, 1]; or y of a law such as Poisson's.

    Args:
        x:
            Clean pictures (B, C, H, W) in [0, 1], float32 or float64.
        operator:
            The degradation.
        sigma_y:
            Standard deviation of the noise in the unit of y, >= 0, one for all or [B]; or
            :class:`ddrm_fast.problems.PoissonGaussian`, :func:`ddrm_fast.problems.Poisson`.
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
    if x.dim() != 4:
        raise ValueError(f"x: expected (B, C, H, W), got shape {tuple(x.shape)}")
    if x.numel() and not keep_going and not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueError(
            f"x: expected clean pictures in [0, 1], got {float(x.min()):.4g} to {float(x.max()):.4g}"
        )
    if not isinstance(sigma_y, PoissonGaussian):
        sigma_y = Gaussian.of(sigma_y, x.shape[0]).sigma_y
    return noisy(x, operator, sigma_y, seed)


@checked
def restore(
    y: Tensor,
    operator: Forward,
    sigma_y: float | Tensor | PoissonGaussian = 0.0,
    prior: Prior | str = "default",
    sampler: Sampler | None = None,
    *,
    num_samples: int | None = None,
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
    edits: Sequence[Edit] = (),
    travel: Travel | None = None,
    progress: bool | None = False,
) -> Restoration:
    """Restores a degraded picture: its best estimate, or samples of the posterior of a diffusion model.

    By itself it gives one picture, the best estimate, in at most ten network calls where the measurement
    says enough; ``num_samples`` asks for samples, their mean and their spread.

    Its many arguments are those of a :class:`Problem` and a :class:`Drawing`, which :func:`draw` takes.

    Args:
        y:
            Measurement of pictures in [0, 1], float32 (float64: reference backend), in the operator's
            layout, batch B. Noise and compressed sensing may leave [0, 1].
        operator:
            How the picture was degraded.
        sigma_y:
            Standard deviation of the noise in y, in the unit of y, >= 0, one for all or [B]; or a law of
            noise that grows with the light (:class:`ddrm_fast.problems.PoissonGaussian`,
            :func:`ddrm_fast.problems.Poisson`), see docs/noise.md.
        prior:
            A :class:`Prior` on the device of ``y``, or what :func:`load_prior` takes.
        sampler:
            Default: what suits the degradation and its noise, see
            :func:`ddrm_fast.samplers.plans.plan` and docs/defaults.md.
        num_samples:
            Posterior samples per picture, >= 1. None: one picture, the best estimate where the default
            sampler gives one (samples of colours that are lost, and of scrambled measurements, are drawn).
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
        edits:
            What else changes a run, after the holds; see :class:`ddrm_fast.samplers.Edit`.
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
    problem = Problem.of(y, operator, sigma_y)
    drawing = Drawing(
        load_prior(prior, device=y.device) if isinstance(prior, str) else prior,
        sampler,
        usual_edits(
            guidance=guidance, clip_x0=clip_x0, holds=holds, edits=edits,
            end_on_measurement=end_on_measurement, known=known,
        ),
        travel, labels, seed, num_samples, batch_size=batch_size, capture=capture, clamp=clamp,
    )  # fmt: skip
    return draw(
        problem, drawing, keep_samples=keep_samples, origin=origin, callback=callback, progress=progress
    )  # fmt: skip


@checked
@kept_memory()
def draw(
    problem: Problem,
    drawing: Drawing,
    *,
    keep_samples: bool = True,
    origin: tuple[int, int] | Tensor = (0, 0),
    callback: Callable[[StepInfo], None] | None = None,
    progress: bool | None = False,
) -> Restoration:
    """Draws restored pictures of a problem; :func:`restore` is the same with everything by name.

    Args:
        problem:
            What was measured, of pictures in [0, 1]: :meth:`Problem.of`.
        drawing:
            How it is restored.
        keep_samples, origin, callback, progress:
            As in :func:`restore`.

    Returns:
        :class:`Restoration`.

    Raises:
        ValueError, FloatingPointError, torch.OutOfMemoryError: as in :func:`restore`.
    """
    drawing.check(problem)
    warn_of(problem, drawing.prior)
    drawing = drawing.in_precision()
    batch, shape, y = problem.batch, problem.shape, problem.y
    keys = ops.noise_keys(batch, 0, 0, origin, y.device)  # checks the origin
    number = drawing.pictures
    if batch == 0:
        empty = y.new_empty(0, *shape)
        return Restoration(y.new_empty(number, 0, *shape), empty, empty)
    # x' = 2 x - 1 in the network's range, so y' = H x' = 2 y - H(1): 2 y - 1 only where H(1) = 1
    with _explained(batch, "fewer pictures in a call"):
        whole = Batch(
            problem.in_network_range(warn=True),
            whole_pictures(batch, shape),
            [edit.in_network_range() for edit in drawing.edits],
        )
        total = _Moments(batch, shape, y)
    samples = None
    if keep_samples:
        with _explained(batch * number, "keep_samples=False"):
            samples = y.new_empty(number, batch, *shape)
    places = keys[:, 2:].tolist()
    size = drawing.batch_size or batch
    chunks = []
    for of_plan, rows in drawing.planned(problem):
        items = [Item(Box(*places[i], *shape[1:]), i, j) for j in range(number) for i in rows]
        chunks += [(of_plan, items[start : start + size]) for start in range(0, len(items), size)]
    falling_back = FallingBack(drawing.prior, shape[1:], pulls=any(d.pulls for d, _ in chunks))
    black = fits_black(problem)
    total_steps = sum(of_plan.steps for of_plan, _ in chunks)
    with _Progress(total_steps, progress, callback) as bar:

        def drawn(work: Sequence[Item], prior: Prior, of_plan: Drawing) -> Tensor:
            index = torch.tensor([item.picture for item in work], device=y.device)
            part = Batch(
                whole.problem.select(index), work, [edit.select(index) for edit in whole.edits]
            )
            bar.another_run(of_plan.steps)
            return run_batch(part, replace(of_plan, prior=prior), callback=bar.after_step)

        for of_plan, work in chunks:
            may_be_black = [black[item.picture] for item in work]
            x = falling_back(work, partial(drawn, of_plan=of_plan), may_be_black)
            check_result(x, drawing.prior)
            x = (x + 1).div_(2)
            index = torch.tensor([item.picture for item in work], device=y.device)
            for edit in drawing.edits:
                x = edit.select(index).put(x)  # without the rounding of the change of range
            if drawing.clamp:
                x.clamp_(0, 1)
            for row, item in enumerate(work):
                total.add(item.picture, x[row])
                if samples is not None:
                    samples[item.sample, item.picture] = x[row]
    return Restoration(samples, total.mean, total.std(number))


@checked
def sample(
    prior: Prior | str,
    shape: tuple[int, int, int, int],
    sampler: Sampler | None = None,
    *,
    seed: int | Tensor = 0,
    labels: Tensor | None = None,
    guidance: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None,
    clip_x0: bool = False,
    edits: Sequence[Edit] = (),
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
    edits = usual_edits(guidance=guidance, clip_x0=clip_x0, edits=edits)
    check_labels(labels, batch, prior)
    drawing = Drawing(prior, sampler, edits, labels=labels, seed=seeds(seed, batch))
    nothing = Problem(Unmeasured(), torch.zeros(shape, device=device), range=NETWORKS)
    rows = Batch(nothing, whole_pictures(batch, shape), [each.in_network_range() for each in edits])
    x = run_batch(rows, drawing, callback=callback)
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


class _Progress:
    """A bar of steps, which is told of every run and every step, and tells a callback.

    Args:
        steps:
            How many are planned, of all runs.
        progress:
            Show it; None: only on a terminal.
        callback:
            Called after every step.
    """

    def __init__(
        self,
        steps: int,
        progress: bool | None,
        callback: Callable[[StepInfo], None] | None,
    ) -> None:
        disable = None if progress is None else not progress
        self.bar = tqdm(total=steps, unit="step", disable=disable, leave=False)
        self.callback = callback

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def another_run(self, steps: int) -> None:
        """A run of so many begins: more than planned where it falls back."""
        self.bar.total = max(self.bar.total, self.bar.n + steps)

    @property
    def after_step(self) -> Callable[[StepInfo], None] | None:
        """What a run calls; None where nobody looks."""
        return None if self.callback is None and self.bar.disable else self._step

    def _step(self, info: StepInfo) -> None:
        self.bar.update()
        if self.callback is not None:
            self.callback(info)


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

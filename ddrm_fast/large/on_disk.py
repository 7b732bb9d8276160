"""Mask-shift restoration of pictures larger than memory: from blocks on disk to blocks on disk.

What is in memory: the network, one batch of windows, a few decoded blocks, and nothing that grows with the
picture but the list of its windows. Finished pixels go to a plain file beside the result (:class:`Work`),
from which the windows that touch them read them again; the result is written from it at the end.
"""

from __future__ import annotations

import hashlib
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..io.blocks import Block, BlockError, BlockPicture, write_blocks
from ..io.files import in_words
from ..machine.arguments import checked
from ..machine.memory import forget_peak, peak, resident
from ..machine.workers import Pool
from ..operators import Forward
from ..operators.cuts import Box, Cuts
from ..priors import Prior, load_prior
from ..problems import Gaussian, Problem
from ..problems.noise import estimate_noise
from ..problems.regions import MaskRegion, Regions
from ..samplers import Drawing, Edit, Sampler, Travel
from ..samplers.checks import check_labels, check_prior, check_sampler, check_travel
from ..samplers.drawing import Batch, usual_edits
from ..samplers.edits.known import check_gradient
from ..samplers.plans import plan
from ..samplers.records import describe_edit
from .clock import Clock
from .draw import drawer_of_worker
from .mask_shift import mask_shift, on_workers
from .memory import cost_of_window
from .progress import megapixels
from .restore import GPU_BATCH, GRADIENT, windows_for
from .waves import waves as waves_of
from .windows import Windows
from .work import Work, work_folder

Draw = Callable[[Batch], Tensor]

_SAMPLED = 16  # blocks from which the noise level is estimated
CACHE_SHARE = 16  # of the memory goes to decoded blocks: one part in so many

log = logging.getLogger(__name__)

#: how a picture on disk was degraded
Degradation = Regions


class Blocks:
    """The measurement of windows, read from blocks; see :class:`ddrm_fast.large.Degraded`.

    Args:
        picture:
            The measurement; blocks that are lost count as not measured.
        degradation:
            How it came about.
        likelihood:
            How it scatters.
        device:
            Of the windows.
    """

    def __init__(
        self,
        picture: BlockPicture,
        degradation: Degradation,
        likelihood: Gaussian,
        device: torch.device | str = "cpu",
    ) -> None:
        self.picture, self.degradation = picture, degradation
        self.likelihood, self.device = likelihood, device

    def windows(self, cuts: Cuts) -> Problem:
        factor = self.degradation.factor
        small = [box.shrunk(factor) for box in cuts.boxes]
        y = torch.stack([self.picture.read(*box) for box in small])
        mask = None
        if self.picture.lost:
            mask = torch.stack([self.picture.known(*box) for box in small])[:, None]
            y = y * mask
            mask = mask.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
        if self.degradation.mask is not None:
            given = torch.stack([self.degradation.mask(*box) for box in cuts.boxes])
            mask = given if mask is None else given & mask
            if factor == 1 and given.shape[1] in (1, y.shape[1]):
                y = y * given
        return Problem(self.degradation.operator(mask), y.to(self.device), self.likelihood)

    def edits(self, cuts: Cuts, samples: Sequence[int]) -> list[Edit]:
        return []


class OnDisk:
    """The unfinished picture as a :class:`ddrm_fast.large.Canvas`."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def read(self, box: Box, picture: int, sample: int) -> Tensor:
        return self.work.read(*box)

    def write(self, box: Box, picture: int, sample: int, pixels: Tensor) -> None:
        self.work.write(box.top, box.left, pixels)


@dataclass
class Survey:
    """What one pass over all blocks tells.

    Attributes:
        sha256:
            Of the pixels, whatever their compression.
        lost:
            What was said of each block that cannot be read.
        noise:
            Estimated noise level, or None where it was not asked for.
        largest:
            The largest pixel, 0 to 1.
    """

    sha256: str
    lost: list[str] = field(default_factory=list)
    noise: float | None = None
    largest: float = 0.0


def survey(
    picture: BlockPicture,
    keep_going: bool = False,
    noise: bool = False,
    known: MaskRegion | None = None,
) -> Survey:
    """Read every block once; those that cannot be read are added to ``picture.lost``.

    Args:
        keep_going:
            Otherwise the first of them is an error.
        noise:
            Estimate the noise level: the median over some blocks.
        known:
            Which pixels it is estimated from; see :class:`Degradation`.

    Raises:
        BlockError: A block cannot be read.
        ValueError: None can, or the noise of none can be estimated.
    """
    whole, lost, levels, largest = hashlib.sha256(), [], [], 0.0
    white = 1 if picture.dtype == "float32" else np.iinfo(picture.dtype).max
    places = list(picture.blocks())
    chosen = set(places[:: max(1, len(places) // _SAMPLED)])
    for block in places:
        try:
            pixels = picture.stored(block)
        except BlockError as error:
            if not keep_going:
                raise
            log.warning("%s; it is restored as if its pixels were missing", error)
            picture.lost.add(block)
            lost.append(str(error))
            whole.update(b"lost")
            continue
        whole.update(pixels.tobytes())
        largest = max(largest, float(pixels.max()) / white)
        if noise and block in chosen and min(block[2:]) >= 16:
            levels.append(_noise_of(picture, block, known))
    if len(lost) == len(places):
        raise ValueError(f"{picture.path}: none of its {len(places)} blocks can be read")
    measured = [level for level in levels if level is not None]
    if noise and not measured:
        raise ValueError(f"{picture.path}: its noise cannot be estimated")
    noise_level = statistics.median(measured) if measured else None
    return Survey(whole.hexdigest(), lost, noise_level, largest)


def _noise_of(picture: BlockPicture, block: Block, known: MaskRegion | None) -> float | None:
    """Noise level of a block; None where too little of it is known."""
    try:
        return estimate_noise(picture.read(*block), known and known(*block))
    except ValueError:
        return None


@dataclass(frozen=True)
class Report:
    """What a run did.

    Attributes:
        megapixels:
            Of the picture.
        windows, waves, batch:
            How it was cut, and how many windows ran together.
        resumed:
            Waves that an earlier run had finished.
        seconds:
            "all", and by what took them; see :class:`Clock`. The rest of "all" is the steps.
        peak_bytes:
            Largest resident memory of the process, of this run where the system tells.
        lost:
            Blocks of the input that could not be read.
        sampler:
            What it was restored by, with its steps.
    """

    megapixels: float
    windows: int
    waves: int
    batch: int
    resumed: int
    seconds: dict[str, float]
    peak_bytes: int
    lost: tuple[str, ...] = ()
    sampler: str = ""


@checked
def restore_on_disk(
    source: str | Path | BlockPicture,
    target: str | Path,
    degradation: Degradation | None = None,
    sigma_y: float = 0.0,
    prior: Prior | str = "default",
    sampler: Sampler | None = None,
    *,
    sample: bool = False,
    window: int | tuple[int, int] = 256,
    stride: int | tuple[int, int] | None = None,
    order: str | Sequence[int] = "rows",
    margin: int | None = None,
    batch: int | None = None,
    memory: int = 2**31,
    seed: int = 0,
    label: int | None = None,
    guidance: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None,
    clip_x0: bool = False,
    end_on_measurement: bool = False,
    edits: Sequence[Edit] = (),
    travel: Travel | None = None,
    gradient: float | None = GRADIENT,
    keep_going: bool = False,
    surveyed: Survey | None = None,
    parameters: dict[str, Any] | None = None,
    device: torch.device | str = "cpu",
    workers: Callable[[Callable[[], Draw]], AbstractContextManager[Pool]] | None = None,
    finished: Callable[[Report], None] | None = None,
    progress: bool | None = False,
) -> Report:
    """Restores a picture that does not fit into memory, by mask-shift restoration.

    The result is that of :func:`restore_windows` for the same picture, window, stride, order, batch and
    seed, rounded to the depth of the input. A run that is interrupted leaves ``.NAME.work`` beside
    ``target``; the same call goes on after the last finished wave and gives the same picture.

    Args:
        source:
            ``.zarr`` or ``.tif``; see :class:`BlockPicture`.
        target:
            Likewise: what is written when all is finished.
        degradation:
            Default: noise alone.
        sigma_y, prior, sampler, guidance, clip_x0, end_on_measurement, edits, travel:
            As in :func:`ddrm_fast.restore`; ``label`` is the class, for networks that want one.
        sample:
            A sample of the posterior, where ``sampler`` is not given, instead of the best estimate.
        window, stride, order, margin, batch, gradient:
            As in :func:`restore_windows`.
        memory:
            Bytes that this process may take, network and libraries included: decides on the batch, and on
            how many decoded blocks are kept.
        seed:
            Of the noise.
        keep_going:
            A block of the input that cannot be read counts as missing, and is drawn by the prior to fit its
            surroundings; else it is an error, before any work is done.
        surveyed:
            What :func:`survey` said of ``source`` already.
        parameters:
            What else the picture depends on: a run with others starts over.
        device:
            Of the network and the windows.
        workers:
            ``make -> with workers(make) as pool``: a :class:`Pool` that draws the batches of every wave; what
            its processes take of memory is not counted.
        finished:
            Called when the result is there, as long as a later run could still go on: to write a record.
        progress:
            Show a progress bar: megapixels, their rate, the time left. None: only on a terminal.

    Returns:
        :class:`Report`.

    Raises:
        ValueError: an argument has a wrong value, an edit is not registered, a block cannot be read
            (:class:`BlockError`), or the memory is not enough for one window; the message says how much would
            be.
        OutputError: the disk is full, or the place is not writable; what was finished stays.
    """
    start = time.perf_counter()
    forget_peak()
    prior = load_prior(prior) if isinstance(prior, str) else prior
    degradation = Degradation() if degradation is None else degradation
    if memory < 1:
        raise ValueError(f"memory: expected bytes, got {memory}")
    if not isinstance(source, BlockPicture):
        source = BlockPicture(source, max(1, memory // CACHE_SHARE))
    surveyed = survey(source, keep_going) if surveyed is None else surveyed
    if source.lost and not degradation.takes_mask:
        raise ValueError(f"{surveyed.lost[0]}; this degradation has no place for missing pixels")
    operator = degradation.operator(None)
    shape = operator.image_shape(torch.empty(1, source.channels, *source.size, device="meta"))
    channels, *size = shape
    windows = windows_for(operator, shape, window, stride, order, margin=margin)
    if sampler is None:
        sampler = _planned(degradation, operator, source, Gaussian.of(sigma_y, 1), windows, sample)
    labels = None if label is None else torch.tensor([label])
    check_prior(prior, channels)
    check_sampler(sampler)
    check_travel(travel)
    check_gradient("gradient", gradient)
    check_labels(labels, 1, prior)
    drawing = Drawing(
        prior,
        sampler,
        usual_edits(
            guidance=guidance, clip_x0=clip_x0, edits=edits, end_on_measurement=end_on_measurement
        ),
        travel,
        labels,
        seed,
    )
    blocks = Blocks(source, degradation, Gaussian.of(sigma_y, 1), device)
    target = Path(target)
    work = Work(
        work_folder(target),
        shape,
        {
            "input": surveyed.sha256, "windows": [windows.size, windows.stride, windows.order],
            "margin": windows.margin, "gradient": gradient, "sampler": repr(sampler), "travel": repr(travel),
            "prior": prior.name, "sigma_y": sigma_y, "seed": seed, "label": label, "clip_x0": clip_x0,
            "end_on_measurement": end_on_measurement, "batch": batch,
            **({"edits": [describe_edit("edits", edit) for edit in edits]} if edits else {}),
            **(parameters or {}),
        },
    )  # fmt: skip
    clock, resumed = Clock(), work.finished
    try:
        before, waves, batch = _restore_waves(
            work, blocks, drawing, windows, clock, batch, memory, workers, gradient, progress
        )
        with clock.of("write"):
            write_blocks(target, shape, source.dtype, work.read, source.meta.for_channels(channels))
        seconds = {"all": time.perf_counter() - start, **clock.seconds}
        report = Report(
            size[0] * size[1] / 1e6, len(windows), waves, batch, resumed,
            {name: round(value, 3) for name, value in seconds.items()}, max(before, peak()),
            tuple(surveyed.lost), repr(sampler),
        )  # fmt: skip
        if finished is not None:
            finished(report)
    except BaseException:
        work.close()
        raise
    work.remove()
    return report


def _restore_waves(
    work: Work,
    blocks: Blocks,
    drawing: Drawing,
    windows: Windows,
    clock: Clock,
    batch: int | None,
    memory: int,
    workers: Callable[[Callable[[], Draw]], AbstractContextManager[Pool]] | None,
    gradient: float | None,
    progress: bool | None,
) -> tuple[int, int, int]:
    """Every wave that is not finished yet, onto the work; peak memory before, waves, and the batch."""
    with ExitStack() as stack:
        pool = None
        if workers is not None:
            pool = stack.enter_context(workers(partial(drawer_of_worker, drawing)))
        on_gpu = torch.device(blocks.device).type == "cuda"
        if pool is not None:
            on_gpu = pool.layout.gpus > 0
        before = peak()
        shape = (work.shape[0], *windows.size)
        batch = _batch(work, batch, drawing.prior, shape, memory, on_gpu)
        waves, resumed = waves_of(windows), work.finished
        done = sum(windows.new(k) for wave in waves[:resumed] for k in wave)
        bar = stack.enter_context(megapixels(work.shape[1] * work.shape[2], progress))
        bar.initial = bar.n = done / 1e6
        restored = mask_shift(
            clock.degraded(blocks), clock.canvas(OnDisk(work)), windows, clock.drawing(drawing),
            batch=batch, waves=waves, first=resumed, pad=on_gpu, gradient=gradient,
            after_step=bar.update, spread=None if pool is None else on_workers(pool, bar.update),
        )  # fmt: skip
        for wave in restored:
            with clock.of("canvas"):
                work.finish_wave(wave.number)
    return before, len(waves), batch


def _planned(
    degradation: Degradation,
    operator: Forward,
    source: BlockPicture,
    likelihood: Gaussian,
    windows: Windows,
    sample: bool,
) -> Sampler:
    """That of the plan for the whole picture: that of its worst window."""
    y = torch.empty(1, source.channels, *source.size, device="meta")
    found = plan(Problem(operator, y, likelihood), sample)
    if degradation.mask is None:
        return found.sampler
    rank = ("noise", "missing pixels", "holes")
    for k in range(len(windows)):
        small = windows[k].shrunk(degradation.factor)
        y = torch.empty(1, source.channels, small.height, small.width, device="meta")
        mask = degradation.mask(*windows[k])[None]
        of_window = plan(Problem(degradation.operator(mask), y, likelihood), sample)
        kinds = found.kind, of_window.kind
        if k == 0 or (set(kinds) <= set(rank) and rank.index(kinds[1]) > rank.index(kinds[0])):
            found = of_window
        if found.kind == "holes":
            break
    return found.sampler


def _batch(
    work: Work,
    wanted: int | None,
    prior: Prior,
    window: tuple[int, int, int],
    memory: int,
    on_gpu: bool,
) -> int:
    """Windows that run together: what was asked for, what an earlier part of the run had, or what fits."""
    if wanted is not None and (not isinstance(wanted, int) or wanted < 1):
        raise ValueError(f"batch: expected an integer >= 1, got {wanted!r}")
    # more than fits is found as it is drawn on a GPU; on a CPU more at once is no faster
    batch = wanted or work.notes.get("batch") or (GPU_BATCH if on_gpu else 1)
    cost, taken = 0 if on_gpu else cost_of_window(prior, window), resident()
    if taken + batch * cost > memory:
        enough = -(-(taken + batch * cost) // 2**20)
        raise ValueError(
            f"memory: {batch} windows of {window[1]} x {window[2]} take {in_words(batch * cost)}, and "
            f"{in_words(taken)} are taken; expected {enough}MiB or more, got {in_words(memory)}"
        )
    if work.notes.get("batch") != batch:
        work.note(batch=batch)
    return batch

"""Mask-shift restoration: windows one after the other, each constrained to what others have fixed.

"Unlimited-Size Diffusion Restoration" (Wang et al. 2023), section 3.2: where a window overlaps finished
ones, its clean image is replaced in every step, x0 <- A_m x_fixed + (I - A_m) x0, so that it continues
them. Windows that do not wait for each other run as one batch, and the noise of a pixel is a function
of its place in the whole picture, so the result does not depend on what runs beside what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ..machine.heap import kept_memory
from ..machine.workers import Lost, Pool
from ..operators.cuts import Box, Cuts
from ..problems import Problem
from ..samplers import Batch, Drawing, Edit, Item, Known, State
from ..samplers.drawing import cuts_of
from .draw import Drawer
from .waves import waves as waves_of
from .windows import Windows


class Degraded(Protocol):
    """Where the measurement of large pictures comes from."""

    def windows(self, cuts: Cuts) -> Problem:
        """That of some windows, as a batch."""
        ...

    def edits(self, cuts: Cuts, samples: Sequence[int]) -> list[Edit]:
        """What else the windows are held to, or edited with; often nothing."""
        ...


class Canvas(Protocol):
    """Where finished pixels of large pictures live, (C, H, W) in [0, 1] for each sample of each picture."""

    def read(self, box: Box, picture: int, sample: int) -> Tensor:
        """(C, rows, columns); what was never written may be anything."""
        ...

    def write(self, box: Box, picture: int, sample: int, pixels: Tensor) -> None:
        """Keeps (C, rows, columns)."""
        ...


#: draws the batches of a wave: their numbers and pictures, as they are finished
Spread = Callable[["_Batches"], Iterator[tuple[int, Tensor]]]


@dataclass(frozen=True)
class InMemory:
    """A :class:`Degraded` that is all there.

    Args:
        problem:
            Of whole pictures.
        held:
            What whole pictures are edited with.
        low:
            What every sample of every picture is held to first (sample-major), or None.
    """

    problem: Problem
    held: Sequence[Edit] = ()
    low: Edit | None = None

    def windows(self, cuts: Cuts) -> Problem:
        return self.problem.windows(cuts)

    def edits(self, cuts: Cuts, samples: Sequence[int]) -> list[Edit]:
        found = [edit.windows(cuts, samples) for edit in self.held]
        if self.low is not None:
            pairs = zip(samples, cuts.pictures, strict=True)
            rows = tuple(sample * self.problem.batch + picture for sample, picture in pairs)
            found.insert(0, self.low.windows(Cuts(cuts.boxes, rows), samples))
        return found


@dataclass(frozen=True)
class Memory:
    """A :class:`Canvas` in memory.

    Args:
        pixels:
            (samples, B, C, H, W).
    """

    pixels: Tensor

    def read(self, box: Box, picture: int, sample: int) -> Tensor:
        return self.pixels[sample, picture, :, *box.slices]

    def write(self, box: Box, picture: int, sample: int, pixels: Tensor) -> None:
        self.pixels[sample, picture, :, *box.slices] = pixels


@dataclass(frozen=True)
class Wave:
    """A finished wave.

    Args:
        number, total:
            From 0, and how many there are.
        windows:
            Their numbers.
        pixels:
            How many pixels were fixed, of all pictures and samples.
    """

    number: int
    total: int
    windows: tuple[int, ...]
    pixels: int


def mask_shift(
    degraded: Degraded,
    canvas: Canvas,
    windows: Windows,
    drawing: Drawing,
    planes: Sequence[tuple[int, int]] = ((0, 0),),
    *,
    batch: int = 1,
    waves: Sequence[Sequence[int]] | None = None,
    first: int = 0,
    pad: bool = False,
    gradient: float | None = None,
    after_step: Callable[[float], None] | None = None,
    spread: Spread | None = None,
) -> Iterator[Wave]:
    """Restores windows onto a canvas, wave after wave.

    Args:
        degraded, canvas:
            Where windows are read and written.
        windows:
            Where they lie and in which order.
        drawing:
            Network, sampler, noise, and edits that every window shares.
        gradient:
            Of the pixels that other windows fixed; see :class:`~ddrm_fast.samplers.Known`.
        planes:
            (picture, sample) of everything that is drawn.
        batch:
            Windows that run together, at most.
        waves:
            Numbers of windows of every wave; default :func:`ddrm_fast.large.waves`.
        first:
            Wave to begin with: those before are on the canvas already.
        pad:
            Runs only batches of 1, 2, 4, ... windows, filled up by repetition: a GPU's libraries then
            plan for a few shapes instead of many.
        after_step:
            Called after each step of the sampler with the pixels that it advanced; the sum of a run is
            the number of its pixels.
        spread:
            Who draws the batches of a wave; default this process, else :func:`on_workers`.

    Yields:
        :class:`Wave` after each wave, when its pixels are on the canvas.
    """
    waves = waves_of(windows) if waves is None else waves
    spread = _here(drawing, after_step) if spread is None else spread
    with kept_memory(give_back=True):
        for number in range(first, len(waves)):
            items = [(k, *plane) for k in waves[number] for plane in planes]
            chunks = [items[start : start + batch] for start in range(0, len(items), batch)]
            batches = _Batches(
                degraded, canvas, windows, chunks, batch if pad else 0, drawing.edits, gradient
            )
            for index, x in spread(batches):
                batches.paste(index, x.clamp(0, 1) if drawing.clamp else x)
            pixels = len(planes) * sum(windows.new(k) for k in waves[number])
            yield Wave(number, len(waves), tuple(waves[number]), pixels)


class _Batches(Sequence[Batch]):
    """The batches of a wave, each read from the canvas when it is asked for."""

    def __init__(
        self,
        degraded: Degraded,
        canvas: Canvas,
        windows: Windows,
        chunks: list[list[tuple[int, int, int]]],
        most: int,
        edits: Sequence[Edit],
        gradient: float | None,
    ) -> None:
        self.degraded, self.canvas, self.windows = degraded, canvas, windows
        self.chunks, self.most, self.edits, self.gradient = chunks, most, edits, gradient
        self._fixed: dict[int, Known] = {}  # of the batches that are being drawn

    def __len__(self) -> int:
        return len(self.chunks)

    def _items(self, index: int) -> list[tuple[int, Item]]:
        """Numbers of the windows, and what they are."""
        chunk = self.chunks[index]
        missing = _padded(len(chunk), self.most) - len(chunk) if self.most else 0
        return [
            (k, Item(self.windows[k], picture, sample))
            for k, picture, sample in chunk + chunk[-1:] * missing
        ]

    def _known(self, index: int) -> Known:
        items = self._items(index)
        fixed = torch.stack([self.canvas.read(*item) for _, item in items])
        mask = torch.stack([self.windows.known(k) for k, _ in items])[:, None]
        return Known(mask.to(fixed.device), fixed, self.gradient)

    # (of a Sequence, what workers ask for: no slices)
    def __getitem__(self, index: int) -> Batch:  # type: ignore[override]
        items = [item for _, item in self._items(index)]
        cuts, samples = cuts_of(items), [item.sample for item in items]
        problem = self.degraded.windows(cuts)
        self._fixed[index] = known = self._known(index)
        edits = [
            *(edit.windows(cuts, samples) for edit in self.edits),
            *self.degraded.edits(cuts, samples),
        ]
        if bool(known.mask.any()):
            edits.append(replace(known.to(problem.y.device), image=known.image.to(problem.y)))
        return Batch(problem, items, edits)

    def new(self, index: int) -> int:
        """Pixels that a batch fixes."""
        return sum(self.windows.new(k) for k, _, _ in self.chunks[index])

    def paste(self, index: int, x: Tensor) -> None:
        """A drawn batch onto the canvas, known pixels as they are there."""
        known = self._fixed.pop(index)
        x = torch.where(known.mask, known.image, x.to(known.image))
        for (k, item), pixels in zip(
            self._items(index)[: len(self.chunks[index])], x, strict=False
        ):
            kept = self.windows.kept(k)
            self.canvas.write(kept, item.picture, item.sample, pixels[:, *kept.inside(item.box)])


def _here(drawing: Drawing, after_step: Callable[[float], None] | None) -> Spread:
    """Batches one after the other in this process."""
    drawer = Drawer(drawing)

    def spread(batches: _Batches) -> Iterator[tuple[int, Tensor]]:
        for index in range(len(batches)):
            share = batches.new(index) / drawing.steps

            def callback(state: State, share: float = share) -> None:
                if after_step is not None:
                    after_step(share)

            yield index, drawer(batches[index], callback if after_step is not None else None)

    return spread


def on_workers(pool: Pool, after_step: Callable[[float], None] | None = None) -> Spread:
    """Batches of a wave shared among workers, whose ``make`` is :func:`drawer_of_worker` of the same drawing.

    Raises (the returned function):
        RuntimeError: a batch was lost with every worker that tried it.
    """

    def spread(batches: _Batches) -> Iterator[tuple[int, Tensor]]:
        for index, x in pool.run(batches):
            if isinstance(x, Lost):
                box = batches.windows[batches.chunks[index][0][0]]
                raise RuntimeError(
                    f"the windows at row {box.top}, column {box.left} were lost with {x.tries} workers "
                    f"({x.reason})"
                )
            if after_step is not None:
                after_step(batches.new(index))
            yield index, x

    return spread


def _padded(count: int, most: int) -> int:
    """The next power of two, or the largest batch."""
    return min(most, 1 << (count - 1).bit_length())

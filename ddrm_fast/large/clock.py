"""Where the time of a run goes."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from ..operators.cuts import Box, Cuts
from ..priors import Prior
from ..problems import Problem
from ..samplers import Drawing, Edit
from .mask_shift import Canvas, Degraded


class Clock:
    """Seconds of a run by what took them; on a GPU it waits for the network at every call.

    Attributes:
        seconds:
            "network", "read" (the measurement), "canvas" (finished pixels), "write" (the result).
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("network", "read", "canvas", "write"), 0.0)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Counts what happens inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start

    def drawing(self, drawing: Drawing) -> Drawing:
        """The same with calls of the network counted."""
        return replace(drawing, prior=self.prior(drawing.prior))

    def prior(self, prior: Prior) -> Prior:
        """The same with calls of the network counted."""
        prior = copy.copy(prior)
        network = prior.network

        def timed(x_t: Tensor, *conditions: Tensor) -> Tensor:
            with self.of("network"):
                out = network(x_t, *conditions)
                if x_t.device.type == "cuda":
                    torch.cuda.synchronize(x_t.device)
                return out

        prior.network = timed
        return prior

    def degraded(self, degraded: Degraded) -> Degraded:
        """The same with reading counted."""
        return _Degraded(self, degraded)

    def canvas(self, canvas: Canvas) -> Canvas:
        """The same with reading and writing counted."""
        return _Canvas(self, canvas)


class _Degraded:
    def __init__(self, clock: Clock, inner: Degraded) -> None:
        self.clock, self.inner = clock, inner

    def windows(self, cuts: Cuts) -> Problem:
        with self.clock.of("read"):
            return self.inner.windows(cuts)

    def edits(self, cuts: Cuts, samples: Sequence[int]) -> list[Edit]:
        with self.clock.of("read"):
            return self.inner.edits(cuts, samples)


class _Canvas:
    def __init__(self, clock: Clock, inner: Canvas) -> None:
        self.clock, self.inner = clock, inner

    def read(self, box: Box, picture: int, sample: int) -> Tensor:
        with self.clock.of("canvas"):
            return self.inner.read(box, picture, sample)

    def write(self, box: Box, picture: int, sample: int, pixels: Tensor) -> None:
        with self.clock.of("canvas"):
            self.inner.write(box, picture, sample, pixels)

"""A restoration that reports while it runs and can be stopped; it draws what `ddrm-fast restore` draws."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..cli.asked import Asked, read_asked
from ..cli.large import Large
from ..io import Picture
from ..large.advice import loop_bytes, network_bytes
from ..large.duration import calls_of, in_words, pace_of
from ..problems import Problem
from ..problems.measured import Measured, of_picture
from ..restoration import Restoration, draw
from ..samplers import StepInfo
from .wrongs import Said

#: side of the tiles that a network sees of a picture that does not fit the memory whole
TILE = 2048
#: pixels at the edges of a tile that are thrown away (docs/any-size.md)
_HALO = 192
#: seconds between two reports
_OFTEN = 0.3


class Stopped(Exception):
    """Somebody stopped the run, or its time was over; the message says which."""


@dataclass
class Engine:
    """What all visitors share.

    Args:
        asked:
            Prior, device and precision, as the command line reads them.
        words:
            The options of the command line that say the same.
        memory:
            Bytes that a run may take.
        seconds:
            That a run may take.
        threads:
            Of the processor, or None: all.
        pace:
            Seconds of a network call for each pixel, as the last ones took them.
    """

    asked: Asked
    words: tuple[str, ...] = ()
    memory: int = 2**31
    seconds: float = 3600.0
    threads: int | None = None
    pace: float = 0.0

    @classmethod
    def of(cls, arguments: argparse.Namespace, **more: Any) -> Engine:
        """With the prior read, and its time on a tile measured."""
        asked = replace(read_asked(arguments), quiet=True)
        pace = pace_of(asked.prior, (3, 256, 256), torch.device(asked.device))
        return cls(asked, pace=pace, **more)

    def measured(self, picture: Picture, said: Said) -> Measured:
        """The picture as the measurement of what is said of it.

        Raises:
            ValueError: It does not fit.
        """
        return of_picture(picture, said.task, said.given, said.sigma)

    def asked_for(self, pixels: int, samples: int | None) -> tuple[Asked, list[str]]:
        """How so many pixels are restored within the memory, and what the command line is told of it.

        Raises:
            ValueError: Nothing fits it.
        """
        asked = replace(self.asked, samples=samples)
        words = [*self.words, *(() if samples is None else ("--samples", str(samples)))]
        network, loop = network_bytes(asked.prior, asked.device), loop_bytes(samples or 1)
        if pixels * (network + loop) <= self.memory:
            return asked, words
        if pixels * loop + TILE * TILE * network > self.memory:
            raise ValueError(
                f"{pixels / 1e6:.1f} megapixels take more memory than this page may: smaller, fewer samples, "
                "or `ddrm-fast restore --memory` from disk to disk"
            )
        large = Large("joint", TILE, None, 0)
        return replace(asked, large=large), [*words, "--large", "joint", "--window", str(TILE)]

    def expected(self, problem: Problem, asked: Asked, pixels: int) -> float:
        """Seconds that so many pixels will take, from those of a tile.

        Args:
            problem:
                Of the picture or of a part of it: it says how many calls there are.
        """
        chosen, _ = asked.planned(problem)
        calls = calls_of(problem, chosen.drawing(problem.shape[0], problem))
        shared = 1.0 if asked.large is None else (TILE / (TILE - 2 * _HALO)) ** 2
        return 1.1 * calls * pixels * shared * self.pace


@dataclass
class Report:
    """How far a run is.

    Args:
        share:
            0 to 1.
        left:
            Seconds that it will still take, or None: not known yet.
        estimate:
            The clean picture as the last step saw it, (C, H, W), or None.
    """

    share: float = 0.0
    left: float | None = None
    estimate: Tensor | None = None

    def __str__(self) -> str:
        left = "" if self.left is None else f", {in_words(self.left)} left"
        return f"{100 * self.share:.0f} %{left}"


def restored(
    engine: Engine, job: Measured, asked: Asked, stop: threading.Event
) -> Iterator[Report | Restoration]:
    """Reports while a run goes on, then what came of it.

    Raises:
        Stopped: ``stop`` was set, or the time was over.
        ValueError, MemoryError, RuntimeError: as :func:`ddrm_fast.draw`.
    """
    problem = job.problem.to(asked.device)
    asked, _ = asked.planned(problem)
    drawing = asked.drawing(problem.shape[0], problem)
    calls = calls_of(problem, drawing)
    height, width = problem.shape[1:]
    state = _Running(stop, calls * height * width, engine)
    found: list[Restoration | BaseException] = []

    def work() -> None:
        try:
            if engine.threads is not None:
                torch.set_num_threads(engine.threads)
            with state.watching(asked.prior.module):
                found.append(draw(problem, drawing, callback=state.after_step))
        except BaseException as error:  # goes on in the other thread
            found.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_OFTEN)
        if thread.is_alive():
            yield state.report()
    (result,) = found
    if isinstance(result, BaseException):
        raise result
    samples = None if result.samples is None else result.samples.cpu()
    yield Restoration(samples, result.mean.cpu(), result.std.cpu())


class _Running:
    """What a run has done so far; ends it where it has to end."""

    def __init__(self, stop: threading.Event, total: int, engine: Engine) -> None:
        self.stop, self.total, self.engine = stop, total, engine
        self.begun, self.done = time.monotonic(), 0
        self.call: tuple[float, int] | None = None  # when it began, and its pixels
        self.seen: Tensor | None = None

    @contextmanager
    def watching(self, module: torch.nn.Module | None) -> Iterator[None]:
        """Counts what the network sees, and ends the run between two of its layers."""
        if module is None:
            yield
            return
        hooks = [
            module.register_forward_pre_hook(self._before_call),
            module.register_forward_hook(self._after_call),
            *(each.register_forward_pre_hook(self._before_layer) for each in module.modules()),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _before_layer(self, module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        self.check()

    def _before_call(self, module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        x = inputs[0] if inputs else None
        pixels = (
            x.shape[0] * x.shape[2] * x.shape[3] if isinstance(x, Tensor) and x.dim() == 4 else 0
        )
        self.call = time.monotonic(), pixels

    def _after_call(self, module: torch.nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
        if self.call is not None and self.call[1]:
            begun, pixels = self.call
            self.done += pixels
            # other threads and other programs change it
            self.engine.pace = 0.5 * (self.engine.pace + (time.monotonic() - begun) / pixels)
        self.call = None

    def check(self) -> None:
        """Raises Stopped where the run has to end."""
        if self.stop.is_set():
            raise Stopped("stopped")
        if time.monotonic() - self.begun > self.engine.seconds:
            raise Stopped(
                f"ended after {in_words(self.engine.seconds)}, as long as a run may take here"
            )

    def after_step(self, info: StepInfo) -> None:
        """A callback of the loop."""
        self.check()
        self.seen = info.x0[0].detach().cpu().add(1).div(2)

    def report(self) -> Report:
        """How far it is: the calls that are done, and of the one that goes on what its time says."""
        now, done, call = time.monotonic(), float(self.done), self.call
        if call is not None and call[1]:
            done += call[1] * min(0.95, (now - call[0]) / max(self.engine.pace * call[1], 1e-6))
        share = min(0.99, done / self.total) if self.total else 0.0
        left = (now - self.begun) * (1 - share) / share if share > 0.05 else None
        return Report(share, left, self.seen)

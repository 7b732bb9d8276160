"""How long a run will take, before it starts: network calls, and the time of one on a tile."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from ..operators.base import Shape
from ..priors import Prior
from ..priors.networks.denoiser import Denoiser
from ..problems import Problem
from ..samplers import Drawing
from ..samplers.travel import network_calls

#: side of the tile that a call is timed on, where the network takes any size
TILE = 256
#: pixels times calls that no one waits for, so that nothing is timed before them
QUICK = 20_000_000
_REPEATS = 3


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Args:
        seconds:
            Of the network alone; the rest adds a tenth or so on a CPU.
        calls:
            Of the network, for all pictures and samples.
        pixels:
            That each call is for.
    """

    seconds: float
    calls: int
    pixels: int

    def __str__(self) -> str:
        """In words: "about 4 min: 10 network calls on 24.0 megapixels"."""
        calls = f"{self.calls} network call{'s' * (self.calls != 1)}"
        return f"about {in_words(self.seconds)}: {calls} on {self.pixels / 1e6:.1f} megapixels"


def estimate(
    problem: Problem, drawing: Drawing, *, overlap: float = 1.0, least: int = 0
) -> Estimate | None:
    """How long pictures will take; runs the network a few times on a tile.

    Args:
        problem, drawing:
            What :func:`ddrm_fast.draw` takes.
        overlap:
            How many windows see each pixel, (window / stride)^2.
        least:
            Pixels times calls below which nothing is timed, and None is returned.
    """
    calls = calls_of(problem, drawing)
    pixels = round(problem.shape[1] * problem.shape[2] * overlap)
    if not calls or calls * pixels < least:
        return None
    pace = pace_of(drawing.prior, problem.shape, problem.y.device)
    return Estimate(calls * pace * pixels, calls, pixels)


def calls_of(problem: Problem, drawing: Drawing) -> int:
    """Calls of the network for all pictures and samples of a problem."""
    plans = drawing.planned(problem)
    return sum(network_calls(each.moves) * len(rows) * each.pictures for each, rows in plans)


def pace_of(prior: Prior, shape: Shape, device: torch.device) -> float:
    """Seconds of a network call for each pixel, measured on a tile of pictures (C, H, W)."""
    tile = tile_of(prior, shape)
    return seconds_of_a_call(prior, tile, device) / (tile[1] * tile[2])


def tile_of(prior: Prior, shape: Shape) -> Shape:
    """(C, H, W) that a call is timed on."""
    if not isinstance(prior.module, Denoiser):
        return shape  # it may take one size alone
    return shape[0], min(TILE, shape[1]), min(TILE, shape[2])


@torch.no_grad()
def seconds_of_a_call(prior: Prior, shape: Shape, device: torch.device) -> float:
    """Median time of the network on noise, after a first call that is not counted."""
    x = torch.randn(1, *shape, device=device)
    t = torch.full((1,), float(prior.schedule.T // 2), device=device)
    labels = None
    if prior.num_classes is not None:
        labels = torch.zeros(1, dtype=torch.int64, device=device)

    def once() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        prior(x, t, labels)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    once()
    return statistics.median(once() for _ in range(_REPEATS))


def in_words(seconds: float) -> str:
    """Seconds, minutes or hours, in two digits at most."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            count = seconds / size
            return f"{count:.1f} {unit}" if count < 3 else f"{count:.0f} {unit}"
    return f"{max(1, round(seconds))} s"

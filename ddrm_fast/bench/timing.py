"""How calls are timed: in turn with a copy, by the device's own clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

Run = Callable[[], object]

#: cycles for which a GPU waits before what is timed: a millisecond or so, in which the host gets ahead.
#: Otherwise the time from one event to the next holds the checks of the first call and its launch.
AHEAD = 2_000_000


class Clock:
    """Times of calls in seconds: CUDA events on a GPU, without the launch; the processor's clock else."""

    def __init__(self, device: str) -> None:
        self.device = device

    def time(self, run: Run, calls: int = 1) -> float:
        if self.device == "cpu":
            start = time.perf_counter()
            for _ in range(calls):
                run()
            return (time.perf_counter() - start) / calls
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(AHEAD)
        first.record()
        for _ in range(calls):
            run()
        last.record()
        last.synchronize()
        return 1e-3 * first.elapsed_time(last) / calls


def quantiles(times: list[float]) -> dict[str, float]:
    """The values that a fifth, a half and four fifths of the times do not exceed."""
    times = sorted(times)
    pick = [times[min(len(times) - 1, int(q * len(times)))] for q in (0.2, 0.5, 0.8)]
    return dict(zip(("p20", "p50", "p80"), pick, strict=True))


def against_copy(
    clock: Clock, run: Run, moved: int, copy: Run, copied: int, rounds: int, warmup: int = 3
) -> dict[str, Any]:
    """A call and a copy, timed in turn.

    Args:
        moved, copied:
            Bytes that the call has to read and write at least, and those of the copy.

    Returns:
        ``seconds`` and ``part_of_copy`` as quantiles, ``gigabytes_per_second`` as a median.
    """
    for _ in range(warmup):
        run(), copy()
    pairs = [(clock.time(run), clock.time(copy)) for _ in range(rounds)]
    speeds = [moved / seconds for seconds, _ in pairs]
    shares = [speed / (copied / seconds) for speed, (_, seconds) in zip(speeds, pairs, strict=True)]
    return {
        "seconds": quantiles([seconds for seconds, _ in pairs]),
        "gigabytes_per_second": statistics.median(speeds) / 1e9,
        "part_of_copy": quantiles(shares),
    }

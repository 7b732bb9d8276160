"""How many CPU threads to use while other programs are busy.

A team of threads is as slow as its slowest member: with one of two cores taken, a team of two at
low priority was seen to fall to an eighth of its speed, where a single thread keeps half of it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_STAT = Path("/proc/stat")


class CpuShare:
    """Advises on a number of threads from the processor time that other programs took lately."""

    def __init__(self, most: int, interval: float = 2.0) -> None:
        """Start to watch.

        Args:
            most:
                Largest number of threads, 1 or more.
            interval:
                Seconds between two looks.

        Raises:
            ValueError: most is below 1.
        """
        if most < 1:
            raise ValueError(f"most: got {most}, expected at least 1")
        self.most, self.interval, self.advice = most, interval, most
        self.cores = os.cpu_count() or 1
        self._last = self._look()

    def threads(self) -> int:
        """Threads to use now, 1 to `most`; always `most` where the system does not tell."""
        if self._last is None or time.monotonic() - self._last[0] < self.interval:
            return self.advice
        before, self._last = self._last, self._look()
        if self._last is None:
            return self.advice
        elapsed, busy, own = (new - old for new, old in zip(self._last, before, strict=True))
        self.advice = self.choose((busy - own) / elapsed)
        return self.advice

    def choose(self, others: float) -> int:
        """Threads to use while other programs keep `others` cores busy."""
        return min(self.most, max(1, int(self.cores - others + 0.6)))

    @staticmethod
    def _look() -> tuple[float, float, float] | None:
        """Seconds: the clock, processor time of all programs, processor time of this one."""
        try:
            words = _STAT.read_text().split("\n", 1)[0].split()
            ticks = [int(word) for word in words[1:8]]
        except (OSError, ValueError):
            return None
        user, nice, system, _idle, _waiting, irq, soft = ticks
        busy = (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")
        own = os.times()
        return time.monotonic(), busy, own.user + own.system

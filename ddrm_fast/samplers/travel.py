"""Time travel: steps that go back up, so that the same stretch is sampled several times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..priors.schedule import pairs
from .weights import check_whole


@dataclass(frozen=True)
class Travel:
    """After every ``length`` steps, back up by as many, ``repeat`` - 1 times, before going on.

    Resampling lets the whole picture adapt to what was measured, at ``repeat`` times the network calls.
    An upward move calls no network: x_next = sqrt(abar_next / abar) x_t + sqrt(1 - abar_next / abar) z, the
    forward process (Lugmayr et al. 2022, "RePaint", algorithm 1; Wang et al. 2023, "DDNM", algorithm 2).

    Args:
        length:
            Steps of a stretch, >= 1 (travel_length, jump_length).
        repeat:
            How often each stretch is sampled, >= 1; 1: no travel (travel_repeat, jump_n_sample).
    """

    length: int = 1
    repeat: int = 1

    def __post_init__(self) -> None:
        check_whole("travel.length", self.length)
        check_whole("travel.repeat", self.repeat)

    def path(self, steps: int) -> list[int]:
        """Places of a run of so many steps, from ``steps`` - 1 down to -1, the clean image.

        At places 0, l, 2 l, ... below ``steps`` - l the path goes up l places, ``repeat`` - 1 times each.
        """
        left = dict.fromkeys(range(0, steps - self.length, self.length), self.repeat - 1)
        places = [steps - 1]
        while places[-1] >= 0:
            here = places[-1]
            if left.get(here, 0):
                left[here] -= 1
                places += range(here + 1, here + self.length + 1)
            places.append(places[-1] - 1)
        return places


def visits(visited: Sequence[float], travel: Travel | None) -> list[tuple[float, float]]:
    """(t, t_next) of every move through descending timesteps; t_next > t goes up, -1 is the clean image."""
    if travel is None:
        return pairs(visited)
    times = [visited[len(visited) - 1 - place] for place in travel.path(len(visited))[:-1]]
    return pairs(times)


def network_calls(steps: Sequence[tuple[float, float]]) -> int:
    """How many of the moves call the network."""
    return sum(t_next <= t for t, t_next in steps)

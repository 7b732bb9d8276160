"""Which windows can run at the same time: waves derived from the graph of pastes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .windows import Windows


def overlaps(windows: Windows) -> list[list[int]]:
    """For every window the earlier ones that it overlaps."""
    return [windows.earlier(k) for k in range(len(windows))]


def pastes(windows: Windows) -> list[list[int]]:
    """For every window those whose pixels are pasted into it.

    A pixel is fixed by the first window that keeps it; every later one is constrained to that value and
    changes nothing. So a window waits for fewer others than it overlaps: in rows with a stride of half
    the window and no margin, what it shares with its upper right neighbour was fixed by its upper one.
    """
    return [_sources(windows, k) for k in range(len(windows))]


def _sources(windows: Windows, k: int) -> list[int]:
    meetings = {j: windows.kept(j).meet(windows[k]) for j in windows.earlier(k)}
    shared = {j: box for j, box in meetings.items() if box is not None}
    rows = sorted({edge for box in shared.values() for edge in (box.top, box.bottom)})
    columns = sorted({edge for box in shared.values() for edge in (box.left, box.right)})
    # owner of every cell between two neighbouring edges: the earliest window, written last
    owner = np.full((len(rows), len(columns)), -1)
    for j, box in sorted(shared.items(), reverse=True):
        down = slice(rows.index(box.top), rows.index(box.bottom))
        right = slice(columns.index(box.left), columns.index(box.right))
        owner[down, right] = j
    return [int(j) for j in np.unique(owner) if j >= 0]


def waves(windows: Windows, graph: Sequence[Sequence[int]] | None = None) -> list[list[int]]:
    """Windows that can be restored together, wave after wave.

    Each window comes one wave after the last one that it depends on. With windows of 256 and a stride of
    128, the 225 windows of 2048 x 2048 pixels make 43 waves of at most 8, and by :func:`pastes`, where
    windows keep all of their pixels (margin 0), 29 of at most 15; the picture is the same.

    Args:
        windows:
            In their order.
        graph:
            For every window the earlier ones that it waits for; default :func:`pastes`.

    Returns:
        Numbers of the windows of every wave, ascending.
    """
    graph = pastes(windows) if graph is None else graph
    wave: list[int] = []
    for before in graph:
        wave.append(1 + max((wave[j] for j in before), default=-1))
    found: list[list[int]] = [[] for _ in range(max(wave) + 1)]
    for k, number in enumerate(wave):
        found[number].append(k)
    return found

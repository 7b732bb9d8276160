"""How a large picture is restored: windows, levels, or one loop with the network in tiles."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ..large import restore_windows, windowed
from ..priors import Prior
from ..priors.tiled import pair
from ..problems import Problem
from ..restoration import Restoration
from . import specs
from .commands.options import FACTOR, METHODS, ORDERS, WINDOW

Sides = int | tuple[int, int]


@dataclass(frozen=True)
class Large:
    """How a large picture is restored.

    Attributes:
        method:
            A name of ``METHODS``.
        window, stride:
            Pixels, or (rows, columns); None: 256 (joint: the whole picture) and the method's own.
        levels:
            Smaller pictures that are restored first.
        more:
            Margin, order, batch and factor where they were given; see :func:`restore_windows`.
    """

    method: str
    window: Sides | None
    stride: Sides | None
    levels: int
    more: dict[str, Any] = field(default_factory=dict[str, Any])

    def settings(self) -> dict[str, Any]:
        """What the pictures depend on, as JSON values."""
        own = {name: getattr(self, name) for name in ("method", "window", "stride", "levels")}
        return own | self.more

    def cutting(self) -> dict[str, Any]:
        """What says how windows are cut and run, as keywords of mask-shift restoration."""
        return {name: value for name, value in self.more.items() if name != "factor"}

    def prior(self, prior: Prior) -> Prior:
        """The prior, its network in tiles where that was asked for.

        Raises:
            ValueError: The tiles do not fit the network.
        """
        if self.method != "joint" or self.window is None:
            return prior
        overlap = None
        if self.stride is not None:
            rows, columns = pair("--window", self.window), pair("--stride", self.stride)
            shared = {size - stride for size, stride in zip(rows, columns, strict=True)}
            if len(shared) > 1:
                raise ValueError(
                    f"--stride: tiles share as many rows as columns where --large is joint, got "
                    f"{rows[0] - columns[0]} rows and {rows[1] - columns[1]} columns"
                )
            (overlap,) = shared
        try:
            return windowed(
                prior, self.window, overlap, halo=self.more.get("margin"), batch=self.more.get("batch", 1)
            )  # fmt: skip
        except ValueError as error:
            raise ValueError(f"--large joint: {error}") from error

    @property
    def overlap(self) -> float:
        """How many windows see each pixel."""
        if self.whole:
            return 1.0
        sides = self.window or WINDOW
        height, width = (sides, sides) if isinstance(sides, int) else sides
        steps = self.stride or (max(1, height // 2), max(1, width // 2))
        rows, columns = (steps, steps) if isinstance(steps, int) else steps
        return height * width / (rows * columns)

    @property
    def whole(self) -> bool:
        """One run over the whole picture, whatever its network sees."""
        return self.method == "joint" and not self.levels

    def restore(self, problem: Problem, prior: Prior, **keywords: Any) -> Restoration:
        """Restored pictures, window by window or level by level; ``prior`` is that of :meth:`prior`."""
        restored = partial(restore_windows, problem.y, problem.operator, problem.sigma_y, prior)
        keywords |= {"levels": self.levels, "factor": self.more.get("factor", FACTOR)}
        if self.method == "joint":
            return restored(window=None, **keywords)
        return restored(
            window=self.window or WINDOW, stride=self.stride,
            **self.cutting(), **keywords,
        )  # fmt: skip


def read_large(arguments: argparse.Namespace) -> Large | None:
    """What was asked for; None where nothing was.

    Raises:
        ValueError: A number is none, or an option has no meaning beside the others.
    """
    names = ("large", "window", "stride", "margin", "order", "batch", "levels", "level_factor")
    given = {name: getattr(arguments, name) for name in names}
    if all(value is None for value in given.values()):
        return None
    method = arguments.large or METHODS[0]
    window, stride = (
        None if given[name] is None else specs.sides(f"--{name}", given[name])
        for name in ("window", "stride")
    )
    levels = specs.whole("--levels", arguments.levels or 0, 0)
    if method == "joint":
        if arguments.order is not None:
            raise ValueError("--order: is for mask-shift; where --large is joint all tiles are one")
        for name in ("stride", "margin", "batch"):
            if window is None and given[name] is not None:
                raise ValueError(f"--{name}: needs --window where --large is joint")
    if stride is not None:
        sides = zip(pair("--stride", stride), pair("--window", window or WINDOW), strict=True)
        if any(step > side for step, side in sides):
            raise ValueError(
                f"--stride: {arguments.stride} is larger than the window of {arguments.window or WINDOW}"
            )
    if arguments.level_factor is not None and not levels:
        raise ValueError("--level-factor: needs --levels")
    more = {
        "margin": _whole("--margin", arguments.margin, 0),
        "order": None if arguments.order is None else _order(arguments.order),
        "batch": _whole("--batch", arguments.batch),
        "factor": _whole("--level-factor", arguments.level_factor, 2),
    }
    more = {name: value for name, value in more.items() if value is not None}
    return Large(method, window, stride, levels, more)


def _whole(option: str, text: str | None, least: int = 1) -> int | None:
    return None if text is None else specs.whole(option, text, least)


def _order(text: str) -> str | tuple[int, ...]:
    """A name of ``ORDERS``, or the numbers of the windows."""
    if text in ORDERS:
        return text
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ValueError(
            f"--order: got {text!r}, expected {', '.join(ORDERS)}, or the numbers of all windows as rows "
            "have them, such as 0,2,1,3"
        ) from None

"""Clipping of the clean image."""

from __future__ import annotations

from typing import Self

from torch import Tensor

from ...problems import Problem
from ..state import State
from .edit import Edit


class Clip(Edit):
    """The clean-image prediction stays within a range. Part of the fused step, so it costs nothing.

    Args:
        low, high:
            Of pictures in [0, 1].
    """

    capturable = True
    title = "clipping"

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        if not low <= high:
            raise ValueError(f"low, high: expected low <= high, got {low} and {high}")
        self.low, self.high = low, high

    @property
    def limits(self) -> tuple[float, float]:
        """(low, high)."""
        return self.low, self.high

    def in_network_range(self) -> Self:
        return type(self)(2 * self.low - 1, 2 * self.high - 1)

    def clean(self, problem: Problem, state: State) -> Tensor:
        """What the fused step does, for a second clipping or one behind other edits."""
        return state.x0.clamp(self.low, self.high)

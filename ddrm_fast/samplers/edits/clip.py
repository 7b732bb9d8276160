"""Clipping of the clean image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from torch import Tensor

from ...ops import rows
from ...problems import Problem
from ..state import State
from .edit import Edit

if TYPE_CHECKING:
    from ..weights import Sampler


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


class ClipKeepingNoise(Clip):
    """Clips the clean image, but steps along the network's own noise: what diffusers' DDIM does by default.

    With :class:`Clip` the noise follows from the clipped image, as x_t = sqrt(abar) x0 + sqrt(1 - abar) eps
    asks (diffusers' ``use_clipped_model_output=True``, and its DDPM). Here eps stays what the network said
    (``False``, its default): the step gains b R (x0 - clip(x0)), b the weight of eps and
    R = -sqrt(abar / (1 - abar)). For drawing from a prior with a sampler of one network call a step, such
    as :class:`DDIM`.

    Args:
        low, high:
            Of pictures in [0, 1].
    """

    title = "clipping that keeps the noise"

    def prepared(self, problem: Problem, shape: tuple[int, ...]) -> ClipKeepingNoise:
        """Itself.

        Raises:
            ValueError: Something was measured: then eps has another weight for each singular value.
        """
        singulars = getattr(problem.operator, "singulars", None)
        if singulars is not None and bool((singulars(problem.shape) > 0).any()):
            raise ValueError(
                f"edits: {self} is for drawing from a prior, but there is a measurement; expected Clip()"
            )
        return self

    def check_run(self, sampler: Sampler, edits: Sequence[Edit]) -> None:
        """Refuses samplers whose step is no affine map of one output, and other edits of the clean image."""
        others = [edit for edit in edits if edit is not self and edit.acts("clean")]
        if hasattr(sampler, "advance") or others:
            why = f"{others[0]} beside it" if others else type(sampler).__name__
            raise ValueError(
                f"edits: {self} is for samplers of one network call a step, and alone; got {why}, expected "
                "Clip()"
            )

    def after(self, problem: Problem, state: State) -> Tensor:
        """The new state with the difference that the network's own eps makes."""
        fused = state.own_fused
        row = fused.rows.table.index_select(0, fused.step)[0]
        p_x, p_out, r, b = (
            row[:, k].view(-1, 1, 1, 1) for k in (rows.P_X, rows.P_OUT, rows.R_X0, rows.NULL + 1)
        )
        x0 = p_x * state.x_t + p_out * state.out[:, : state.x_t.shape[1]].to(state.x_t.dtype)
        return state.x_next.add_(b * r * (x0 - x0.clamp(self.low, self.high)))

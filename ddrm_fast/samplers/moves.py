"""The moves of a run: the initial state, a step down, a way back up; each on the device's counter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import ops
from ..operators.base import Carry, Measurement, Operator, Rows
from ..ops import Noise
from ..ops.rows import R_X0
from .hold import Hold
from .known import Known


class Moves:
    """What moves the state of one run.

    Args:
        operator, u, rows:
            The degradation, its measurement, the rows of the run.
        step:
            The counter, int64 [1]: the row of the move.
        known, holds:
            Pixels that are fixed, and what the clean image is held to, in the range of the state.
        measured:
            What :meth:`~ddrm_fast.operators.Operator.certainty` says; for known pixels with a gradient.
    """

    def __init__(
        self,
        operator: Operator,
        u: Measurement,
        rows: Rows,
        step: Tensor,
        known: Known | None,
        holds: Sequence[Hold],
        measured: Tensor | None = None,
    ) -> None:
        self.operator, self.u, self.rows, self.step = operator, u, rows, step
        self.known, self.holds, self.measured = known, holds, measured
        self.carry = Carry()

    def forget(self) -> None:
        """The state was changed as pixels: coefficients of it that an operator kept are of another one."""
        self.carry = Carry()

    def start(self, noise: Noise, x_next: Tensor) -> None:
        """The initial state."""
        self.operator.step(
            None, None, self.u, self.rows, self.step, noise, x_next=x_next, carry=self.carry
        )

    def down(
        self, x_t: Tensor, out: Tensor, noise: Noise, x_next: Tensor, x0: Tensor | None
    ) -> None:
        """A step: x0 from the network, its edits, the affine map, known pixels.

        Args:
            x_next, x0:
                Buffers for the new state (with known pixels another one than ``x_t``), and for the clean
                image or None.
        """
        given = {"x_next": x_next, "carry": self.carry}
        joins = self.known is not None and self.known.gradient is not None
        table = self.rows.table
        if self.holds or joins:
            clean = ops.predict_x0(x_t, out, table, self.step)
            for hold in self.holds:
                clean = hold(clean)
            if joins:
                clean = self.known.joined(clean, self._certainty(), self.measured)
                out, table = clean, self.rows.edited  # known pixels get the noise that is in x_t
            if x0 is not None:
                x0.copy_(clean)
            edited = Rows(self.rows.edited)
            self.operator.step(x_t, clean, self.u, edited, self.step, noise, **given)
        else:
            self.operator.step(x_t, out, self.u, self.rows, self.step, noise, x0=x0, **given)
        if self.known is not None:
            ops.known_step(
                x_next, x_t, out, self.known.image, self.known.mask, table, self.step, noise
            )
            self.forget()

    def _certainty(self) -> Tensor:
        """1 / variance of a pixel by the state before this step: abar / (1 - abar)."""
        row = self.rows.edited.index_select(0, self.step)[0]
        return row[:, R_X0, None, None, None].square()

    def up(self, x_t: Tensor, noise: Noise, x_next: Tensor) -> None:
        """Back up: the state with more noise, as pixels whatever the operator; also in place."""
        s = torch.zeros(1, 1, 1, 1, dtype=x_t.dtype, device=x_t.device)
        ops.pointwise_step(x_t, x_t, None, s, self.rows.table, self.step, noise, x_next=x_next)
        self.forget()

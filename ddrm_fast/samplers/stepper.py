"""What moves the state of a run: its start, a step down, a way back up; each on the device's counter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .. import ops
from ..operators import Carry, Denoising, Operator, Rows
from ..operators.base import Shape
from ..ops import Noise
from ..priors import Prior
from ..priors.prediction import prediction_row
from ..problems import Problem
from .edits import Clip, Edit
from .edits.edit import checked_change
from .state import LATER, State


class Unmeasured(Denoising):
    """No measurement at all: s = 0 everywhere."""

    def singulars(self, shape: Shape) -> Tensor:
        return torch.zeros(1, 1, 1, 1, dtype=torch.float64)


class Stepper:
    """Moves the state of one run.

    Args:
        problem:
            Of the rows, in the network's range.
        prior:
            The network.
        rows:
            Row tables of the run.
        step:
            The counter, int64 [1]: the row of the move.
        edits:
            What changes the run, ready for it, in the order in which they act.
        fused_clip:
            The clipping that the rows hold already, or None.
    """

    def __init__(
        self,
        problem: Problem,
        prior: Prior,
        rows: Rows,
        step: Tensor,
        edits: Sequence[Edit],
        fused_clip: Clip | None = None,
    ) -> None:
        self.problem, self.prior, self.rows, self.step = problem, prior, rows, step
        operator, y = problem.operator, problem.y
        if not isinstance(operator, Operator):  # the map cannot look at the measurement
            operator, y = Unmeasured(), y.new_zeros(1, *problem.shape)
        self.operator: Operator = operator
        self.u = self.operator.prepare(y)
        self.fused_clip = fused_clip
        self.edits = {
            place: [edit for edit in edits if edit.acts(place) and not (
                place == "clean" and edit is fused_clip
            )]
            for place in ("output", "clean", "after")
        }  # fmt: skip
        self.pulling = [edit for edit in edits if edit.differentiates]
        self.graph_for = next((edit for edit in edits if edit.keeps_graph), None)
        self.pulls: dict[int, Tensor] = {}
        self.carry = Carry()

    def forget(self) -> None:
        """The state was changed as pixels: coefficients of it that an operator kept are of another one."""
        self.carry = Carry()

    def start(self, noise: Noise, x_next: Tensor) -> None:
        """The initial state."""
        self.operator.step(
            None, None, self.u, self.rows, self.step, noise, x_next=x_next, carry=self.carry
        )

    def network(self, state: State) -> None:
        """Calls the network: ``state.out``, and what edits that differentiate pull through it."""
        if self.pulling or self.graph_for is not None:
            self._pull(state)
        else:
            state.out = self.prior.at(state.x_t, state.times, state.labels)
        for edit in self._in_turn("output", state):
            state.out = edit.output(self.problem, state)

    def down(self, state: State, x_next: Tensor, x0: Tensor | None = None) -> None:
        """A step: x0 from the network, its edits, the affine map, edits of the new state.

        Args:
            x_next:
                Buffer for the new state; another one than ``state.x_t`` where edits come after the map.
            x0:
                Buffer for the clean image, or None.
        """
        noise = state.own_fused.noise
        if self.edits["clean"]:
            state.x0 = ops.predict_x0(state.x_t, state.out, self.rows.table, self.step)
            self._edit_clean(state)
            if x0 is not None:
                x0.copy_(state.x0)
            self._map(state.x_t, state.x0, Rows(self.rows.of_clean), noise, x_next)
        else:
            self._map(state.x_t, state.out, self.rows, noise, x_next, x0)
            state.x0 = LATER if x0 is None else x0
        state.x_next = x_next
        self.finish(state)

    def finish(self, state: State) -> None:
        """Edits of the new state."""
        for edit in self._in_turn("after", state):
            changed = checked_change(edit, edit.after(self.problem, state), state.x_next)
            if changed is not state.x_next:
                state.x_next.copy_(changed)
            self.forget()

    def up(self, x_t: Tensor, noise: Noise, x_next: Tensor) -> None:
        """Back up: the state with more noise, as pixels whatever the operator; also in place."""
        s = torch.zeros(1, 1, 1, 1, dtype=x_t.dtype, device=x_t.device)
        ops.pointwise_step(x_t, x_t, None, s, self.rows.table, self.step, noise, x_next=x_next)
        self.forget()

    def clean(self, state: State, x: Tensor | None = None, t: float | None = None) -> Tensor:
        """A clean image by a network call of its own: for samplers that make several in a step.

        Args:
            x, t:
                What the network sees, and the timestep of its noise; default those of the step.
        """
        seen = replace(state, fused=state.fused if x is None and t is None else None)
        if x is not None:
            seen.x_t = x
        if t is not None:
            seen.t, seen.times = t, torch.full_like(state.times, t)
        self.network(seen)
        p_x, p_out, _, _ = prediction_row(self.prior.prediction, seen.abar)
        out = seen.out[:, : seen.x_t.shape[1]].to(seen.x_t.dtype)
        seen.x0 = p_x * seen.x_t + p_out * out
        if self.fused_clip is not None:
            seen.x0 = self.fused_clip.clean(self.problem, seen)
        self._edit_clean(seen)
        if seen.fused is not None:
            state.out = seen.out
        return seen.x0

    def map(self, state: State, x0: Tensor, x_next: Tensor) -> Tensor:
        """The affine map of this step from x_t and a clean image, into a buffer; may be called again."""
        self.forget()
        self._map(state.x_t, x0, Rows(self.rows.of_clean), state.own_fused.noise, x_next)
        return x_next

    def _map(
        self, x_t: Tensor, out: Tensor, rows: Rows, noise: Noise, x_next: Tensor,
        x0: Tensor | None = None,
    ) -> None:  # fmt: skip
        self.operator.step(
            x_t, out, self.u, rows, self.step, noise, x_next=x_next, x0=x0, carry=self.carry
        )

    def _edit_clean(self, state: State) -> None:
        for edit in self._in_turn("clean", state):
            state.x0 = checked_change(edit, edit.clean(self.problem, state), state.x0)

    def _in_turn(self, place: str, state: State) -> Iterator[Edit]:
        """The edits of a place, each with its own pull in the state."""
        for edit in self.edits[place]:
            state.pull = self.pulls.get(id(edit), LATER)
            yield edit
        state.pull = LATER

    def _pull(self, state: State) -> None:
        """One call of the network with gradients, and J^T v for every edit that asks."""
        with torch.enable_grad():
            x = state.x_t.detach().requires_grad_()
            out = self.prior.at(x, state.times, state.labels)
            x0 = self._differentiable_x0(x, out, state)
        if not x0.requires_grad or not out.requires_grad:
            asking = self.pulling[0] if self.pulling else self.graph_for
            raise ValueError(
                f"prior: the network of {self.prior.name} gives no gradients, which {asking} needs"
            )
        state.out, state.x0 = out.detach(), x0.detach()
        for number, edit in enumerate(self.pulling, 1):
            v = checked_change(edit, edit.pull(self.problem, state), state.x0)
            more = number < len(self.pulling) or self.graph_for is not None
            (self.pulls[id(edit)],) = torch.autograd.grad(x0, x, v, retain_graph=more)
        if self.graph_for is not None:
            state.graph = (x, x0)

    def _differentiable_x0(self, x: Tensor, out: Tensor, state: State) -> Tensor:
        if state.fused is not None:
            return ops.predict_x0(x, out, self.rows.table, self.step)
        p_x, p_out, _, _ = prediction_row(self.prior.prediction, state.abar)
        x0 = p_x * x + p_out * out[:, : x.shape[1]].to(x.dtype)
        return x0 if self.fused_clip is None else x0.clamp(*self.fused_clip.limits)

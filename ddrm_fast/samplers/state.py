"""Where a run is: what edits and callbacks see of a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..operators.base import Rows
from ..operators.cuts import Box
from ..ops import Noise
from ..priors import Prior

#: stands where a step has nothing yet (or nothing any more): reading it there is a mistake of the reader's
LATER: Any = None


class Item(NamedTuple):
    """What a row of a batch is: one window of one sample of one picture.

    Args:
        box:
            The window; for a picture that was cut from a larger one, its place in that.
        picture, sample:
            Numbers from 0.
    """

    box: Box
    picture: int
    sample: int


@dataclass(frozen=True)
class Fused:
    """What the fused operations of a step read.

    Args:
        rows, step, noise:
            Row tables, the counter on the device, the noise.
        iteration:
            The counter as the host knows it, for noise of one's own.
    """

    rows: Rows
    step: Tensor
    noise: Noise
    iteration: int


@dataclass
class State:
    """A step of a run. Tensors live in buffers that the next step overwrites; pictures in [-1, 1].

    Moves back up call no network and no callback; what they did to the state is in the next x_t.

    Args:
        index, total:
            Number of this step, from 0, and of all steps.
        t, t_next:
            Timestep of the network call and of the new state (-1: the clean image).
        x_t:
            State before, (B, C, H, W).
        prior:
            The network, what it predicts and its schedule.
        items:
            What each row of the batch is.
        times:
            Timestep of each row as the network sees it, float32 [B].
        labels:
            Class of each row, [B], or None.
        out:
            The network's output, once it is there.
        x0:
            Clean-image prediction, once it is there: after clipping, and as edits before this one left it.
        x_next:
            State after the step, once it is there.
        pull:
            J^T v of an edit that differentiates, J the Jacobian of x0 at x_t; see :class:`Edit`.
        graph:
            (x_t, x0), where an edit asked for it: x0 as a differentiable function of x_t.
        memory:
            What edits and samplers keep from step to step of this run, by a name of theirs.
        fused:
            For edits that are kernels of their own.
    """

    index: int
    total: int
    t: int | float
    t_next: int | float
    x_t: Tensor
    prior: Prior
    items: Sequence[Item]
    times: Tensor
    labels: Tensor | None = None
    out: Tensor = LATER
    x0: Tensor = LATER
    x_next: Tensor = LATER
    pull: Tensor = LATER
    graph: tuple[Tensor, Tensor] | None = None
    memory: dict[str, Any] = field(default_factory=dict)
    fused: Fused | None = None

    @property
    def own_fused(self) -> Fused:
        """``fused`` of the step's own network call.

        Raises:
            ValueError: the call is another one that a sampler makes in the step (:meth:`Stepper.clean`).
        """
        if self.fused is None:
            raise ValueError("state: a further network call of a step has no fused operations")
        return self.fused

    @property
    def abar(self) -> float:
        """abar_t: x_t = sqrt(abar) x0 + sqrt(1 - abar) eps."""
        return self.prior.schedule.abar(self.t)

    @property
    def abar_next(self) -> float:
        """That of the new state; 1 for the clean image."""
        return self.prior.schedule.abar(self.t_next)

    @property
    def sigma(self) -> float:
        """Noise level of x_t / sqrt(abar): sqrt((1 - abar) / abar)."""
        return self.prior.schedule.sigma(self.t)

    @property
    def pictures(self) -> Tensor:
        """Which picture of the problem each row is, int64 [B]."""
        return torch.tensor([item.picture for item in self.items], dtype=torch.int64)

    @property
    def samples(self) -> Tensor:
        """Which sample of it, int64 [B]."""
        return torch.tensor([item.sample for item in self.items], dtype=torch.int64)

    @property
    def windows(self) -> tuple[Box, ...]:
        """Which part of it: the whole picture, or a window."""
        return tuple(item.box for item in self.items)


StepInfo = State

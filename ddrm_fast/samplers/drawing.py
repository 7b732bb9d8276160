"""How restored pictures are drawn, and what is drawn together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .. import ops
from ..operators.cuts import Box, Cuts
from ..priors import Prior
from ..priors.precision import check_precision
from ..problems import Problem
from .checks import (
    check_edits,
    check_labels,
    check_needs,
    check_prior,
    check_sampler,
    check_travel,
    seeds,
)
from .edits import Clip, Edit, EndOnMeasurement, Guidance, Hold, Known
from .plans import planned_samplers
from .state import Item
from .steps import timesteps
from .travel import Travel, network_calls, visits
from .weights import Sampler


@dataclass(frozen=True, eq=False)
class Drawing:
    """How pictures are restored: everything but what was measured.

    Args:
        prior:
            Network, its prediction type and its schedule.
        sampler:
            Weight function: HQS, DDRM, DDNM, DDNMPlus, DDIM, DDPM or your own; None: that of the problem's
            plan (:mod:`~ddrm_fast.samplers.plans`).
        edits:
            What changes a run beside the sampler, in this order within each place; see :class:`Edit`.
        travel:
            Time travel; None: the sampler's own, if it has one.
        labels:
            Class of every picture for a conditional network, [B], or None.
        seed:
            Picture i draws its noise from seed + i (modulo 2^64), or from seed[i] where int64 [B] is given.
        num_samples:
            Of every picture, >= 1; j is the sample id of sample j. None: one, which where the plan decides is
            the best estimate.
        first_sample:
            Sample id of sample 0: runs with other ids draw other noise.
        precision:
            What the network computes in, a name of ``ddrm_fast.priors.precision.PRECISIONS``; None: as the
            prior has it.
        batch_size:
            Pictures times samples that run together, which memory grows with; None: one sample of all.
        capture:
            On a GPU: network and step as one CUDA graph, replayed for every step.
        clamp:
            Whether finished pictures are clamped to [0, 1].
    """

    prior: Prior
    sampler: Sampler | None = None
    edits: Sequence[Edit] = ()
    travel: Travel | None = None
    labels: Tensor | None = None
    seed: int | Tensor = 0
    num_samples: int | None = None
    first_sample: int = 0
    precision: str | None = None
    batch_size: int | None = None
    capture: bool = False
    clamp: bool = True

    @property
    def pictures(self) -> int:
        """How many are drawn of each."""
        return 1 if self.num_samples is None else self.num_samples

    def in_precision(self) -> Drawing:
        """The same with a prior of this precision."""
        if self.precision is None:
            return self
        prior = copy(self.prior)
        prior.precision = check_precision(self.precision)
        return replace(self, prior=prior, precision=None)

    def planned(self, problem: Problem) -> list[tuple[Drawing, list[int]]]:
        """The same with the sampler of a plan, where none was asked for; each with its pictures.

        A picture's plan does not depend on its batch.
        """
        groups = planned_samplers(problem, self.sampler, self.num_samples)
        return [(replace(self, sampler=sampler), rows) for sampler, rows in groups]

    @property
    def chosen(self) -> Sampler:
        """The sampler, where there is one.

        Raises:
            ValueError: it is left to the problem.
        """
        if self.sampler is None:
            raise ValueError("sampler: got None; planned(problem) says which it is")
        return self.sampler

    @property
    def pulls(self) -> bool:
        """Whether gradients go through the network."""
        brought = self.chosen.edits() if hasattr(self.chosen, "edits") else []
        return any(edit.differentiates or edit.keeps_graph for edit in [*brought, *self.edits])

    @property
    def moves(self) -> list[tuple[float, float]]:
        """(t, t_next) of every move of a run; t_next > t goes back up and calls no network."""
        return planned(self.prior, self.chosen, self.travel)

    @property
    def steps(self) -> int:
        """Steps of a run, without moves back up: what a progress bar counts."""
        return network_calls(self.moves)

    def check(self, problem: Problem) -> None:
        """Raises ValueError unless it can restore the pictures of a problem; before any work is done."""
        check_prior(self.prior, problem.shape[0])
        if self.sampler is None:
            for of_plan, _ in self.planned(problem):
                of_plan.check(problem)
            return
        check_sampler(self.sampler)
        check_edits(self.edits)
        check_needs(self.sampler, self.edits, problem.operator)
        for name, value in (("num_samples", self.num_samples), ("batch_size", self.batch_size)):
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not whole and value is not None:
                raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")
        timesteps(self.prior, self.sampler.steps)  # from_pure_noise is for drawing from the prior
        check_travel(self.travel)
        check_labels(self.labels, problem.batch, self.prior)
        seeds(self.seed, problem.batch)
        moves = self.moves
        held = 0
        for edit in self.edits:
            edit.check_prior(self.prior, moves)
            edit.check(f"holds[{held}]" if isinstance(edit, Hold) else str(edit), problem)
            held += isinstance(edit, Hold)

    def keys(self, items: Sequence[Item], device: torch.device | str) -> Tensor:
        """Noise keys of some rows, int64 [B, 4]: of their picture's seed, their sample and place."""
        pictures = torch.tensor([item.picture for item in items], dtype=torch.int64)
        count = int(pictures.max()) + 1 if len(items) else 0
        seed = self.seed if isinstance(self.seed, Tensor) else seeds(self.seed, count)
        return ops.noise_keys(
            len(items),
            seed[pictures],
            torch.tensor([self.first_sample + item.sample for item in items], dtype=torch.int64),
            torch.tensor([(item.box.top, item.box.left) for item in items], dtype=torch.int64).view(
                -1, 2
            ),
            device,
        )


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows that are drawn together: what each is, what was measured of them, and their edits.

    Args:
        problem:
            Of the rows.
        items:
            What each row is.
        edits:
            Of the rows, in the range of the problem.
    """

    problem: Problem
    items: Sequence[Item]
    edits: Sequence[Edit] = ()

    @property
    def cuts(self) -> Cuts:
        """Where the rows lie, and in which pictures."""
        return cuts_of(self.items)

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device."""
        edits = [edit.to(device) for edit in self.edits]
        return replace(self, problem=self.problem.to(device), edits=edits)

    def select(self, rows: Sequence[int]) -> Batch:
        """Some of the rows."""
        if list(rows) == list(range(len(self.items))):
            return self
        index = torch.tensor(rows, device=self.problem.y.device)
        return Batch(
            self.problem.select(index),
            [self.items[row] for row in rows],
            [edit.select(index) for edit in self.edits],
        )

    def in_network_range(self) -> Batch:
        """The same for pictures in [-1, 1], of [0, 1]."""
        edits = [edit.in_network_range() for edit in self.edits]
        return replace(self, problem=self.problem.in_network_range(), edits=edits)


def cuts_of(items: Sequence[Item]) -> Cuts:
    """Where the windows of some items lie, and in which pictures."""
    return Cuts(tuple(item.box for item in items), tuple(item.picture for item in items))


def whole_pictures(count: int, size: Sequence[int]) -> list[Item]:
    """A batch of whole pictures, one sample of each."""
    return [Item(Box(0, 0, *size[-2:]), picture, 0) for picture in range(count)]


def planned(
    prior: Prior, sampler: Sampler, travel: Travel | None = None
) -> list[tuple[float, float]]:
    """(t, t_next) of every move of a run; t_next > t goes back up and calls no network, t_next = t stays."""
    from_pure_noise = getattr(sampler, "from_pure_noise", False)
    visited = timesteps(prior, sampler.steps, from_pure_noise=from_pure_noise)
    moves = visits(visited, getattr(sampler, "travel", None) if travel is None else travel)
    stays = getattr(sampler, "rounds", 1) - 1
    return [move for t, after in moves for move in [(t, t)] * (stays * (after < t)) + [(t, after)]]


def usual_edits(
    *,
    guidance: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None,
    clip_x0: bool = False,
    holds: Sequence[Hold] = (),
    edits: Sequence[Edit] = (),
    end_on_measurement: bool = False,
    known: Known | None = None,
) -> list[Edit]:
    """What the public functions take by names, as edits in their stated order.

    Raises:
        ValueError: one of them is of another kind.
    """
    if known is not None and not isinstance(known, Known):
        raise ValueError(f"known: expected a Known(mask, image), got {type(known).__name__}")
    if not isinstance(holds, Sequence) or not all(isinstance(hold, Hold) for hold in holds):
        raise ValueError(f"holds: expected a list of Hold(operator, measurement), got {holds!r}")
    return [
        *([] if guidance is None else [Guidance(guidance)]),
        *([Clip()] if clip_x0 else []),
        *holds,
        *check_edits(edits),
        *([EndOnMeasurement()] if end_on_measurement else []),
        *([] if known is None else [known]),
    ]

"""The one loop that runs every sampler: prior, row of the step, operator's fused step, edits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..machine.heap import kept_memory
from ..operators import Forward
from ..operators.cuts import Box
from ..ops import Noise
from ..priors.prior import Prior
from ..problems import Gaussian, Problem
from ..problems.problem import NETWORKS
from .capture import captured_steps, check_capture
from .checks import check_needs
from .drawing import Batch, Drawing, planned, usual_edits
from .edits import Clip, Edit, Hold, Known
from .edits.guidance import Gradient
from .state import LATER, Fused, Item, State
from .stepper import Stepper
from .table import build_rows
from .travel import Travel, network_calls
from .weights import Sampler

__all__ = ["planned", "run", "run_batch"]

#: values of a batch from which on memory is returned after a run: it takes long then anyway
_LARGE = 2**22


@torch.no_grad()
def run_batch(
    batch: Batch,
    drawing: Drawing,
    *,
    callback: Callable[[State], None] | None = None,
    noise: Callable[[int], Tensor] | None = None,
    keys: Tensor | None = None,
) -> Tensor:
    """Draws one restored picture for each row of a batch, in the network's range [-1, 1].

    Args:
        batch:
            What the rows are, were measured to be, and are edited with; in the network's range.
        drawing:
            How. Its edits do not count but those of the batch.
        callback:
            Called after each step.
        noise:
            ``k -> white noise (B, C, H, W)`` to use instead of the kernel's own: k = 0 for the initial
            state, k + 1 for move k (moves back up are counted).
        keys:
            Noise keys, int64 [B, 4]; default those of the drawing.

    Returns:
        (B, C, H, W), dtype of y.

    Raises:
        ValueError: the network's output has a wrong shape or dtype; y or an edit does not fit.
    """
    problem, prior, sampler = batch.problem, drawing.prior, drawing.chosen
    if keys is None:
        keys = drawing.keys(batch.items, problem.y.device)
    moves, shape = drawing.moves, (len(batch.items), *problem.shape)
    edits = _ordered(sampler, batch.edits, problem, shape)
    check_needs(sampler, edits, problem.operator)
    for edit in edits:
        edit.check_prior(prior, moves)
        edit.check_run(sampler, edits)
    clip = next((edit for edit in edits if isinstance(edit, Clip)), None)
    several_calls = hasattr(sampler, "advance")
    rows = build_rows(
        sampler, prior.schedule, moves, problem.sigma_y, prior.prediction,
        None if clip is None else clip.limits,
        edits=several_calls or any(edit.acts("clean") and edit is not clip for edit in edits),
        travels=True,
    ).to(problem.y.device)  # fmt: skip
    if shape[0] == 0:
        return torch.empty(shape, dtype=problem.y.dtype, device=problem.y.device)
    if drawing.capture:
        host = [str(edit) for edit in edits if not edit.capturable]
        host += ["noise"] * (noise is not None) + ["several network calls a step"] * several_calls
        check_capture(problem.y, host)
    with kept_memory(give_back=math.prod(shape) > _LARGE):
        stepper = Stepper(problem, prior, rows, _counter(problem.y), edits, clip)
        steps = _Steps(stepper, batch, drawing, moves, keys, noise)
        x, last = steps.captured(callback) if drawing.capture else steps.walked(callback)
        for edit in edits:
            if edit.acts("result"):
                last.x_next = x
                x = edit.result(problem, last)
    return x


def _counter(like: Tensor) -> Tensor:
    return torch.zeros(1, dtype=torch.int64, device=like.device)


def _ordered(
    sampler: Sampler, edits: Sequence[Edit], problem: Problem, shape: tuple[int, ...]
) -> list[Edit]:
    """The edits of a run, ready, in the order in which they act.

    The sampler's own act next to the network and next to the new state: first, but for those after the map.
    """
    brought = sampler.edits() if hasattr(sampler, "edits") else []
    last = [edit for edit in brought if edit.acts("after")]
    found = [*(edit for edit in brought if edit not in last), *edits, *last]
    ready = (edit.prepared(problem, shape) for edit in found)
    return [edit for edit in ready if edit is not None]


class _Steps:
    """The moves of one run, one after the other."""

    def __init__(
        self,
        stepper: Stepper,
        batch: Batch,
        drawing: Drawing,
        moves: Sequence[tuple[float, float]],
        keys: Tensor,
        noise: Callable[[int], Tensor] | None,
    ) -> None:
        self.stepper, self.sampler, self.moves = stepper, drawing.chosen, moves
        self.keys, self.given = keys, noise
        y = batch.problem.y
        self.dtype, self.device = y.dtype, y.device
        self.shape = (len(batch.items), *stepper.u.image_shape)
        # everything that changes from step to step is on the device: no host value enters an operation
        times = torch.tensor([t for t, _ in moves], dtype=torch.float32, device=self.device)
        self.times = times[:, None].expand(-1, self.shape[0]).contiguous()
        labels = drawing.labels
        if labels is not None:
            pictures = torch.tensor([item.picture for item in batch.items], device=labels.device)
            labels = labels[pictures].to(self.device)
        self.blank = State(
            0, network_calls(moves), *moves[0], torch.empty(0), drawing.prior, batch.items,
            self.times[0], labels,
        )  # fmt: skip

    def _noise(self, k: int) -> Noise:
        given = None
        if self.given is not None:
            given = self.given(k).to(device=self.device, dtype=self.dtype)
        return Noise(self.keys, given)

    def _buffer(self) -> Tensor:
        return torch.empty(self.shape, dtype=self.dtype, device=self.device)

    def _state(self, move: int, index: int, x_t: Tensor, noise: Noise) -> State:
        """That of a move, before its network call."""
        t, t_next = self.moves[move]
        fused = Fused(self.stepper.rows, self.stepper.step, noise, move + 1)
        return replace(
            self.blank, index=index, t=t, t_next=t_next, x_t=x_t, times=self.times[move], fused=fused
        )  # fmt: skip

    def _begin(self, x_t: Tensor) -> None:
        """The initial state: of the sampler's weights, or from a clean image that it makes itself."""
        guess = None
        if hasattr(self.sampler, "begin"):
            guess = self.sampler.begin(self.stepper.problem, self.shape[0])
        if guess is None:
            self.stepper.start(self._noise(0), x_t)
        else:
            torch.mul(guess, self.blank.abar**0.5, out=x_t)

    def walked(self, callback: Callable[[State], None] | None) -> tuple[Tensor, State]:
        """Move by move. Returns the result and the state of the last step."""
        stepper = self.stepper
        x_t, spare = self._buffer(), self._buffer()
        x0 = self._buffer() if callback else None
        self._begin(x_t)
        index, state = 0, self.blank
        for move, (t, t_next) in enumerate(self.moves):
            stepper.step.add_(1)
            noise = self._noise(move + 1)
            x_next, spare = spare, x_t
            if t_next > t:
                stepper.up(x_t, noise, x_next)
                self.blank.memory.clear()
                x_t = x_next
                continue
            state = self._state(move, index, x_t, noise)
            if hasattr(self.sampler, "advance"):
                state.x_next = self.sampler.advance(stepper, state, x_next)
                stepper.finish(state)
            else:
                stepper.network(state)
                stepper.down(state, x_next, x0)
            state.out, state.graph = LATER, None  # before the next one is made
            if callback is not None:
                callback(state)
            x_t, index = x_next, index + 1
        return x_t, state

    def captured(self, callback: Callable[[State], None] | None) -> tuple[Tensor, State]:
        """As a CUDA graph; see :mod:`.capture`."""
        x_t = self._buffer()
        self._begin(x_t)
        state = self._state(0, 0, x_t, self._noise(0))
        index = 0

        def after(move: int, before: Tensor, x0: Tensor) -> None:
            nonlocal index
            t, t_next = self.moves[move]
            if callback is not None:
                callback(
                    replace(state, index=index, t=t, t_next=t_next, x_t=before, x0=x0, x_next=x_t)
                )
            index += 1

        captured_steps(self.stepper, self.moves, self.times, state, after if callback else None)
        t, t_next = self.moves[-1]
        return x_t, replace(state, t=t, t_next=t_next)


def run(
    operator: Forward,
    prior: Prior,
    sampler: Sampler,
    y: Tensor,
    sigma_y: Tensor,
    keys: Tensor,
    *,
    labels: Tensor | None = None,
    guidance: Gradient | None = None,
    clip: tuple[float, float] | None = None,
    end_on_measurement: bool = False,
    callback: Callable[[State], None] | None = None,
    noise: Callable[[int], Tensor] | None = None,
    capture: bool = False,
    known: Known | None = None,
    holds: Sequence[Hold] = (),
    travel: Travel | None = None,
) -> Tensor:
    """Draws one restored image per key, in the prior's range [-1, 1].

    Its many arguments are those of a :class:`Problem` and a :class:`Drawing`, for scripts that have them
    in hand.

    Args:
        operator:
            The degradation.
        prior:
            Network, its prediction type and its schedule.
        sampler:
            Weight function: DDRM, DDNM, DDNMPlus, DDIM, DDPM or your own.
        y:
            Measurement of the [-1, 1] image; batch B, or 1 for all.
        sigma_y:
            Its noise, same unit, float64 [B or 1].
        keys:
            Noise keys, int64 [B, 4]; B is the batch that is drawn.
        labels:
            Class labels for the network, [B].
        guidance:
            ``(x_t, t, labels) -> gradient`` of log p(condition | x_t), (B, C, H, W), evaluated at x_t; see
            :class:`~ddrm_fast.samplers.edits.Guidance`.
        clip:
            Range of the clean-image prediction, or None.
        end_on_measurement:
            Ends with ``operator.project`` at the noise level of the last network call.
        callback:
            Called after each step.
        noise:
            ``k -> white noise (B, C, H, W)`` to use instead of the kernel's own: k = 0 for the initial
            state, k + 1 for move k (moves back up are counted).
        capture:
            On a GPU: records network and step as one CUDA graph after the first step and replays it for
            the others. The network must not read from the device; not with ``guidance``, ``noise`` or
            learned variances.
        known:
            Pixels that are fixed, in [-1, 1]; the result has them exactly.
        holds:
            What the clean image of every step is held to, in this order, before the measurement is used;
            each costs one ``H`` and one ``H_pinv`` a step.
        travel:
            Time travel; default: the sampler's own, if it has one.

    Returns:
        (B, C, H, W), dtype of y.

    Raises:
        ValueError: the network's output has a wrong shape or dtype; y, ``known`` or ``holds`` do not fit.
    """
    problem = Problem(operator, y, Gaussian(sigma_y), NETWORKS)
    edits = usual_edits(
        guidance=guidance, holds=holds, end_on_measurement=end_on_measurement, known=known
    )
    if clip is not None:
        edits.insert(guidance is not None, Clip(*clip))
    channels, height, width = problem.shape
    for number, hold in enumerate(holds):
        hold.check_fits(f"holds[{number}]", (len(keys), channels, height, width), y.new_empty(0))
    items = [
        Item(Box(top, left, height, width), picture, sample)
        for picture, (_, sample, top, left) in enumerate(keys.tolist())
    ]
    drawing = Drawing(prior, sampler, travel=travel, labels=labels, capture=capture)
    return run_batch(
        Batch(problem, items, edits), drawing, callback=callback, noise=noise, keys=keys
    )

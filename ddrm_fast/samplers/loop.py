"""The one loop that runs every sampler: prior, row of the step, operator's fused step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from ..machine.heap import kept_memory
from ..operators.base import Measurement, Operator, Rows
from ..ops import Noise, normal
from ..priors.prior import Prior
from .capture import captured_steps, check_capture
from .hold import Hold
from .known import Known
from .moves import Moves
from .table import build_rows, noise_ranges
from .travel import Travel, moves, network_calls
from .weights import Sampler

#: values of a batch from which on memory is returned after a run: it takes long then anyway
_LARGE = 2**22

Guidance = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass
class StepInfo:
    """What a callback sees after each step. Tensors live in buffers that the next step overwrites.

    Moves back up call no network and no callback; what they did to the state is in the next x_t.

    Args:
        index, total:
            Number of this step, from 0, and of all steps: network calls.
        t, t_next:
            Timestep of the network call and of the new state (-1: the clean image).
        x_t, x0, x_next:
            State before, clean-image prediction (after clipping and holds, before the measurement is
            used), state after; (B, C, H, W) in [-1, 1] units.
    """

    index: int
    total: int
    t: int
    t_next: int
    x_t: Tensor
    x0: Tensor
    x_next: Tensor


@torch.no_grad()
def run(
    operator: Operator,
    prior: Prior,
    sampler: Sampler,
    y: Tensor,
    sigma_y: Tensor,
    keys: Tensor,
    *,
    labels: Tensor | None = None,
    guidance: Guidance | None = None,
    clip: tuple[float, float] | None = None,
    end_on_measurement: bool = False,
    callback: Callable[[StepInfo], None] | None = None,
    noise: Callable[[int], Tensor] | None = None,
    capture: bool = False,
    known: Known | None = None,
    holds: Sequence[Hold] = (),
    travel: Travel | None = None,
) -> Tensor:
    """Draws one restored image per key, in the prior's range [-1, 1].

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
            ``(x_t, t, labels) -> gradient`` of log p(condition | x_t), (B, C, H, W), evaluated at x_t;
            eps becomes eps - sqrt(1 - abar_t) gradient (Dhariwal and Nichol 2021, algorithm 2).
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
    steps = planned(prior, sampler, travel)
    u = operator.prepare(y)
    shape, like = (keys.shape[0], *u.image_shape), y.new_empty(0)
    known = None if known is None else known.checked(shape, like)
    for number, hold in enumerate(holds):
        hold.check(f"holds[{number}]", shape, like)
    joins = known is not None and known.gradient is not None
    rows = build_rows(
        sampler, prior.schedule, steps, sigma_y, prior.prediction, clip,
        edits=bool(holds) or joins, travels=True,
    ).to(y.device)  # fmt: skip

    measured = operator.certainty(sigma_y, shape[1:], like) if joins else None

    def finish(x: Tensor) -> Tensor:
        if not end_on_measurement:
            return x
        x = operator.project(x, y, prior.schedule.sigma(steps[-1][0]), sigma_y)
        return x if known is None else known.put(x)

    with kept_memory(give_back=math.prod(shape) > _LARGE):
        return _loop(
            operator, prior, sampler, u, rows, steps, keys, y.dtype, labels, guidance, callback, noise,
            capture, known, holds, measured, finish,
        )  # fmt: skip


def planned(prior: Prior, sampler: Sampler, travel: Travel | None = None) -> list[tuple[int, int]]:
    """(t, t_next) of every move of a run; t_next > t goes back up and calls no network."""
    from_pure_noise = getattr(sampler, "from_pure_noise", False)
    visited = prior.steps(sampler.steps, from_pure_noise=from_pure_noise)
    return moves(visited, getattr(sampler, "travel", None) if travel is None else travel)


def _loop(
    operator: Operator,
    prior: Prior,
    sampler: Sampler,
    u: Measurement,
    rows: Rows,
    steps: Sequence[tuple[int, int]],
    keys: Tensor,
    dtype: torch.dtype,
    labels: Tensor | None,
    guidance: Guidance | None,
    callback: Callable[[StepInfo], None] | None,
    noise: Callable[[int], Tensor] | None,
    capture: bool,
    known: Known | None,
    holds: Sequence[Hold],
    measured: Tensor | None,
    finish: Callable[[Tensor], Tensor],
) -> Tensor:
    batch, device = keys.shape[0], keys.device
    shape = (batch, *u.image_shape)
    if batch == 0:
        return torch.empty(shape, dtype=dtype, device=device)

    def step_noise(k: int) -> Noise:
        return Noise(keys, None if noise is None else noise(k).to(device=device, dtype=dtype))

    # everything that changes from step to step is on the device: no host value enters an operation
    times = torch.tensor([t for t, _ in steps], dtype=torch.float32, device=device)
    times = times[:, None].expand(-1, batch).contiguous()
    pull = [prior.guidance_factor(t) for t, _ in steps] if guidance else []
    learned = noise_ranges(sampler, prior.schedule, steps)
    learned = None if learned is None else learned.to(device)
    if capture:
        host = {"guidance": guidance, "noise": noise, "learned variances": learned}
        check_capture(keys.new_empty(0, dtype=dtype), host)
    step = torch.zeros(1, dtype=torch.int64, device=device)
    x_t, spare = (torch.empty(shape, dtype=dtype, device=device) for _ in range(2))
    x0 = torch.empty(shape, dtype=dtype, device=device) if callback else None
    move = Moves(operator, u, rows, step, known, holds, measured)
    move.start(step_noise(0), x_t)
    calls, total = count(), network_calls(steps)
    if capture:

        def after(index: int, before: Tensor, x0: Tensor) -> None:
            callback(StepInfo(next(calls), total, *steps[index], before, x0, x_t))

        captured_steps(
            move, prior, steps, times, Noise(keys), x_t, labels, after if callback else None
        )
        return finish(x_t)
    for index, (t, t_next) in enumerate(steps):
        step.add_(1)
        x_next, spare = spare, x_t
        if t_next > t:
            move.up(x_t, step_noise(index + 1), x_next)
            x_t = x_next
            continue
        out = prior.at(x_t, times[index], labels)
        if guidance is not None:
            out = _guide(out, guidance(x_t, times[index], labels), pull[index], shape)
        move.down(x_t, out, step_noise(index + 1), x_next, x0)
        if learned is not None and t_next != -1:
            _add_learned_noise(x_next, out, learned[index], step_noise(index + 1), index + 1)
            move.forget()
        del out  # before the next one is made
        if callback is not None:
            callback(StepInfo(next(calls), total, t, t_next, x_t, x0, x_next))
        x_t = x_next
    return finish(x_t)


def _add_learned_noise(
    x_next: Tensor, out: Tensor, between: Tensor, noise: Noise, iteration: int
) -> None:
    """x_next += exp(log variance / 2) z, a variance for every pixel.

    Nichol and Dhariwal 2021, eq. 15, with the published networks' v from -1 (small) to 1 (large).
    Noise of a fixed variance is made inside the step; this is a pass of its own over the picture.
    """
    channels = x_next.shape[1]
    if out.shape[1] != 2 * channels:
        raise ValueError(
            f"network: expected {2 * channels} channels for learned variances, got {out.shape[1]}"
        )
    share = (out[:, channels:].to(x_next.dtype) + 1) / 2
    small, large = between
    std = (0.5 * (small + share * (large - small))).to(x_next.dtype).exp()
    z = noise.pixels
    if z is None:
        z = normal(noise.keys, *x_next.shape[1:], iteration=iteration, stream=0)
    x_next.addcmul_(std, z.to(x_next.dtype))


def _guide(out: Tensor, gradient: Tensor, factor: float, shape: tuple[int, ...]) -> Tensor:
    if not isinstance(gradient, Tensor) or gradient.shape != shape:
        got = tuple(gradient.shape) if isinstance(gradient, Tensor) else type(gradient).__name__
        raise ValueError(f"guidance: expected a gradient of shape {shape}, got {got}")
    channels = shape[1]
    guided = out[:, :channels] + factor * gradient
    return guided if out.shape[1] == channels else torch.cat((guided, out[:, channels:]), dim=1)

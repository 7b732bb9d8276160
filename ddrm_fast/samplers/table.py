"""The row table of a run: every step's numbers, built once in float64, handed over in float32."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..operators.base import Rows
from ..ops import rows
from ..priors.prediction import prediction_row
from ..priors.schedule import Schedule
from .weights import Branch, Number, Sampler, Weights

_OVER = range(rows.OVER, rows.OVER + 4)


def _row(
    weights: Weights,
    predict: tuple[float, ...],
    edit: tuple[float, float],
    clip: tuple[float, float],
    abar_next: float,
    batch: int,
) -> Tensor:
    columns: list[Number] = [0.0] * rows.WIDTH

    def put(index: int, values: Sequence[Number]) -> None:
        columns[index : index + len(values)] = values

    put(rows.P_X, predict)
    put(rows.R_X, edit)
    put(rows.CLIP_LO, clip)
    put(rows.THR, [weights.threshold])
    put(rows.ROOT_ABAR_NEXT, [math.sqrt(abar_next)])
    a, b, variance = weights.null.at_zero()
    put(rows.NULL, [a, b, torch.as_tensor(variance, dtype=torch.float64).sqrt()])
    put(rows.LOW, weights.low.numbers())
    put(rows.HIGH, weights.high.numbers())
    row = _filled(columns, batch)
    used = [branch + at for branch in (rows.LOW, rows.HIGH) for at in (rows.B2, *_OVER)]
    row[:, rows.RATIONAL] = (row[:, used] != 0).any(1).double()
    return row


def _filled(columns: Sequence[Number], batch: int) -> Tensor:
    """The columns as float64 [batch, WIDTH]: numbers at once, what differs between images behind them."""
    row = torch.tensor(
        [0.0 if isinstance(value, Tensor) else value for value in columns], dtype=torch.float64
    ).repeat(batch, 1)
    for index, value in enumerate(columns):
        if isinstance(value, Tensor):
            row[:, index] = value
    return row


def _row_up(abar: float, abar_next: float) -> Tensor:
    """Back up: x_next = sqrt(abar_next / abar) x_t + sqrt(1 - abar_next / abar) z, x_t in the place of x0."""
    ratio = abar_next / abar
    forward = Weights.everywhere(Branch(a0=math.sqrt(ratio), d0=1 - ratio))
    return _row(forward, (1, 0, 0, 0), (0, 0), (-math.inf, math.inf), abar_next, 1)


def build_rows(
    sampler: Sampler,
    schedule: Schedule,
    steps: Sequence[tuple[float, float]],
    sigma_y: Tensor,
    prediction: str = "eps",
    clip: tuple[float, float] | None = None,
    *,
    edits: bool = False,
    travels: bool = False,
) -> Rows:
    """Rows of a run.

    Args:
        sampler:
            The weight function.
        steps:
            (t, t_next) of every step, t_next = -1 for the clean image.
        sigma_y:
            Measurement noise in the unit of the state, float64 [B or 1].
        prediction:
            What the network predicts: "eps", "x0" or "v".
        clip:
            Range of x0, or None.
        edits:
            Whether x0 is edited between network and step otherwise than by clipping.
        travels:
            Whether steps with t_next > t take the forward process from x_t, instead of the sampler's
            weights.

    Returns:
        :class:`Rows` on the CPU: table float32 [len(steps) + 1, B or 1, 48].
    """
    batch = len(sigma_y)
    free = (-math.inf, math.inf)
    first = schedule.abar(steps[0][0])
    start = _row(sampler.start(first, sigma_y), (0, 0, 0, 0), (0, 0), free, first, batch)
    table, edited = [start], [start]
    edits = edits or clip is not None
    for t, t_next in steps:
        abar, abar_next = schedule.abar(t), schedule.abar(t_next)
        if travels and t_next > t:
            table.append(_row_up(abar, abar_next).expand(batch, -1))
            edited.append(table[-1])
            continue
        weights = sampler.weights(abar, abar_next, sigma_y)
        predict = prediction_row(prediction, abar)
        clean = prediction_row("x0", abar)
        edit = clean[2:]
        table.append(_row(weights, predict, edit, clip or free, abar_next, batch))
        if edits:
            edited.append(_row(weights, clean, edit, free, abar_next, batch))
    return Rows(
        torch.stack(table).float().contiguous(),
        torch.stack(edited).float().contiguous() if edits else None,
    )

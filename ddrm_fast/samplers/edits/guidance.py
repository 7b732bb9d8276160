"""Guidance: the gradient of a condition's probability, added to the network's output."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...priors import Prior
from ...problems import Problem
from ..state import State
from .edit import Edit

Gradient = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class Guidance(Edit):
    """eps becomes eps - sqrt(1 - abar_t) gradient (Dhariwal and Nichol 2021, algorithm 2).

    Args:
        gradient:
            ``(x_t, t, labels) -> gradient`` of log p(condition | x_t), (B, C, H, W), evaluated at x_t. It
            sees the rows that run together; one that has to know which they are is an edit of its own,
            ``Edit.at("output", function)``.
    """

    title = "guidance"

    def __init__(self, gradient: Gradient) -> None:
        if not callable(gradient):
            raise ValueError(
                "guidance: expected a function (x_t, t, labels) -> gradient, such as classifier_guidance() "
                f"of a classifier, got {gradient!r}"
            )
        self.gradient = gradient

    def check_prior(self, prior: Prior, steps: Sequence[tuple[float, float]]) -> None:
        for t, _ in steps:
            prior.guidance_factor(t)

    def output(self, problem: Problem, state: State) -> Tensor:
        out, shape = state.out, tuple(state.x_t.shape)
        gradient = self.gradient(state.x_t, state.times, state.labels)
        if not isinstance(gradient, Tensor) or gradient.shape != shape:
            got = tuple(gradient.shape) if isinstance(gradient, Tensor) else type(gradient).__name__
            raise ValueError(f"guidance: expected a gradient of shape {shape}, got {got}")
        channels = shape[1]
        guided = out[:, :channels] + state.prior.guidance_factor(state.t) * gradient
        return guided if out.shape[1] == channels else torch.cat((guided, out[:, channels:]), dim=1)

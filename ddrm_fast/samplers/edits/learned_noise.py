"""Noise whose variance the network learned."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ...ops import Stream, normal
from ...problems import Problem
from ..state import State
from .edit import Edit


class LearnedNoise(Edit):
    """x_next += exp(log variance / 2) z, a variance for every pixel.

    Nichol and Dhariwal 2021, eq. 15, with the published networks' v from -1 (small) to 1 (large).
    Noise of a fixed variance is made inside the step; this is a pass of its own over the picture.

    Args:
        range_of:
            ``(abar, abar_next) -> logarithms of the smallest and the largest variance``.
    """

    title = "learned variances"

    def __init__(self, range_of: Callable[[float, float], tuple[float, float]]) -> None:
        self.range_of = range_of

    def after(self, problem: Problem, state: State) -> Tensor:
        x_next, out = state.x_next, state.out
        if state.t_next == -1:  # the step ends on the clean image
            return x_next
        channels = x_next.shape[1]
        if out.shape[1] != 2 * channels:
            raise ValueError(
                f"network: expected {2 * channels} channels for learned variances, got {out.shape[1]}"
            )
        small, large = self.range_of(state.abar, state.abar_next)
        share = (out[:, channels:].to(x_next.dtype) + 1) / 2
        std = (0.5 * (small + share * (large - small))).to(x_next.dtype).exp()
        fused = state.own_fused
        z = fused.noise.pixels
        if z is None:
            _, _, height, width = x_next.shape
            z = normal(
                fused.noise.keys, channels, height, width,
                iteration=fused.iteration, stream=Stream.SAMPLING,
            )  # fmt: skip
        return x_next.addcmul_(std, z.to(x_next.dtype))

"""What a sampler is: weights of an affine update, as functions of the singular value.

    x_next = a(s) x0 + b(s) eps + c(s) u + d(s) z

on three branches: null (s = 0), low (0 < s < thr) and high (s >= thr), each of the form

    a = a0 + a1 s + a2 s^2    b = b0    c = c0 + c1/s + c2 s    d = sqrt(max(0, d0 + d1/s^2 + d2 s^2)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

Number = float | Tensor


@dataclass(frozen=True)
class Branch:
    """Numbers of one branch, each a float or a float64 tensor [B] (one per image)."""

    a0: Number = 0.0
    a1: Number = 0.0
    a2: Number = 0.0
    b0: Number = 0.0
    c0: Number = 0.0
    c1: Number = 0.0
    c2: Number = 0.0
    d0: Number = 0.0
    d1: Number = 0.0
    d2: Number = 0.0

    def scaled(self, factor: float) -> Branch:
        """The branch of ``factor * x_next``."""
        linear = {name: getattr(self, name) * factor for name in _LINEAR}
        square = {name: getattr(self, name) * factor**2 for name in ("d0", "d1", "d2")}
        return Branch(**linear, **square)

    def numbers(self) -> list[Number]:
        return [getattr(self, field.name) for field in fields(self)]


_LINEAR = ("a0", "a1", "a2", "b0", "c0", "c1", "c2")


@dataclass(frozen=True)
class Weights:
    """The three branches of one step and the singular value at which low becomes high."""

    null: Branch
    low: Branch
    high: Branch
    threshold: Number = 0.0

    def scaled(self, factor: float) -> Weights:
        """The weights of ``factor * x_next``."""
        branches = (branch.scaled(factor) for branch in (self.null, self.low, self.high))
        return Weights(*branches, self.threshold)

    @classmethod
    def everywhere(cls, branch: Branch) -> Weights:
        """The same update for every singular value: the measurement plays no part."""
        return cls(branch, branch, branch)


class Sampler(Protocol):
    """A weight function, and the steps it wants by default.

    ``steps`` is a number of steps or a descending list of timesteps. Optional members:

    - ``needs``: :class:`~ddrm_fast.operators.Forward` where the weights do not look at the measurement, so
      that a degradation without a decomposition will do; default Operator.
    - ``from_pure_noise``: whether the first step may start where abar = 0 (:class:`DDPM`).
    - ``travel``: steps that go back up (:class:`RePaint`).
    - ``edits()``: edits that the sampler brings (:class:`DDPM`, :class:`DPMSolver`); what they keep from step
      to step lives in ``state.memory``.
    - ``advance(stepper, state, x_next)``: a step that calls the network as often as it wants
      (:class:`Heun`), in place of one call and the affine map.
    """

    steps: int | list[int]

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        """Weights of the initial state (x0 = eps = 0) at abar_T; ``sigma_y`` float64 [B or 1]."""
        ...

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        """Weights of the step from abar to abar_next (1: the clean image)."""
        ...


def pure_noise() -> Weights:
    """The initial state is white noise of variance 1."""
    return Weights.everywhere(Branch(d0=1.0))


def replaced(null: Branch, abar_next: float) -> Weights:
    """What was measured is that of the noised measurement, sqrt(abar_next) u / s + sqrt(1 - abar_next) z."""
    measured = Branch(c1=math.sqrt(abar_next), d0=1 - abar_next)
    return Weights(null, measured, measured)


def divide(numerator: Number, denominator: Tensor) -> Tensor:
    """``numerator / denominator``, 0 where the denominator is 0 (a branch that is not reached)."""
    return torch.where(
        denominator > 0, numerator / torch.where(denominator > 0, denominator, 1.0), 0.0
    )


def check_whole(name: str, value: int) -> int:
    """A count: an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")
    return value


def check_unit(name: str, value: float) -> float:
    """A weight of noise or measurement: 0 <= value <= 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: expected 0 <= {name} <= 1, got {value}")
    return value

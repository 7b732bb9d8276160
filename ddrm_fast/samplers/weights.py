"""What a sampler is: weights of an affine update, as functions of the singular value.

    x_next = a(s) x0 + b(s) eps + c(s) u + d(s) z

on three branches: null (s = 0), low (0 < s < thr) and high (s >= thr), each of the form

    a = a0 + a1 s + a2 s^2    b = b0 + b2 s^2    c = c0 + c1/s + c2 s
    d = sqrt(max(0, d0 + d1/s^2 + d2 s^2)),

where each of a, b, c and d^2 may stand over a denominator p + q s^2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from .steps import StepsLike

Number = float | Tensor


@dataclass(frozen=True)
class Branch:
    """Numbers of one branch, each a float or a float64 tensor [B] (one per image).

    ``over`` names the weights that stand over p + q s^2: letters of "abcd", where "d" means the variance
    d^2. Which of them do is the same for all images.
    """

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
    b2: Number = 0.0
    p: Number = 1.0
    q: Number = 0.0
    over: str = ""

    def __post_init__(self) -> None:
        if len(set(self.over)) != len(self.over) or not set(self.over) <= set("abcd"):
            raise ValueError(f"over: expected letters of 'abcd', each once, got {self.over!r}")

    def scaled(self, factor: float) -> Branch:
        """The branch of ``factor * x_next``."""
        linear = {name: getattr(self, name) * factor for name in _LINEAR}
        square = {name: getattr(self, name) * factor**2 for name in ("d0", "d1", "d2")}
        return replace(self, **linear, **square)

    def numbers(self) -> list[Number]:
        """The branch as a row of the table holds it (:mod:`ddrm_fast.ops.rows`)."""
        flags = [float(letter in self.over) for letter in "abcd"]
        return [getattr(self, name) for name in _NUMBERS] + flags

    def at_zero(self) -> tuple[Number, Number, Number]:
        """a, b and d^2 at s = 0, as the null branch has them.

        Raises:
            ValueError: one of them stands over a denominator that is 0 there.
        """
        if any(letter in self.over for letter in "abd") and (torch.as_tensor(self.p) == 0).any():
            raise ValueError(f"null: {self.over!r} over p + q s^2, which is 0 at s = 0")
        a, b, d = (
            getattr(self, f"{letter}0") / (self.p if letter in self.over else 1.0)
            for letter in "abd"
        )
        return a, b, d


_LINEAR = ("a0", "a1", "a2", "b0", "b2", "c0", "c1", "c2")
_NUMBERS = ("a0", "a1", "a2", "b0", "c0", "c1", "c2", "d0", "d1", "d2", "b2", "p", "q")


@dataclass(frozen=True)
class Weights:
    """The three branches of one step and the singular value at which low becomes high."""

    null: Branch
    low: Branch
    high: Branch
    threshold: Number = 0.0

    def scaled(self, factor: float) -> Weights:
        """The weights of ``factor * x_next``."""
        null, low, high = (branch.scaled(factor) for branch in (self.null, self.low, self.high))
        return Weights(null, low, high, self.threshold)

    def at(self, s: float) -> tuple[float, float, float, float]:
        """(a, b, c, d) at one singular value, as kernels evaluate them, in float64 and for one image."""
        low = s < float(torch.as_tensor(self.threshold))
        branch = self.null if s == 0 else self.low if low else self.high
        numbers = (float(torch.as_tensor(v)) for v in branch.numbers())
        a0, a1, a2, b0, c0, c1, c2, d0, d1, d2, b2, p, q, *_ = numbers
        inverse = 1 / s if s else 0.0
        weights = {
            "a": a0 + a1 * s + a2 * s**2,
            "b": b0 + b2 * s**2,
            "c": c0 + c1 * inverse + c2 * s if s else 0.0,
            "d": d0 + d1 * inverse**2 + d2 * s**2,
        }
        a, b, c, variance = (
            weight / (p + q * s**2) if name in branch.over else weight
            for name, weight in weights.items()
        )
        return a, b, c, math.sqrt(max(0.0, variance))

    @classmethod
    def everywhere(cls, branch: Branch) -> Weights:
        """The same update for every singular value: the measurement plays no part."""
        return cls(branch, branch, branch)


class Sampler(Protocol):
    """A weight function, and the steps it wants by default.

    ``steps`` is a number of steps or a descending list of timesteps. Optional members:

    - ``needs``: :class:`~ddrm_fast.operators.Forward` where the weights do not look at the measurement, so
      that a degradation without a decomposition will do; default Operator.
    - ``follows``: whether its own ``advance`` looks at the measurement (:class:`REDDiff`).
    - ``from_pure_noise``: whether the first step may start where abar = 0 (:class:`DDPM`).
    - ``rounds``: how many steps each noise level gets; all but the last stay at it (:class:`SNIPS`).
    - ``travel``: steps that go back up (:class:`RePaint`).
    - ``edits()``: edits that the sampler brings (:class:`DDPM`, :class:`DPMSolver`); what they keep from step
      to step lives in ``state.memory``.
    - ``begin(problem, count)``: a clean image to start from, without noise (:class:`HQS`), or None for that
      of ``start``.
    - ``advance(stepper, state, x_next)``: a step that calls the network as often as it wants
      (:class:`Heun`), in place of one call and the affine map.
    """

    @property
    def steps(self) -> StepsLike:
        """A number of steps, descending timesteps, or noise levels by name."""
        ...

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


def shares(R: Number, v: Number) -> tuple[Number, Number]:
    """p = v / (v + R) and q = R / (v + R): the denominator p + q s^2 of a Gaussian's conditioning.

    Both are made here: 1 - q would lose all of p from R / v = 1e8 on, in float32.

    Args:
        R:
            Variance given to the clean image, >= 0; inf: nothing is known of it.
        v:
            Variance of the measurement, >= 0. With 0, or 0 for both, p = 0 and q = 1: the measurement is
            right.

    Raises:
        ValueError: a variance is negative or NaN, or both are infinite.
    """
    R64, v64 = (torch.as_tensor(x, dtype=torch.float64) for x in (R, v))
    for name, x in (("R", R64), ("v", v64)):
        if not (x >= 0).all():
            raise ValueError(f"{name}: expected a variance >= 0, got {x.tolist()}")
    if (R64.isinf() & v64.isinf()).any():
        raise ValueError("R, v: expected at most one infinite variance, got two")
    exact = v64 == 0
    p = torch.where(exact, 0.0, 1 / (1 + R64 / v64))
    q = torch.where(exact, 1.0, 1 / (1 + v64 / R64))
    return (p, q) if isinstance(R, Tensor) or isinstance(v, Tensor) else (float(p), float(q))


def proximal(R: Number, v: Number) -> Weights:
    """x0 conditioned on the measurement: x0 + g (u/s - <w, x0>) with g = s^2 R / (s^2 R + v).

    It is what minimises ||y - H x||^2 / v + ||x - x0||^2 / R: the proximal step of DiffPIR (Zhu et al. 2023)
    and of PnP-HQS (Zhang et al. 2021), and the mean of a Gaussian N(x0, R) given y, whose variance along
    the measured direction is R v / (s^2 R + v) = R p / (p + q s^2).

    Args:
        R, v:
            Variances as :func:`shares` takes them, in the units of the state and of its measurement.
    """
    p, q = shares(R, v)
    measured = Branch(a0=p, c2=q, p=p, q=q, over="ac")
    return Weights(Branch(a0=1.0), measured, measured)


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
    if isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError(f"{name}: expected 0 <= {name} <= 1, got {value}")
    return value

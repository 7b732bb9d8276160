"""What a prior cannot restore, said before it tries."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

import torch

from ..operators import Operator
from ..operators.pointwise import Gain
from ..priors import DenoiserPrior, Prior
from ..problems import Problem
from .holes import Holes
from .plans import kind_of

#: side of a hole in pixels from which on a network that knows no objects fills it with a blur
WIDE = 48
#: where callers are who did not choose the problem: ours, and what wraps our functions
_INSIDE = ("ddrm_fast", "contextlib", "torch")
_OTHERS = (
    "a network that learned whole pictures of the kind, given by its path, does (guided-diffusion's and "
    "others: docs/adding-a-prior.md)"
)


def doubts(problem: Problem, prior: Prior) -> list[str]:
    """Sentences about what will not come out well.

    Args:
        problem:
            Of pictures in [0, 1].
        prior:
            One that is a denoiser of crops, as the default is, knows edges and textures, no objects; of
            others nothing is said.
    """
    if not isinstance(prior, DenoiserPrior) or not isinstance(problem.operator, Operator):
        return []
    if not problem.batch:
        return []
    first = torch.zeros(1, dtype=torch.int64, device=problem.y.device)
    kind = kind_of(problem.select(first))
    if kind == "lost colour":
        return [
            f"prior {prior.name!r} does not know which colour things have: skin turns greenish or violet, "
            f"and the grey picture is nearer to the truth; {_OTHERS}"
        ]
    if kind != "holes" or not isinstance(problem.operator, Gain):
        return []
    side = Holes(problem.operator.gain).widest()
    if side < WIDE:
        return []
    return [
        f"a square of {side} x {side} pixels has nothing measured in it, and prior {prior.name!r} fills what "
        f"is wider than {WIDE} with a blur; {_OTHERS}"
    ]


def warn_of(problem: Problem, prior: Prior) -> None:
    """Says :func:`doubts` as warnings, at the line outside the package that asked for the pictures."""
    for doubt in doubts(problem, prior):
        warnings.warn(doubt, stacklevel=_callers())


def _callers() -> int:
    frame: FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _INSIDE:
        frame, level = frame.f_back, level + 1
    return level

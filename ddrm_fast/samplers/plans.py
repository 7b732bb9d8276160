"""Which sampler, from which noise level to which, in how many calls: the defaults, in one place.

Decided once for a whole picture, from its degradation, mask and noise, before windows, tiles or workers. The
figures behind it: docs/defaults.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..operators import Operator
from ..operators.pointwise import Gain
from ..problems import Problem
from .ddrm import DDRM
from .ddrm_jpeg import DDRMJPEG
from .dps import DPS
from .holes import Holes
from .hqs import HQS, ROUNDING
from .steps import Steps
from .weights import Sampler

#: calls of an estimate
CALLS = 10
#: side of a square without a measured pixel from which on it is a hole to be filled rather than a gap
HOLE = 17
#: share of a picture's directions that is measured, below which an estimate starts higher
_LITTLE = 0.15
#: noise level of the first call of an estimate: where gaps are small, where little is measured, for holes
_LOW, _HIGH, _HIGHEST = 0.094, 0.39, 1.0
#: a blur of less noise than this rings unless the denoiser is trusted more
_RINGS, _TRUST, _MORE_TRUST = 0.02, 0.23, 0.4
#: at most, where pixels have noise of their own: a weak one must not keep the noise that a strong one loses;
#: gains that differ by less than this share are alike
_UNEVEN_TRUST, _EVEN = 0.5, 0.99
#: where rounding is what was lost
_MAP_TRUST = 1.0


@dataclass(frozen=True)
class Plan:
    """How pictures of one kind are restored unless somebody says otherwise.

    Args:
        kind:
            What is wrong with them, in a word or two.
        sampler:
            With its steps.
        drawn:
            Whether the result is a sample: another seed gives another picture.
        why:
            One sentence.
    """

    kind: str
    sampler: Sampler
    drawn: bool
    why: str

    def __str__(self) -> str:
        what = "a sample" if self.drawn else "the best estimate"
        return f"{self.kind}: {what} by {self.sampler} ({self.why})"


def plan(problem: Problem, samples: bool = False) -> Plan:
    """The plan for a picture; of a batch, for its first.

    Args:
        problem:
            Of pictures in [0, 1].
        samples:
            Samples of the posterior are wanted, not the best estimate.
    """
    operator = problem.operator
    if not isinstance(operator, Operator):
        return _of_map(problem, samples)
    first = torch.zeros(1, dtype=torch.int64, device=problem.y.device)
    problem = problem.select(first)
    sigma_y, kind = float(problem.sigma_y[0]), kind_of(problem)
    return _samples(kind, sigma_y) if samples else _estimate(kind, sigma_y, problem)


def _of_map(problem: Problem, samples: bool) -> Plan:
    """Of a degradation that is a map alone."""
    operator = problem.operator
    if operator.picture_of(problem.y) is None:
        why = "the measurement is no picture: down its distance, through the network"
        return Plan("scrambled map", DPS(200, scale=1.0, eta=1.0), True, why)
    if samples:
        return Plan("map", DDRMJPEG(), True, "from noise level 0.56, where it was measured")
    level = max(_rounded(operator.rounding), _rounded(float(problem.sigma_y[0])), ROUNDING)
    first, last = max(_LOW, _rounded(4 * level)), max(_rounded(level / 3), ROUNDING)
    sampler = HQS(
        Steps("geometric", CALLS, first, last), trust=_MAP_TRUST if operator.rounding else _TRUST,
        least_noise=level,
    )  # fmt: skip
    return Plan("map", sampler, False, f"from noise level {first:.2g}, four times what was lost")


def plans(problem: Problem, samples: bool = False) -> list[tuple[Plan, list[int]]]:
    """The plans of a batch, each with the numbers of the pictures that it is for.

    A picture's plan does not depend on the batch that it is in.
    """
    groups: list[tuple[Plan, list[int]]] = []
    alike = problem.operator.batch == 1 and len(problem.sigma_y) == 1
    for picture in range(problem.batch):
        if alike and picture:
            groups[0][1].append(picture)
            continue
        index = torch.tensor([picture], device=problem.y.device)
        found = plan(problem.select(index), samples)
        same = next((rows for other, rows in groups if other == found), None)
        if same is None:
            groups.append((found, [picture]))
        else:
            same.append(picture)
    return groups


def kind_of(problem: Problem) -> str:
    """What is wrong with the pictures of a problem: a name of the table in docs/defaults.md."""
    operator, shape = problem.decomposed, problem.shape
    s = operator.singulars(shape)
    if operator.mixes == "channels":
        return "lost colour"
    if operator.mixes == "everything":
        return "scrambled"
    if operator.mixes == "nothing":
        if float(s.min()) > 0:
            return "noise" if float(s.min()) == float(s.max()) else "uneven gain"
        hole = isinstance(operator, Gain) and Holes(operator.gain).any(HOLE)
        return "holes" if hole else "missing pixels"
    if operator.mixes == "blocks":
        return "block sensing"
    return "blur" if _is_blur(operator, problem) else "low resolution"


def _is_blur(operator: Operator, problem: Problem) -> bool:
    """As many measured values as pixels."""
    channels, height, width = problem.shape
    return problem.y[0].numel() >= channels * height * width


def _estimate(kind: str, sigma_y: float, problem: Problem) -> Plan:
    last = max(_rounded(sigma_y), ROUNDING)

    def splitting(first: float, trust: float = _TRUST, spacing: str = "geometric") -> HQS:
        return HQS(Steps(spacing, CALLS, max(first, _rounded(1.5 * last)), last), trust=trust)

    if kind == "noise":
        level = sigma_y / float(problem.decomposed.singulars(problem.shape).max())
        level = max(_rounded(level), 1e-4)
        why = "one call of the network at the noise of the picture"
        return Plan(kind, HQS(Steps("geometric", 1, level, level), guess="pinv"), False, why)
    if kind == "lost colour":
        return Plan(kind, DDRM(), True, "colours are drawn, there is no one best guess of them")
    if kind == "scrambled":
        why = "every measured number says something of the whole picture"
        return Plan(kind, DDRM(100, eta=1.0), True, why)
    if kind == "holes":
        why = f"from noise level 1, since squares of {HOLE} pixels and more are unknown"
        return Plan(kind, splitting(_HIGHEST, spacing="karras"), False, why)
    if kind == "blur":
        trust = _MORE_TRUST if sigma_y < _RINGS else _TRUST
        return Plan(kind, splitting(_HIGH, trust), False, "from noise level 0.39")
    if kind == "low resolution" and _share_measured(problem) < _LITTLE:
        return Plan(
            kind, splitting(_HIGH), False, "from noise level 0.39, since little is measured"
        )
    if kind in ("uneven gain", "missing pixels"):  # the noise of a pixel is sigma_y over its gain
        gains = problem.decomposed.singulars(problem.shape)
        weakest, strongest = float(gains[gains > 0].min()), float(gains.max())
        if weakest < _EVEN * strongest:
            first = _rounded(min(1.0, max(_LOW, 2 * sigma_y / weakest)))
            why = f"from noise level {first:.2g}, twice that of the pixel with the most noise"
            trust = min(_UNEVEN_TRUST, _TRUST + 0.05 * (strongest / weakest - 1))
            return Plan(kind, splitting(first, _rounded(trust)), False, why)
    return Plan(kind, splitting(_LOW), False, "from noise level 0.094, since gaps are small")


def _rounded(level: float) -> float:
    """Four digits, which is finer than any noise level is known."""
    return float(f"{level:.4g}")


def _share_measured(problem: Problem) -> float:
    """Measured values per unknown."""
    channels, height, width = problem.shape
    return problem.y[0].numel() / (channels * height * width)


def _samples(kind: str, sigma_y: float) -> Plan:
    if kind == "noise":
        level = max(_rounded(sigma_y), 1e-3)
        first, last = min(1.0, _rounded(4 * level)), max(_rounded(level / 8), 1e-3)
        steps = Steps("geometric", 19, max(first, last), last)
        return Plan(kind, DDRM(steps), True, "from above the noise of the picture to far below it")
    if kind == "lost colour":
        return Plan(kind, DDRM(), True, "uniform timesteps, since all colours are unknown")
    if kind == "scrambled":
        why = "every measured number says something of the whole picture"
        return Plan(kind, DDRM(100, eta=1.0), True, why)
    if kind == "holes":
        return Plan(
            kind, DDRM(50, eta=1.0), True, "uniform timesteps, since large parts are unknown"
        )
    if kind in ("missing pixels", "block sensing"):
        why = "from noise level 1 to 0.01; fewer steps leave speckle"
        return Plan(kind, DDRM(Steps("karras", 50, 1.0, 0.01), eta=1.0), True, why)
    return Plan(
        kind, DDRM(Steps("karras", 20, 1.0, 0.01), eta_c=1.0), True, "from noise level 1 to 0.01"
    )


def planned_samplers(
    problem: Problem, sampler: Sampler | None, num_samples: int | None
) -> Sequence[tuple[Sampler, list[int]]]:
    """The sampler that was asked for, or those of the plans, each with its pictures."""
    if sampler is not None:
        return [(sampler, list(range(problem.batch)))]
    return [(found.sampler, rows) for found, rows in plans(problem, num_samples is not None)]

"""The laws of a sampler: what its weights may be, and that whole runs have the moments that they say.

>>> from ddrm_fast import testing
>>> testing.check_sampler(MySampler())

With a Gaussian prior a run is a linear recursion for each singular direction, whose mean and variance follow
from the weights and a dense SVD: the law of moments holds thousands of draws against it. What the weights
should be by the paper is for a test of your own to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from .. import operators
from ..operators import Operator
from ..operators.base import Shape
from ..ops import reference
from ..priors import Prior
from ..priors.schedule import Schedule, pairs
from ..registry import SAMPLERS, SamplerEntry, loaded
from ..restoration import degrade, restore
from ..samplers import Sampler, Travel
from ..samplers.table import build_rows
from .operators import dense, seeded
from .tolerances import must

MEAN, POWER, DRAWS = 0.2, 0.3, 6000
TIMES = [900, 700, 500, 350, 200, 120, 60, 20]
_SCHEDULE = Schedule.linear()

#: a small operator of every kind of step, and its picture's shape
OPERATORS: dict[str, tuple[Callable[[], Operator], Shape]] = {
    "pixels": (lambda: operators.Inpainting(seeded(3, 4) > 0), (1, 3, 4)),
    "blocks": (lambda: operators.SuperResolution(2), (1, 4, 4)),
    "frequencies": (lambda: operators.Blur(seeded(3, 2)), (1, 4, 5)),
    "aliased frequencies": (lambda: operators.BlurDecimate(seeded(3, 2), 2), (1, 4, 6)),
}


class Isotropic(Prior):
    """The exact network of pictures N(m, p I), in [-1, 1]."""

    def __init__(self, mean: float = MEAN, power: float = POWER) -> None:
        super().__init__(self._eps, "eps", _SCHEDULE)
        self.mean, self.power = mean, power

    def _eps(self, x: Tensor, t: Tensor) -> Tensor:
        abar = self.schedule.alphas_cumprod[t.long()].to(x.dtype).view(-1, 1, 1, 1)
        return (1 - abar).sqrt() * (x - abar.sqrt() * self.mean) / (abar * self.power + 1 - abar)


def weights(sampler: Sampler, sigma_y: float = 0.1) -> None:
    """Rows are finite, and the last step draws no noise and is x0 alone where nothing is measured."""
    for level in (0.0, sigma_y, 2.0):
        table = _table(sampler, level)
        must(not bool(table.isnan().any()), f"a row holds NaN at sigma_y = {level}")
        for step in range(len(table)):
            row = reference._row(table, torch.tensor([step]), torch.float64)
            for s in (0.0, 0.01, 0.3, 1.0, 7.0):
                found = reference._weights(row, torch.full((1, 1, 1, 1), s, dtype=torch.float64))
                finite = all(bool(torch.isfinite(x).all()) for x in found)
                must(finite, f"step {step}: a weight at s = {s}, sigma_y = {level} is not finite")
        last = reference._row(table, torch.tensor([len(table) - 1]), torch.float64)
        a, b, _, d = reference._weights(last, torch.zeros(1, 1, 1, 1, dtype=torch.float64))
        clean = abs(float(a) - 1) < 1e-6 and float(b) == 0 and float(d) == 0
        must(clean, f"the last step is {float(a)} x0 + {float(b)} eps + {float(d)} z where s = 0")


def shapes(sampler: Sampler, sigma_y: float = 0.1) -> None:
    """Finite pictures of the right shape; the same seed gives the same bits, whatever runs beside it."""
    sampler = _visiting(sampler, 5)
    for name, (make, shape) in OPERATORS.items():
        operator = make()
        y = degrade(torch.full((2, *shape), 0.5), operator, sigma_y, seed=3)
        whole = restore(y, operator, sigma_y, Isotropic(), sampler, num_samples=2, seed=4)
        alone = restore(y[1:], operator, sigma_y, Isotropic(), sampler, num_samples=2, seed=5)
        if whole.samples is None or alone.samples is None:
            raise AssertionError(f"{name}: no samples")
        must(whole.samples.shape == (2, 2, *shape), f"{name}: samples {tuple(whole.samples.shape)}")
        must(bool(torch.isfinite(whole.samples).all()), f"{name}: NaN or infinite pixels")
        same = torch.equal(alone.samples[:, 0], whole.samples[:, 1])
        must(same, f"{name}: picture 1 differs when picture 0 is not there")


def moments(sampler: Sampler, sigma_y: float = 0.25) -> None:
    """Means and covariances of many draws are those of the recursion, on every kind of operator."""
    sampler = _visiting(sampler, TIMES)
    once = Travel(1, 1)
    for name, (make, shape) in OPERATORS.items():
        operator = make()
        clean = (MEAN + math.sqrt(POWER) * seeded(1, *shape) + 1) / 2
        y = operator.H(clean) + sigma_y / 2 * seeded(*operator.H(clean).shape)
        x = restore(
            y.float().expand(DRAWS, *y.shape[1:]), operator, sigma_y / 2, Isotropic(), sampler,
            seed=5, clamp=False, travel=once, keep_samples=False,
        ).mean  # fmt: skip
        x = (2 * x.double() - 1).flatten(1)
        inside = 2 * y - operator.H(torch.ones(1, *shape, dtype=torch.float64))
        mean, covariance = recursion(sampler, dense(operator.H, shape), inside.flatten(), sigma_y)
        scale = covariance.diagonal().clamp_min(0).sqrt()
        # six standard errors of a mean, and of a covariance, and float32 rounding
        error = (x.mean(0) - mean).abs() - 6 * scale / DRAWS**0.5 - 4e-5
        must(float(error.max()) <= 0, f"{name}: a mean is off by {float(error.max()):.3g} more")
        bound = 6 * scale[:, None] * scale[None] * (2 / DRAWS) ** 0.5 + 4e-6
        ratio = float(((torch.cov(x.mT) - covariance).abs() / bound).max())
        must(ratio <= 1, f"{name}: a covariance is off by {ratio:.3g} times what is allowed")


def recursion(
    sampler: Sampler, H: Tensor, y: Tensor, sigma_y: float, times: list[int] = TIMES
) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the results for pictures N(m, p I), from the sampler's own weights.

    Args:
        sampler:
            Its ``start`` and ``weights`` are asked.
        H:
            The dense matrix of the degradation of pictures in [-1, 1].
        y:
            The measurement, flat.
        sigma_y:
            Its noise level.
        times:
            The timesteps, descending.
    """
    abar = _SCHEDULE.alphas_cumprod.double()
    table = _table(_visiting(sampler, times), sigma_y)
    U, s, Vh = torch.linalg.svd(H)
    n = H.shape[1]
    s = torch.nn.functional.pad(s, (0, max(0, n - len(s))))[:n]
    s = torch.where(s < 1e-3 * s.max(), 0.0, s)
    u = torch.nn.functional.pad(U.mT @ y, (0, max(0, n - len(U))))[:n]
    prior = Vh @ torch.full((n,), MEAN, dtype=torch.float64)

    def at(step: int) -> list[Tensor]:
        row = reference._row(table, torch.tensor([step]), torch.float64)
        return [x.expand(1, 1, 1, n).flatten() for x in reference._weights(row, s.view(1, 1, 1, n))]

    _, _, c, d = at(0)
    mean, variance = c * u, d**2
    for step, t in enumerate(times, 1):
        a, b, c, d = at(step)
        root, noise = float(abar[t]) ** 0.5, (1 - float(abar[t])) ** 0.5
        # x0 = shrink x_t + offset, eps = (x_t - sqrt(abar) x0) / sqrt(1 - abar)
        shrink = root * POWER / (root**2 * POWER + noise**2)
        offset = (1 - shrink * root) * prior
        slope = a * shrink + b * (1 - root * shrink) / noise
        mean = slope * mean + (a - b * root / noise) * offset + c * u
        variance = slope**2 * variance + d**2
    return Vh.mT @ mean, Vh.mT @ torch.diag(variance) @ Vh


def _visiting(sampler: Sampler, steps: int | Sequence[float]) -> Sampler:
    """The sampler with other steps."""
    return cast("Sampler", replace(cast("Any", sampler), steps=steps))


def _table(sampler: Sampler, sigma_y: float) -> Tensor:
    level = torch.tensor([sigma_y], dtype=torch.float64)
    steps = cast("Sequence[float]", sampler.steps)
    own = _SCHEDULE.steps(steps, from_pure_noise=getattr(sampler, "from_pure_noise", False))
    return build_rows(sampler, _SCHEDULE, pairs(own), level).table


#: name -> law; each takes (sampler, sigma_y) and raises AssertionError
LAWS: dict[str, Callable[..., None]] = {law.__name__: law for law in (weights, shapes, moments)}


def check_sampler(sampler: Sampler, *, sigma_y: float = 0.25, laws: Any = None) -> list[str]:
    """Holds a sampler against the laws.

    Args:
        sampler:
            Yours: a dataclass with ``steps``, ``start`` and ``weights``.
        sigma_y:
            Noise level of the measurements in [-1, 1]; 0 for samplers that take them for free of noise.
        laws:
            Names of some laws; None: all.

    Returns:
        Names of the laws.

    Raises:
        AssertionError: A law does not hold; the message names all that do not.
    """
    chosen = list(LAWS) if laws is None else list(laws)
    broken = []
    for name in chosen:
        try:
            LAWS[name](sampler, sigma_y)
        except AssertionError as error:
            broken.append(f"{name} ({(LAWS[name].__doc__ or '').splitlines()[0]}): {error}")
    must(not broken, f"{sampler} breaks {len(broken)} laws:\n" + "\n".join(broken))
    return chosen


def check_entry(name: str) -> SamplerEntry:
    """What the registry says of a sampler is what its class says: fields, defaults, steps.

    Args:
        name:
            Of a registered sampler.

    Raises:
        AssertionError: They differ.
    """
    entry = SAMPLERS.find(name)
    made: Any = loaded(entry.make)
    must(is_dataclass(made), f"{name}: {made} is no dataclass")
    own = {field.name: field for field in fields(made)}
    for parameter in entry.parameters:
        must(parameter.name in own, f"{name}: {made.__name__} has no field {parameter.name}")
        default = own[parameter.name].default
        said = f"{name}: {parameter.name} is {default!r}, the registry says {parameter.default!r}"
        must(default == parameter.default or parameter.required, said)
    count = getattr(made.steps, "count", made.steps)
    must(
        entry.steps in (None, count), f"{name}: {made.steps} steps, the registry says {entry.steps}"
    )
    return entry

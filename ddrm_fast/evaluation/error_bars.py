"""How large the errors of restored pictures are: bars that hold what they say.

The samples' standard deviation says where a restored picture is uncertain, not by how much: a network that
was trained on a mean square draws too little. Here a small map, fitted on pictures with a known truth, takes
it to the half-width below which 68 and 95 % of the errors of the mean lie. The logarithm of a half-width is
a polynomial in those of the spread and of the detail around a pixel, of the noise, of the share that was
measured and of the number of samples: quantile regression (Koenker and Bassett, "Regression quantiles",
1978), a map for each kind of degradation and each quantile. docs/uncertainty.md says what it was fitted
with, and how well it holds elsewhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from ..operators import Operator
from ..priors import Prior
from ..priors.load import DEFAULT
from ..problems import Problem
from ..restoration import Restoration
from ..samplers.plans import kind_of

#: probabilities that an error lies within a bar
LEVELS = (0.68, 0.95)
FORMAT = "ddrm_fast.error_bars/1"
#: pixels around one that its spread and its detail are taken from
_SIDE = 5
#: below these a spread, a detail and a noise level are noise themselves, in [0, 1]
_LEAST, _LEAST_SIGMA = 1e-3, 1 / 512
#: kinds for which no map can be right, and why
MEANINGLESS = {
    "lost colour": "colours are chance, and their spread does not tell where they are wrong",
    "holes": "what fills a hole is one of many pictures, and its spread leaves out most of them",
    "forward map": "nothing is known of the degradation but what it does to a picture",
}


@dataclass(frozen=True)
class ErrorBars:
    """Half-widths around the mean of the samples, in the unit of [0, 1] pictures.

    Args:
        half_68, half_95:
            (B, C, H, W): 68 and 95 % of the errors are said to be at most as large.
        calibrated:
            Whether that was measured for this prior and kind of degradation. Otherwise they are one and two
            standard deviations of the samples, which on the whole is too little.
        why:
            One sentence.
    """

    half_68: Tensor
    half_95: Tensor
    calibrated: bool
    why: str


def error_bars(result: Restoration, problem: Problem, prior: Prior) -> ErrorBars:
    """Bars for the mean of a run's samples.

    Args:
        result:
            Of two samples or more, kept.
        problem:
            That was restored.
        prior:
            That drew them.

    Raises:
        ValueError: There are fewer samples.
    """
    count = 0 if result.samples is None else len(result.samples)
    if count < 2:
        raise ValueError(f"result: got {count} samples, expected two or more, kept (num_samples=4)")
    kind = kind_of(problem) if isinstance(problem.operator, Operator) else "forward map"
    why = MEANINGLESS.get(kind, "")
    maps = None if why else calibration(prior)
    if maps is None or kind not in maps:
        why = why or f"{prior.name}: nobody measured its errors for {kind}"
        return ErrorBars(result.std, 2 * result.std, False, f"uncalibrated: {why}")
    seen = features(result.mean, result.std, problem, count)
    half = [half_width(seen, maps[kind][str(level)]).expand_as(result.std) for level in LEVELS]
    return ErrorBars(half[0], half[1], True, f"calibrated for {kind}")


def features(mean: Tensor, std: Tensor, problem: Problem, count: int) -> Tensor:
    """What a half-width follows from, (B, 12, H, W) in the precision of ``mean``.

    Args:
        mean, std:
            Of the samples, (B, C, H, W).
        problem:
            That was restored.
        count:
            Number of samples.
    """
    spread = _around(std.square()).mean(1, keepdim=True).sqrt().clamp(min=_LEAST).log()
    centred = _around(mean.square()) - _around(mean).square()
    detail = centred.mean(1, keepdim=True).clamp(min=0).sqrt().clamp(min=_LEAST).log()
    sigma = problem.sigma_y.to(mean).clamp(min=_LEAST_SIGMA).log().view(-1, 1, 1, 1)
    own = std.square().mean(1, keepdim=True).sqrt().clamp(min=_LEAST).log()
    share, one = math.log(measured_share(problem)), torch.ones_like(spread)
    return torch.cat(
        [one, spread, detail, spread.square(), spread * detail, detail.square(), sigma * one,
         share * one, math.log(count) * one, own, sigma * share * one, sigma * spread],
        dim=1,
    )  # fmt: skip


def measured_share(problem: Problem) -> float:
    """Measured directions per unknown, above 0."""
    channels, height, width = problem.shape
    s = problem.decomposed.singulars(problem.shape)
    count = float((s > 0).double().mean()) * min(problem.y[0].numel(), channels * height * width)
    return max(count / (channels * height * width), 1e-6)


def half_width(seen: Tensor, weights: Tensor) -> Tensor:
    """(B, 1, H, W) from features and the weights of a map, [12]."""
    return torch.einsum("bfhw,f->bhw", seen, weights.to(seen))[:, None].exp()


def _around(x: Tensor) -> Tensor:
    """Means of the squares around each pixel, smaller ones at the edges."""
    margin = _SIDE // 2
    sums = avg_pool2d(pad(x, (margin,) * 4), _SIDE, stride=1)
    return sums / avg_pool2d(pad(torch.ones_like(x[:1, :1]), (margin,) * 4), _SIDE, stride=1)


def calibration(prior: Prior) -> Mapping[str, Mapping[str, Tensor]] | None:
    """Kind of degradation -> level -> weights of the maps of a prior; None where it has none."""
    source = prior.source
    if source is None or source.path is None or source.path.suffix != ".safetensors":
        return None
    return _read(source.path)


def beside(weights: Path) -> Path:
    """Where the maps of a prior lie: ``default.error-bars.json`` beside ``default.safetensors``."""
    return weights.with_name(f"{weights.stem}.error-bars.json")


@cache
def _read(weights: Path) -> Mapping[str, Mapping[str, Tensor]] | None:
    path = beside(weights)
    if not path.is_file():
        return None
    stored: dict[str, Any] = json.loads(path.read_text())
    if stored.get("format") != FORMAT or stored.get("sha256") != _tensors(weights):
        return None  # of other weights, which draw in another way
    return {
        kind: {level: torch.tensor(w, dtype=torch.float64) for level, w in maps.items()}
        for kind, maps in stored["maps"].items()
    }


def _tensors(weights: Path) -> str:
    """The digest in the weights' own metadata."""
    from safetensors import safe_open

    with safe_open(weights, "pt") as file:
        return str((file.metadata() or {}).get("sha256", ""))


def write_maps(
    maps: Mapping[str, Mapping[str, list[float]]], facts: Mapping[str, Any], weights: Path = DEFAULT
) -> Path:
    """Stores maps beside the weights that they belong to; returns the file."""
    from ..io.files import write_json

    path = beside(weights)
    write_json(path, {"format": FORMAT, "sha256": _tensors(weights), "maps": maps, **facts})
    return path


def fit(seen: Tensor, errors: Tensor, level: float, steps: int = 400) -> list[float]:
    """Weights of the map whose bars hold so many of some errors.

    Args:
        seen:
            Features (n, 12).
        errors:
            Absolute errors [n].
        level:
            Share of the errors that a bar is to hold.
        steps:
            Of the descent.
    """
    x, target = seen.double(), errors.double().clamp(min=1e-5).log()
    mean, scale = x.mean(0), x.std(0)
    fixed = scale < 1e-6  # the constant, and what was the same everywhere
    scale = torch.where(fixed, 1.0, scale)
    mean[fixed] = 0.0
    z = (x - mean) / scale
    weights = torch.zeros(x.shape[1], dtype=torch.float64)
    weights[0] = target.quantile(level) if len(target) < 2**24 else target[: 2**24].quantile(level)
    weights.requires_grad_()
    optimiser = torch.optim.Adam([weights], lr=0.05)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.05 * (1 - step / steps)
        gap = target - z @ weights
        loss = torch.maximum(level * gap, (level - 1) * gap).mean()
        loss = loss + 1e-4 * weights[1:].square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        plain = weights / scale
        plain[0] = plain[0] - (weights[1:] * mean[1:] / scale[1:]).sum()
        plain[0] += _quantile(target - x @ plain, level)  # exactly so many of these
    return [float(w) for w in plain]


def _quantile(x: Tensor, level: float) -> float:
    return float(x.sort().values[min(len(x) - 1, math.ceil(level * (len(x) + 1)) - 1)])


def coverage(bars: ErrorBars, mean: Tensor, std: Tensor, truth: Tensor) -> dict[str, Any]:
    """How well bars hold, for one picture.

    Args:
        bars:
            Of its mean, cut to the truth's shape as the others are.
        mean, std:
            Of the samples, (C, H, W).
        truth:
            Same shape.

    Returns:
        Shares in % of the errors within the bars, over all pixels and over the halves with less and with more
        detail; the interval score at 95 %, in [0, 1]; the rank correlation of bars and errors; the root mean
        square of the spread over that of the error: far below 1, the samples have collapsed.
    """
    error = (mean - truth).abs()
    centred = _around(mean[None].square()) - _around(mean[None]).square()
    detail = centred[0].mean(0).expand_as(mean)
    flat = detail <= detail.median()
    found: dict[str, Any] = {"calibrated": bars.calibrated}
    for name, half in (("68", bars.half_68), ("95", bars.half_95)):
        inside = (error <= half).double()
        for where, rows in (("", flat | ~flat), ("_flat", flat), ("_detailed", ~flat)):
            found[f"inside_{name}{where}"] = round(100 * float(inside[rows].mean()), 2)
    outside = (error - bars.half_95).clamp(min=0)
    found["score"] = round(float((2 * bars.half_95 + 40 * outside).mean()), 6)
    ranks = torch.stack([x.flatten().argsort().argsort().double() for x in (error, bars.half_95)])
    found["rank"] = round(float(torch.corrcoef(ranks)[0, 1]), 4)
    size = float(error.square().mean())
    found["spread"] = round(math.sqrt(float(std.square().mean()) / size), 4) if size else None
    return found

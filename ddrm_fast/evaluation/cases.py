"""What an evaluation asks: degradations of clean pictures with noise, and the figures of one of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .. import restoration
from ..operators import Forward, Operator
from ..priors import Prior
from ..problems import Problem, degradation, pad, padded_size
from ..registry import TASKS
from . import metrics, perceptual
from .error_bars import coverage, error_bars

Lpips = Callable[[Tensor, Tensor], float]
Restore = Callable[[Problem, int], restoration.Restoration]
Draw = Callable[[Problem, int], tuple[restoration.Restoration, str]]


@dataclass(frozen=True)
class Case:
    """A task with its parameters and noise level."""

    task: str
    sigma: float = 0.0
    options: Mapping[str, str] = field(default_factory=dict)


CASES = {
    name: Case(task.name, sigma, options)
    for task in TASKS.values()
    for name, (sigma, options) in task.cases.items()
}
METHODS = ("input", "bicubic", "pinv", "sample", "mean")


def evaluate(
    case: Case,
    x: Tensor,
    draw: Draw,
    best: Restore | None = None,
    seed: int = 0,
    lpips: Lpips | None = None,
    prior: Prior | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor], tuple[Tensor, Tensor] | None]:
    """One case on one clean picture.

    Args:
        case:
            What happens to it.
        x:
            Clean picture (C, H, W) in [0, 1].
        draw:
            ``(problem, channels) -> (Restoration, the sampler in words)``.
        best:
            ``(problem, channels) -> Restoration``, the best estimate, if that is another one.
        seed:
            Of masks, coefficients and noise.
        lpips:
            See :func:`ddrm_fast.evaluation.perceptual.load_lpips`.
        prior:
            That draws: its error bars are measured, where there are two samples or more.

    Returns:
        Figures for the record; the estimates (C, H, W) by method; "sample" is the first sample, its
        figures are means over all; where error bars are measured, those of 68 % and the error of the mean.
    """
    size = (x.shape[1], x.shape[2])
    problem = degraded(case, x, seed)
    y, operator, shape = problem.y, problem.operator, problem.shape
    start = time.perf_counter()
    result, sampler = draw(problem, x.shape[0])
    seconds = time.perf_counter() - start
    if result.samples is None:
        raise ValueError("draw: its samples are measured, and it kept none")
    found = _baselines(y, operator, shape) | {"sample": result.samples[0], "mean": result.mean}
    if best is not None:
        found["estimate"] = best(problem, x.shape[0]).mean
    estimates = {method: _cut(estimate, size) for method, estimate in found.items()}
    figures: dict[str, Any] = {"sigma": case.sigma, "seconds": round(seconds, 2)}
    figures["drawn by"] = sampler
    for method, estimate in estimates.items():
        figures[method] = _figures(estimate, x, lpips)
    # over all samples, where one sample alone would be luck
    every = [_figures(_cut(sample, size), x, lpips) for sample in result.samples]
    figures["sample"] = {
        kind: round(statistics.fmean(f[kind] for f in every), 5) for kind in every[0]
    }
    figures["residual"] = {
        "sample": metrics.residual(y, result.samples[0], operator),
        "mean": metrics.residual(y, result.mean, operator),
    }
    if prior is not None and len(result.samples) > 1:
        bars = error_bars(result, problem, prior)
        cut = [_cut(part, size) for part in (bars.half_68, bars.half_95, result.std)]
        bars = replace(bars, half_68=cut[0], half_95=cut[1])
        figures["uncertainty"] = coverage(bars, estimates["mean"], cut[2], x)
        return figures, estimates, (cut[0], (estimates["mean"] - x).abs())
    return figures, estimates, None


def degraded(case: Case, x: Tensor, seed: int = 0) -> Problem:
    """What a case makes of a clean picture (C, H, W) in [0, 1], which is padded where the task wants it."""
    size = (x.shape[1], x.shape[2])
    padded = padded_size(case.task, case.options, size)
    made = degradation(case.task, (x.shape[0], *padded), case.options, seed=seed, crop=size)
    operator = made.operator()
    y = restoration.degrade(pad(x, padded)[None], operator, case.sigma, seed)
    return Problem.of(y, operator, case.sigma)


def inputs_of(estimates: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the degraded picture looks like, by the name of the baseline that shows it."""
    name = next((name for name in ("input", "bicubic", "pinv") if name in estimates), None)
    return {} if name is None else {"input": estimates[name]}


def _cut(picture: Tensor, size: tuple[int, int]) -> Tensor:
    return picture[0, :, : size[0], : size[1]]


def _baselines(y: Tensor, operator: Forward, shape: tuple[int, ...]) -> dict[str, Tensor]:
    found = {}
    if tuple(y.shape[1:]) == shape:
        found["input"] = y
    elif y.dim() == 4 and y.shape[1] == shape[0] and y.shape[2] < shape[1]:
        found["bicubic"] = torch.nn.functional.interpolate(
            y, size=shape[1:], mode="bicubic", align_corners=False
        )
    if isinstance(operator, Operator):
        found["pinv"] = operator.H_pinv(y)
    return found


def _figures(estimate: Tensor, truth: Tensor, lpips: Lpips | None) -> dict[str, float]:
    smallest = min(truth.shape[1:])
    found = {"psnr": round(min(metrics.psnr(estimate, truth), 200.0), 4)}
    if metrics.has_ssim() and smallest >= 11:
        found["ssim"] = round(metrics.ssim(estimate, truth), 5)
    if lpips is not None and smallest >= perceptual.LPIPS_SMALLEST_SIDE:
        found["lpips"] = round(lpips(estimate, truth), 5)
    return found


def centre(x: Tensor, side: int) -> Tensor:
    """The central ``side`` x ``side`` pixels, as far as the picture reaches; 0: all."""
    if side == 0:
        return x
    height, width = (min(side, n) for n in x.shape[1:])
    top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
    return x[:, top : top + height, left : left + width].contiguous()

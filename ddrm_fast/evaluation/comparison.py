"""Samplers beside each other: one prior, the same pictures and cases, equal numbers of network calls."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ..io import write_atomically
from ..machine.heap import give_back
from ..machine.memory import forget_peak, peak, resident
from ..priors import Prior
from ..priors.grey import for_channels
from ..problems import Problem
from ..registry import SAMPLERS, loaded
from ..restoration import Restoration, draw
from ..samplers import Drawing, Sampler, Steps
from .cases import Case, evaluate, inputs_of
from .report import maps_of, plotted

#: the defaults, which choose by themselves: the estimate, and a sample
ESTIMATE, SAMPLE = "estimate", "sample"
#: noise levels of samplers that name none themselves: above nearly all of a picture, to its rounding
FIRST, LAST = 3.0, 0.01
#: what a table can show, by name: in words, digits, whether more is better
MEASURES = {
    "psnr": ("PSNR, dB", 2, True), "psnr of mean": ("PSNR of the samples' mean, dB", 2, True),
    "ssim": ("SSIM", 3, True), "lpips": ("LPIPS", 3, False),
    "residual": ("residual", 4, None), "coverage": ("% within 68 % bars", 1, None),
    "calls": ("network calls", 0, None), "seconds": ("seconds a picture", 2, False),
    "memory": ("peak memory, MiB", 0, False),
}  # fmt: skip


@dataclass(frozen=True)
class Contender:
    """A sampler of a comparison.

    Args:
        name:
            As it was asked for: "estimate", "sample", or the name of a sampler with its settings,
            ``ddrm:eta=0.5:eta_b=1``.
        sampler:
            None: what the defaults choose for each problem.
    """

    name: str
    sampler: Sampler | None = None

    @property
    def drawn(self) -> bool:
        """Whether the defaults are asked for a sample."""
        return self.name != ESTIMATE


def contender(text: str, calls: int) -> Contender:
    """The sampler of a name, with so many network calls a picture.

    A sampler that calls the network several times a step, or stays at a noise level for some steps, gets as
    many fewer levels. The two defaults keep their own number.

    Args:
        text:
            See :class:`Contender`.
        calls:
            At least 1.

    Raises:
        ValueError: There is no such sampler or setting.
    """
    name, *words = text.strip().split(":")
    if name in (ESTIMATE, SAMPLE) and not words:
        return Contender(name)
    entry = SAMPLERS.find(name)
    if not entry.restores:
        raise ValueError(f"samplers: {entry.name} draws from the prior, and follows no measurement")
    settings = {}
    for word in words:
        key, equals, value = word.partition("=")
        parameter = entry.parameter(key)
        if parameter is None or not equals:
            known = ", ".join(f"{found.name}=..." for found in entry.parameters) or "none"
            raise ValueError(f"samplers: {text!r}: expected settings {entry.name} has: {known}")
        settings[key] = parameter.read(value)
    sampler = cast(Any, loaded(entry.make)(**settings))
    rounds, each = getattr(sampler, "rounds", 1), getattr(sampler, "calls", 1)
    own = sampler.steps
    if isinstance(own, Steps) and own.count == 1:  # at one level throughout
        return Contender(text.strip(), replace(sampler, rounds=calls))
    count = max(1, calls // (rounds * each))
    named = own if isinstance(own, Steps) else Steps("karras", count, FIRST, LAST)
    return Contender(text.strip(), replace(sampler, steps=replace(named, count=count)))


def usual() -> list[str]:
    """The two defaults and every sampler that needs no more than a decomposition, by name."""
    left_out = {"repaint", "ilvr", "mcg", "lgd", "ddrm-jpeg"}  # relatives of others that are there
    return [ESTIMATE, SAMPLE, *(n for n, e in SAMPLERS.items() if e.restores and n not in left_out)]


def counted(prior: Prior) -> tuple[Prior, Callable[[], int]]:
    """The same prior, and how many pictures its network has seen since."""
    counting, seen = copy(prior), [0]
    network = prior.network

    def call(x: Tensor, *rest: Any) -> Tensor:
        seen[0] += x.shape[0]
        return network(x, *rest)

    counting.network = call
    return counting, lambda: seen[0]


def compared(
    case: Case,
    x: Tensor,
    prior: Prior,
    who: Contender,
    samples: int = 1,
    seed: int = 0,
    lpips: Callable[[Tensor, Tensor], float] | None = None,
    keep: Callable[[dict[str, Tensor]], None] | None = None,
) -> dict[str, Any]:
    """One case of one clean picture by one sampler.

    Args:
        case, x, seed, lpips:
            As in :func:`~ddrm_fast.evaluation.cases.evaluate`.
        prior:
            What the samplers share.
        who:
            The sampler.
        samples:
            Of each picture; with two and more, their mean is measured too, and the error bars.
        keep:
            Is given what a page shows: the input, the result, the truth, and of error bars the maps.

    Returns:
        Figures by the names of :data:`MEASURES`, as far as they are there; or "refused" with the reason,
        where the sampler cannot take such a degradation.
    """
    counting, seen = counted(for_channels(prior, x.shape[0]))
    number = samples if who.drawn else None
    give_back()  # memory that is reused would not be counted
    memory = forget_peak()
    before, took = resident(), 0.0

    def drawn(problem: Problem, channels: int) -> tuple[Restoration, str]:
        nonlocal took
        drawing = Drawing(counting, who.sampler, num_samples=number, seed=seed)
        begun = time.perf_counter()
        found = draw(problem, drawing)
        took = time.perf_counter() - begun
        return found, repr(drawing.planned(problem)[0][0].sampler)

    try:
        figures, estimates, bars_of = evaluate(
            case, x, drawn, None, seed, lpips, prior if samples > 1 else None
        )
    except ValueError as error:
        return {"refused": str(error)}
    if keep is not None:
        best = "mean" if samples > 1 and who.drawn else "sample"
        maps = {} if bars_of is None or not who.drawn else maps_of(*bars_of)
        keep(inputs_of(estimates) | {"truth": x, "result": estimates[best]} | maps)
    found = dict(figures["sample"])
    if samples > 1 and who.drawn:
        found["psnr of mean"] = figures["mean"]["psnr"]
    bars = figures.get("uncertainty", {})
    if bars.get("inside_68") is not None:
        found["coverage"] = bars["inside_68"]
    return {
        **found,
        "residual": figures["residual"]["sample"],
        "by": figures["drawn by"],
        "calls": seen() / (samples if who.drawn else 1),
        "seconds": round(took / (samples if who.drawn else 1), 3),
        **({"memory": round(max(0, peak() - before) / 2**20, 1)} if memory else {}),
    }


def means(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Means over the pictures, of times and memory medians: sampler -> case -> measure -> number.

    Args:
        results:
            Sampler -> case -> picture -> what :func:`compared` found.
    """
    found: dict[str, dict[str, Any]] = {}
    for who, cases in results.items():
        for case, pictures in cases.items():
            rows = [row for row in pictures.values() if "refused" not in row]
            if not rows:
                continue
            kept = found.setdefault(who, {}).setdefault(case, {"pictures": len(rows)})
            for measure in MEASURES:
                values = [row[measure] for row in rows if row.get(measure) is not None]
                if values:  # a machine that was busy for a while says nothing of the sampler
                    middle = (
                        statistics.median if measure in ("seconds", "memory") else statistics.fmean
                    )
                    kept[measure] = middle(values)
    return found


def markdown(
    found: Mapping[str, Mapping[str, Any]], cases: Sequence[str], measure: str, digits: int
) -> str:
    """A table: a row for each sampler, a column for each case, the best of each in bold."""
    better = MEASURES[measure][2]
    lines = [f"| sampler | {' | '.join(cases)} |", "|---|" + "---:|" * len(cases)]
    best = {}
    for case in cases:
        values = [row[case][measure] for row in found.values() if measure in row.get(case, {})]
        if better is not None and values:
            best[case] = max(values) if better else min(values)
    for who, row in found.items():
        cells = []
        for case in cases:
            value = row.get(case, {}).get(measure)
            cell = "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
            cells.append(f"**{cell}**" if value is not None and value == best.get(case) else cell)
        lines.append(f"| {who} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(path: Path, found: Mapping[str, Mapping[str, Any]], cases: Sequence[str]) -> bool:
    """:func:`plot_of` in a file; False where there is none to be drawn."""
    drawn = plot_of(found, cases, "seconds", "png")
    if drawn is not None:
        write_atomically(path, drawn)
    return drawn is not None


def plot_of(
    found: Mapping[str, Mapping[str, Any]], cases: Sequence[str], against: str, kind: str = "svg"
) -> bytes | None:
    """PSNR against seconds or network calls, a panel for each case; None where matplotlib is not installed.

    What is more than 10 dB behind stands at the foot of its panel, with its figure.
    """
    shown = [case for case in cases if any("psnr" in row.get(case, {}) for row in found.values())]
    if not shown:
        return None
    columns = min(3, len(shown))

    def draw(panels: Any) -> None:
        for panel, case in zip(panels.flat, shown, strict=False):
            _panel(panel, case, found, against)
        for panel in panels.flat[len(shown) :]:
            panel.axis("off")

    return plotted(draw, -(-len(shown) // columns), columns, kind)


def _panel(panel: Any, case: str, found: Mapping[str, Mapping[str, Any]], against: str) -> None:
    from matplotlib import pyplot

    colours = {who: pyplot.get_cmap("tab20")(number % 20) for number, who in enumerate(found)}
    there = {who: row[case] for who, row in found.items() if "psnr" in row.get(case, {})}
    foot = max(row["psnr"] for row in there.values()) - 10
    for who, row in there.items():
        below = row["psnr"] < foot
        place = row[against], max(row["psnr"], foot)
        label = f"{who} ({row['psnr']:.1f})" if below else who
        panel.plot(*place, "v" if below else "o", color=colours[who])
        panel.annotate(label, place, fontsize=7, xytext=(3, 3), textcoords="offset points")
    panel.set_xscale("log")
    panel.set_title(case)
    panel.set_xlabel("seconds a picture" if against == "seconds" else "network calls a picture")
    panel.set_ylabel("PSNR, dB")
    panel.margins(x=0.25, y=0.12)


def environment() -> dict[str, Any]:
    """What the times and memory depend on."""
    return {"torch": torch.__version__, "threads": torch.get_num_threads()}

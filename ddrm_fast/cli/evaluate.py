"""`ddrm-fast evaluate`: restored pictures against clean ones, task by task."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

import ddrm_fast

from ..evaluation.cases import CASES, centre, degraded, evaluate
from ..evaluation.perception import Perception, read_perception
from ..evaluation.report import maps_of
from ..evaluation.tables import row_of, table
from ..io import (
    OutputError,
    Panel,
    Picture,
    read_picture,
    sheet,
    write_json,
    write_picture,
)
from ..io.files import digest
from ..large.duration import QUICK, calls_of, in_words, pace_of
from ..priors.grey import for_channels
from ..registry import TASKS
from . import pages, specs
from .asked import Asked, read_asked, use_machine
from .commands.evaluate import describe
from .errors import FAILURES, one_line
from .inputs import Input, find_inputs

FORMAT = "ddrm_fast.evaluation/1"


def run(arguments: argparse.Namespace) -> int:
    """Evaluate; returns the exit status."""
    names = case_names(arguments.cases)
    crop = specs.whole("--crop", arguments.crop, 0)
    inputs = _inputs(arguments)
    out = Path(arguments.out)
    kept = Path(arguments.pictures) if arguments.pictures else None
    page = pages.kept("--report", arguments.report)
    failed: set[str] = set()
    with use_machine(arguments):
        drawing = read_asked(arguments)
        record = _open(out, {"crop": crop, **drawing.settings()})
        perception = read_perception(kept is not None, arguments.download, quiet=arguments.quiet)
        work = [(item, name) for item in inputs for name in names]
        if not arguments.quiet:
            _say_how_long(inputs, names, crop, drawing)
        for item, name in tqdm(work, unit="case", disable=True if arguments.quiet else None):
            if item.name in failed:
                continue
            try:
                picture = read_picture(item.path)
                known = record["results"].setdefault(name, {})
                sample = kept and _sample_file(kept, name, item.name)
                made: dict[str, Any] = {"sha256": picture.sha256, "sampler": repr(drawing.sampler)}
                shown = page is None or bool(page.found(name, item.name))
                if shown and _finished(known.get(item.name), made, perception, sample):
                    continue
                x = centre(picture.pixels, crop)
                if TASKS[CASES[name].task].grey and x.shape[0] != 3:
                    continue
                figures, estimates, bars = evaluate(
                    CASES[name],
                    x,
                    drawing.drawn,
                    drawing.best,
                    drawing.seed,
                    perception.lpips,
                    drawing.prior,
                )
            except FAILURES as error:
                failed.add(item.name)
                tqdm.write(f"ddrm-fast evaluate: {one_line(error, item.path)}", file=sys.stderr)
                continue
            if arguments.sheets:
                sheet(
                    Path(arguments.sheets) / f"{item.name}-{name}.png",
                    [_panels(figures, estimates, x)],
                    " ".join(describe(name).split()),
                )
            if page:
                maps = {} if bars is None else maps_of(*bars)
                page.put(name, item.name, {**estimates, "truth": x, **maps})
            made["with_lpips"] = perception.lpips is not None
            if sample:
                write_picture(sample, Picture(estimates["sample"]))
                made["sample_sha256"] = digest(sample.read_bytes())
            known[item.name] = made | figures
            write_json(out, record)
        done = {item.name: item for item in inputs if item.name not in failed}
        rows = [row_of(name, record["results"].get(name, {}), done) for name in names]
        record["table"] = [row for row in rows if row]
        if kept:
            _compare_sets(record, done, crop, perception, kept)
    record["left_out"] = perception.left_out
    record["ddrm_fast"], record["torch"] = ddrm_fast.__version__, torch.__version__
    write_json(out, record)
    if page:
        pages.of_evaluation(arguments, record, list(done), page)
    if record["table"]:
        print(table(record["table"], drawing.samples or 1))
        for line in perception.left_out:
            print(f"left out: {line}")
    elif not failed:
        raise ValueError("--cases: lost colour needs pictures with colours, all inputs are grey")
    if failed:
        print(
            f"ddrm-fast evaluate: {len(failed)} of {len(inputs)} pictures failed", file=sys.stderr
        )
    return 1 if failed else 0


def _say_how_long(inputs: Sequence[Input], names: Sequence[str], crop: int, drawing: Asked) -> None:
    """Says how long all cases of all pictures will take, by those of the first picture that can be read."""
    try:
        x = next(iter(_readable(inputs)))
    except StopIteration:
        return
    x = centre(x, crop)
    calls, shape = 0, (x.shape[0], *x.shape[1:])
    for name in names:
        if TASKS[CASES[name].task].grey and x.shape[0] != 3:
            continue
        problem = degraded(CASES[name], x, drawing.seed).to(drawing.device)
        for asked in (drawing, replace(drawing, samples=None)):
            chosen, _ = asked.planned(problem)
            calls += calls_of(problem, chosen.drawing(x.shape[0], problem))
            if drawing.sampler is not None:
                break
    pixels = shape[1] * shape[2]
    if calls * pixels * len(inputs) < QUICK:
        return
    pace = pace_of(for_channels(drawing.prior, x.shape[0]), shape, torch.device(drawing.device))
    said = in_words(calls * pixels * len(inputs) * pace)
    tqdm.write(
        f"about {said}: {calls} network calls for each of {len(inputs)} pictures, if all are as large as the "
        "first; what is there already is not made again",
        file=sys.stderr,
    )


def _readable(inputs: Sequence[Input]) -> Iterator[Tensor]:
    for item in inputs:
        try:
            yield read_picture(item.path).pixels
        except FAILURES:
            continue


def _inputs(arguments: argparse.Namespace) -> list[Input]:
    """The clean pictures, without what an earlier run wrote among them."""
    inputs = find_inputs(arguments.inputs, Path(arguments.sheets) if arguments.sheets else None)
    if arguments.pictures:
        kept = Path(arguments.pictures).resolve()
        inputs = [item for item in inputs if not item.path.resolve().is_relative_to(kept)]
        if not inputs:
            raise ValueError(
                f"--pictures: {arguments.pictures} holds all the inputs, expected another folder"
            )
    if arguments.limit is not None:
        inputs = inputs[: specs.whole("--limit", arguments.limit)]
    return inputs


def _sample_file(kept: Path, case: str, name: str) -> Path:
    return kept / case / f"{name}.png"


def _finished(
    known: dict[str, Any] | None, made: dict[str, Any], perception: Perception, sample: Path | None
) -> bool:
    """Whether an earlier run made all that this one would, of the same picture in the same way."""
    return (
        known is not None
        and all(known.get(name) == value for name, value in made.items())
        and (perception.lpips is None or known.get("with_lpips", False))
        and (sample is None or _is(sample, known.get("sample_sha256")))
    )


def _is(path: Path, sha256: str | None) -> bool:
    """Whether a file is there and is that one: another evaluation may have written it since."""
    return path.is_file() and digest(path.read_bytes()) == sha256


def _panels(figures: dict[str, Any], estimates: dict[str, Tensor], x: Tensor) -> list[Panel]:
    panels = []
    for method, estimate in estimates.items():
        if method == "pinv" and figures["pinv"] == figures.get("input"):
            continue
        panels.append(Panel(estimate, f"{method}\n{figures[method]['psnr']:.2f} dB"))
    return [*panels, Panel(x, "truth\n")]


def _compare_sets(
    record: dict[str, Any], done: dict[str, Input], crop: int, perception: Perception, kept: Path
) -> None:
    """Adds FID, KID and Inception Score to the rows of the table."""
    seen: dict[str, Any] = {}

    def clean(name: str) -> Tensor:
        return centre(read_picture(done[name].path).pixels, crop)

    for row in record["table"]:
        names = sorted(name for name in record["results"][row["case"]] if name in done)
        row |= perception.compare(
            row["case"], clean, partial(_sample_file, kept, row["case"]), names, seen
        )


def case_names(text: str | None) -> list[str]:
    """The cases that ``--cases`` names; all where it is not given."""
    names = list(CASES) if text is None else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in CASES:
            raise ValueError(f"--cases: got {name!r}, expected some of {', '.join(CASES)}")
    return names


def _open(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The record of an earlier run with the same settings, or a new one."""
    fresh = {"format": FORMAT, "settings": settings, "results": {}}
    if path.is_dir():
        raise OutputError(f"--out: {path} is a folder, expected the name of a .json file")
    specs.writable("--out", path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        same = record["format"] == FORMAT and record["settings"] == settings
        return record if same and isinstance(record["results"], dict) else fresh
    except FileNotFoundError:
        return fresh
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(
            f"--out: {path} is there and is not the result of an evaluation; choose another name"
        ) from None

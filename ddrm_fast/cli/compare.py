"""`ddrm-fast compare`: samplers beside each other."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import ddrm_fast

from ..evaluation import comparison
from ..evaluation.cases import CASES, centre
from ..evaluation.perception import read_perception
from ..io import read_picture, write_json
from ..io.files import write_atomically
from ..large.duration import QUICK, in_words, pace_of
from ..machine.workers import Lost
from ..priors import Prior
from ..priors.grey import for_channels
from ..registry import TASKS
from . import cluster, networks, pages, specs
from .asked import use_machine
from .errors import FAILURES, one_line
from .evaluate import case_names
from .inputs import Input, find_inputs, output_folder

FORMAT = "ddrm_fast.comparison/1"


@dataclass(frozen=True)
class _Run:
    """One case of one picture by one sampler."""

    item: Input
    case: str
    who: str


def run(arguments: argparse.Namespace) -> int:
    """Compare; returns the exit status."""
    cases = case_names(arguments.cases)
    calls = specs.whole("--calls", arguments.calls)
    samples = specs.whole("--samples", arguments.samples)
    crop, seed = specs.whole("--crop", arguments.crop, 0), specs.seed("--seed", arguments.seed)
    who = [each.name for each in _contenders(arguments.samplers, calls)]
    if arguments.ray is None and arguments.workers is not None:
        raise ValueError("--workers: belongs to --ray, which is not given")
    page = pages.kept("--report", arguments.report)
    out = output_folder(arguments.out)
    inputs = find_inputs(arguments.inputs, out)
    if arguments.limit is not None:
        inputs = inputs[: specs.whole("--limit", arguments.limit)]
    with ExitStack() as stack:
        if arguments.ray is None:
            stack.enter_context(use_machine(arguments))
        # a wrong option is said once, before workers start; all compute in what this machine chose
        device = networks.device_of(arguments)
        here = (
            device if arguments.ray is None else "cpu"
        )  # each worker reads the prior onto its own device
        arguments.precision = _prior(arguments, here).precision_on(here)
        settings = {
            "crop": crop, "calls": calls, "samples": samples, "seed": seed, "prior": arguments.prior,
            "prior_sha256": networks.digest_of(arguments.prior), "precision": arguments.precision,
            "device": device,
        }  # fmt: skip
        record = _open(out / "compare.json", settings)
        perception = read_perception(False, arguments.download, quiet=arguments.quiet)
        digests, failed = _digests(inputs)
        work = [
            _Run(item, case, name)
            for item in inputs
            for case in cases
            for name in who
            if item.name in digests
            and not _finished(
                known := record["results"].get(name, {}).get(case, {}).get(item.name, {}),
                digests[item.name],
                perception.lpips is not None,
                page is None or "refused" in known or bool(page.found(f"{case} {name}", item.name)),
            )
        ]
        if work and not arguments.quiet:
            _say_how_long(work, arguments, calls, samples)
        for done, found in _all(work, arguments, failed):
            if isinstance(found, str):
                if done.item.name not in failed:
                    _say(found)
                failed.add(done.item.name)
            elif found:
                known = record["results"].setdefault(done.who, {}).setdefault(done.case, {})
                known[done.item.name] = {"sha256": digests[done.item.name]} | found
                write_json(out / "compare.json", record)
    wanted = {item.name for item in inputs if item.name not in failed}
    _report(out, record, who, cases, wanted)
    if page:
        pages.of_comparison(arguments, record, who, cases, sorted(wanted), page)
    for line in perception.left_out:
        print(f"left out: {line}")
    return 1 if failed else 0


def _say_how_long(
    work: Sequence[_Run], arguments: argparse.Namespace, calls: int, samples: int
) -> None:
    """Says how long the runs will take on this machine by one process."""
    x = centre(read_picture(work[0].item.path).pixels, int(arguments.crop))
    each = sum(calls if run.who == comparison.ESTIMATE else calls * samples for run in work)
    pixels = x.shape[1] * x.shape[2]
    if each * pixels < QUICK:
        return
    device = networks.device_of(arguments)
    prior = for_channels(_prior(arguments, device), x.shape[0])
    pace = pace_of(prior, (x.shape[0], *x.shape[1:]), torch.device(device))
    _tell(
        f"about {in_words(each * pixels * pace)} by one process: {len(work)} runs, {each} network calls"
    )


def _prior(arguments: argparse.Namespace, device: str) -> Prior:
    """The prior that was asked for."""
    prior = networks.read_prior(arguments, device)
    if arguments.precision is not None:
        prior.precision = arguments.precision
    return prior


def _digests(inputs: Sequence[Input]) -> tuple[dict[str, str], set[str]]:
    """The digest of every picture by its name, and the names of those that cannot be read."""
    digests, failed = {}, set()
    for item in inputs:
        try:
            digests[item.name] = read_picture(item.path).sha256
        except FAILURES as error:
            failed.add(item.name)
            _say(one_line(error, item.path))
    return digests, failed


def _all(
    work: Sequence[_Run], arguments: argparse.Namespace, failed: Collection[str]
) -> Iterator[tuple[_Run, dict[str, Any] | str]]:
    """Every run with what :func:`_worker` says of it, as they are finished; by workers where asked for.

    Pictures whose names join ``failed`` meanwhile are passed over, where they are not shared out already.
    """
    quiet = True if arguments.quiet else None
    if not work:
        return
    if arguments.ray is None:
        one = _worker(arguments)
        for each in tqdm(work, unit="run", disable=quiet):
            if each.item.name not in failed:
                yield each, one(each)
        return
    with cluster.pool(arguments, partial(_worker, arguments)) as crew:
        for index, found in tqdm(crew.run(work), total=len(work), unit="run", disable=quiet):
            if isinstance(found, Lost):
                path = work[index].item.path
                found = f"{path}: its worker died {found.tries} times ({found.reason})"
            yield work[index], found


def _worker(arguments: argparse.Namespace) -> Callable[[_Run], dict[str, Any] | str]:
    """What finds the figures of a run: none where the case does not concern the picture; what went wrong as
    words."""
    device = networks.device_of(arguments)
    prior = _prior(arguments, device)
    lpips = read_perception(False, False, quiet=True).lpips
    crop, samples, seed = int(arguments.crop), int(arguments.samples), int(arguments.seed)
    page = pages.kept("--report", arguments.report)

    def one(each: _Run) -> dict[str, Any] | str:
        try:
            x = centre(read_picture(each.item.path).pixels, crop)
            if TASKS[CASES[each.case].task].grey and x.shape[0] != 3:
                return {}
            who = comparison.contender(each.who, int(arguments.calls))
            keep = None
            if page is not None:
                keep = partial(page.put, f"{each.case} {each.who}", each.item.name)
            return comparison.compared(
                CASES[each.case], x.to(device), prior, who, samples, seed, lpips, keep
            )
        except FAILURES as error:
            return one_line(error, each.item.path)

    return one


def _tell(what: str) -> None:
    tqdm.write(what, file=sys.stderr)


def _say(what: str) -> None:
    tqdm.write(f"ddrm-fast compare: {what}", file=sys.stderr)


def _finished(known: dict[str, Any], sha256: str, with_lpips: bool, shown: bool) -> bool:
    """Whether an earlier run found all that this one would, of the same picture, and kept what is shown."""
    return (
        shown
        and known.get("sha256") == sha256
        and (not with_lpips or "lpips" in known or "refused" in known)
    )


def _contenders(text: str | None, calls: int) -> list[comparison.Contender]:
    names = (
        comparison.usual() if text is None else [word for word in text.split(",") if word.strip()]
    )
    try:
        found = [comparison.contender(name, calls) for name in names]
    except ValueError as error:
        raise ValueError(f"--samplers: {str(error).removeprefix('samplers: ')}") from None
    if not found:
        raise ValueError("--samplers: got none, expected names with commas between them")
    return found


def _open(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The record of an earlier run with the same settings, or a new one."""
    fresh = {"format": FORMAT, "settings": settings, "results": {}}
    specs.writable("--out", path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        same = record["format"] == FORMAT and isinstance(record["results"], dict)
    except FileNotFoundError:
        return fresh
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise ValueError(f"--out: {path} is there and is no comparison; choose another folder")
    changed = [name for name in settings if record["settings"].get(name) != settings[name]]
    if changed:
        raise ValueError(
            f"--{changed[0].partition('_')[0]}: got {settings[changed[0]]}, the comparison in {path} has "
            f"{record['settings'].get(changed[0])}; choose another folder for --out"
        )
    return record


def _report(
    out: Path, record: dict[str, Any], who: list[str], cases: list[str], wanted: set[str]
) -> None:
    """Tables and plot of the pictures of this run; what to print."""
    chosen = {
        name: {
            case: {k: v for k, v in record["results"][name].get(case, {}).items() if k in wanted}
            for case in cases
        }
        for name in who
        if name in record["results"]
    }
    found = comparison.means(chosen)
    counts = {len(pictures) for by_case in chosen.values() for pictures in by_case.values()}
    settings = record["settings"]
    parts = [
        f"{max(counts, default=0)} pictures, {settings['crop'] or 'whole'} pixels a side, prior "
        f"{settings['prior']}, {settings['calls']} network calls (estimate and sample: their own)"
    ]
    for measure, (title, digits, _) in comparison.MEASURES.items():
        if any(measure in row for by_case in found.values() for row in by_case.values()):
            parts += [f"## {title}", comparison.markdown(found, cases, measure, digits)]
    refused = {
        f"{name} on {case}: {row['refused']}"
        for name, by_case in chosen.items()
        for case, pictures in by_case.items()
        for row in pictures.values()
        if "refused" in row
    }
    if refused:
        parts.append("## Not possible\n\n" + "\n".join(f"- {line}" for line in sorted(refused)))
    write_atomically(out / "compare.md", ("\n\n".join(parts) + "\n").encode())
    drawn = comparison.plot(out / "compare.png", found, cases)
    record["ddrm_fast"], record["means"] = ddrm_fast.__version__, found
    record["environment"] = comparison.environment()
    write_json(out / "compare.json", record)
    if found:
        print(comparison.markdown(found, cases, "psnr", 2).replace("**", ""))
    print(f"tables: {out / 'compare.md'}" + (f", plot: {out / 'compare.png'}" if drawn else ""))

"""`ddrm-fast compare`: samplers beside each other."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

import ddrm_fast

from ..evaluation import comparison
from ..evaluation.cases import CASES, centre
from ..evaluation.perception import read_perception
from ..io import read_picture, write_json
from ..io.files import write_atomically
from ..registry import TASKS
from . import networks, specs
from .asked import use_machine
from .errors import FAILURES, one_line
from .evaluate import case_names
from .inputs import find_inputs, output_folder

FORMAT = "ddrm_fast.comparison/1"


def run(arguments: argparse.Namespace) -> int:
    """Compare; returns the exit status."""
    cases = case_names(arguments.cases)
    calls = specs.whole("--calls", arguments.calls)
    samples = specs.whole("--samples", arguments.samples)
    crop, seed = specs.whole("--crop", arguments.crop, 0), specs.seed("--seed", arguments.seed)
    who = _contenders(arguments.samplers, calls)
    out = output_folder(arguments.out)
    inputs = find_inputs(arguments.inputs, out)
    if arguments.limit is not None:
        inputs = inputs[: specs.whole("--limit", arguments.limit)]
    failed: set[str] = set()
    with use_machine(arguments):
        device = networks.device_of(arguments)
        prior = networks.read_prior(arguments, device)
        if arguments.precision is not None:
            prior.precision = arguments.precision
        settings = {
            "crop": crop, "calls": calls, "samples": samples, "seed": seed, "prior": arguments.prior,
            "prior_sha256": networks.digest_of(arguments.prior), "precision": prior.precision_on(device),
            "device": device,
        }  # fmt: skip
        record = _open(out / "compare.json", settings)
        perception = read_perception(False, arguments.download, quiet=arguments.quiet)
        work = [(item, case, each) for item in inputs for case in cases for each in who]
        for item, case, each in tqdm(work, unit="run", disable=True if arguments.quiet else None):
            if item.name in failed:
                continue
            known = record["results"].setdefault(each.name, {}).setdefault(case, {})
            try:
                picture = read_picture(item.path)
                if _finished(
                    known.get(item.name, {}), picture.sha256, perception.lpips is not None
                ):
                    continue
                x = centre(picture.pixels, crop)
                if TASKS[CASES[case].task].grey and x.shape[0] != 3:
                    continue
                found = comparison.compared(
                    CASES[case], x.to(device), prior, each, samples, seed, perception.lpips
                )
            except FAILURES as error:
                failed.add(item.name)
                tqdm.write(f"ddrm-fast compare: {one_line(error, item.path)}", file=sys.stderr)
                continue
            known[item.name] = {"sha256": picture.sha256} | found
            write_json(out / "compare.json", record)
    wanted = {item.name for item in inputs if item.name not in failed}
    _report(out, record, [each.name for each in who], cases, wanted)
    for line in perception.left_out:
        print(f"left out: {line}")
    return 1 if failed else 0


def _finished(known: dict[str, Any], sha256: str, with_lpips: bool) -> bool:
    """Whether an earlier run found all that this one would, of the same picture."""
    return known.get("sha256") == sha256 and (
        not with_lpips or "lpips" in known or "refused" in known
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

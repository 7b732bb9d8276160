"""The pages that `--report` asks for: what is on those of `evaluate`, `compare` and `restore`."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..evaluation import comparison
from ..evaluation.cases import METHODS
from ..evaluation.report import Card, Kept, Table, write_report
from ..io import OutputError, read_picture
from . import results, specs
from .commands.evaluate import describe
from .errors import FAILURES
from .inputs import Input

#: figures of error bars, with what they are called on the page
_BARS = {
    "inside_68": "% within 68 % bars",
    "inside_95": "% within 95 % bars",
    "spread": "spread/error",
}


def kept(option: str, path: str | None) -> Kept | None:
    """Where the pictures of a page are kept; None where none is asked for.

    Raises:
        ValueError, OutputError: The file's name is not one of a page, or cannot be written.
    """
    if path is None:
        return None
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{option}: got {path!r}, expected a name that ends in .html")
    if Path(path).is_dir():
        raise OutputError(f"{option}: {path} is a folder, expected the name of an .html file")
    specs.writable(option, path)
    return Kept(path)


def of_evaluation(
    arguments: argparse.Namespace, record: dict[str, Any], pictures: Sequence[str], page: Kept
) -> None:
    """The page of `ddrm-fast evaluate`."""
    methods = [*METHODS, "estimate"]
    means = Table(
        "PSNR, dB: means over the pictures",
        ["case", "pictures", *methods, "seconds"],
        [
            [row["case"], row["pictures"], *(row.get(f"psnr_{m}") for m in methods), row["seconds"]]
            for row in record["table"]
        ],
        {"pictures": 0, "seconds": 1},
        "a sample is one draw from the posterior, mean that of all samples, estimate the default",
    )
    tables = [means]
    if any("uncertainty" in row for row in record["table"]):
        tables.append(_bars(record["table"]))
    each = [
        [name, case, *(found[name][m]["psnr"] if m in found[name] else None for m in methods)]
        for case, found in record["results"].items()
        for name in pictures
        if name in found
    ]
    tables.append(Table("Every picture, PSNR in dB", ["picture", "case", *methods], each))
    groups = {}
    for row in record["table"]:
        case = row["case"]
        found = record["results"][case]
        cards = [_card_of(page, case, name, found[name]) for name in pictures if name in found]
        groups[" ".join(describe(case).split())] = cards
    write_report(
        arguments.report, "Evaluation",
        subtitle=f"{len(pictures)} pictures, prior {record['settings']['prior']}",
        command=arguments.line, tables=tables, groups=groups,
        facts=[*_facts(record["settings"]), *_versions(record)],
    )  # fmt: skip


def _bars(rows: Sequence[dict[str, Any]]) -> Table:
    found = [(row["case"], row["uncertainty"]) for row in rows if "uncertainty" in row]
    return Table(
        "Error bars: what is said to be 68 and 95 %",
        ["case", *_BARS.values()],
        [[case, *(bars.get(name) for name in _BARS)] for case, bars in found],
        {name: 1 for name in list(_BARS.values())[:2]},
    )


def _card_of(page: Kept, case: str, name: str, figures: dict[str, Any]) -> Card:
    said = {
        m: f"{m} {f['psnr']:.2f} dB"
        for m, f in figures.items()
        if isinstance(f, dict) and "psnr" in f
    }
    bars = figures.get("uncertainty", {})
    if bars.get("inside_68") is not None:
        said["uncertainty"] = f"68 % bars: {bars['inside_68']:.1f} % of the errors are within"
        said["error"] = "error of the mean, same colours"
    files = page.found(case, name)
    left = next((m for m in ("input", "bicubic", "pinv") if m in files), "")
    right = "estimate" if "estimate" in files else "mean"
    return Card(name, files, said, left, right)


def of_comparison(
    arguments: argparse.Namespace,
    record: dict[str, Any],
    who: Sequence[str],
    cases: Sequence[str],
    pictures: Sequence[str],
    page: Kept,
) -> None:
    """The page of `ddrm-fast compare`."""
    means = record["means"]
    tables = []
    for measure, (title, digits, _) in comparison.MEASURES.items():
        rows: list[list[str | float | None]] = [
            [name, *(means[name].get(case, {}).get(measure) for case in cases)]
            for name in who
            if name in means
        ]
        if any(value is not None for row in rows for value in row[1:]):
            tables.append(Table(title, ["sampler", *cases], rows, dict.fromkeys(cases, digits)))
    groups: dict[str, list[Card]] = {}
    for case in cases:
        cards: list[Card] = []
        for picture in pictures:
            cards += _contenders(record, page, who, case, picture)
        if cards:
            groups[case] = cards
    plots = {
        f"PSNR against {title}": drawn
        for against, title in (("calls", "network calls"), ("seconds", "seconds"))
        if (drawn := comparison.plot_of(means, cases, against)) is not None
    }
    write_report(
        arguments.report, "Comparison",
        subtitle=f"{len(pictures)} pictures, prior {record['settings']['prior']}",
        command=arguments.line, tables=tables, groups=groups, plots=plots,
        facts=[*_facts(record["settings"]), *_facts(record["environment"]), *_versions(record)],
    )  # fmt: skip


def _contenders(
    record: dict[str, Any], page: Kept, who: Sequence[str], case: str, picture: str
) -> Iterator[Card]:
    """A picture with the results of all samplers, and those with error bars by themselves."""
    files: dict[str, Path] = {}
    said, right = {}, ""
    for name in who:
        row = record["results"].get(name, {}).get(case, {}).get(picture)
        found = page.found(f"{case} {name}", picture)
        if row is None or "refused" in row or not found:
            continue
        files |= {what: found[what] for what in ("input", "truth") if what in found}
        files[name], right = found["result"], right or name
        figure = row.get("psnr of mean", row["psnr"])
        said[name] = f"{name} {figure:.2f} dB"
        if "uncertainty" in found:
            maps = {what: found[what] for what in ("uncertainty", "error")}
            words = {
                "uncertainty": f"68 % bars: {row.get('coverage', 0):.1f} % of the errors are within",
                "error": "error of the mean, same colours",
            }
            yield Card(f"{picture}, {name}", {"result": found["result"], **maps}, words)
    if files:
        yield Card(picture, files, said, "input", right)


def of_folder(arguments: argparse.Namespace, done: Sequence[tuple[Input, Path]]) -> None:
    """The page of `ddrm-fast restore`: what its records and results say, earlier runs included."""
    rows: list[list[str | float | None]] = []
    cards = []
    of_all: list[dict[str, Any]] = []
    versions: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        page = Kept(Path(folder) / "inputs.html")
        for item, target in done:
            record = results.earlier(target)
            if record is None or record.get("unfinished"):
                rows.append([item.name, "failed", None, None, None, None])
                continue
            psnr = record.get("psnr", {}).get("mean")
            rows.append(
                [item.name, record["parameters"]["task"], record["sigma_y"], record["residual"]["mean"], psnr,
                 record["seconds"]]
            )  # fmt: skip
            of_all.append(record["parameters"])
            versions |= record.get("versions", {})
            cards.append(_restored(item, target, record, page))
        common = {
            name: value
            for name, value in (of_all[0] if of_all else {}).items()
            if all(each.get(name) == value for each in of_all)
        }
        write_report(
            arguments.report, "Restored pictures", subtitle=f"{len(cards)} of {len(done)} inputs",
            command=arguments.line,
            tables=[
                Table(
                    "Results", ["picture", "task", "noise", "residual", "PSNR, dB", "seconds"], rows,
                    {"noise": 4, "residual": 4, "seconds": 1},
                )
            ],
            groups={"All": cards} if cards else {}, facts=[*common.items(), *versions.items()],
        )  # fmt: skip


def _restored(item: Input, target: Path, record: dict[str, Any], page: Kept) -> Card:
    """What came of an input."""
    files = {}
    for name in record["files"]:
        what = name.removeprefix(f"{target.name}-").rpartition(".")[0]
        if what not in ("sheet", "arrays"):
            what = "result" if what == target.name else what
            files[what] = target.parent / name
    try:  # a measurement that is no picture is not shown
        page.put("inputs", item.name, {"input": read_picture(item.path).pixels})
        files = {"input": page.file("inputs", item.name, "input")} | files
    except FAILURES:
        pass
    names = [name for name in files if name not in ("input", "uncertainty")]
    note = "; ".join(record.get("doubts", []))
    said = {"uncertainty": record.get("uncertainty", {}).get("why", "uncertainty")}
    best = "mean" if "mean" in files else names[0]
    return Card(item.name, files, said, "input", best, note)


def _facts(settings: dict[str, Any]) -> list[tuple[str, Any]]:
    return list(settings.items())


def _versions(record: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, record[name]) for name in ("ddrm_fast", "torch") if name in record]

"""`ddrm-fast bench`: the time of a sampling step of each operator, against a copy of its bytes."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..bench import OPERATORS, Ceilings, Clock, Sizes, large, roofline
from ..bench.facts import gather
from ..bench.network import NetworkProfile, report
from ..bench.plot import bars
from ..bench.table import Table, markdown
from ..io import write_atomically, write_json
from ..priors import load_prior
from . import specs
from .asked import use_machine
from .errors import FAILURES, one_line


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; returns the exit status."""
    if arguments.large is not None:
        return _large(arguments)
    size = specs.whole("--size", arguments.size, 32)
    if size & (size - 1):
        raise ValueError(f"--size: got {size}, expected a power of two (Walsh-Hadamard needs it)")
    batch = specs.whole("--batch", arguments.batch)
    repeats = specs.whole("--repeats", arguments.repeats)
    names = [name for name in OPERATORS if arguments.only in name]
    if not names:
        raise ValueError(f"--only: got {arguments.only!r}, expected part of {', '.join(OPERATORS)}")
    if arguments.out is not None:
        specs.writable("--out", Path(arguments.out) / "bench.json")
    if arguments.network:
        return _networks(arguments, size, repeats)
    with use_machine(arguments):
        facts = gather()
        tables = [
            _measure(Table(device, repeats), names, (batch, 3, size, size), arguments)
            for device in _devices(arguments.device)
        ]
        network = None if arguments.prior is None else _network(arguments.prior, size)
        ceilings = {}
        if arguments.out is not None:
            ceilings = {table.device: Ceilings.measure(table.device) for table in tables}
    skipped = [entry for table in tables for entry in table.skipped]
    if arguments.device is None and not torch.cuda.is_available():
        skipped.append({"what": "device cuda", "why": "PyTorch sees no GPU here"})
    if not arguments.operations:
        skipped.append(
            {"what": "fused operations by themselves", "why": "--operations asks for them"}
        )
    rows = [{"device": table.device, **row} for table in tables for row in table.rows]
    print(f"{facts['threads']}, instruction set {facts['instruction set']}, GPU {facts['GPU']}\n")
    print(markdown(rows))
    for entry in skipped:
        print(f"\nnot measured: {entry['what']}: {entry['why']}", end="")
    print()
    if network is not None:
        print(f"a call of the network on the CPU: {1e3 * network:.2f} ms")
    if arguments.out is not None:
        out = Path(arguments.out)
        record = {"machine": facts, "size": size, "batch": batch, "table": rows}
        record["ceilings"] = {device: asdict(found) for device, found in ceilings.items()}
        write_json(out / "bench.json", {**record, "skipped": skipped, "network_seconds": network})
        drawn = bars(out / "bench.png", rows, size)
        for table in tables:
            path, title = out / f"roofline-{table.device}.png", f"{table.device}, {size} x {size}"
            drawn &= roofline.draw(path, table.rows, ceilings[table.device], title)
        if not drawn:
            print("no plot: matplotlib is not installed, or nothing was measured")
    return 0 if rows else 1


def _devices(asked: str | None) -> list[str]:
    """Where to measure."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device cuda: PyTorch {torch.__version__} sees no GPU here")
    found = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    return found if asked is None else [asked]


def _measure(
    table: Table, names: list[str], shape: tuple[int, ...], arguments: argparse.Namespace
) -> Table:
    """Everything that was asked for, on the table's device."""
    backends = table.backends(arguments.backend)
    if not backends:
        return table
    bar = tqdm(names, unit="operator", disable=True if arguments.quiet else None)
    compare = ("eager", "compiled") if arguments.compiled else ("eager",)
    table.steps(bar, backends, shape, (*compare, "published"))
    if arguments.operations:
        bits = 2 * (shape[-1].bit_length() - 1)
        sizes = Sizes(batch=shape[0], side=shape[-1], long_bits=bits, whole_side=shape[-1])
        table.kernels(sizes, backends, compare)
    return table


def _networks(arguments: argparse.Namespace, size: int, repeats: int) -> int:
    """The report on one network, on every device."""
    records = {}
    with use_machine(arguments):
        facts = gather()
        for device in _devices(arguments.device):
            prior = load_prior(arguments.prior or "default", device=device)
            text, records[device] = report(
                NetworkProfile(prior, size, device, repeats), arguments.compiled
            )
            print(f"{device}, {facts['threads']}: {text}\n")
    if arguments.out is not None:
        write_json(Path(arguments.out) / "bench.json", {"machine": facts, "network": records})
    return 0


def _large(arguments: argparse.Namespace) -> int:
    """``--large``; returns the exit status."""
    sizes = [specs.number("--large", text, 0.01, 1e4) for text in arguments.large.split(",")]
    steps = specs.whole("--steps", arguments.steps)
    out = None if arguments.out is None else Path(arguments.out)
    if out is not None:
        specs.writable("--out", out / "large.json")
    with use_machine(arguments):
        settings = {"steps": steps, "prior": arguments.prior or "default"}
        settings["device"] = arguments.device or "cpu"
        chosen = large.cases(sizes, threads=torch.get_num_threads(), **settings)
        rows = bench_large(chosen, gather(), out, quiet=arguments.quiet)
    return 0 if rows else 1


def _network(name: str, size: int) -> float:
    """Median time of three calls of a prior's network."""
    prior, clock = load_prior(name), Clock("cpu")
    x, t = torch.randn(1, 3, size, size), torch.full((1,), float(prior.schedule.T // 2))
    with torch.no_grad():
        return statistics.median(clock.time(lambda: prior(x, t)) for _ in range(3))


def bench_large(
    chosen: Sequence[large.Case],
    facts: dict[str, Any],
    out: Path | None,
    name: str = "large",
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Measure cases, print the table, and write NAME.json, NAME.md and NAME.png into ``out``.

    A case that cannot run is said and left out. Results so far are written after each case.
    """
    rows: list[dict[str, Any]] = []
    for case in tqdm(chosen, unit="case", disable=True if quiet else None):
        try:
            rows.append(large.measure(case))
        except FAILURES as error:
            tqdm.write(f"left out: {case}: {one_line(error)}", file=sys.stderr)
            continue
        if out is not None:
            write_json(out / f"{name}.json", {"machine": facts, "table": rows})
            write_atomically(out / f"{name}.md", f"{large.table(rows)}\n".encode())
    print(large.table(rows))
    if out is not None and rows and not large.plot(out / f"{name}.png", rows):
        print("no plot: matplotlib is not installed")
    return rows

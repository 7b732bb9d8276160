"""`ddrm-fast bench`: the time of a sampling step of each operator, against a copy of its bytes."""

from __future__ import annotations

import argparse
import statistics
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from ..bench import OPERATORS, Ceilings, Clock, Sizes, roofline
from ..bench.network import NetworkProfile, report
from ..bench.table import Table, markdown
from ..io import write_json
from ..priors import load_prior
from . import bench_large, specs
from .info import gather
from .sampling import add_machine_options, use_machine

EXAMPLE = """\
examples:
  Pictures of 1024 x 1024, on one thread of the processor, with a plot:

    ddrm-fast bench --size 1024 --threads 1 --out bench

  Where the time of the default prior's network goes:

    ddrm-fast bench --network --size 256

  Large pictures on a GPU, every fused operation too, and torch.compile to compare with:

    ddrm-fast bench --device cuda --size 4096 --operations --compiled

GB/s counts what a step has to move at least: the state and the network's output read, the new state
written, its noise made on the way, and what defines the measurement. "of copy" holds that against a
copy, timed in turn. Operators that work on coefficients also do one forward and one inverse transform,
which is not counted. "flop/byte": floating-point operations, transforms included, for each of these
bytes (counted from the formulas, ddrm_fast/bench/flops.py); the roofline that --out draws holds them
against a copy and a matrix product of the same run. "x eager", "x compiled" and "x published" say how
many times longer plain PyTorch takes (the reference, eager and under torch.compile, noise by
torch.randn) and the sequence of operations of the published program.
"""


def add(commands: argparse._SubParsersAction) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "bench",
        help="speed of each operator's step on this machine",
        description="Time a DDRM step of every operator.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", default=512, metavar="N", help="side of the picture (512)")
    parser.add_argument("--batch", default=1, metavar="N", help="pictures at a time (1)")
    parser.add_argument("--repeats", default=15, metavar="N", help="of each measurement (15)")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="this one alone (the processor, and a GPU if any)"
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="operators whose name holds this"
    )
    parser.add_argument(
        "--operations", action="store_true", help="also every fused operation by itself"
    )
    parser.add_argument(
        "--compiled", action="store_true",
        help="also the reference under torch.compile (takes minutes)",
    )  # fmt: skip
    parser.add_argument(
        "--network", action="store_true",
        help="the network instead of the operators: number formats and layouts, kinds of operation, and its "
        "share of a restoration (see --prior, --size, --device, --compiled)",
    )  # fmt: skip
    parser.add_argument("--prior", metavar="PRIOR", help="also time a call of this network")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="write bench.json and, where matplotlib is installed, bench.png and a roofline of each device",
    )
    parser.add_argument(
        "--large", metavar="MP,...", nargs="?", const="0.25,1",
        help="large pictures instead, of so many megapixels (0.25,1): speed, peak memory and where the time "
        "goes, whole, in tiles, window by window, from disk to disk; default prior unless --prior",
    )  # fmt: skip
    parser.add_argument("--steps", default=4, metavar="N", help="of --large, DDRM (4)")
    add_machine_options(parser)
    parser.set_defaults(run=run)


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
        drawn = _plot(out / "bench.png", rows, size)
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
        chosen = bench_large.cases(sizes, threads=torch.get_num_threads(), **settings)
        rows = bench_large.bench(chosen, gather(), out, quiet=arguments.quiet)
    return 0 if rows else 1


def _network(name: str, size: int) -> float:
    """Median time of three calls of a prior's network."""
    prior, clock = load_prior(name), Clock("cpu")
    x, t = torch.randn(1, 3, size, size), torch.full((1,), 500.0)
    with torch.no_grad():
        return statistics.median(clock.time(lambda: prior(x, t)) for _ in range(3))


def _plot(path: Path, table: list[dict], size: int) -> bool:
    """Bars of the times; False where matplotlib is not installed or nothing was measured."""
    if not table:
        return False
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from io import BytesIO

    from matplotlib import pyplot

    from ..io import write_atomically

    bars = [
        (
            f"{row['operation']} ({backend})",
            figures["seconds"]["p50"],
            figures["part_of_copy"]["p50"],
        )
        for row in table
        for backend, figures in row["backends"].items()
    ][::-1]
    names, seconds, parts = zip(*bars, strict=True)
    figure, axes = pyplot.subplots(figsize=(8, 0.4 * len(bars) + 1.2), layout="constrained")
    drawn = axes.barh(names, [1e3 * value for value in seconds], color="#4477aa")
    axes.bar_label(drawn, [f" {100 * part:.0f} % of a copy" for part in parts])
    axes.set_xscale("log")
    axes.set_xlim(right=6e3 * max(seconds))
    axes.set_xlabel(f"milliseconds per step, {size} x {size} x 3")
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    pyplot.close(figure)
    write_atomically(path, buffer.getvalue())
    return True

"""`ddrm-fast bench`: the time of a sampling step of each operator, against a copy of its bytes."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from .. import operators, ops
from ..io import check_writable, write_json
from ..operators import Carry, Operator
from ..priors import Schedule, load_prior
from ..priors.schedule import pairs
from ..samplers import DDRM
from ..samplers.table import build_rows
from . import specs
from .info import gather
from .sampling import add_machine_options, use_machine

EXAMPLE = """\
example:
  Pictures of 1024 x 1024, on one thread, with a plot:

    ddrm-fast bench --size 1024 --threads 1 --out bench

A step reads the state and the network's output and writes the new state, its noise made on the way:
the floor is a copy of these three streams of bytes, timed in alternation with the step. Operators
that work on coefficients also do one forward and one inverse transform.
"""

OPERATORS: dict[str, Callable[[int], Operator]] = {
    "denoising": lambda n: operators.Denoising(),
    "inpainting": lambda n: operators.Inpainting(torch.arange(n * n).view(n, n) % 3 > 0),
    "gain": lambda n: operators.Gain(torch.linspace(0.3, 1, n).expand(n, n)),
    "colorization": lambda n: operators.Colorization(),
    "super-resolution x4": lambda n: operators.SuperResolution(4),
    "old photo x2": lambda n: operators.SuperResolution(
        2, (0.3, 0.5, 0.2), torch.arange(n * n).view(n, n) % 3 > 0
    ),
    "Walsh-Hadamard 25 %": lambda n: operators.WalshHadamardCS((n, n), 4),
    "blocks of 16 x 16, 25 %": lambda n: operators.BlockCS(16, 4),
    "blur (FFT)": lambda n: operators.Blur(operators.gaussian_kernel(2.0)),
    "blur (DCT)": lambda n: operators.Blur(operators.gaussian_kernel(2.0), "reflect"),
    "blur + decimation x4": lambda n: operators.BlurDecimate(operators.gaussian_kernel(2.0), 4),
    "bicubic x4": lambda n: operators.BicubicDownscaling(4, (n, n)),
}


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
    parser.add_argument("--repeats", default=15, metavar="N", help="of each measurement (15)")
    parser.add_argument("--prior", metavar="PRIOR", help="also time a call of this network")
    parser.add_argument(
        "--out", metavar="DIR", help="write bench.json, and bench.png where matplotlib is installed"
    )
    add_machine_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; returns the exit status."""
    size = specs.whole("--size", arguments.size, 32)
    if size & (size - 1):
        raise ValueError(f"--size: got {size}, expected a power of two (Walsh-Hadamard needs it)")
    repeats = specs.whole("--repeats", arguments.repeats)
    table = []
    if arguments.out is not None:
        check_writable(Path(arguments.out) / "bench.json")
    with use_machine(arguments):
        facts = gather()
        names = tqdm(OPERATORS, unit="operator", disable=True if arguments.quiet else None)
        for name in names:
            table.append({"operator": name} | measure(OPERATORS[name](size), size, repeats))
        network = None if arguments.prior is None else _network(arguments.prior, size)
    print(f"{size} x {size}, 3 channels, float32, {facts['threads']}, "
          f"instruction set {facts['instruction set']}")  # fmt: skip
    print(f"{'operator':26}{'step':>10}  {'floor':>10}  {'ratio':>6}")
    for row in table:
        print(f"{row['operator']:26}{1e3 * row['seconds']:7.2f} ms  "
              f"{1e3 * row['floor_seconds']:7.2f} ms  {row['ratio']:6.1f}")  # fmt: skip
    if network is not None:
        print(f"{'a call of the network':26}{1e3 * network:7.2f} ms")
    if arguments.out is not None:
        out = Path(arguments.out)
        record = {"machine": facts, "size": size, "table": table, "network_seconds": network}
        write_json(out / "bench.json", record)
        if not _plot(out / "bench.png", table, size):
            print("no plot: matplotlib is not installed")
    return 0


def measure(operator: Operator, size: int, repeats: int) -> dict:
    """Median time of a step in the middle of a run, and of the floor, timed in turn."""
    step = _step_function(operator, size)
    source, target = torch.randn(2, 1, 3, size, size)

    def copy() -> Tensor:
        return target.copy_(source)

    step(), copy()
    times = [(_time(step), _time(copy)) for _ in range(repeats)]
    seconds, floor = (statistics.median(column) for column in zip(*times, strict=True))
    floor *= 1.5  # a copy is two streams, a step has three
    return {"seconds": seconds, "floor_seconds": floor, "ratio": seconds / floor}


def _time(run: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _step_function(operator: Operator, size: int) -> Callable[[], Tensor]:
    schedule = Schedule.linear()
    level = torch.tensor([0.1], dtype=torch.float64)
    rows = build_rows(DDRM(), schedule, pairs(schedule.steps(20)), level)
    x_t, out, x_next = torch.randn(3, 1, 3, size, size)
    u, noise, carry = operator.prepare(operator.H(x_t)), ops.Noise(ops.noise_keys(1, 0)), Carry()
    start, middle = torch.zeros(1, dtype=torch.int64), torch.full((1,), 10)
    operator.step(None, None, u, rows, start, noise, x_next=x_next, carry=carry)
    return lambda: operator.step(x_t, out, u, rows, middle, noise, x_next=x_next, carry=carry)


def _network(name: str, size: int) -> float:
    """Median time of three calls of a prior's network."""
    prior = load_prior(name)
    x, t = torch.randn(1, 3, size, size), torch.full((1,), 500.0)
    with torch.no_grad():
        return statistics.median(_time(lambda: prior(x, t)) for _ in range(3))


def _plot(path: Path, table: list[dict], size: int) -> bool:
    """Bars of the times; False where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from io import BytesIO

    from matplotlib import pyplot

    from ..io import write_atomically

    figure, axes = pyplot.subplots(figsize=(8, 0.4 * len(table) + 1.2), layout="constrained")
    names = [row["operator"] for row in table][::-1]
    bars = axes.barh(names, [1e3 * row["seconds"] for row in table][::-1], color="#4477aa")
    axes.bar_label(bars, [f" {row['ratio']:.1f} x floor" for row in table][::-1])
    floor = 1e3 * statistics.median(row["floor_seconds"] for row in table)
    axes.axvline(floor, color="#cc3311", linestyle="--", label="floor: copying the same bytes")
    axes.set_xscale("log")
    axes.set_xlim(right=6e3 * max(row["seconds"] for row in table))
    axes.set_xlabel(f"milliseconds per step, {size} x {size} x 3")
    axes.legend(loc="upper right")
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    pyplot.close(figure)
    write_atomically(path, buffer.getvalue())
    return True

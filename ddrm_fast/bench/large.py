"""Megapixels per second and memory of large pictures, and where time goes."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from .. import operators, workers
from ..io import write_atomically
from ..io.blocks import write_blocks
from ..large import InMemory, Memory, mask_shift, waves, windowed, windows_for
from ..large.clock import Clock
from ..large.draw import drawer_of_worker
from ..large.mask_shift import on_workers
from ..large.on_disk import Degradation, restore_on_disk
from ..machine.memory import forget_peak, peak
from ..operators import Operator
from ..priors import Prior, load_prior
from ..problems import Problem
from ..restoration import degrade, restore
from ..samplers import DDRM, Drawing

METHODS = ("whole", "tiles", "mask-shift", "on disk")
TASKS = ("denoising", "inpainting", "super-resolution x4", "colorization")
SIGMA = 0.05
_MOST, _ENOUGH = 5, 6.0  # runs of a case, and the seconds after which there is none any more
_WINDOWS = {"tiles": 1024}  # of which twice the reach of the default prior's network is lost


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        megapixels:
            Of the restored picture, which is square.
        task:
            A name of ``TASKS``.
        method:
            "whole" (one run, the network too), "tiles" (one run, the network in tiles),
            "mask-shift" (window by window in memory) or "on disk" (the same from disk to disk).
        window, stride:
            In pixels; of tiles, None for the stride is what the network's reach needs.
        batch:
            Windows that run together.
        waves:
            Independent windows together; False: one after the other.
        workers:
            Processes with a share of the threads each (Ray); 1: this one.
        steps:
            Of DDRM.
        prior:
            What :func:`load_prior` takes, or "trivial", whose network does next to nothing.
        threads:
            CPU threads of all workers together.
        device:
            Where.
        folder:
            For pictures on disk; None: that of the system for temporary files.
    """

    megapixels: float
    task: str = "denoising"
    method: str = "mask-shift"
    window: int = 256
    stride: int | None = None
    batch: int = 1
    waves: bool = True
    workers: int = 1
    steps: int = 20
    prior: str = "default"
    threads: int = 1
    device: str = "cpu"
    folder: str | None = None

    @property
    def side(self) -> int:
        """Of the picture: a multiple of 16."""
        return max(self.window, 16 * round((1e6 * self.megapixels) ** 0.5 / 16))


def measure(case: Case) -> dict[str, Any]:
    """Measure a case in a process of its own, so that its peak of memory is its own.

    Returns:
        The case, "megapixels_per_second", "calls" of the network for each pixel, "peak_bytes" of the process
        (with workers: of the one that leads them) or of the GPU, and "seconds" by what took them.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(_measure, case).result()


def _measure(case: Case) -> dict[str, Any]:
    if torch.device(case.device).type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("there is no GPU")
    torch.set_num_threads(case.threads)
    prior = _trivial() if case.prior == "trivial" else load_prior(case.prior, None, case.device)
    prior.precision = prior.precision_on(case.device)
    operator = _operator(case.task, case.side)
    y = degrade(_picture(case.side), operator, SIGMA).to(case.device)
    _warm(prior, case)
    clock = Clock()
    with ExitStack() as stack:
        run = _RUN[case.method](case, prior, operator, y, clock, stack)
        del y
        gpu = torch.device(case.device).type == "cuda"
        if gpu:
            torch.cuda.reset_peak_memory_stats()
        forget_peak()
        seconds, used, parts = _median_run(run, clock)
    pixels = case.side**2 / 1e6
    return {
        **asdict(case),
        "side": case.side,
        "precision": prior.precision,
        "megapixels_per_second": pixels / seconds,
        "processor_seconds_per_megapixel": used / pixels,
        "peak_bytes": torch.cuda.max_memory_allocated() if gpu else peak(),
        "seconds": {"all": round(seconds, 6), **parts, **_rest(seconds, parts)},
        "load": os.getloadavg()[0],
    }


def _median_run(run: Callable[[], object], clock: Clock) -> tuple[float, float, dict[str, float]]:
    """Seconds, processor seconds and what took them, of the middle one of some runs."""
    runs: list[tuple[float, float, dict[str, float]]] = []
    while not runs or (len(runs) < _MOST and sum(seconds for seconds, *_ in runs) < _ENOUGH):
        before, start, used = dict(clock.seconds), time.perf_counter(), time.process_time()
        run()
        seconds, used = time.perf_counter() - start, time.process_time() - used
        parts = {name: round(value - before[name], 6) for name, value in clock.seconds.items()}
        runs.append((seconds, used, parts))
    runs.sort(key=lambda measured: measured[0])
    return runs[len(runs) // 2]


def _rest(seconds: float, parts: dict[str, float]) -> dict[str, float]:
    """What is left: the steps of the operators, and Python."""
    return {"steps": round(seconds - sum(parts.values()), 6)}


def _trivial() -> Prior:
    return Prior(lambda x, t: 0.3 * x, name="trivial")


@torch.no_grad()
def _warm(prior: Prior, case: Case) -> None:
    """The first call of a network makes its libraries plan."""
    x = torch.zeros(1, 3, case.window, case.window, device=case.device)
    prior(x, torch.full((1,), float(prior.schedule.T // 2), device=case.device))


def _picture(side: int) -> Tensor:
    """Soft waves, without the memory of an interpolation."""
    place = torch.linspace(0, 1, side)
    planes = [
        0.5 + 0.2 * torch.sin(40 * k * place)[:, None] + 0.2 * torch.cos(23 * k * place)[None]
        for k in (1, 2, 3)
    ]
    return torch.stack(planes)[None]


def _operator(task: str, side: int) -> Operator:
    if task == "denoising":
        return operators.Denoising()
    if task == "inpainting":
        generator = torch.Generator().manual_seed(0)
        return operators.Inpainting(torch.rand(side, side, generator=generator) > 0.3)
    if task == "colorization":
        return operators.Colorization()
    return operators.SuperResolution(4)


def _whole(*setup: Any) -> Callable[[], object]:
    case, prior, operator, y, clock, _ = setup
    prior = clock.prior(prior)
    return lambda: restore(y, operator, SIGMA, prior, DDRM(case.steps), keep_samples=False)


def _tiles(*setup: Any) -> Callable[[], object]:
    case, prior, *others = setup
    overlap = None if case.stride is None else case.window - case.stride
    return _whole(case, windowed(prior, case.window, overlap, batch=case.batch), *others)


def _mask_shift(*setup: Any) -> Callable[[], None]:
    case, prior, operator, y, clock, stack = setup
    shape = operator.image_shape(y)
    windows = windows_for(operator, shape, case.window, case.stride)
    canvas = torch.zeros(1, 1, *shape, device=case.device)
    order = waves(windows) if case.waves else [[k] for k in range(len(windows))]
    drawing, problem = Drawing(prior, DDRM(case.steps)), Problem.of(y, operator, SIGMA)
    pool = _workers(case, drawing, stack)

    def run() -> None:
        restored = mask_shift(
            clock.degraded(InMemory(problem)), clock.canvas(Memory(canvas)), windows,
            clock.drawing(drawing), batch=case.batch, waves=order, pad=case.device != "cpu",
            spread=None if pool is None else on_workers(pool),
        )  # fmt: skip
        for _ in restored:
            pass

    return run


def _workers(case: Case, drawing: Drawing, stack: ExitStack) -> workers.Pool | None:
    """Workers that have started, where there is more than this process."""
    if case.workers == 1:
        return None
    stack.callback(workers.connect(quiet=True))
    layout = workers.Layout(case.workers, max(1, case.threads // case.workers))
    pool = stack.enter_context(workers.Pool(partial(drawer_of_worker, drawing), layout))
    pool.start()
    return pool


def _on_disk(*setup: Any) -> Callable[[], None]:
    case, prior, operator, y, clock, stack = setup
    made = Degradation(lambda mask: operator, operator.grid, takes_mask=False)
    folder = Path(stack.enter_context(TemporaryDirectory(dir=case.folder)))
    write_blocks(
        folder / "y.zarr", tuple(y.shape[1:]), "uint8",
        lambda top, left, height, width: y[0, :, top : top + height, left : left + width],
    )  # fmt: skip

    def run() -> None:
        report = restore_on_disk(
            folder / "y.zarr", folder / "x.zarr", made, SIGMA, prior, DDRM(case.steps),
            window=case.window, stride=case.stride, batch=case.batch, device=case.device,
            memory=2**31,
        )  # fmt: skip
        for name in clock.seconds:
            clock.seconds[name] += report.seconds[name]

    return run


_RUN = {"whole": _whole, "tiles": _tiles, "mask-shift": _mask_shift, "on disk": _on_disk}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The measurements as people read them."""
    lines = [
        "| picture | task | method | window / stride | batch | workers | threads | steps, prior | MP/s | "
        "processor s/MP | peak | network | steps | canvas, read, write |",
        "|---|---|---|---|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        seconds = row["seconds"]
        disk = seconds["canvas"] + seconds["read"] + seconds["write"]
        alone = row["workers"] == 1

        def share(value: float, seconds: dict[str, Any] = seconds, alone: bool = alone) -> str:
            return f"{100 * value / seconds['all']:.1f} %" if alone else ""

        stride = row["stride"] or "default"
        together = row["batch"] if row["waves"] else "one by one"
        lines.append(
            f"| {row['side']}² | {row['task']} | {row['method']} | {row['window']} / {stride} | {together} "
            f"| {row['workers']} | {row['threads']} | {row['steps']}, {row['prior']} "
            f"| {row['megapixels_per_second']:.4f} "
            f"| {row['processor_seconds_per_megapixel']:.1f} | {row['peak_bytes'] / 2**20:.0f} MiB "
            f"| {share(seconds['network'])} | {share(seconds['steps'])} | {share(disk)} |"
        )
    return "\n".join(lines)


def cases(sizes: Sequence[float], **settings: Any) -> list[Case]:
    """Every method at every size; tasks, windows, batches and workers at the smallest.

    Args:
        sizes:
            Megapixels.
        settings:
            Of all cases: steps, prior, threads, device, folder.
    """
    small = min(sizes)
    found = [
        Case(size, method=method, window=_WINDOWS.get(method, Case.window), **settings)
        for method in METHODS
        for size in sizes
        if 1e6 * size > _WINDOWS.get(method, 0) ** 2  # else a tile is the picture
    ]
    found += [Case(small, task=task, **settings) for task in TASKS[1:]]
    found += [Case(small, window=window, **settings) for window in (128, 512)]
    found += [Case(small, stride=192, **settings)]
    found += [Case(small, batch=8, waves=waves, **settings) for waves in (False, True)]
    return list(dict.fromkeys(found))


def plot(path: Path, rows: Sequence[dict[str, Any]]) -> bool:
    """Speed and memory over the size, for each method; False where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (speed, memory) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    plain = Case(1)
    for method in METHODS:
        chosen = [
            row
            for row in rows
            if row["method"] == method
            and (row["task"], row["stride"]) == (plain.task, plain.stride)
            and row["window"] == _WINDOWS.get(method, plain.window)
            and (row["batch"], row["waves"], row["workers"]) == (1, True, 1)
            and row["threads"] == rows[0]["threads"]
        ]
        chosen.sort(key=lambda row: row["side"])
        pixels = [row["side"] ** 2 / 1e6 for row in chosen]
        speed.plot(pixels, [row["megapixels_per_second"] for row in chosen], "o-", label=method)
        memory.plot(pixels, [row["peak_bytes"] / 2**30 for row in chosen], "o-", label=method)
    for axes, label in ((speed, "megapixels per second"), (memory, "peak memory, GiB")):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("megapixels")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
    speed.legend()
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    pyplot.close(figure)
    write_atomically(path, buffer.getvalue())
    return True

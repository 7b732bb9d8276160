"""A folder by one worker, by two, and by one process on both cores: ``python benchmarks/workers.py``.

Each of them restores the same pictures with the default prior, in alternation; the start of Ray and of its
workers is timed by itself. Where others use the machine too, the wall clock says little: so the processor
time of each worker is kept as well, from which follows what a core for each would give. Stores all of it and
the machine's load in ``benchmarks/results/workers.json``.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

import torch

from ddrm_fast.bench.facts import gather
from ddrm_fast.cli import build_parser, restore
from ddrm_fast.cli.cluster import attempts
from ddrm_fast.cli.inputs import find_inputs
from ddrm_fast.io import Picture, write_picture
from ddrm_fast.machine import workers

RESULTS = Path(__file__).parent / "results"


def pictures(folder: Path, count: int, size: int) -> None:
    """Soft random pictures."""
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        coarse = torch.rand(1, 3, 8, 8, generator=generator)
        x = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")[0]
        write_picture(folder / f"{number:03}.png", Picture(x.clamp(0, 1)))


def maker(folder: Path, out: Path, steps: int):
    """What makes a worker, and its inputs."""
    words = [
        "restore",
        str(folder),
        "--task",
        "noise",
        "--sigma",
        "0.1",
        "--samples",
        "1",
        "--quiet",
    ]
    arguments = build_parser().parse_args([*words, "--steps", str(steps), "--out", str(out)])
    return partial(_timed, arguments), find_inputs([str(folder)], out)


def _timed(arguments):
    """What works on an input and says who did, and the processor time that it took."""
    work = attempts(partial(restore.stages, {}, arguments))

    def run(item):
        start = time.process_time()
        outcome = work(item)
        if outcome.failed:
            raise RuntimeError(outcome.line)
        return os.getpid(), time.process_time() - start

    return run


def by_workers(make, inputs, layout: workers.Layout) -> tuple[float, float, float]:
    """Seconds to start, to work, and of the processor by the worker that took most."""
    start = time.perf_counter()
    with workers.Pool(make, layout) as pool:
        pool.start()
        ready = time.perf_counter()
        shares: Counter = Counter()
        for _, (process, seconds) in pool.run(inputs):
            shares[process] += seconds
        done = time.perf_counter()
    return ready - start, done - ready, max(shares.values())


def alone(make, inputs, threads: int) -> float:
    """Seconds of one process, this one, with so many threads."""
    torch.set_num_threads(threads)
    work = make()
    start = time.perf_counter()
    for item in inputs:
        work(item)
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found: dict[str, list[float]] = {}
    loads = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "in"
        folder.mkdir()
        pictures(folder, options.pictures, options.size)
        start = time.perf_counter()
        disconnect = workers.connect(quiet=True)
        found["start of Ray"] = [time.perf_counter() - start]
        for number in range(options.rounds):

            def fresh(kind: str, number: int = number):
                return maker(folder, Path(name) / f"{kind}-{number}", options.steps)

            loads.append(os.getloadavg()[0])
            for count in (1, 2):
                started, seconds, own = by_workers(*fresh(f"{count}"), workers.Layout(count, 1))
                found.setdefault(f"{count} worker(s), processor time of one", []).append(own)
                found.setdefault("start of a worker", []).append(started)
                found.setdefault(f"{count} worker(s), one thread each", []).append(seconds)
            found.setdefault("one process, two threads", []).append(alone(*fresh("alone"), 2))
        disconnect()
    medians = {name: statistics.median(values) for name, values in found.items()}
    one, two = (medians[f"{count} worker(s), one thread each"] for count in (1, 2))
    owns = [medians[f"{count} worker(s), processor time of one"] for count in (1, 2)]
    record = {
        "machine": gather(), "pictures": options.pictures, "size": options.size, "steps": options.steps,
        "load": loads, "seconds": found, "medians": medians,
        "two workers against one": one / two,
        "two workers against one, had each a core of its own": owns[0] / owns[1],
        "two workers against one process": medians["one process, two threads"] / two,
    }  # fmt: skip
    (RESULTS / "workers.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({name: record[name] for name in list(record)[4:]}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

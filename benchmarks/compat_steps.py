"""Speed of the drop-in DDRM: python benchmarks/compat_steps.py [--size 1024] [--steps 41].

A step is the time from one call of the network to the next, with a network that returns a tensor made
before. It is held against copies of its four streams (x_t, eps, x_next, x0):

- ``keep=False``: into a warm buffer, at the speed of memory (buffers far larger than the last-level cache);
- with the lists that the published signature returns: into fresh memory.

Constructors are timed too. Prints a table, and writes it as JSON where ``--out`` says. On a busy machine
``--one-core`` measures processor time with one thread, which others hardly disturb.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from ddrm_fast.compat import ddrm

LARGE = 2**28  # bytes of each buffer of the warm copy


clock = time.perf_counter


def timed(run) -> float:
    start = clock()
    run()
    return clock() - start


def operators(n: int) -> dict:
    """Builders of the timed degradations, for 3 x n x n pictures."""
    generator = torch.Generator().manual_seed(0)
    missing = torch.randperm(n * n, generator=generator)[: n * n // 2]
    missing = torch.cat([3 * missing + c for c in range(3)])
    perm = torch.randperm(n * n, generator=generator)
    return {
        "denoising": (lambda: ddrm.Denoising(3, n, "cpu"), 3.0),
        "inpainting": (lambda: ddrm.Inpainting(3, n, missing, "cpu"), 3.0),
        "colorization": (lambda: ddrm.Colorization(n, "cpu"), 3.0),
        "super-resolution x4": (lambda: ddrm.SuperResolution(3, n, 4, "cpu"), 3.0),
        "Walsh-Hadamard 25 %": (lambda: ddrm.WalshHadamardCS(3, n, 4, perm, "cpu"), 8.0),
    }


def step_times(H_funcs, x: torch.Tensor, steps: int, keep: bool, between) -> list[float]:
    """Seconds of each step but the first two; ``between`` runs at the network's call, untimed."""
    outputs = [torch.randn_like(x) for _ in range(4)]
    times, last = [], [0.0]

    def model(x_t, t):
        now = clock()
        if last[0]:
            times.append(now - last[0])
        between()
        last[0] = clock()
        return outputs[len(times) % 4]

    seq = range(0, 1000, 1000 // steps)
    y = H_funcs.H(x)
    betas = torch.linspace(1e-4, 2e-2, 1000)
    ddrm.efficient_generalized_steps(
        x, seq, model, betas, H_funcs, y, 0.1, 1.0, 0.85, 0.85, keep=keep
    )
    return times[2:]


def copies(streams_of: torch.Tensor):
    """What two streams cost: a warm copy at memory speed, and a copy into fresh memory."""
    source, target = (torch.ones(LARGE // 4) for _ in range(2))
    share = streams_of.numel() / source.numel()
    return lambda: share * timed(lambda: target.copy_(source)), lambda: timed(streams_of.clone)


def measure(n: int, steps: int) -> list[dict]:
    x = torch.randn(1, 3, n, n)
    warm, fresh = copies(x)
    table = []
    for name, (build, limit) in operators(n).items():
        built = min(timed(build) for _ in range(3))
        H_funcs = build()
        for keep in (False, True):
            floors, floor = [], fresh if keep else warm
            # one floor for each step, timed beside it; a copy is two streams, a step four
            times = step_times(
                H_funcs,
                x,
                steps,
                keep,
                lambda floors=floors, floor=floor: floors.append(2 * floor()),
            )
            floors = floors[2 : 2 + len(times)]
            ratios = sorted(t / f for t, f in zip(times, floors, strict=True))
            fifth = len(ratios) // 5
            table.append(
                {
                    "case": name,
                    "lists": keep,
                    "constructor_seconds": built,
                    "seconds": statistics.median(times),
                    "floor_seconds": statistics.median(floors),
                    "ratio": statistics.median(ratios),
                    "ratio_p20": ratios[fifth],
                    "ratio_p80": ratios[-1 - fifth],
                    "limit": limit,
                }
            )
    return table


def machine() -> dict:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "clock": clock.__name__,
        "processor": platform.machine(),
        "torch": torch.__version__,
        "commit": commit.stdout.strip() or None,
    }


def markdown(table: list[dict], n: int) -> str:
    lines = [
        f"| step, 1 x 3 x {n} x {n}, float32 | returns | time | floor | ratio | p20 - p80 | promise | "
        "constructor |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in table:
        lines.append(
            f"| {row['case']} | {'lists' if row['lists'] else 'the last'} | "
            f"{1e3 * row['seconds']:.2f} ms | {1e3 * row['floor_seconds']:.2f} ms | {row['ratio']:.2f} | "
            f"{row['ratio_p20']:.2f} - {row['ratio_p80']:.2f} | {row['limit']:.0f} | "
            f"{1e3 * row['constructor_seconds']:.1f} ms |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1024, help="side of the picture (1024)")
    parser.add_argument("--steps", type=int, default=40, help="steps of a run (40)")
    parser.add_argument("--one-core", action="store_true", help="one thread, processor time")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    if options.one_core:
        global clock
        clock = time.process_time
        torch.set_num_threads(1)
    table = measure(options.size, options.steps)
    print(markdown(table, options.size))
    if options.out:
        options.out.write_text(json.dumps({"machine": machine(), "table": table}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

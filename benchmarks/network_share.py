"""Where the time of a restoration goes: python benchmarks/network_share.py [--size N] [--name NAME].

Restores a picture with the default prior, 20 steps of DDRM, with the operators of the demo, and reports the
seconds of a run and the share that is not the network's: operators, kernels, noise, everything.
Medians over several runs; results go to benchmarks/results/.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch

import ddrm_fast
from ddrm_fast import operators

HERE = Path(__file__).parent


def tasks(n: int) -> dict[str, tuple[operators.Operator, float]]:
    """The demo's degradations for n x n pixels."""
    half = torch.rand(n, n, generator=torch.Generator().manual_seed(0)) < 0.5
    return {
        "noise": (operators.Denoising(), 50 / 255),
        "super-resolution x4": (operators.SuperResolution(4), 0.05),
        "half of the pixels": (operators.Inpainting(half), 0.01),
        "motion blur": (operators.Blur(operators.motion_kernel(17, angle=30)), 0.01),
        "compressed sensing": (operators.BlockCS(block=16, ratio=4), 0.01),
    }


class Watched:
    """A prior whose calls are timed."""

    def __init__(self) -> None:
        self.prior = ddrm_fast.load_prior()
        self.prior.precision_on("cpu")  # (checks the network, once)
        self.seconds, self.network = 0.0, self.prior.network
        self.prior.network = self.call

    def call(self, *arguments):
        start = time.perf_counter()
        out = self.network(*arguments)
        self.seconds += time.perf_counter() - start
        return out


def measure(operator, sigma: float, n: int, runs: int) -> dict:
    """Medians over some runs of the seconds of a run and of the share outside the network."""
    picture = torch.rand(1, 3, n, n, generator=torch.Generator().manual_seed(1))
    y = ddrm_fast.degrade(picture, operator, sigma)
    watched, total, share = Watched(), [], []
    for i in range(runs + 1):
        watched.seconds = 0.0
        start = time.perf_counter()
        ddrm_fast.restore(y, operator, sigma, watched.prior)
        seconds = time.perf_counter() - start
        if i:  # the first one warms up
            total.append(seconds)
            share.append(1 - watched.seconds / seconds)
    return {"seconds": statistics.median(total), "outside": statistics.median(share)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=256, help="side of the picture (256)")
    parser.add_argument("--runs", type=int, default=7, help="runs of each task (7)")
    parser.add_argument("--name", help="also write benchmarks/results/NAME.json")
    options = parser.parse_args()
    table = {}
    for name, (operator, sigma) in tasks(options.size).items():
        row = table[name] = measure(operator, sigma, options.size, options.runs)
        print(
            f"{name:22} {row['seconds']:6.2f} s a run, {100 * row['outside']:5.1f} % outside the network"
        )
    if options.name:
        facts = {
            "size": options.size,
            "threads": torch.get_num_threads(),
            "precision": ddrm_fast.load_prior().precision_on("cpu"),
            "torch": torch.__version__,
        }
        path = HERE / "results" / f"{options.name}.json"
        path.write_text(json.dumps({**facts, "tasks": table}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

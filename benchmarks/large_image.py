"""Speed and memory of large pictures: ``python benchmarks/large_image.py [--sizes 0.25,1,4]``.

Megapixels per second, processor time, peak memory and where the time goes, for every method (whole, network
in tiles, mask-shift in memory and from disk to disk), tasks, windows, batches of waves, one and two
workers. Each case runs in a process of its own; results are stored in ``benchmarks/results/`` after each.
On a GPU: ``--device cuda --sizes 0.25,1,4,16,64``.
"""

import argparse
import sys
from pathlib import Path

from ddrm_fast.bench import large
from ddrm_fast.bench.facts import gather
from ddrm_fast.cli.bench import bench_large

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="0.25,1", help="megapixels (0.25,1)")
    parser.add_argument("--steps", type=int, default=4, help="of DDRM (4)")
    parser.add_argument("--prior", default="default", help="(default); trivial: none to speak of")
    parser.add_argument("--threads", type=int, default=1, help="of one process (1)")
    parser.add_argument("--device", default="cpu", help="(cpu)")
    parser.add_argument("--disk", help="folder for pictures on disk (the system's temporary one)")
    parser.add_argument("--workers", action="store_true", help="also one and two Ray workers")
    parser.add_argument("--only", help="this method alone, such as 'on disk'")
    parser.add_argument("--window", type=int, help="with --only: side of a window")
    parser.add_argument("--stride", type=int, help="with --only: from window to window")
    parser.add_argument("--name", default="large", help="of the files in benchmarks/results/")
    options = parser.parse_args()
    sizes = [float(text) for text in options.sizes.split(",")]
    settings = {name: getattr(options, name) for name in ("steps", "prior", "threads", "device")}
    settings["folder"] = options.disk
    if options.only:
        windows = {"window": options.window or 256, "stride": options.stride}
        chosen = [large.Case(size, method=options.only, **windows, **settings) for size in sizes]
    else:
        chosen = large.cases(sizes, **settings)
    if options.workers:
        both = {**settings, "threads": 2 * options.threads}
        chosen.append(large.Case(max(sizes), workers=2, **both))  # more windows in a wave
    return 0 if bench_large(chosen, gather(), RESULTS, options.name) else 1


if __name__ == "__main__":
    sys.exit(main())

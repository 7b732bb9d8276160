"""Proves and measures the GPU kernels in one call: ``python benchmarks/gpu.py`` (``make gpu``).

In the Python that runs it, which needs a CUDA build of PyTorch, pytest and scipy, and to build
setuptools, pybind11, CMake and Ninja; nvcc; no network. Under eight minutes:

1. build: the package with CUDA kernels for this GPU alone, into ``build/gpu/site``;
2. tests: the conformance matrix and the GPU's own tests, on every GPU backend;
3. sanitizer: memcheck and racecheck on small pictures;
4. bench: figures of everything whose tests are green;
5. plot.

A stage that fails or runs out of time is recorded, and the next one runs. Results lie in
``benchmarks/results/``: ``gpu.json`` (stages and figures), ``gpu.md``, ``gpu.png``, ``gpu.log``.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SITE = ROOT / "build" / "gpu" / "site"
OPERATIONS = (
    "pointwise_step", "block_step", "spectral_step", "alias_step", "block_measure", "block_lift",
    "known_step", "fwht_step", "fwht", "dct2", "predict_x0", "normal",
)  # fmt: skip
BACKENDS = ("cuda", "triton")
# seconds that each stage may take; what one leaves over serves the next
SECONDS = {"build": 120, "tests": 150, "sanitizer": 60, "bench": 120, "plot": 20}


class Stages:
    """Runs stages as processes of their own and keeps what became of them."""

    def __init__(self, results: Path, seconds: float) -> None:
        self.results, self.record = results, {}
        self.end, self.log = time.monotonic() + seconds, results / "gpu.log"
        self.log.write_text("")

    def run(self, name: str, command: list, seconds: float, **environment: str) -> bool:
        """True if the command succeeded in time."""
        allowed = min(seconds, self.end - time.monotonic())
        start, stage = time.monotonic(), {"command": " ".join(map(str, command))}
        if allowed < 5:
            stage["outcome"] = "left out: the time was over"
        else:
            stage["outcome"] = self._outcome(name, command, allowed, environment)
        stage["seconds"] = round(time.monotonic() - start, 1)
        self.record[name] = stage
        print(f"{name}: {stage['outcome']} ({stage['seconds']} s)", flush=True)
        return stage["outcome"] == "passed"

    def _outcome(self, name, command, allowed, environment) -> str:
        with self.log.open("a") as log:
            log.write(f"\n== {name}: {' '.join(map(str, command))}\n")
            log.flush()
            try:
                done = subprocess.run(
                    [str(word) for word in command],
                    cwd=ROOT,
                    env={**os.environ, **environment},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    timeout=allowed,
                )
            except subprocess.TimeoutExpired:
                return f"stopped after {allowed:.0f} s"
            except OSError as error:
                return f"could not start: {error}"
        return "passed" if done.returncode == 0 else f"failed with status {done.returncode}"

    def note(self, name: str, outcome: str) -> None:
        self.record[name] = {"outcome": outcome}
        print(f"{name}: {outcome}", flush=True)


def capability() -> str | None:
    """Compute capability of the first GPU ("90"), asked of PyTorch in a process of its own."""
    code = "import torch; print('%d%d' % torch.cuda.get_device_capability())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.stdout.strip() or None


def build(stages: Stages, architecture: str) -> dict[str, str]:
    """Environment of the later stages: the built package, or what is installed already."""
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation"]
    command += ["--no-deps", "--no-index", "--target", SITE, ROOT]
    built = stages.run(
        "build",
        command,
        SECONDS["build"],
        DDRM_FAST_CUDA="on",
        DDRM_FAST_CUDA_ARCHITECTURES=architecture,
    )
    search = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(SITE) if built else "", search]))}


def tests(stages: Stages, environment: dict[str, str]) -> set[str]:
    """Runs the tests; returns what is wrong, as "operation backend"."""
    report = stages.results / "gpu-tests.xml"
    report.unlink(missing_ok=True)
    files = [*sorted((ROOT / "tests").glob("test_conformance_*.py"))]
    files += [ROOT / "tests" / "test_gpu.py", ROOT / "tests" / "test_capture.py"]
    chosen = "cuda-cuda or triton-cuda or test_gpu or test_capture"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    command += ["-k", chosen, f"--junitxml={report}"]
    passed = stages.run("tests", command, SECONDS["tests"], **environment)
    if not report.is_file():
        stages.record["tests"]["red"] = "no report: nothing is known to be right"
        return set() if passed else {f"{o} {b}" for o in OPERATIONS for b in BACKENDS}
    counts, red = read_report(report)
    stages.record["tests"].update(counts, red=sorted(red))
    return red


def read_report(report: Path) -> tuple[dict[str, int], set[str]]:
    """Numbers of tests, and the pairs "operation backend" that have a red conformance test."""
    counts, red = {"tests": 0, "failed": 0, "skipped": 0}, set()
    for case in ElementTree.parse(report).iter("testcase"):
        counts["tests"] += 1
        counts["skipped"] += case.find("skipped") is not None
        if case.find("failure") is None and case.find("error") is None:
            continue
        counts["failed"] += 1
        words = re.split(r"[\[\]-]", case.get("name", ""))
        named = [o for o in OPERATIONS if o in words[0]] or OPERATIONS
        # "cuda-cuda" and "triton-cuda": backend and device
        backend = "triton" if "triton" in words[1:] else "cuda"
        red |= {f"{operation} {backend}" for operation in named}
    return counts, red


def sanitizer(stages: Stages, environment: dict[str, str]) -> None:
    places = [shutil.which("compute-sanitizer"), "/usr/local/cuda/bin/compute-sanitizer"]
    program = next((place for place in places if place and Path(place).is_file()), None)
    for tool in ("memcheck", "racecheck"):
        if program is None:
            stages.note(f"sanitizer {tool}", "left out: compute-sanitizer is not installed")
            continue
        command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable]
        command += [HERE / "gpu_small.py"]
        # every tensor an allocation of its own: what lies behind its end is no one's
        extra = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        seconds = SECONDS["sanitizer"] / 2
        stages.run(f"sanitizer {tool}", command, seconds, **environment, **extra)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="example: python benchmarks/gpu.py"
    )
    parser.add_argument("--seconds", type=float, default=465.0, help="for everything (465)")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="without a GPU, build and tests: shows the script works",
    )
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    stages = Stages(options.results, options.seconds)
    environment, red = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}, set()
    if not options.rehearse:
        architecture = capability()
        if architecture is None:
            print("PyTorch sees no GPU here; `--rehearse` runs the script without one")
            return 1
        environment = build(stages, architecture)
        red = tests(stages, environment)
        sanitizer(stages, environment)
    figures = options.results / "gpu-bench.json"
    figures.unlink(missing_ok=True)
    reds = options.results / "gpu-red.json"
    reds.write_text(json.dumps(sorted(red)))
    seconds = SECONDS["bench"] + max(0.0, stages.end - time.monotonic() - 140)
    command = [sys.executable, HERE / "gpu_bench.py", "--out", figures, "--red", reds]
    command += ["--seconds", str(int(seconds - 15))]
    command += ["--rehearse", "--no-compare"] if options.rehearse else []
    stages.run("bench", command, seconds, **environment)

    record = json.loads(figures.read_text()) if figures.is_file() else None
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    result = {"commit": commit.stdout.strip(), "stages": stages.record, **(record or {})}
    path = options.results / "gpu.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    if record is not None:
        plot = [sys.executable, HERE / "gpu_plot.py", path]
        stages.run("plot", plot, SECONDS["plot"], **environment)
        path.write_text(json.dumps(result, indent=1) + "\n")
    for leftover in (figures, reds):
        leftover.unlink(missing_ok=True)
    good = all(stage["outcome"] in ("passed",) for stage in stages.record.values())
    print(f"results in {options.results}" + ("" if good else "; not every stage passed"))
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())

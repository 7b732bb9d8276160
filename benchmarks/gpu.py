"""Proves and measures the GPU kernels in one call: ``python benchmarks/gpu.py`` (``make gpu``).

In the Python that runs it, which needs a CUDA build of PyTorch, tqdm, pytest, scipy, pybind11, CMake and
Ninja; nvcc and a C++ compiler; no network, and no installation. Under eight minutes:

1. build: the package with CUDA kernels for this GPU alone, into ``build/gpu/site``;
2. at the same time: the conformance matrix on every GPU backend, in shares; the GPU's own tests;
   memcheck and racecheck on small pictures; torch.compile of what the kernels are compared with, into
   its cache;
3. bench: figures of everything whose tests are green, with nothing else on the GPU;
4. plots.

A stage that fails or runs out of time is recorded, and the next one runs. ``--stages`` takes some of them
now and the others in a later call, which goes on from what lies in the results. They lie in
``benchmarks/results/`` and are written after every stage: ``gpu.json`` (stages and figures), ``gpu.md``,
``gpu.png``, ``gpu-roofline.png``, ``gpu.log``.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SITE = ROOT / "build" / "gpu" / "site"
OPERATIONS = (
    "pointwise_step", "block_step", "spectral_step", "alias_step", "block_measure", "block_lift",
    "known_step", "fwht_step", "fwht", "dct2", "predict_x0", "normal",
)  # fmt: skip
BACKENDS = ("cuda", "triton")
# tests whose names say no operation, by file
FILES = {
    "pointwise": ("pointwise_step",), "block": ("block_step", "block_measure", "block_lift"),
    "spectral": ("spectral_step",), "alias": ("alias_step",), "known": ("known_step",),
    "fwht_step": ("fwht_step",), "fwht": ("fwht",), "dct": ("dct2",), "predict_x0": ("predict_x0",),
    "normal": ("normal",),
}  # fmt: skip
MODULES = ("torch", "numpy", "tqdm", "safetensors", "PIL", "pytest", "scipy", "pybind11")
PROGRAMS = ("cmake", "ninja", "nvcc", "c++")
# seconds that each stage may take at most, and those that are kept back for the stages behind it, where
# there are TOTAL in all; in proportion where there are more or fewer
TOTAL = 465.0
SECONDS = {"build": 150, "tests": 170, "bench": 200, "plot": 30}
KEPT = {"build": 230, "tests": 130, "bench": 15, "plot": 0}
STAGES = ("build", "tests", "bench")


class Stages:
    """Runs stages as processes of their own and keeps what became of them, on disk as well.

    Args:
        results:
            Folder of ``gpu.json`` and ``gpu.log``.
        seconds:
            For everything.
        scale:
            What the limits of the stages are multiplied by.
    """

    def __init__(self, results: Path, seconds: float, scale: float = 1.0) -> None:
        self.results, self.scale, self.record, self.facts = results, scale, {}, {}
        self.end, self.log = time.monotonic() + seconds, results / "gpu.log"
        self.log.write_text("")
        self._lock = threading.Lock()

    def left(self) -> float:
        return self.end - time.monotonic()

    def run(
        self, name: str, command: list, seconds: float, kept: float = 0, **environment: str
    ) -> bool:
        """True if the command succeeded within ``seconds``, with ``kept`` left over for what follows."""
        allowed = min(self.scale * seconds, self.left() - self.scale * kept)
        start, stage = time.monotonic(), {"command": " ".join(map(str, command))}
        if allowed < 5:
            stage["outcome"] = "left out: the time was over"
        else:
            stage["outcome"] = self._outcome(name, command, allowed, environment)
        stage["seconds"] = round(time.monotonic() - start, 1)
        self.note(name, **stage)
        if stage["outcome"].startswith("failed") and name in ("configure", "build"):
            print(self.last_words(), flush=True)  # where the log does not come back, this does
        return stage["outcome"] == "passed"

    def _outcome(self, name, command, allowed, environment) -> str:
        output = self.results / f".{name.replace(' ', '-').replace('/', '-')}.log"
        try:
            with output.open("w") as log:
                process = subprocess.Popen(
                    [str(word) for word in command],
                    cwd=ROOT,
                    env={**os.environ, **environment},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                try:
                    status = process.wait(allowed)
                except subprocess.TimeoutExpired:
                    status = None
                # what it started goes with it: a process that stays would disturb the figures
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        except OSError as error:
            return f"could not start: {error}"
        finally:
            with self._lock, self.log.open("a") as log:
                log.write(f"\n== {name}: {' '.join(map(str, command))}\n")
                log.write(output.read_text(errors="replace"))
            output.unlink()
        if status is None:
            return f"stopped after {allowed:.0f} s"
        return "passed" if status == 0 else f"failed with status {status}"

    def last_words(self, count: int = 4000) -> str:
        """Lines of the log that speak of an error, and its end."""
        lines = self.log.read_text(errors="replace").splitlines()
        errors = [line for line in lines if "error" in line.lower()]
        return "\n".join([*errors[:20], *lines[-20:]])[-count:]

    def note(self, name: str, outcome: str, **more) -> None:
        seconds = f" ({more['seconds']} s)" if "seconds" in more else ""
        print(f"{name}: {outcome}{seconds}", flush=True)
        with self._lock:
            self.record[name] = {"outcome": outcome, **more}
        self.write()

    def go_on(self) -> None:
        """Takes up what an earlier call left in ``gpu.json``."""
        with contextlib.suppress(OSError, ValueError):
            self.facts = json.loads((self.results / "gpu.json").read_text())
            self.record = self.facts.pop("stages")

    def write(self, **facts) -> None:
        """Stores what is known so far."""
        with self._lock:
            self.facts.update(facts)
            text = json.dumps({"stages": self.record, **self.facts}, indent=1)
            (self.results / "gpu.json").write_text(text + "\n")


def lacking() -> list[str]:
    """What this Python and this machine have not and the stages need."""
    modules = [name for name in MODULES if importlib.util.find_spec(name) is None]
    return modules + [name for name in PROGRAMS if shutil.which(name) is None]


def capability() -> str | None:
    """Compute capability of the first GPU ("90"), asked of PyTorch in a process of its own."""
    code = "import torch; print('%d%d' % torch.cuda.get_device_capability())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.stdout.strip() or None


def build(stages: Stages, architecture: str) -> bool:
    """The package in ``SITE``, by CMake alone: nothing is installed.

    Args:
        architecture:
            Compute capability, "90".
    """
    shutil.rmtree(SITE, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "triton_kernels")
    shutil.copytree(ROOT / "ddrm_fast", SITE / "ddrm_fast", ignore=ignored)
    shutil.copytree(ROOT / "triton_kernels", SITE / "ddrm_fast" / "triton_kernels", ignore=ignored)
    code = "import pybind11; print(pybind11.get_cmake_dir())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    folder = SITE.parent / "cmake"
    configure = ["cmake", "--fresh", "-G", "Ninja", "-S", ROOT, "-B", folder]
    configure += ["-DCMAKE_BUILD_TYPE=Release", f"-DPython_EXECUTABLE={sys.executable}"]
    configure += [f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={SITE / 'ddrm_fast'}"]
    configure += [f"-Dpybind11_DIR={found.stdout.strip()}", "-DDDRM_FAST_CUDA=on"]
    configure += [f"-DDDRM_FAST_CUDA_ARCHITECTURES={architecture}"]
    kept = KEPT["build"]
    return stages.run("configure", configure, 60, kept) and stages.run(
        "build", ["cmake", "--build", folder], SECONDS["build"], kept
    )


def tests(
    stages: Stages, environment: dict[str, str], shares: int, rehearse: bool = False
) -> set[str]:
    """Tests, sanitizer and compilations at the same time; returns what is wrong ("operation backend")."""
    pytest = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    pytest += ["-p", "gpu_shard", "-W", "ignore::DeprecationWarning"]
    matrix = [*sorted((ROOT / "tests").glob("test_conformance_*.py"))]
    own = [ROOT / "tests" / "test_gpu.py", ROOT / "tests" / "test_capture.py"]
    extra = {**environment, "DDRM_FAST_TRITON_ALL": "1"}
    limits = (SECONDS["tests"], KEPT["tests"])

    def results(name: str) -> Path:
        return stages.results / f".{name.replace(' ', '-')}.jsonl"

    jobs = {f"matrix {k} of {shares}": (f"{k}/{shares}", matrix) for k in range(1, shares + 1)}
    jobs["tests of the GPU"] = "1/1", own
    work = []
    for name, (share, files) in jobs.items():
        results(name).unlink(missing_ok=True)
        command = [*pytest, *files, "--share", share, "--results", results(name)]
        chosen = "cpp-portable" if rehearse else "cuda-cuda or triton-cuda"
        command += ["-k", chosen] if files is matrix else []
        work.append((name, command, extra))
    work += sanitizers(stages, environment)
    ahead = [sys.executable, HERE / "gpu_bench.py", "--ahead", *["--rehearse"] * rehearse]
    work.append(("compile ahead", ahead, environment))
    with ThreadPoolExecutor(len(work)) as pool:
        for name, command, variables in work:
            pool.submit(stages.run, name, command, *limits, **variables)
    lines = []
    for name in jobs:
        if results(name).is_file():
            lines += results(name).read_text().splitlines()
            results(name).unlink()
    counts, red = read_results(lines)
    stages.write(tests={**counts, "red": sorted(red)})
    return red


def read_results(lines: list[str]) -> tuple[dict, set[str]]:
    """Numbers of tests, and the pairs "operation backend" that have no speed.

    Those are the ones that have a red test, and those of which no test came to an end. A red test that
    names no operation is listed and makes none of them wrong.
    """
    chosen, outcomes, failed = 0, Counter(), []
    green, red = set(), set()
    for line in lines:
        result = json.loads(line)
        chosen += result.get("chosen", 0)
        if "test" not in result:
            continue
        outcomes[result["outcome"]] += 1
        pairs = named_by(result["test"])
        if result["outcome"] == "failed":
            failed.append(result["test"])
            red |= pairs
        elif result["outcome"] == "passed":
            green |= pairs
    unknown = {f"{o} {b}" for o in OPERATIONS for b in BACKENDS} - green
    counts = {"chosen": chosen, **{k: outcomes[k] for k in ("passed", "failed", "skipped")}}
    return {**counts, "failures": failed[:50], "untested": sorted(unknown - red)}, red | unknown


def named_by(test: str) -> set[str]:
    """The pairs "operation backend" that a test speaks of."""
    file, _, name = test.rpartition("/")[2].partition("::")
    words = name.replace("[", "-").replace("]", "-").replace("idct2", "dct2").split("-")
    named = [o for o in OPERATIONS if o in words or any(o in w for w in words[:1])]
    if "fwht_step" in named and "fwht" not in words:
        named = [operation for operation in named if operation != "fwht"]
    part = file.removeprefix("test_conformance_").removesuffix(".py")
    operations = named or FILES.get(part, ())
    backends = [backend for backend in BACKENDS if backend in words]
    return {f"{operation} {backend}" for operation in operations for backend in backends[-1:]}


def sanitizers(stages: Stages, environment: dict[str, str]) -> list[tuple]:
    """Commands of compute-sanitizer; where it is not installed, that is said."""
    places = [shutil.which("compute-sanitizer"), "/usr/local/cuda/bin/compute-sanitizer"]
    program = next((place for place in places if place and Path(place).is_file()), None)
    # every tensor an allocation of its own: what lies behind its end is no one's
    variables = {**environment, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    work = []
    for tool in ("memcheck", "racecheck"):
        if program is None:
            stages.note(f"sanitizer {tool}", "left out: compute-sanitizer is not installed")
            continue
        # (PyTorch asks the driver for what it may not have: no errors of kernels)
        command = [program, "--tool", tool, "--report-api-errors", "no", "--error-exitcode", "9"]
        command += [sys.executable, HERE / "gpu_small.py"]
        work.append((f"sanitizer {tool}", command, variables))
    return work


def bench(stages: Stages, environment: dict[str, str], red: set[str], rehearse: bool) -> None:
    figures, reds = (stages.results / f".{name}.json" for name in ("figures", "red"))
    figures.unlink(missing_ok=True)
    reds.write_text(json.dumps(sorted(red)))
    seconds = min(SECONDS["bench"], stages.left() / stages.scale - KEPT["bench"])
    command = [sys.executable, HERE / "gpu_bench.py", "--out", figures, "--red", reds]
    command += ["--seconds", str(int(stages.scale * (seconds - 15)))]
    command += ["--rehearse"] if rehearse else []
    stages.run("bench", command, seconds, KEPT["bench"], **environment)
    if figures.is_file():
        stages.write(**json.loads(figures.read_text()))
        plot = [sys.executable, HERE / "gpu_plot.py", stages.results / "gpu.json"]
        stages.run("plot", plot, SECONDS["plot"], **environment)
    for leftover in (figures, reds):
        leftover.unlink(missing_ok=True)


def commit() -> str:
    try:
        command = ["git", "rev-parse", "--short", "HEAD"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def known_red(stages: Stages) -> set[str]:
    """What the tests of an earlier call found wrong; everything, where there was none."""
    found = stages.facts.get("tests", {})
    everything = [f"{operation} {backend}" for operation in OPERATIONS for backend in BACKENDS]
    return set(found.get("red", everything))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="example: python benchmarks/gpu.py"
    )
    parser.add_argument("--seconds", type=float, default=TOTAL, help="for everything (465)")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument(
        "--shares",
        type=int,
        default=max(1, min(10, (os.cpu_count() or 2) - 4)),
        help="of the conformance matrix, tested at the same time (four fewer than there are "
        "processors, 1 to 10)",
    )
    parser.add_argument(
        "--stages",
        default=",".join(STAGES),
        help=f"which of {', '.join(STAGES)} to run now (all); plots come with bench",
    )
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="without a GPU: every stage that can run without one, on tiny pictures",
    )
    options = parser.parse_args()
    chosen = options.stages.split(",")
    if unknown := set(chosen) - set(STAGES):
        parser.error(f"--stages: got {unknown.pop()!r}, expected some of {', '.join(STAGES)}")
    options.results.mkdir(parents=True, exist_ok=True)
    # programs that came with this Python, and the toolkit's own place
    found = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/local/cuda/bin"]
    os.environ["PATH"] = os.pathsep.join(found)
    stages = Stages(options.results, options.seconds, options.seconds / TOTAL)
    if "tests" not in chosen:
        stages.go_on()
    stages.write(commit=commit())
    missing = lacking()
    if missing:
        print(
            f"not here: {', '.join(missing)}. Bring them along as wheels: `pip download` where there "
            "is a network, `pip install --no-index --find-links FOLDER` here."
        )
        return 1
    architecture = "90" if options.rehearse else capability()
    if architecture is None:
        print("PyTorch sees no GPU here; `--rehearse` runs the script without one")
        return 1
    built = build(stages, architecture) if "build" in chosen else SITE.is_dir()
    search = [str(SITE) if built else "", str(HERE), os.environ.get("PYTHONPATH", "")]
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, search))}
    if "tests" in chosen:
        red = tests(stages, environment, options.shares, options.rehearse)
    else:
        red = known_red(stages)
    if "bench" in chosen:
        bench(stages, environment, set() if options.rehearse else red, options.rehearse)
    good = all(stage["outcome"] == "passed" for stage in stages.record.values())
    print(f"results in {options.results}" + ("" if good else "; not every stage passed"))
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())

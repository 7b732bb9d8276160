"""The script that proves and measures on a GPU, as far as it runs without one."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cuda_host
import pytest

from ddrm_fast import ops
from ddrm_fast.bench import TINY

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
gpu = pytest.importorskip("gpu")
gpu_bench = pytest.importorskip("gpu_bench")
gpu_plot = pytest.importorskip("gpu_plot")
gpu_verdicts = pytest.importorskip("gpu_verdicts")
gpu_small = pytest.importorskip("gpu_small")

RESULTS = [
    {"chosen": 6},
    {"test": "tests/test_conformance_fwht.py::test_matches[cuda-cuda-shape0]", "outcome": "passed"},
    {"test": "tests/test_conformance_fwht_step.py::test_bits[cuda-cuda]", "outcome": "passed"},
    {"test": "tests/test_conformance_block.py::test_shapes[r2-cuda-cuda]", "outcome": "failed"},
    {"test": "tests/test_conformance_pointwise.py::test_x[triton-cuda-a]", "outcome": "passed"},
    {"test": "tests/test_gpu.py::test_operation_in_a_graph[triton-dct2]", "outcome": "failed"},
    {"test": "tests/test_conformance_all.py::test_all[triton-fwht_step-b]", "outcome": "failed"},
    {"test": "tests/test_gpu.py::test_errors_on_a_gpu[cuda]", "outcome": "failed"},
    {"test": "tests/test_gpu.py::test_the_second_device[cuda]", "outcome": "skipped"},
]


def test_red_tests_are_named():
    """Operation and backend, by the test's name or its file; what no test has passed has no speed either."""
    counts, red = gpu.read_results([json.dumps(result) for result in RESULTS])
    assert [counts[k] for k in ("chosen", "passed", "failed", "skipped")] == [6, 3, 4, 1]
    everything = {f"{o} {b}" for o in gpu.OPERATIONS for b in gpu.BACKENDS}
    assert everything - red == {"fwht cuda", "fwht_step cuda", "pointwise_step triton"}
    wrong = everything - set(counts["untested"])
    assert wrong - {"fwht cuda", "fwht_step cuda", "pointwise_step triton"} == {
        "block_step cuda", "block_measure cuda", "block_lift cuda", "dct2 triton", "fwht_step triton",
    }  # fmt: skip
    assert counts["failures"][-1].endswith("test_errors_on_a_gpu[cuda]")


def test_shares_of_the_tests_are_all_of_them(tmp_path):
    """Each test in one share; a line for each that came to an end, also of one that fails."""
    (tmp_path / "test_few.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('n', range(7))\n"
        "def test_number(n):\n"
        "    assert n != 3\n"
    )
    seen = []
    for share in (1, 2, 3):
        results = tmp_path / f"{share}.jsonl"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "gpu_shard",
            "-p",
            "no:cacheprovider",
        ]
        command += ["--share", f"{share}/3", "--results", results, tmp_path / "test_few.py"]
        environment = {**os.environ, "PYTHONPATH": str(Path(gpu.__file__).parent)}
        subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True)
        lines = [json.loads(line) for line in results.read_text().splitlines()]
        assert lines[0]["chosen"] == len(lines) - 1 > 1
        seen += [(line["test"].partition("::")[2], line["outcome"]) for line in lines[1:]]
    names = [(f"test_number[{n}]", "failed" if n == 3 else "passed") for n in range(7)]
    assert sorted(seen) == names


def test_what_a_stage_started_ends_with_it(tmp_path):
    """A child that is left over would compute beside what is timed."""
    stages, alive = gpu.Stages(tmp_path, 100), tmp_path / "alive"
    child = f"import time; time.sleep(3); open({str(alive)!r}, 'w')"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}])"
    assert stages.run("parent", [sys.executable, "-c", code], 50)
    time.sleep(4)
    assert not alive.exists()


def test_time_is_kept_for_what_follows(tmp_path):
    stages = gpu.Stages(tmp_path, 100)
    assert not stages.run("greedy", [sys.executable, "-c", ""], 50, kept=97)
    assert stages.run("modest", [sys.executable, "-c", ""], 50, kept=10)
    stored = json.loads((tmp_path / "gpu.json").read_text())["stages"]
    assert [stage["outcome"][:6] for stage in stored.values()] == ["left o", "passed"]


def test_bounds_are_held_against_what_was_measured():
    """The worst row of each bound; where there is none, that is said."""

    def row(operation, case, part, target=None, **others):
        figures = {"part_of_copy": {"p50": part}, "seconds": {"p50": 2.0}}
        others = {name.replace("_", " "): {"p50": value} for name, value in others.items()}
        return {
            "operation": operation, "case": case, "target": target,
            "backends": {"cuda": figures}, "others": others,
        }  # fmt: skip

    table = [
        row("pointwise_step", "gain, noise inside", 0.91, "85 % of copy"),
        row("pointwise_step", "denoising, noise given", 0.87, "85 % of copy", compiled=4.0),
        row("spectral_step", "noise given", 0.8, "85 % of copy", compiled=1.6),
        row("fwht", "1024 x 1024", 0.5, "2.2 copies at 1024 x 1024"),
    ]
    overhead = [{"backend": "cuda", "operator": "denoising", "added": {"p50": 7e-6}}]
    lines = gpu_verdicts.verdicts({"table": table, "step_overhead": overhead})
    said = {line["what"]: line["measured"] for line in lines}
    assert said["pointwise_step, cuda: bytes a second, part of a copy's"] == "87 %"
    assert said["block_step, cuda: bytes a second, part of a copy's"] == "not measured"
    assert said["noise given, cuda: times compiled"] == "1.25"
    assert said["Walsh-Hadamard, cuda: copies"] == "2.00"
    assert said["step of the captured loop, cuda: added to the network"] == "7.0 microseconds"
    assert said["Walsh-Hadamard: Triton's time over CUDA's"] == "not measured"
    assert sum(value == "not measured" for value in said.values()) > 8


def test_a_stage_that_fails_is_recorded(tmp_path):
    stages = gpu.Stages(tmp_path, 100)
    assert stages.run("good", [sys.executable, "-c", "print('said')"], 50)
    assert not stages.run("bad", [sys.executable, "-c", "raise SystemExit(3)"], 50)
    assert not stages.run("slow", [sys.executable, "-c", "import time; time.sleep(60)"], 5.5)
    assert not stages.run("absent", [tmp_path / "nothing"], 50)
    stages.end = 0
    assert not stages.run("late", [sys.executable, "-c", ""], 50)
    outcomes = {name: stage["outcome"] for name, stage in stages.record.items()}
    assert outcomes["good"] == "passed" and outcomes["bad"] == "failed with status 3"
    assert outcomes["slow"].startswith("stopped") and outcomes["absent"].startswith("could not")
    assert outcomes["late"].startswith("left out")
    assert "said" in stages.log.read_text()


@pytest.mark.skipif(cuda_host.build.missing() is not None, reason=str(cuda_host.build.missing()))
def test_every_case_runs_on_the_cuda_sources(tmp_path):
    """Tiny pictures; red operations have no figures, and the table can be read."""
    bench = gpu_bench.Bench("cpu", [cuda_host.NAME], {f"fwht {cuda_host.NAME}"}, 1e30, 1)
    gpu_bench.kernels(bench, TINY)
    measured = {row["operation"] for row in bench.table if row["backends"]}
    assert measured == set(gpu.OPERATIONS) - {"fwht"}
    assert all("conformance tests are red" in skipped["why"] for skipped in bench.skipped)
    record = {"machine": gpu_bench.machine("cpu"), "rehearsal": True, "table": bench.table}
    text = gpu_plot.markdown(json.loads(json.dumps({**record, "skipped": bench.skipped})))
    assert "these figures mean nothing" in text and "super-resolution x16" in text


@pytest.mark.parametrize("shape", gpu_small.SHAPES, ids=str)
def test_what_the_sanitizer_watches_runs(shape):
    """Every operation once, in pictures of one pass and of two."""
    with ops.use_backend("cpp"):
        gpu_small.operations(shape, "cpu")


def test_a_case_that_fails_is_recorded():
    bench = gpu_bench.Bench("cpu", [], set(), 1e30, 1)
    bench.guarded("broken", lambda: 1 / 0)
    assert bench.skipped == [{"case": "broken", "why": "ZeroDivisionError: division by zero"}]

"""The script that proves and measures on a GPU, as far as it runs without one."""

import json
import sys
from pathlib import Path

import cuda_host
import pytest

from ddrm_fast import ops
from ddrm_fast.bench import TINY

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
gpu = pytest.importorskip("gpu")
gpu_bench = pytest.importorskip("gpu_bench")
gpu_plot = pytest.importorskip("gpu_plot")
gpu_small = pytest.importorskip("gpu_small")

REPORT = """<testsuites><testsuite>
<testcase name="test_fwht_matches[cuda-cuda-shape0]"/>
<testcase name="test_block_step_matches_for_shapes[r2-cuda-cuda]"><failure>x</failure></testcase>
<testcase name="test_spectral_step_in_place[triton-cuda]"><error>x</error></testcase>
<testcase name="test_the_second_device[cuda]"><skipped/></testcase>
</testsuite></testsuites>"""


def test_red_tests_are_named(tmp_path):
    """Operation and backend; a red test that names no operation makes all of them wrong."""
    (tmp_path / "report.xml").write_text(REPORT)
    counts, red = gpu.read_report(tmp_path / "report.xml")
    assert counts == {"tests": 4, "failed": 2, "skipped": 1}
    assert red == {"block_step cuda", "spectral_step triton"}
    whole = REPORT.replace("test_block_step_matches_for_shapes", "test_operations_in_a_graph")
    (tmp_path / "report.xml").write_text(whole)
    assert {f"{name} cuda" for name in gpu.OPERATIONS} <= gpu.read_report(tmp_path / "report.xml")[
        1
    ]


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
    gpu_bench.kernels(bench, TINY, compare=())
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

"""`ddrm-fast bench --large` and what it measures."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ddrm_fast.bench import large as bench_large
from ddrm_fast.bench.large import Case
from ddrm_fast.cli import main
from ddrm_fast.cli.bench import bench_large as bench
from ddrm_fast.large.clock import Clock

SMALL = Case(0.01, window=64, steps=1, prior="trivial")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder; cases run in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench_large, "measure", bench_large._measure)
    return tmp_path


@pytest.mark.parametrize("method", bench_large.METHODS)
def test_parts_of_the_time_make_the_whole(method):
    if method == "on disk":
        pytest.importorskip("zarr", reason="zarr is not installed")
    row = bench_large._measure(replace(SMALL, method=method))
    seconds = row["seconds"]
    assert row["side"] == 96 and row["peak_bytes"] > 0 and row["precision"] == "float32"
    assert seconds["all"] == pytest.approx(sum(seconds.values()) - seconds["all"], abs=2e-3)
    assert min(seconds.values()) >= 0
    assert row["megapixels_per_second"] == pytest.approx(96 * 96 / 1e6 / seconds["all"], rel=1e-2)


def test_cases_cover_what_is_asked_for():
    found = bench_large.cases([0.5, 2.0], steps=3)
    assert {case.method for case in found if case.megapixels == 2.0} == set(bench_large.METHODS)
    assert {case.task for case in found} == set(bench_large.TASKS)
    assert all(case.megapixels == 2.0 for case in found if case.method == "tiles")
    assert len({(case.window, case.stride) for case in found}) == 5
    assert {case.waves for case in found if case.batch > 1} == {True, False}
    assert len(set(found)) == len(found) and all(case.steps == 3 for case in found)


def test_a_case_runs_in_a_process_of_its_own():
    row = bench_large.measure(SMALL)
    assert row["side"] == 96 and row["method"] == "mask-shift"


def test_the_table_and_its_files(here, capsys):
    pytest.importorskip("zarr", reason="zarr is not installed")
    line = ["bench", "--large", "0.01,0.02", "--prior", "trivial", "--steps", "1", "--quiet"]
    assert main([*line, "--threads", "1", "--out", "results"]) == 0
    text = capsys.readouterr().out
    assert text.count("| denoising | on disk |") >= 1 and "colorization" in text
    record = json.loads((here / "results/large.json").read_text())
    assert len(record["table"]) == len(bench_large.cases([0.01, 0.02]))
    assert (here / "results/large.md").read_text().strip() in text
    assert (here / "results/large.png").exists() or "no plot: matplotlib" in text


def test_what_cannot_run_is_left_out(here, capsys):
    rows = bench([replace(SMALL, prior="gone"), SMALL], {}, None, quiet=True)
    said = capsys.readouterr().err
    assert len(rows) == 1 and "left out: Case(megapixels=0.01" in said and "prior 'gone'" in said


@pytest.mark.parametrize("words", [["--large", "much"], ["--large", "1", "--steps", "0"]])
def test_bad_arguments(here, capsys, words):
    assert main(["bench", *words]) == 1
    assert f"{words[0] if len(words) == 2 else words[2]}: got" in capsys.readouterr().err


@pytest.mark.parametrize(
    "took, middle, count",
    [([9.0], 9.0, 1), ([1.0, 4.0, 2.0], 2.0, 3), ([1.0, 0.5, 0.2, 0.1, 0.3], 0.3, 5)],
)
def test_short_runs_are_repeated_and_the_middle_one_counts(monkeypatch, took, middle, count):
    now, clock, left = [0.0], Clock(), list(took)

    def run():
        seconds = left.pop(0)
        now[0] += seconds
        clock.seconds["network"] += seconds / 2

    timer = SimpleNamespace(perf_counter=lambda: now[0], process_time=lambda: 3 * now[0])
    monkeypatch.setattr(bench_large, "time", timer)
    seconds, used, parts = bench_large._median_run(run, clock)
    assert len(took) - len(left) == count
    assert seconds == pytest.approx(middle) and used == pytest.approx(3 * middle)
    assert parts["network"] == pytest.approx(middle / 2) and parts["read"] == 0

"""The command line as a whole: `bench`, `info`, versions and help."""

import json

import pytest
import torch
from cli_cases import fails, record

from ddrm_fast import __version__
from ddrm_fast.cli import main
from ddrm_fast.ops import dispatch


def test_bench(here, capsys):
    line = ["bench", "--size", "32", "--repeats", "2", "--quiet", "--prior", "gaussian"]
    assert main([*line, "--out", "b"]) == 0
    found = record(here / "b/bench.json")
    figures = [row["backends"]["cpp"] for row in found["table"]]
    assert all(f["seconds"]["p50"] > 0 and f["part_of_copy"]["p50"] > 0 for f in figures)
    assert all(set(row["others"]) == {"eager", "published"} for row in found["table"])
    assert min(found["ceilings"]["cpu"].values()) > 0
    assert all(row["flops"] > row["bytes"] for row in found["table"])
    said = capsys.readouterr().out
    assert "| blur (FFT) step | 1 x 3 x 32 x 32 | float32 | cpp |" in said
    assert "not measured: backend reference on cpu: it is what the others are compared" in said
    assert {entry["what"] for entry in found["skipped"]} >= {"backend cuda on cpu"}
    if not torch.cuda.is_available():
        assert "not measured: device cuda: PyTorch sees no GPU here" in said
        assert "sees no GPU" in fails(capsys, "bench", "--size", "32", "--device", "cuda")
    assert "--only: got 'x-ray'" in fails(capsys, "bench", "--only", "x-ray")
    line = ["bench", "--size", "32", "--repeats", "1", "--quiet", "--only", "denoising"]
    assert main([*line, "--operations", "--backend", "cpp", "--batch", "2"]) == 0
    said = capsys.readouterr().out
    assert "| fwht_step: 32 x 32, noise inside | 2 x 3 x 32 x 32 |" in said and "x eager" in said
    assert "inpainting step" not in said
    assert "power of two" in fails(capsys, "bench", "--size", "100")
    (here / "taken").write_text("a file where the folder should be")
    assert "cannot be written" in fails(capsys, "bench", "--size", "32", "--out", "taken")


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"ddrm-fast {__version__}\n"


def test_info(capsys):
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    for word in ("ddrm_fast", "backends", "instruction set", "threads", "default", "cuda"):
        assert word in said
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["backends"]["reference"].startswith("available")


def test_info_explains_a_backend_that_cannot_run(capsys, monkeypatch):
    monkeypatch.setattr(dispatch, "_requested", None)
    monkeypatch.setenv(dispatch.ENVIRONMENT, "abacus")
    dispatch.choose.cache_clear()
    try:
        assert main(["info"]) == 0
    finally:
        monkeypatch.undo()
        dispatch.choose.cache_clear()
    said = capsys.readouterr().out
    assert "abacus, which cannot run (backend: unknown name 'abacus'" in said


@pytest.mark.parametrize("command", ["restore", "degrade", "evaluate", "bench", "info", "train"])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as exit:
        main([command, "--help"])
    said = capsys.readouterr().out
    assert exit.value.code == 0 and "example" in said and f"ddrm-fast {command}" in said

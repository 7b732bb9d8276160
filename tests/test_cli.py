"""The command line as a whole: `bench`, `info`, versions and help."""

import argparse
import json
import re
import shlex
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch
from cli_cases import fails, record

from ddrm_fast import __version__
from ddrm_fast.cli import COMMANDS, build_parser, main, train_ddpm
from ddrm_fast.ops import dispatch

ROOT = Path(__file__).parent.parent


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
    facts = json.loads(capsys.readouterr().out)
    assert facts["backends"]["reference"].startswith("available")
    assert facts["optional packages"] == {name: installed(name) for name in optional_packages()}


def optional_packages():
    """What the extras of this package name, but for tests, style and benchmarks' runners."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    named = {
        re.match(r"[\w-]+", requirement).group()
        for extra, requirements in extras.items()
        for requirement in requirements
        if extra not in ("test", "lint")
    }
    return sorted(named - {"pytest", "pytest-benchmark"})


def installed(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def examples():
    """Every line of every --help that calls a command of this program."""
    parser = build_parser()
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        text = command.epilog.replace("\\\n", " ")
        for line in text.splitlines():
            call = re.match(r" +(?:accelerate launch .*-m ddrm_fast\.cli|ddrm-fast) (.*)", line)
            if call:
                yield pytest.param(
                    shlex.split(call.group(1).partition(" | ")[0]), id=f"{name}: {line}"
                )


EXAMPLES = list(examples())


def test_every_command_has_examples():
    shown = {words.values[0][0] for words in EXAMPLES}
    assert shown == {command.__name__.rpartition(".")[2].replace("_", "-") for command in COMMANDS}
    assert any("launch" in words.id for words in EXAMPLES)


@pytest.mark.parametrize("words", EXAMPLES)
def test_examples_of_help_parse(words):
    arguments = build_parser().parse_args(words)
    if words[0] == "train-ddpm" and not arguments.resume:
        assert train_ddpm.configure(arguments).size == arguments.size


def test_info_explains_a_backend_that_cannot_run(capsys, monkeypatch):
    monkeypatch.setattr(dispatch, "_requested", None)
    monkeypatch.setenv(dispatch.ENVIRONMENT, "abacus")
    dispatch.forget()
    try:
        assert main(["info"]) == 0
    finally:
        monkeypatch.undo()
        dispatch.forget()
    said = capsys.readouterr().out
    assert "abacus, which cannot run (backend: unknown name 'abacus'" in said


@pytest.mark.parametrize("command", ["restore", "degrade", "evaluate", "bench", "info", "train"])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as exit:
        main([command, "--help"])
    said = capsys.readouterr().out
    assert exit.value.code == 0 and "example" in said and f"ddrm-fast {command}" in said

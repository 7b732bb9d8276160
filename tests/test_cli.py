"""The command line as a whole: `bench`, `info`, versions and help."""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch
from cli_cases import fails, record

from ddrm_fast import __version__
from ddrm_fast.cli import COMMANDS, build_parser, main, train_ddpm
from ddrm_fast.cli.commands import options
from ddrm_fast.io import encode
from ddrm_fast.large import restore as large_restore
from ddrm_fast.large import windows
from ddrm_fast.machine import workers
from ddrm_fast.ops import dispatch
from ddrm_fast.priors import precision
from ddrm_fast.registry import TASKS

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
                    shlex.split(re.split(r" [|>] ", call.group(1))[0]), id=f"{name}: {line}"
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


@pytest.mark.parametrize(
    "command", ["restore", "degrade", "evaluate", "bench", "info", "train", "tasks", "completion"]
)
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as exit:
        main([command, "--help"])
    said = capsys.readouterr().out
    assert exit.value.code == 0 and "example" in said and f"ddrm-fast {command}" in said


def test_help_and_completion_import_no_torch():
    """Which takes a second and a half; and the help of every command says what it did before."""
    code = (
        "import sys\nfrom ddrm_fast.cli import build_parser, command_of, COMMANDS\n"
        "parser = build_parser()\n"
        "names = [c.__name__.rpartition('.')[2].replace('_', '-') for c in COMMANDS]\n"
        "texts = [command_of(parser, name).format_help() for name in names]\n"
        "assert 'torch' not in sys.modules and min(map(len, texts)) > 200"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_what_the_options_repeat_is_so():
    """Words of modules that help does not import."""
    assert options.PRECISIONS == precision.PRECISIONS and options.ORDERS == windows.ORDERS
    assert options.GPU_BATCH == large_restore.GPU_BATCH and options.LOCAL == workers.LOCAL
    assert options.FORMATS == tuple(suffix[1:] for suffix in encode.FORMATS)


def test_tasks(capsys):
    assert main(["tasks"]) == 0
    said = capsys.readouterr().out
    assert all(f"--task {name}\n" in said and TASKS[name].complaint in said for name in TASKS)
    assert "--sampler repaint" in said and "ddim" not in said
    assert main(["tasks", "deblur"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("blur: blur\n") and "--kernel KERNEL  needed: FILE" in said
    assert "ddrm-fast restore photo.png --task blur --kernel motion:15,30" in said
    assert "did you mean oldphoto?" in fails(capsys, "tasks", "oldphot")


def test_the_documents_have_the_tables_of_today(capsys):
    assert main(["tasks", "--markdown"]) == 0
    assert capsys.readouterr().out in (ROOT / "docs/command-line.md").read_text()


def test_the_nearest_is_offered(capsys):
    assert "did you mean restore?" in fails(capsys, "restoer", "a.png", status=2)
    line = fails(capsys, "restore", "a.png", "--tsak", "noise", status=2)
    assert "unrecognized arguments: --tsak noise; did you mean --task?" in line
    line = fails(capsys, "restore", "a.png", "--task", "nois", status=2)
    assert "argument --task: invalid choice: task: got 'nois', did you mean noise?" in line
    line = fails(capsys, "restore", "a.png", "--task", "noise", "--sampler", "ddmr", status=2)
    assert "did you mean ddrm" in line
    line = fails(capsys, "restore", "a.png", "--task", "noise", "--sampler", "ddim", status=2)
    assert "ddim draws from the prior; expected one of hqs, ddrm" in line


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh", "powershell"])
def test_completion_scripts(capsys, shell):
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "ddrm-fast" in script and "end-on-measurement" in script and "oldphoto" in script
    if shutil.which(shell) and shell in ("bash", "zsh", "fish"):
        checked = subprocess.run([shell, "-n"], input=script, text=True, capture_output=True)
        assert checked.returncode == 0, checked.stderr


def test_bash_completes(capsys, tmp_path):
    """The script, asked as bash asks it."""
    pytest.importorskip("shtab")
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    for words, expected in (
        (["ddrm-fast", "re"], ["restore"]),
        (["ddrm-fast", "restore", "--end"], ["--end-on-measurement"]),
        (["ddrm-fast", "restore", "a.png", "--task", "ol"], ["oldphoto"]),
        (["ddrm-fast", "restore", "a.png", "--sampler", "re"], ["red-diff", "red", "repaint"]),
    ):
        line = f"""
            source {tmp_path / "script"}
            COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}
            function=$(complete -p ddrm-fast | sed 's/.*-F \\([^ ]*\\).*/\\1/')
            $function; echo "${{COMPREPLY[@]}}"
        """
        found = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
        assert found.stdout.split() == expected, (words, found.stdout, found.stderr)

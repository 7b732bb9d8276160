"""An operator and a sampler that were written by following the documents alone, used from the shell."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_cases import picture, scene

from ddrm_fast import registry
from ddrm_fast.cli import main
from ddrm_fast.io import read_measurement
from ddrm_fast.registry import SamplerEntry, Task
from ddrm_fast.registry.entries import Registry
from ddrm_fast.registry.fields import described_arguments, fields_of
from ddrm_fast.samplers import DDRM

ROOT = Path(__file__).parent.parent
QUICK = ["--prior", "gaussian", "--samples", "1", "--quiet"]


def shell(here, *words, plugins):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DDRM_FAST_PLUGINS": plugins}
    line = [sys.executable, "-m", "ddrm_fast.cli", *words]
    return subprocess.run(line, cwd=here, env=environment, capture_output=True, text=True)


@pytest.fixture
def written(here):
    """One file each, as the documents have it."""
    for page, name in (
        ("adding-an-operator.md", "cosine.py"),
        ("adding-a-sampler.md", "anneal.py"),
    ):
        text = (ROOT / "docs" / page).read_text()
        blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
        (here / name).write_text("\n".join(blocks))
    return here


def test_an_operator_and_a_sampler_by_the_documents(written):
    here, plugins = written, "cosine.py,anneal.py"
    picture(here / "a.png", scene(3, 16, 12))
    line = ["degrade", "a.png", "--task", "coscs", "--kept", "random:0.25", "--out", "measured"]
    found = shell(here, *line, plugins=plugins)
    assert found.returncode == 0, found.stderr
    stored = read_measurement(here / "measured/a.npz")
    assert stored.task == "coscs" and stored.arrays["kept"].shape == (16, 12)
    line = ["restore", "measured/a.npz", "--sampler", "anneal", "--trust", "0.7", "--steps", "3"]
    found = shell(here, *line, *QUICK, plugins=plugins)
    assert found.returncode == 0, found.stderr
    record = json.loads((here / "restored/a.json").read_text())
    assert record["parameters"]["sampler"] == "Anneal(steps=3, trust=0.7)"
    assert record["parameters"]["task"] == "coscs" and record["residual"]["mean"] < 0.2
    said = shell(here, "restore", "--help", plugins=plugins).stdout
    assert "coscs" in said and "--kept MASK" in said and "--trust X" in said and "anneal" in said


def test_an_edit_by_the_documents(here):
    """The last block of its page is one file, and ``--edit`` its name; the record draws the same picture."""
    text = (ROOT / "docs/adding-an-edit.md").read_text()
    (here / "calmer.py").write_text(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[-1])
    picture(here / "a.png", scene(3, 16, 12))
    line = [
        "restore",
        "a.png",
        "--task",
        "noise",
        "--sigma",
        "0.5",
        "--steps",
        "4",
        *QUICK,
        "--arrays",
    ]
    drawn = {}
    for out, more in (("plain", []), ("calm", ["--edit", "calmer:share=0.9"])):
        found = shell(here, *line, "--out", out, *more, plugins="calmer.py")
        assert found.returncode == 0, found.stderr
        drawn[out] = torch.from_numpy(np.load(here / out / "a-arrays.npz")["samples"])
    assert not torch.equal(drawn["plain"], drawn["calm"])
    parameters = json.loads((here / "calm/a.json").read_text())["parameters"]
    assert parameters["edits"] == ["calmer:share=0.9"]
    assert "edits" not in json.loads((here / "plain/a.json").read_text())["parameters"]
    found = shell(here, *line, "--edit", "calmer:much=1", plugins="calmer.py")
    assert found.returncode == 1 and "--edit: calmer does not take 'much=1'" in found.stderr
    found = shell(here, *line, "--edit", "calme", plugins="calmer.py")
    assert found.returncode == 1 and "did you mean calmer" in found.stderr
    assert "calmer" in shell(here, "restore", "--help", plugins="calmer.py").stdout


def test_without_the_plugin_its_file_is_explained(written):
    picture(written / "a.png", scene(3, 16, 12))
    line = ["degrade", "a.png", "--task", "coscs", "--kept", "random:0.25", "--out", "measured"]
    assert shell(written, *line, plugins="cosine.py").returncode == 0
    found = shell(written, "restore", "measured/a.npz", *QUICK, plugins="")
    assert found.returncode == 1 and "task: got 'coscs', " in found.stderr


def test_a_plugin_that_fails_is_named(written):
    (written / "bad.py").write_text("raise RuntimeError('out of order')")
    found = shell(written, "--version", plugins="bad.py,none.py,cosine.py")
    assert (
        found.returncode == 0 and "bad.py is left out: RuntimeError: out of order" in found.stderr
    )
    assert "none.py is left out" in found.stderr


def test_every_parameter_has_its_option(capsys, caplog):
    """None of a sampler's is left out because a task or the command has an option of that name."""
    with pytest.raises(SystemExit):
        main(["restore", "--help"])
    said = capsys.readouterr().out
    assert "keeps its default" not in caplog.text
    for entry in registry.SAMPLERS.values():
        if entry.restores:
            assert all(parameter.option in said for parameter in entry.parameters), entry.name


def test_names_belong_to_one():
    tasks = Registry("task")
    tasks.register(Task(name="a", summary="", make=object, aliases=("b",)))
    tasks.register(Task(name="a", summary="again", make=object, aliases=("b",)))
    assert tasks.find("b").summary == "again"
    for name, aliases in (("b", ()), ("c", ("a",)), ("c", ("b",))):
        with pytest.raises(ValueError, match=r"^task: the name '.' belongs to a already"):
            tasks.register(Task(name=name, summary="", make=object, aliases=aliases))


def test_an_unknown_name_is_answered_with_the_nearest():
    for text, nearest in (("ddmr", "ddrm"), ("repant", "repaint"), ("ddnm-plus", None)):
        if nearest is None:
            assert registry.SAMPLERS.find(text).name == "ddnm+"
            continue
        with pytest.raises(ValueError, match=rf"^sampler: got '{text}', did you mean .*{nearest}"):
            registry.SAMPLERS.find(text)
    with pytest.raises(ValueError, match="^sampler: got 'zzz', expected one of hqs, ddrm"):
        registry.SAMPLERS.find("zzz")


def test_parameters_of_a_dataclass():
    found = {p.name: p for p in fields_of(DDRM, leave=("steps",))}
    assert set(found) == {"eta", "eta_b", "eta_c", "start_scale"}
    assert found["eta"].default == 0.85 and found["eta"].read("0.5") == 0.5
    assert found["eta_b"].help == "Trust in the measurement of the other measured directions."
    assert found["start_scale"].read("published") == "published" and found["eta_c"].default is None
    with pytest.raises(ValueError, match="^eta: got 'x', expected a number$"):
        found["eta"].read("x")
    with pytest.raises(TypeError, match="expected a dataclass"):
        fields_of(int)
    text = "One.\n\nArgs:\n    a, b:\n        Of both\n        lines.\n    c: short\n\nReturns:\n    x: no"
    assert described_arguments(text) == {"a": "Of both lines.", "b": "Of both lines.", "c": "short"}


def test_entries_say_what_they_are():
    for task in registry.TASKS.values():
        assert task.summary and task.complaint
        assert all(parameter.help for parameter in task.parameters)
        assert all(parameter.example for parameter in task.parameters)
    for sampler in registry.SAMPLERS.values():
        assert isinstance(sampler, SamplerEntry) and sampler.summary

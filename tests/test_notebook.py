"""The notebook of the examples runs from its first cell to its last, and says what its outputs show."""

import json
import re
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_walkthrough(monkeypatch, capsys):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    monkeypatch.chdir(EXAMPLES)
    notebook = json.loads((EXAMPLES / "walkthrough.ipynb").read_text())
    names = {"__name__": "__main__"}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    figures = 0
    for cell in cells:
        exec(compile("".join(cell["source"]), "walkthrough.ipynb", "exec"), names)
        shown = "".join("".join(o["text"]) for o in cell["outputs"] if o.get("name") == "stdout")
        said = capsys.readouterr().out
        for was, now in zip(numbers(shown), numbers(said), strict=True):
            assert abs(was - now) < 0.1 + 0.02 * abs(was), f"{shown!r} became {said!r}"
        figures += sum("image/png" in o.get("data", {}) for o in cell["outputs"])
    assert figures == len(cells) - 1  # all but the first
    assert torch.allclose(names["result"].samples.mean(0), names["result"].mean, atol=1e-6)
    matplotlib.pyplot.close("all")


def numbers(text):
    return [float(word) for word in re.findall(r"-?\d+(?:\.\d+)?", text)]

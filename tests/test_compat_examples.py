"""The port guide's scripts: two import lines apart, and they run; its code blocks do too."""

import difflib
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


def test_two_lines_change():
    before, after = (
        (EXAMPLES / f"port_ddrm_{name}.py").read_text().splitlines() for name in ("before", "after")
    )
    changed = [line for line in difflib.ndiff(before, after) if line.startswith(("- ", "+ "))]
    assert [line for line in changed if line.startswith("- ")] == [
        "- from functions.denoising import efficient_generalized_steps",
        "- from functions.svd_replacement import SuperResolution",
    ]
    assert [line for line in changed if line.startswith("+ ")] == [
        "+ from ddrm_fast.compat.ddrm import efficient_generalized_steps",
        "+ from ddrm_fast.compat.ddrm import SuperResolution",
    ]


@pytest.mark.parametrize("name", ["after", "own"])
def test_script_runs(name, tmp_path, monkeypatch, capsys):
    out = tmp_path / "sub" / "restored.png"
    arguments = ["--side", "64", "--steps", "5", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [f"port_ddrm_{name}.py", *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(EXAMPLES / f"port_ddrm_{name}.py"), run_name="__main__")
    assert not end.value.code
    quality = float(re.search(r": ([\d.]+) dB", capsys.readouterr().out).group(1))
    assert quality > 15 and out.exists()


def test_guide_runs():
    """Blocks of docs/porting.md, with what the reader has already."""
    text = (ROOT / "docs" / "porting.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) >= 3
    namespace = {
        "x_true": torch.rand(1, 3, 32, 32),
        "betas": torch.linspace(1e-4, 2e-2, 1000),
        "model": lambda x, t: 0.5 * x,
        "device": "cpu",
    }
    for block in blocks:
        exec(block, namespace)

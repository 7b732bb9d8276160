"""`ddrm-fast bench --network`: what it says of a network that is known."""

import json

import pytest
import torch

from ddrm_fast import Prior
from ddrm_fast.bench.network import REST, NetworkProfile, report
from ddrm_fast.cli import main


class OneAtATime(torch.nn.Module):
    """Two convolutions, for one picture."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.last = torch.nn.Conv2d(8, 3, 1)

    def forward(self, x, t):
        if len(x) > 1:
            raise ValueError("one picture at a time\nand no more")
        return self.last(torch.relu(self.first(x)))


@pytest.fixture
def profile():
    return NetworkProfile(Prior(OneAtATime()), 16, "cpu", repeats=2)


def test_operations_are_counted(profile):
    assert profile.flops() == 2 * 16 * 16 * (9 * 3 * 8 + 8 * 3)


def test_number_formats_and_what_cannot_run(profile):
    rows = {row.name: row for row in profile.variants()}
    assert rows["float32"].seconds > 0 and rows["float32"].error is None
    assert 0 < rows["bfloat16"].error < 0.02
    refused = rows["float32, 4 at a time"]
    assert refused.seconds is None and refused.why == "one picture at a time"


def test_shares_of_a_call_and_of_a_restoration(profile):
    kinds = profile.kinds()
    assert sum(kinds.values()) == pytest.approx(1)
    assert kinds["convolutions"] > 0 and kinds[REST] > 0 and kinds["normalisation"] == 0
    seconds, share = profile.of_a_restoration()
    assert seconds > 0 and 0 < share < 1


def test_the_report(profile):
    text, record = report(profile)
    assert "one picture at a time" in text and "20 steps of DDRM" in text
    assert record["precision"] == "float32" and len(record["variants"]) == 8


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = ["bench", "--network", "--prior", "gaussian", "--size", "32", "--repeats", "1"]
    assert main([*line, "--out", "out"]) == 0
    assert "gaussian" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/bench.json").read_text())["network"]["cpu"]["side"] == 32

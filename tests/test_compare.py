"""`ddrm-fast compare`, and what it is made of."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from ddrm_fast.cli import main
from ddrm_fast.evaluation import comparison
from ddrm_fast.evaluation.cases import CASES
from ddrm_fast.priors.gaussian import GaussianPrior
from ddrm_fast.registry import SAMPLERS
from ddrm_fast.samplers import DAPS, DDRM, HQS, RED, SNIPS, Steps


@pytest.mark.parametrize("name", comparison.usual())
def test_every_sampler_makes_as_many_calls_as_were_asked_for(name):
    x = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = comparison.compared(CASES["sr2"], x, GaussianPrior(), comparison.contender(name, 12))
    if name not in (comparison.ESTIMATE, comparison.SAMPLE):
        least = 12 if not hasattr(SAMPLERS.get(name), "calls") else 8
        assert least - 4 <= found["calls"] <= 12
    assert math.isfinite(found["psnr"]) and math.isfinite(found["residual"])
    assert found["seconds"] > 0 and found["by"]


def test_settings_and_calls_of_a_name():
    assert comparison.contender("ddrm:eta=0.5:eta_b=0.9", 20).sampler == DDRM(
        Steps("karras", 20, 3.0, 0.01), eta=0.5, eta_b=0.9
    )
    assert comparison.contender("daps", 20).sampler.steps.count == 5
    assert comparison.contender("pnp-hqs", 7).sampler == HQS(Steps("geometric", 7, 0.192, 0.0039))
    assert comparison.contender("snips:rounds=4", 20).sampler.steps.count == 5
    assert comparison.contender("red", 9).sampler == RED(rounds=9)
    assert comparison.contender("snips", 20).sampler == SNIPS(Steps("geometric", 10, 2.0, 0.01))
    assert isinstance(comparison.contender("daps:calls=1", 5).sampler, DAPS)


@pytest.mark.parametrize(
    "text, message",
    [
        ("ddim", "draws from the prior"),
        ("ddmr", "did you mean ddrm"),
        ("ddrm:eta", "expected settings ddrm has: eta="),
        ("ddrm:rate=1", "expected settings ddrm has: eta="),
        ("ddrm:eta=3", "eta"),
    ],
)
def test_names_that_are_none(text, message):
    with pytest.raises(ValueError, match=message):
        comparison.contender(text, 10)


def test_a_sampler_that_cannot_says_why():
    x = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = comparison.compared(
        CASES["jpeg-40"], x, GaussianPrior(), comparison.contender("ddrm", 3)
    )
    assert "works in the singular basis" in found["refused"]
    table = comparison.means({"ddrm": {"jpeg-40": {"a": found}}})
    assert table == {}


def test_times_are_medians_and_figures_means():
    pictures = {
        str(n): {"psnr": p, "seconds": t}
        for n, (p, t) in enumerate([(20.0, 1.0), (22.0, 1.2), (24.0, 90.0)])
    }
    found = comparison.means({"ddrm": {"sr2": pictures}})["ddrm"]["sr2"]
    assert found == {"pictures": 3, "psnr": 22.0, "seconds": 1.2}


def test_memory_is_that_of_the_run():
    x = torch.rand(3, 256, 256, generator=torch.Generator().manual_seed(0))
    found = comparison.compared(CASES["sr2"], x, GaussianPrior(), comparison.contender("ddrm", 2))
    if "memory" in found:  # (Linux)
        assert found["memory"] > x.nbytes / 2**20


def test_tables_have_the_best_in_bold():
    found = {"a": {"x": {"psnr": 20.0, "seconds": 1.0}}, "b": {"x": {"psnr": 21.0, "seconds": 2.0}}}
    rows = comparison.markdown(found, ["x", "y"], "psnr", 1).splitlines()
    assert rows[2:] == ["| a | 20.0 | - |", "| b | **21.0** | - |"]
    assert "**1.00**" in comparison.markdown(found, ["x"], "seconds", 2)
    assert "**" not in comparison.markdown(found, ["x"], "calls", 2)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((48, 40), Image.Resampling.BICUBIC).save(
            folder / f"{number}.png"
        )
    return folder


def test_from_the_shell_and_on_with_what_is_missing(photos, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    line = [
        "compare",
        str(photos),
        "--prior",
        "gaussian",
        "--crop",
        "16",
        "--calls",
        "4",
        "--quiet",
        "--out",
        str(out),
    ]
    names = ["--samplers", "estimate,ddrm", "--cases", "sr2"]
    assert main([*line, *names]) == 0
    printed = capsys.readouterr().out
    assert "| ddrm |" in printed and (out / "compare.md").read_text().startswith(
        "2 pictures, 16 pixels a side"
    )
    first = json.loads((out / "compare.json").read_text())
    ran = []
    compared = comparison.compared
    monkeypatch.setattr(comparison, "compared", lambda *a: ran.append(a[3].name) or compared(*a))
    assert main([*line, "--samplers", "estimate,ddrm,red", "--cases", "sr2"]) == 0
    assert ran == ["red", "red"]
    second = json.loads((out / "compare.json").read_text())
    assert second["results"]["ddrm"] == first["results"]["ddrm"] and "red" in second["means"]
    assert (out / "compare.png").is_file()
    assert main([*line, *names, "--prior", "default"]) == 1
    assert "--prior: got default, the comparison in" in capsys.readouterr().err
    assert main([*line, *names, "--samples", "2"]) == 1
    assert "--samples: got 2, the comparison in" in capsys.readouterr().err
    (out / "compare.json").write_text("{}")
    assert main([*line, *names]) == 1
    assert "is no comparison" in capsys.readouterr().err


def test_mean_and_error_bars_of_several_samples(photos, tmp_path):
    out = tmp_path / "out"
    words = [
        "--samplers",
        "sample",
        "--cases",
        "sr2",
        "--samples",
        "3",
        "--calls",
        "3",
        "--limit",
        "1",
    ]
    assert main(["compare", str(photos), "--crop", "16", "--quiet", "--out", str(out), *words]) == 0
    text = (out / "compare.md").read_text()
    assert "PSNR of the samples' mean" in text and "% within 68 % bars" in text


@pytest.mark.parametrize(
    "words, message",
    [
        (["--samplers", "nothing"], "--samplers: "),
        (["--samplers", ","], "--samplers: got none"),
        (["--calls", "0"], "--calls: got '0'"),
        (["--cases", "sr99"], "--cases: got 'sr99'"),
    ],
)
def test_bad_options(photos, tmp_path, capsys, words, message):
    assert main(["compare", str(photos), "--out", str(tmp_path / "o"), *words]) == 1
    assert message in capsys.readouterr().err

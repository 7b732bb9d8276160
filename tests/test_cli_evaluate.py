"""`evaluate`: tables, sets of pictures, and what it leaves out."""

import math
import os
from importlib import import_module

import pytest
import torch
from cli_cases import QUICK, fails, files, picture, record, scene

from ddrm_fast import restoration
from ddrm_fast.cli import main
from ddrm_fast.evaluation import perceptual
from ddrm_fast.evaluation.perceptual import Features
from ddrm_fast.io import read_picture


def test_evaluate(here, capsys):
    os.mkdir("clean")
    picture("clean/a.png", scene(3, 32, 32))
    picture("clean/grey.png", scene(1, 32, 40))
    (here / "clean/bad.png").write_bytes(b"")
    cases = "noise-25,sr2-noise,inpaint-50,blur-motion,color"
    line = ["evaluate", "clean", "--cases", cases, "--crop", "24", "--sheets", "sheets", *QUICK]
    assert main(line) == 1
    captured = capsys.readouterr()
    assert "clean/bad.png: is empty" in captured.err and "1 of 3 pictures failed" in captured.err
    found = record(here / "evaluation.json")
    assert [row["case"] for row in found["table"]] == cases.split(",")
    rows = {row["case"]: row for row in found["table"]}
    assert rows["noise-25"]["pictures"] == 2 and rows["color"]["pictures"] == 1
    assert rows["noise-25"]["psnr_input"] == pytest.approx(20.2, abs=0.5)
    assert rows["noise-25"]["psnr_mean"] > rows["noise-25"]["psnr_sample"] > 15
    assert rows["sr2-noise"]["psnr_bicubic"] > 15 and rows["sr2-noise"]["psnr_input"] is None
    assert "noise-25" in captured.out and len(files(here / "sheets")) == 9

    (here / "clean/bad.png").unlink()
    sheets = {p: p.stat().st_mtime_ns for p in (here / "sheets").iterdir()}
    assert main(line) == 0  # everything is there already
    assert sheets == {p: p.stat().st_mtime_ns for p in (here / "sheets").iterdir()}
    assert record(here / "evaluation.json")["table"] == found["table"]


def colour_means(pictures):
    """What a network sees that takes the mean of each colour, in [0, 1]."""
    means = pictures.double().mean(dim=(2, 3)).expand(-1, 3)
    return Features(means, means)


@pytest.fixture
def networks(monkeypatch):
    """Feature networks in closed form; a test may take one away."""
    pytest.importorskip("torchmetrics")

    def distance(estimate, truth):
        assert estimate.shape == truth.shape
        return float((estimate - truth).abs().mean())

    monkeypatch.setattr(perceptual, "load_lpips", lambda *a: distance)
    monkeypatch.setattr(perceptual, "load_inception", lambda *a: colour_means)
    return monkeypatch


def frechet(restored, clean):
    """FID of two lists of pictures for these features, in plain algebra."""
    a, b = (torch.cat([colour_means(x[None]).pooled for x in set_]) for set_ in (restored, clean))
    product = torch.linalg.eigvals(torch.cov(a.T) @ torch.cov(b.T)).sqrt().real.sum()
    spread = torch.cov(a.T).trace() + torch.cov(b.T).trace() - 2 * product
    return float((a.mean(0) - b.mean(0)).square().sum() + spread)


def test_evaluate_compares_sets(here, capsys, networks):
    os.mkdir("clean")
    for number in range(101):
        picture(f"clean/{number:03}.png", scene(3, 8, 8, number))
    picture("clean/grey.png", scene(1, 8, 8))
    line = ["evaluate", "clean", "--cases", "noise-50", "--pictures", "clean/restored"]
    line += ["--prior", "gaussian", "--steps", "1", "--samples", "1", "--quiet"]
    assert main([*line, "--limit", "99"]) == 0
    said = capsys.readouterr().out
    assert (
        "left out: FID, KID and Inception Score of noise-50: 99 pictures, expected at least" in said
    )
    assert main(line) == 0  # its own pictures are no inputs
    said, row = capsys.readouterr().out, record(here / "evaluation.json")["table"][0]
    assert "left out" not in said and "FID" in said and f"{row['fid']:.2f}" in said
    names = [f"{number:03}" for number in range(101)] + ["grey"]
    restored, clean = (
        [
            read_picture(here / f"clean/{folder}{name}.png").pixels.expand(3, -1, -1)
            for name in names
        ]
        for folder in ("restored/noise-50/", "")
    )
    assert row["fid"] == pytest.approx(frechet(restored, clean), rel=1e-6)
    assert row["pictures"] == 102 and row["kid"] is not None and row["inception_score"] >= 1
    assert row["lpips_sample"] is None  # 8 pixels are too few for it


def test_evaluate_goes_on_where_it_has_to(here, capsys, networks):
    """LPIPS that became available, and a sample that is gone or another one, are made; all else is kept."""
    os.mkdir("clean")
    for name in "ab":
        picture(f"clean/{name}.png", scene(3, 32, 32, ord(name)))
    line = ["evaluate", "clean", "--cases", "noise-25,sr2", "--pictures", "kept", *QUICK]
    lost = "LPIPS: needs the weights of AlexNet"

    def missing(*_):
        raise perceptual.Unavailable(lost)

    with networks.context() as patch:
        patch.setattr(perceptual, "load_lpips", missing)
        assert main(line) == 0
    assert f"left out: {lost}" in capsys.readouterr().out
    found = record(here / "evaluation.json")
    assert found["left_out"][0] == lost and "lpips" not in found["results"]["sr2"]["a"]["sample"]
    assert found["table"][0]["psnr_sample"] > 15

    assert main(line) == 0
    said = capsys.readouterr().out
    found = record(here / "evaluation.json")
    # of white noise the mean size is sigma sqrt(2 / pi); clipping takes a little
    expected = 25 / 255 * (2 / math.pi) ** 0.5
    assert found["table"][0]["lpips_input"] == pytest.approx(expected, rel=0.1)
    assert "LPIPS" in said and f"{found['table'][1]['lpips_bicubic']:.3f}" in said

    calls = []
    draw = restoration.draw
    networks.setattr(restoration, "draw", lambda *a, **k: calls.append(1) or draw(*a, **k))
    assert main(line) == 0 and not calls
    (here / "kept/sr2/a.png").unlink()
    picture("kept/noise-25/b.png")  # of another evaluation
    assert main(line) == 0 and len(calls) == 2
    assert main(line) == 0 and len(calls) == 2


def test_evaluate_refuses(here, capsys):
    picture("a.png")
    picture("grey.png", scene(1))
    assert "all inputs are grey" in fails(
        capsys, "evaluate", "grey.png", "--cases", "color", *QUICK
    )
    os.remove("evaluation.json")
    (here / "letter.json").write_text('{"dear": "reader"}')
    assert "--cases: got 'x'" in fails(capsys, "evaluate", "a.png", "--cases", "x", *QUICK)
    line = fails(capsys, "evaluate", "a.png", "--out", "letter.json", *QUICK)
    assert "is not the result of an evaluation" in line
    assert record(here / "letter.json") == {"dear": "reader"}
    assert "is a folder" in fails(capsys, "evaluate", "a.png", "--out", ".", *QUICK)
    os.mkdir("in")
    picture("in/a.png")
    line = fails(capsys, "evaluate", "in", "--pictures", "in", *QUICK)
    assert "--pictures: in holds all the inputs" in line


def test_how_long_is_said_before(here, capsys, monkeypatch):
    """Of all cases of all pictures, by the calls of the first; nothing where nobody waits, or asked for."""
    for name in ("evaluate", "compare"):
        monkeypatch.setattr(import_module(f"ddrm_fast.cli.{name}"), "QUICK", 1)
    picture("a.png", scene(3, 32, 32))
    picture("b.png", scene(3, 32, 32))
    line = [
        "evaluate",
        "a.png",
        "b.png",
        "--cases",
        "noise-25,sr2",
        "--prior",
        "gaussian",
        "--samples",
        "2",
    ]
    assert main([*line, "--steps", "4", "--out", "x.json"]) == 0
    # two samples of four steps of two cases
    assert "16 network calls for each of 2 pictures" in capsys.readouterr().err
    assert main([*line, "--out", "y.json"]) == 0
    # the plans: samples of 19 and 20 steps, estimates of 1 and 10
    assert f"{2 * 19 + 2 * 20 + 1 + 10} network calls" in capsys.readouterr().err
    assert main([*line, "--out", "z.json", "--quiet"]) == 0
    assert "network calls" not in capsys.readouterr().err
    line = ["compare", "a.png", "--cases", "sr2", "--samplers", "estimate,ddrm", "--calls", "4"]
    assert main([*line, "--prior", "gaussian"]) == 0
    assert "2 runs, 8 network calls" in capsys.readouterr().err

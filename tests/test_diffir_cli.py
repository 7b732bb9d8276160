"""`ddrm-fast restore --model`: folders, samples, what is finished, what does not fit."""

import json

import golden_diffir as golden
import pytest
import torch
from golden_diffir import HERE

from ddrm_fast import cli, diffir
from ddrm_fast.io import Picture, read_picture, write_picture


@pytest.fixture
def photos(here):
    network, _, _ = golden.network(HERE / "deblur_S2.npz")
    torch.save({"params": network.state_dict()}, "model.pth")
    (here / "photos").mkdir()
    for name, size in (("a", (19, 26)), ("b", (8, 5))):
        write_picture(here / "photos" / f"{name}.png", Picture(torch.rand(3, *size)))
    return network


def test_folder(photos, here, capsys):
    command = [
        "restore",
        "photos",
        "--model",
        "model.pth",
        "--out",
        "out",
        "--quiet",
        "--device",
        "cpu",
    ]
    assert cli.main(command) == 0
    (folder,) = {path.parent for path in (here / "out").rglob("a.png")}
    y = read_picture("photos/a.png").pixels[None]
    expected = diffir.restore(photos, y).mean[0].clamp(0, 1)
    assert (read_picture(folder / "a.png").pixels - expected).abs().max() < 1 / 255
    record = json.loads((folder / "a.json").read_text())
    assert record["files"] == ["a.png"] and record["feature_map_bytes"] > 0
    before = (folder / "a.png").stat().st_mtime_ns
    assert cli.main([word for word in command if word != "--quiet"]) == 0
    assert "finished already" in capsys.readouterr().out
    assert (folder / "a.png").stat().st_mtime_ns == before


def test_samples(photos, here):
    command = ["restore", "photos/b.png", "--model", "model.pth", "--out", "out", "--quiet"]
    assert cli.main([*command, "--samples", "2", "--seed", "3"]) == 0
    names = {path.name for path in (here / "out").iterdir()}
    assert names == {"b-1.png", "b-2.png", "b-mean.png", "b-uncertainty.png", "b.json"}


def test_what_does_not_fit(photos, capsys):
    common = ["restore", "photos/b.png", "--out", "out", "--quiet", "--model"]
    for words, message in (
        (["none.pth"], "none.pth: no such file"),
        (["model.pth", "--task", "noise"], "--task: is not for --model"),
        (["model.pth", "--mask", "random:0.5"], "--mask: got one, but the model is for deblurring"),
    ):
        assert cli.main([*common, *words]) == 1
        assert message in capsys.readouterr().err

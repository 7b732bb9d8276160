"""The DDRM paper's protocol, from a folder of pictures to the table, on small ones."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ddrm_fast
from ddrm_fast import operators
from ddrm_fast.evaluation import metrics, perceptual
from ddrm_fast.evaluation.perceptual import Features, Unavailable
from ddrm_fast.io import read_picture

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
protocol = pytest.importorskip("ddrm_protocol")

SMALL = ["--size", "32", "--steps", "2", "--quiet"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three pictures of other shapes, one grey, one in a sub-folder; no feature networks."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clean/n01").mkdir(parents=True)
    for index, (name, size) in enumerate({"a": (40, 36), "n01/b": (33, 70), "c": (32, 32)}.items()):
        waves = np.random.default_rng(index).uniform(30, 220, (5, 5, 3)).astype(np.uint8)
        image = Image.fromarray(waves).resize(size, Image.Resampling.BICUBIC)
        (image.convert("L") if name == "c" else image).save(tmp_path / f"clean/{name}.png")

    def missing(*_):
        raise Unavailable("LPIPS: needs AlexNet")

    monkeypatch.setattr(perceptual, "load_lpips", missing)
    monkeypatch.setattr(perceptual, "load_inception", missing)
    return tmp_path


def rows(out):
    return {
        (row["task"], row["sigma"]): row
        for row in json.loads((out / "table.json").read_text())["rows"]
    }


def fails(capsys, *words):
    assert protocol.main([*map(str, words), *SMALL]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_every_task_end_to_end(folder, capsys):
    """With the default prior; the paper's figures stand beside."""
    assert protocol.main(["clean", "--limit", "2", "--out", "out", *SMALL]) == 0
    said = capsys.readouterr().out
    found = rows(folder / "out")
    assert list(found) == [(task, sigma) for task in protocol.TASKS for sigma in (0, 0.05)]
    for row in found.values():
        assert row["pictures"] == 2 and row["calls"] == 2 and row["lpips"] is None
        assert 8 < row["psnr"] < 120 and 5 < row["baseline_psnr"] < 100
    assert "| sr4 | 0 | 2 | 2 |" in said and "| 20 | 26.55 | 7.22 | 25.65 |" in said
    assert "| 20 | 25.45 | - | - |" in said  # a figure without a source is left out
    assert "left out: LPIPS: needs AlexNet" in said
    assert (folder / "out/table.md").read_text() in said
    assert {p.name for p in (folder / "out/sr4-0").iterdir()} == {"a.png", "c.png", "figures.jsonl"}


def test_figures_are_those_of_restore(folder):
    """Whatever the batch: each picture has its own noise."""
    for batch in ("1", "3"):
        line = ["clean", "--tasks", "sr4", "--noise", "0.05", "--out", batch, "--batch-size", batch]
        assert protocol.main([*line, *SMALL]) == 0
    one, three = (rows(folder / out)["sr4", 0.05] for out in "13")
    values, restored = [], {}
    for name in ("a", "n01/b", "c"):
        truth = protocol.load_picture(folder / f"clean/{name}.png", 32)
        seed, operator = protocol.seed_of(name, 0), operators.SuperResolution(4)
        y = ddrm_fast.degrade(truth[None], operator, 0.05, seed)
        result = ddrm_fast.restore(y, operator, 0.05, sampler=ddrm_fast.DDRM(2), seed=seed)
        restored[name] = result.mean[0]
        values.append(metrics.psnr(result.mean[0], truth))
    assert one["psnr"] == pytest.approx(sum(values) / 3, abs=1e-4)
    assert three["psnr"] == pytest.approx(
        sum(values) / 3, abs=1e-3
    )  # convolutions of other batches
    for name, expected in restored.items():
        kept = read_picture(folder / f"1/sr4-0.05/{name}.png").pixels
        torch.testing.assert_close(kept, expected, rtol=0, atol=0.51 / 255)


def test_pictures_are_the_square_in_the_middle(folder):
    wide = np.zeros((40, 90, 3), np.uint8)
    wide[:, 25:65] = np.arange(40, dtype=np.uint8)[None, :, None]
    Image.fromarray(wide).save("wide.png")
    found = protocol.load_picture(Path("wide.png"), 40)
    expected = torch.arange(40).float().expand(3, 40, 40) / 255
    torch.testing.assert_close(found, expected)


def test_goes_on_after_a_kill(folder, monkeypatch):
    line = ["clean", "--tasks", "color", "--noise", "0", "--out", "out", *SMALL]
    assert protocol.main(line) == 0
    before = rows(folder / "out")
    log = folder / "out/color-0/figures.jsonl"
    lines = log.read_text().splitlines()
    log.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:20])  # cut in the middle of a line
    (folder / "out/color-0/a.png").unlink()
    restored, restore = [], ddrm_fast.restore

    def counted(*arguments, **keywords):
        restored.append(len(arguments[0]))
        return restore(*arguments, **keywords)

    monkeypatch.setattr(ddrm_fast, "restore", counted)
    assert protocol.main(line) == 0
    assert sum(restored) == 2 and rows(folder / "out") == before
    assert protocol.main(line) == 0 and sum(restored) == 2


def test_lpips_and_kid_where_their_networks_are(folder, monkeypatch, capsys):
    pytest.importorskip("torchmetrics")
    line = ["clean", "--tasks", "sr2", "--noise", "0", "--out", "out", *SMALL]
    assert protocol.main(line) == 0
    monkeypatch.setattr(
        perceptual, "load_lpips", lambda *a: lambda x, y: float((x - y).abs().max())
    )
    means = lambda x: x.double().mean(dim=(2, 3)).expand(-1, 3)  # noqa: E731
    monkeypatch.setattr(
        perceptual, "load_inception", lambda *a: lambda x: Features(means(x), means(x))
    )
    capsys.readouterr()
    assert protocol.main(line) == 0  # LPIPS was missing before
    said = capsys.readouterr().out
    assert "3 pictures, expected at least 100" in said
    assert 0 < rows(folder / "out")["sr2", 0]["lpips"] < 1
    monkeypatch.setattr(perceptual, "FEWEST_PICTURES", 3)
    monkeypatch.setattr(perceptual, "SPLITS", 2)
    assert protocol.main(line) == 0
    row = rows(folder / "out")["sr2", 0]
    assert f"| {1000 * row['kid']:.2f} |" in capsys.readouterr().out


def test_an_unreadable_picture_is_skipped_and_counted(folder, capsys):
    (folder / "clean/bad.png").write_bytes(b"no picture")
    line = ["clean", "--tasks", "sr2", "--noise", "0", "--out", "clean/out", *SMALL]
    assert protocol.main(line) == 1
    assert "skipped: clean/bad.png: not readable" in capsys.readouterr().out
    assert rows(folder / "clean/out")["sr2", 0]["pictures"] == 3
    assert protocol.main(line) == 1  # its own pictures are no inputs
    assert rows(folder / "clean/out")["sr2", 0]["pictures"] == 3


def test_a_list_chooses_and_names_classes(folder, monkeypatch):
    """Labels reach the network."""
    Path("list.txt").write_text("c.png 2\n\nn01/b 0\n")
    labels = []

    def network(x, t, label):
        labels.append(label.tolist())
        return x

    prior = ddrm_fast.Prior(network, name="three classes", num_classes=3)
    monkeypatch.setattr(ddrm_fast, "load_prior", lambda *a: prior)
    line = ["clean", "--tasks", "sr2", "--noise", "0", "--list", "list.txt", "--batch-size", "2"]
    assert protocol.main([*line, *SMALL]) == 0
    assert labels == [[2, 0]] * 2
    text = (folder / "ddrm_protocol/table.md").read_text()
    assert "DDRM-CC" in text


def test_a_classifier_guides(folder, monkeypatch):
    """Towards bright pictures for label 1, dark ones for label 0."""

    class Brightness(torch.nn.Module):
        def forward(self, x, t):
            bright = 300 * x.mean(dim=(1, 2, 3))
            return torch.stack([-bright, bright], dim=1)

    def load(path, config):
        assert (path, config) == (Path("classifier.pt"), {"classes": 2})
        return Brightness()

    monkeypatch.setattr(protocol, "load_classifier", load)
    Path("classifier.pt").write_bytes(b"weights")
    Path("classifier.json").write_text('{"classes": 2}')
    guide = ["--classifier", "classifier.pt", "--classifier-config", "classifier.json"]
    brightness = []
    for label in "01":
        Path("list.txt").write_text(f"a {label}\n")
        line = [
            "clean",
            "--tasks",
            "inpaint-50",
            "--noise",
            "0",
            "--list",
            "list.txt",
            "--out",
            label,
        ]
        assert protocol.main([*line, *guide, *SMALL]) == 0
        brightness.append(float(read_picture(f"{label}/inpaint-50-0/a.png").pixels.mean()))
    assert brightness[1] > brightness[0] + 0.001


def test_refuses(folder, capsys, monkeypatch):
    line = ["clean", "--tasks", "sr2", "--noise", "0", "--out", "out"]
    assert "--tasks: got 'sr3'" in fails(capsys, "clean", "--tasks", "sr3")
    assert "--noise: got '2'" in fails(capsys, "clean", "--noise", "2")
    assert "--limit" in fails(capsys, "clean", "--limit", "0")
    assert protocol.main([*line, "--size", "31"]) == 1
    assert "--size: got '31'" in capsys.readouterr().err
    Path("list.txt").write_text("a 1 2\n")
    assert "line 1 of list.txt is 'a 1 2'" in fails(capsys, *line, "--list", "list.txt")
    Path("list.txt").write_text("a\nd\n")
    assert "line 2 of list.txt: there is no picture d" in fails(capsys, *line, "--list", "list.txt")
    Path("config.json").write_text("{")
    said = fails(capsys, *line, "--prior-config", "config.json")
    assert "config.json is not readable as JSON" in said
    assert "classifier.pt: no such file" in fails(capsys, *line, "--classifier", "classifier.pt")
    Path("empty").mkdir()
    assert "holds no pictures" in fails(capsys, "empty")
    assert not Path("out").exists()
    assert protocol.main([*line, *SMALL]) == 0
    capsys.readouterr()
    said = fails(capsys, *line, "--prior", "gaussian")
    assert "another configuration: prior: 'gaussian'" in said
    assert "cannot be moved to meta" in fails(
        capsys, "clean", "--prior", "gaussian", "--device", "meta"
    )
    prior = ddrm_fast.Prior(lambda x, t, label: x, name="three classes", num_classes=3)
    monkeypatch.setattr(ddrm_fast, "load_prior", lambda *a: prior)
    assert "three classes wants a class for every picture" in fails(capsys, "clean")

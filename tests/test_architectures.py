"""The comparison of networks at equal time: small ones, for a moment."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddrm_fast.priors.networks.denoiser import DenoiserConfig
from ddrm_fast.training import learning_rate_at
from ddrm_fast.training.data.crops import CropConfig
from ddrm_fast.training.denoiser import TrainingConfig, build_source

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
architectures = pytest.importorskip("architectures")


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two folders of small pictures."""
    monkeypatch.chdir(tmp_path)
    for folder, count in (("photos", 3), ("unseen", 2)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            waves = np.random.default_rng(number).uniform(0, 255, (6, 6, 3)).astype(np.uint8)
            image = Image.fromarray(waves).resize((40, 34), Image.Resampling.BICUBIC)
            image.save(tmp_path / folder / f"{number}.png")
    return tmp_path


LINE = ["photos", "8:1:8", "8,16:1,2:8", "--test", "unseen", "--seconds", "1", "--dead-leaves", "0",
        "--patch", "16", "--batch", "2", "--out", "out.json"]  # fmt: skip


def test_networks_by_name():
    read = architectures.read_network
    assert read("48,64") == DenoiserConfig((48, 64))
    assert read("48,64:3") == DenoiserConfig((48, 64), 3)
    assert read("48,64:1,2:96") == DenoiserConfig((48, 64), (1, 2), 96)
    for text in ("", "48;64", "48:1:2:3", "48:1:8,8", "a"):
        with pytest.raises(ValueError, match="expected CHANNELS"):
            read(text)
    with pytest.raises(ValueError, match="embedding: got 3"):
        read("48:1:3")


def test_a_time_of_training_ends_with_a_falling_rate(folders):
    config = TrainingConfig(
        model=DenoiserConfig((8,), 1, 8), crops=CropConfig(patch=16), leaves_share=0, batch=2
    )
    source = build_source(config, ["photos"])
    trainer, taken = architectures.train_for(config, source, 1.0)
    decay = trainer.fit.decay_steps
    assert trainer.step == trainer.fit.steps > 8 and taken > 5 / 8
    assert decay == round((trainer.step - decay) * 3 / 5)
    assert trainer.fit.learning_rate == learning_rate_at(config, trainer.step - decay)
    last = learning_rate_at(trainer.fit, trainer.step - 1)
    assert 0 < last < 10 * trainer.fit.learning_rate / decay**2


def test_denoising_is_measured_in_decibels_of_the_picture():
    """Without denoising, 20 log10(255 / level) where nothing is clipped."""
    grey = [torch.full((3, 50, 60), 0.5)] * 2
    found = architectures.denoising(lambda x, sigma: x, grey)
    for level in (5, 15, 25):
        assert found[str(level)] == pytest.approx(20 * math.log10(255 / level), abs=0.15)

    def told(x, sigma):
        """Leaves a tenth of the noise that it is told of."""
        assert x.shape == (1, 3, 50, 60)
        return torch.full_like(x, 0.1 * float(sigma))

    found = architectures.denoising(told, grey)
    for level in (5, 200):
        assert found[str(level)] == pytest.approx(20 + 20 * math.log10(255 / level), abs=1e-3)


def test_compares_and_goes_on(folders, monkeypatch, capsys):
    assert architectures.main(LINE) == 0
    said = capsys.readouterr().out
    result = json.loads(Path("out.json").read_text())
    assert list(result["networks"]) == ["8:1:8", "8,16:1,2:8"]
    for row in result["networks"].values():
        assert row["steps"] > 1 and row["parameters"] > 1000
        assert row["psnr"]["5"] > row["psnr"]["50"] > row["psnr"]["200"] > 5
    assert "| 8,16:1,2:8 |" in said
    monkeypatch.setattr(architectures, "measure", lambda *a: pytest.fail("trained again"))
    assert architectures.main(LINE) == 0
    assert capsys.readouterr().out == said


def test_refuses(folders, capsys):
    def says(*words):
        assert architectures.main([*LINE, *words]) == 1
        return capsys.readouterr().err

    assert "--seconds: got '-1'" in says("--seconds", "-1")
    assert "--batch: got '0'" in says("--batch", "0")
    (folders / "empty").mkdir()
    assert "--test: empty holds no picture" in says("--test", "empty")
    assert "crops.patch: got 18" in says("--patch", "18")
    assert not Path("out.json").exists()
    Path("out.json").write_text(json.dumps({"settings": {"seconds": 7}, "networks": {}}))
    assert "another configuration" in says()

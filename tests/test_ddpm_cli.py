"""`ddrm-fast train-ddpm`, `sample` and `bound`."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_ddpm import pictures

from ddrm_fast.cli import main
from ddrm_fast.ddpm import load_ddpm
from ddrm_fast.training.checkpoints import read_checkpoint

NETWORK = ["--width", "32", "--mult", "1", "--blocks", "1", "--attention", ""]
SMALL = [
    "--size", "8", *NETWORK, "--timesteps", "12", "--schedule", "cosine", "--batch", "2", "--steps", "2",
    "--warmup", "1", "--log-every", "1", "--threads", "1", "--device", "cpu", "--quiet",
]  # fmt: skip


@pytest.fixture
def arrays(tmp_path):
    found = pictures(6, classes=2)
    path = tmp_path / "pictures.npz"
    np.savez(path, images=np.concatenate(found.blocks), labels=found.labels)
    return str(path)


def error_of(capsys, *arguments):
    assert main([*map(str, arguments)]) == 1
    return capsys.readouterr().err


def test_train_sample_and_bound(tmp_path, arrays, capsys):
    out = tmp_path / "run"
    weights = str(out / "ddpm.safetensors")
    train = ["train-ddpm", arrays, "--out", str(out)]
    assert (
        main([*train, *SMALL, "--variance", "learned", "--sample-every", "2", "--samples", "2"])
        == 0
    )
    config, _ = load_ddpm(weights)
    assert (config.objective, config.T, config.variance) == ("hybrid", 12, "learned")
    assert (out / "samples" / "0000002.png").exists()
    assert main([*train, "--resume", "--steps", "3", "--threads", "1", "--quiet"]) == 0
    assert read_checkpoint(out, "ddpm")["step"] == 3

    grid = tmp_path / "grid.png"
    for options in (
        ["--steps", "4"],
        ["--sampler", "ddpm"],
        ["--sampler", "ddpm", "--variance", "large"],
    ):
        assert main(["sample", weights, "--out", str(grid), "--count", "5", *options]) == 0
    assert Image.open(grid).size == (3 * 9 - 1, 2 * 9 - 1)
    printed = capsys.readouterr().out
    assert "by DDIM(steps=4, eta=0.0)" in printed and "variance='learned'" in printed

    record = tmp_path / "bound.json"
    bound = ["bound", weights, arrays, "--batch", "4", "--json", str(record), "--quiet"]
    assert main([*bound]) == 0
    found = json.loads(record.read_text())
    assert found["pictures"] == 6 and len(found["terms"]) == 12
    parts = found["L_T"] + found["L_t"] + found["L_0"]
    assert parts == pytest.approx(found["total"]) and found["L_0"] == found["terms"][0]
    assert f"{found['total']:.4f}" in capsys.readouterr().out
    assert main([*bound, "--batch", "6"]) == 0
    again = json.loads(record.read_text())
    assert again["terms"] == pytest.approx(found["terms"], rel=1e-4)
    assert main([*bound, "--limit", "2"]) == 0
    assert json.loads(record.read_text())["pictures"] == 2


def test_a_resumed_run_takes_what_is_not_given_from_the_checkpoint(tmp_path, arrays, capsys):
    run = ["train-ddpm", arrays, "--out", tmp_path / "run"]
    assert main([*map(str, run), *SMALL]) == 0
    capsys.readouterr()
    assert "batch: 3, checkpoint has 2" in error_of(capsys, *run, "--resume", "--batch", 3)
    error = error_of(capsys, *run, "--resume", "--width", 64, "--blocks", 1)
    assert "network.model_channels: 64, checkpoint has 32" in error and "blocks" not in error
    error = error_of(capsys, *run, "--resume", "--dead-leaves", 2)
    assert "the pictures are not those that the run was started with: 8 with digest" in error
    assert "expected 6 with digest" in error
    error = error_of(capsys, *run, "--resume", "--steps", 1)
    assert "--steps: got 1, but the run is at step 2 already" in error
    assert main([*map(str, run), "--resume", "--steps", "2", "--quiet"]) == 0  # finished
    assert "exists; resume the run" in error_of(capsys, *run, *SMALL)
    assert "does not exist" in error_of(capsys, *run[:-1], tmp_path / "none", "--resume")


def test_classes(tmp_path, arrays, capsys):
    run = ["train-ddpm", arrays, "--out", tmp_path / "run", *SMALL]
    assert "expected 0 to 0" in error_of(capsys, *run, "--classes", 1)
    assert main([*map(str, run), "--classes", "2", "--label-drop", "0.2"]) == 0
    weights = str(tmp_path / "run" / "ddpm.safetensors")
    sample = ["sample", weights, "--out", str(tmp_path / "a.png"), "--count", "2", "--steps", "2"]
    assert main(sample) == 0 and main([*sample, "--label", "1"]) == 0
    assert "expected 0 to 1" in error_of(capsys, *sample, "--label", "2")
    assert main(["bound", weights, arrays, "--limit", "2", "--quiet"]) == 0


def test_networks_from_a_file(tmp_path, arrays, capsys):
    settings = tmp_path / "network.json"
    shape = {
        "kind": "guided", "model_channels": 32, "channel_mult": [1], "num_res_blocks": 1,
        "attention_resolutions": [],
    }  # fmt: skip
    settings.write_text(json.dumps(shape))
    rest = [*SMALL[:2], *SMALL[2 + len(NETWORK) :], "--network", str(settings)]
    run = ["train-ddpm", arrays, "--out", tmp_path / "run", *rest]
    assert main([*map(str, run)]) == 0
    assert load_ddpm(tmp_path / "run" / "ddpm.safetensors")[0].network == shape
    other = [*run[:3], tmp_path / "other", *rest]
    assert "--network: got it with --width" in error_of(capsys, *other, "--width", 32)
    settings.write_text("{")
    assert "network.json is not readable as JSON" in error_of(capsys, *other)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--out", "{}"], "--size: got none"),
        (["--out", "{}", *SMALL, "--mult", "a"], "--mult: got 'a'"),
        (["--out", "{}", *SMALL, "--attention", "5"], "attention: got side 5, expected some of 8"),
        (["--out", "{}", *SMALL, "--schedule", "jsd"], "eps says nothing of the image"),
        (["--out", "{}", *SMALL, "--threads", "0"], "--threads: got 0"),
        (["--out", "{}", *SMALL, "--checkpoint-minutes", "nan"], "--checkpoint-minutes: got 'nan'"),
        (["--out", "{}", *SMALL, "--checkpoint-minutes", "-1"], "--checkpoint-minutes: got '-1'"),
        (["--out", "{}", *SMALL, "--dead-leaves", "-3"], "--dead-leaves: got -3"),
        (["--out", "{}", *SMALL, "--device", "nope"], "--device: got 'nope' ("),
        (["--out", "/proc/nope", *SMALL], "--out: /proc/nope/checkpoint.pt: cannot be written"),
        (["--out", "{}", *SMALL, "--network", "nofile.json"], "--network: got it with --width"),
        (
            ["--out", "{}", "--size", "8", "--network", "no.json"],
            "--network: no.json: no such file",
        ),
        (
            ["--out", "{}", *SMALL, "--schedule", "linear", "--timesteps", "20"],
            "T: got 20 timesteps, for which linear betas end at 20 / T = 1",
        ),
        (["--out", "{}", *SMALL, "--vlb-weight", "-1"], "--vlb-weight: got -1.0"),
    ],
)
def test_refusals_of_train(tmp_path, arrays, capsys, options, message):
    options = [option.format(tmp_path / "run") for option in options]
    assert message in error_of(capsys, "train-ddpm", arrays, *options)
    assert not (tmp_path / "run").exists()


def test_pictures_come_in_folders_and_arrays(tmp_path, capsys):
    Image.new("RGB", (9, 9)).save(tmp_path / "small.png")
    train = ["train-ddpm", tmp_path / "small.png", "--out", tmp_path / "run", *SMALL]
    error = error_of(capsys, *train)
    assert "small.png is a file, expected a folder of pictures or an array (.npy, .npz)" in error
    train[1] = tmp_path / "none"
    assert "none: no such folder or file" in error_of(capsys, *train)


def test_the_weight_of_the_bound(tmp_path, arrays, capsys):
    run = ["train-ddpm", arrays, "--out", tmp_path / "run"]
    learned = ["--variance", "learned", "--vlb-weight", "0.01"]
    assert main([*map(str, run), *SMALL, *learned]) == 0
    config, _ = load_ddpm(tmp_path / "run" / "ddpm.safetensors")
    assert (config.objective, config.vlb_weight) == ("hybrid", 0.01)
    error = error_of(capsys, *run, "--resume", "--vlb-weight", 0.1)
    assert "vlb_weight: 0.1, checkpoint has 0.01" in error


def test_refusals_of_sample_and_bound(tmp_path, arrays, capsys):
    grid = tmp_path / "a.png"
    assert "--size: got none" in error_of(capsys, "sample", "gaussian", "--out", grid)
    small = ["sample", "gaussian", "--size", 8, "--out", grid]
    assert "knows no classes" in error_of(capsys, *small, "--label", 1)
    assert "--eta: got it with ddpm" in error_of(capsys, *small, "--sampler", "ddpm", "--eta", 1)
    assert "--variance: got it with ddim" in error_of(
        capsys, *small, "--sampler", "ddim", "--variance", "large"
    )
    assert main([*map(str, small), "--steps", "3", "--count", "2"]) == 0
    assert "--size: got none" in error_of(capsys, "bound", "gaussian", arrays)


def test_the_example_of_the_documentation(tmp_path, monkeypatch):
    from test_docs import run_blocks

    monkeypatch.chdir(tmp_path)
    names = run_blocks("training.md")
    assert names["drawn"].shape == (4, 3, 8, 8) and names["terms"].total.shape == (4,)


@pytest.mark.parametrize("command", ["train-ddpm", "sample", "bound"])
def test_help_teaches_with_examples(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"ddrm-fast {command} " in capsys.readouterr().out.partition("examples:")[2]

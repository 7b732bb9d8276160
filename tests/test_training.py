"""Training: resuming, saving, refusals, and the pictures that it draws from."""

import errno
import os
import re
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ddrm_fast.cli import main
from ddrm_fast.machine.cpu_share import CpuShare
from ddrm_fast.priors.networks.denoiser import DenoiserConfig
from ddrm_fast.priors.weights import load_denoiser
from ddrm_fast.training import OneProcess, Shown, checkpoints, loop, report
from ddrm_fast.training import denoiser as training
from ddrm_fast.training.batches import batches
from ddrm_fast.training.checkpoints import CHECKPOINT
from ddrm_fast.training.data import leaves
from ddrm_fast.training.data.crops import CropConfig, CropSource
from ddrm_fast.training.data.dead_leaves import DeadLeavesConfig
from ddrm_fast.training.data.leaves import make_leaves
from ddrm_fast.training.data.licences import Licences
from ddrm_fast.training.data.packs import load_folders, pack
from ddrm_fast.training.denoiser import draw_batch
from ddrm_fast.training.files import ConfigMismatch
from ddrm_fast.training.fit import learning_rate_at

TINY = training.TrainingConfig(
    model=DenoiserConfig(channels=(4, 6), blocks=1, embedding=8),
    crops=CropConfig(patch=16),
    leaves=DeadLeavesConfig(size=32),
    leaves_share=0.5,
    leaves_count=3,
    batch=2,
    steps=6,
    warmup=2,
    decay_steps=3,
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def photographs(count=3, seed=0):
    rng = np.random.default_rng(seed)
    return pack(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(count))


def source(config=TINY, seed=0):
    leaves = make_leaves(config.seed, config.leaves_count, config.leaves)
    return CropSource(photographs(seed=seed), leaves, config.leaves_share, config.crops, 0)


QUIET = Shown(progress=False, log_every=2)


def run(out, config=TINY, **options):
    options.setdefault("shown", QUIET)
    return training.train(config, source(), out, **options)


def read_checkpoint(folder):
    return checkpoints.read_checkpoint(folder, "denoiser")


def tensors(trainer):
    yield from trainer.network.state_dict().values()
    yield from trainer.mean.state_dict().values()
    for entry in trainer.optimiser.state_dict()["state"].values():
        yield from entry.values()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resumed_run_equals_uninterrupted_run_bit_for_bit(tmp_path, precision):
    config = replace(TINY, precision=precision)
    whole = run(tmp_path / "whole", config)
    run(tmp_path / "parts", config, stop_at=1)
    run(tmp_path / "parts", config, resume=True, stop_at=4)
    parts = run(tmp_path / "parts", config, resume=True)
    assert whole.step == parts.step == 6
    for one, other in zip(tensors(whole), tensors(parts), strict=True):
        assert torch.equal(one, other)
    name = training.WEIGHTS
    assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


@pytest.mark.parametrize("processes", [0, 2])
def test_batches_made_ahead_are_those_of_their_steps(processes):
    crops = source()
    trainer = training.Trainer(TINY, crops)
    trainer.step = 2
    made = list(batches(trainer, 6, processes))
    assert len(made) == 4
    for step, batch in enumerate(made, 2):
        for one, other in zip(batch, draw_batch(TINY, crops, step), strict=True):
            assert torch.equal(one, other)


def test_processes_that_make_batches_change_nothing(tmp_path):
    alone, helped = run(tmp_path / "alone"), run(tmp_path / "helped", loaders=2)
    for one, other in zip(tensors(alone), tensors(helped), strict=True):
        assert torch.equal(one, other)


def test_training_lowers_the_loss(tmp_path):
    config = replace(TINY, steps=120, batch=8, learning_rate=5e-3, decay_steps=0, leaves_share=1.0)
    crops = CropSource(pack([]), make_leaves(0, 3, config.leaves), 1.0, config.crops, 0)
    seen = []
    fresh = training.Trainer(config, crops)
    trained = training.train(config, crops, tmp_path, shown=QUIET, on_step=seen.append)
    assert seen == list(range(1, 121))
    batch = draw_batch(config, crops, 1000)
    with torch.no_grad():
        before, after = (float(t.errors(batch).median()) for t in (fresh, trained))
    assert after < 0.85 * before


@pytest.mark.parametrize(("floor", "shares"), [(0.0, (1, 1)), (0.1, (1 / 0.2, 1 / 1.1))])
def test_what_a_crop_counts(floor, shares):
    trainer = training.Trainer(replace(TINY, log_floor=floor), source())
    losses = torch.tensor([0.1, 1.0], requires_grad=True)
    (slopes,) = torch.autograd.grad(trainer.aim(losses), losses)
    assert torch.allclose(slopes, torch.tensor(shares) / 2)


def test_another_configuration_is_refused_with_the_difference(tmp_path):
    run(tmp_path, stop_at=1)
    with pytest.raises(ConfigMismatch, match=r"batch: 4, checkpoint has 2") as error:
        run(tmp_path, replace(TINY, batch=4), resume=True)
    assert "seed" not in str(error.value)
    nested = replace(TINY, crops=CropConfig(patch=16, scale_low=0.5))
    with pytest.raises(ConfigMismatch, match="scale_low=0.5"):
        run(tmp_path, nested, resume=True)


def test_other_pictures_are_refused(tmp_path):
    run(tmp_path, stop_at=1)
    with pytest.raises(ConfigMismatch, match="pictures"):
        training.train(TINY, source(seed=9), tmp_path, resume=True, shown=QUIET)


def test_a_run_is_not_overwritten_and_nothing_is_not_resumed(tmp_path):
    run(tmp_path, stop_at=1)
    with pytest.raises(FileExistsError, match="resume"):
        run(tmp_path)
    with pytest.raises(FileNotFoundError, match="checkpoint"):
        run(tmp_path / "empty", resume=True)


def test_damaged_checkpoint_is_explained(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"checkpoint.pt cannot be read: damaged, or of another"):
        run(tmp_path, resume=True)


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_long_run_says_how_long_it_will_take(tmp_path, monkeypatch, capsys):
    run(tmp_path / "short", shown=Shown())
    assert "of memory" not in capsys.readouterr().err
    monkeypatch.setattr(report, "_QUICK", 0)
    run(tmp_path / "long", shown=Shown())
    found = re.search(
        r"about \S+ for (\d+) steps of \S+ s, \S+ [KMG]iB of memory", capsys.readouterr().err
    )
    assert found is not None and int(found[1]) == TINY.steps - 4


def test_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    trainer = run(tmp_path, stop_at=2)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    trainer.advance(trainer.prepare(trainer.step))
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        loop.save(trainer, tmp_path)
    with pytest.raises(OSError, match="No space left"):
        training.export(trainer, tmp_path / training.WEIGHTS)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert run(tmp_path, resume=True, stop_at=3).step == 3


def test_full_disk_in_the_middle_does_not_end_the_run(tmp_path, monkeypatch, caplog):
    real, calls = loop.save, []

    def sometimes(trainer, path):
        calls.append(trainer.step)
        if trainer.step < TINY.steps:
            full_disk()
        real(trainer, path)

    monkeypatch.setattr(loop, "save", sometimes)
    assert run(tmp_path, shown=Shown(0.0, progress=False)).step == TINY.steps
    assert calls == [1, 2, 3, 4, 5, 6, 6] and "No space left" in caplog.text


def test_terminate_signal_saves_and_ends(tmp_path):
    def stop(step):
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    assert run(tmp_path, on_step=stop).step == 2
    assert read_checkpoint(tmp_path)["step"] == 2
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_final_decay_ends_a_run_early(tmp_path):
    config = replace(TINY, steps=100, decay_steps=0)
    run(tmp_path, config, stop_at=3)
    trainer = run(tmp_path, config, resume=True, final_decay=4)
    assert trainer.step == trainer.fit.steps == 7
    rates = [learning_rate_at(trainer.fit, step) for step in range(3, 7)]
    assert rates == sorted(rates, reverse=True) and rates[0] < config.learning_rate
    with pytest.raises(ValueError, match="final_decay"):
        run(tmp_path / "new", config, final_decay=4)


def test_threads_follow_the_load_of_other_programs():
    share = CpuShare(4, interval=0.0)
    share.cores = 4
    assert [share.choose(others) for others in (0.0, 0.3, 1.0, 2.9, 7.0)] == [4, 4, 3, 1, 1]
    assert 1 <= share.threads() <= 4
    with pytest.raises(ValueError, match="most"):
        CpuShare(0)


def test_learning_rate():
    config = replace(TINY, steps=100, warmup=10, decay_steps=40, learning_rate=1.0)
    rates = [learning_rate_at(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9:60] == [1.0] * 51
    assert rates[60] > rates[80] > rates[99] > 0 and rates[99] < 0.01


def test_noise_levels_and_noise_depend_on_the_step_alone():
    config, crops = replace(TINY, batch=64), source()
    clean, noise, sigma = draw_batch(config, crops, 5)
    draw_batch(config, crops, 6)
    for one, other in zip((clean, noise, sigma), draw_batch(config, crops, 5), strict=True):
        assert torch.equal(one, other)
    assert clean.shape == noise.shape == (64, 3, 16, 16) and clean.abs().max() <= 1
    assert sigma.min() >= 0.002 and sigma.max() <= 160 and sigma.max() > 20
    assert 0.1 < sigma.median() < 0.4


def test_export_from_a_checkpoint_equals_export_from_the_trainer(tmp_path):
    trainer = run(tmp_path, stop_at=2)
    summary = training.export(tmp_path / CHECKPOINT, tmp_path / "again.safetensors")
    again = (tmp_path / "again.safetensors").read_bytes()
    assert again == (tmp_path / training.WEIGHTS).read_bytes()
    model = load_denoiser(tmp_path / "again.safetensors")
    assert model.training_summary["step"] == summary["step"] == 2
    for loaded, mean in zip(model.parameters(), trainer.mean.parameters(), strict=True):
        assert torch.equal(loaded, mean.half().float())


def test_unreadable_and_small_pictures_are_skipped_and_counted(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "sub").mkdir()
    good = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    good.save(tmp_path / "a.png")
    good.convert("P").save(tmp_path / "sub" / "b.png")
    rotated = Image.Exif()
    rotated[0x0112] = 6
    good.save(tmp_path / "c.jpg", exif=rotated)
    good.resize((8, 30)).save(tmp_path / "small.png")
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "c.jpg").read_bytes()[:300])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "notes.txt").write_text("not even tried")
    pictures = load_folders([tmp_path], smallest_side=16)
    assert pictures.shapes == [(20, 30), (30, 20), (20, 30)]
    assert np.array_equal(pictures[0], np.asarray(good))
    assert [os.path.basename(name) for name in pictures.unreadable] == ["broken.jpg", "text.png"]
    assert [os.path.basename(name) for name in pictures.too_small] == ["small.png"]
    with pytest.raises(FileNotFoundError, match="folders"):
        load_folders([tmp_path / "none"], 16)


def test_pictures_of_other_depths_and_channels_are_read_as_they_look(tmp_path):
    grey = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
    colours = np.stack((grey, grey, grey), axis=-1)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "float.tif")
    Image.fromarray(colours).convert("RGBA").save(tmp_path / "alpha.png")
    pictures = load_folders([tmp_path], smallest_side=12)
    assert len(pictures) == 4
    for picture in pictures:
        assert np.array_equal(picture, colours)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dead-leaves", "2"], "--dead-leaves: got 2.0, expected 0 to 1"),
        (["--learning-rate", "-1"], "--learning-rate: got -1.0, expected a positive number"),
        (["--patch", "20"], "--patch: got 20, expected a multiple of 16"),
        (["--smooth", "2"], "--smooth: got 2.0, expected 0 to 1"),
        (["--magnify", "0.5"], "--magnify: got 0.5, expected at least 1"),
        (["--log-floor", "-1"], "--log-floor: got -1.0, expected 0 or more"),
        (["--batch", "0"], "--batch: got 0, expected at least 1"),
        (["--checkpoint-minutes", "-1"], "--checkpoint-minutes: got '-1'"),
        (["--threads", "0"], "--threads: got 0"),
        (["--loaders", "-1"], "--loaders: got -1"),
        (["--device", "nowhere"], "--device: got 'nowhere'"),
        (["--final-decay", "3"], "--final-decay: got 3 for a new run"),
        (["--out", "taken/run"], "cannot be written"),
    ],
)
def test_bad_options_are_named_before_anything_is_read(
    tmp_path, capsys, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file where the folder should be")
    assert main(["train", "no-such-folder", "--out", "run", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_crops_depend_on_seed_and_step_alone():
    crops = source()
    first = crops.batch(7, 4)
    assert first.shape == (4, 16, 16, 3) and first.dtype == np.uint8
    crops.batch(8, 4)
    assert np.array_equal(first, crops.batch(7, 4))
    assert not np.array_equal(first, crops.batch(8, 4))


def test_magnified_crops_are_smooth():
    def roughness(**smooth):
        crops = CropSource(photographs(), pack([]), 0.0, CropConfig(patch=16, **smooth), 0)
        pixels = crops.batch(0, 40).astype(float)
        return np.abs(np.diff(pixels, axis=2)).mean()

    sharp = roughness(smooth_share=0.0)
    assert roughness(smooth_share=1.0, smooth_high=1.0) > 0.9 * sharp
    some = roughness(smooth_share=1.0, smooth_high=4.0)
    assert some < 0.7 * sharp
    assert roughness(smooth_share=1.0, smooth_low=3.5, smooth_high=4.0) < 0.7 * some


def test_a_run_starts_from_given_weights(tmp_path):
    first = run(tmp_path / "first")
    weights = load_denoiser(tmp_path / "first" / training.WEIGHTS)
    config = replace(TINY, start_from=weights.sha256, seed=5, steps=1, decay_steps=0)
    started = training.Trainer(config, source(config), start_from=weights)
    for of in (started.network, started.mean):
        for (name, value), mean in zip(
            of.state_dict().items(), first.mean.parameters(), strict=True
        ):
            assert torch.equal(value, mean.half().float()), name
    second = run(tmp_path / "second", config, start_from=weights)
    assert second.step == 1


def test_kept_leaves_are_the_drawn_leaves(tmp_path, monkeypatch):
    config = replace(TINY, leaves_share=1.0)
    drawn = training.build_source(config, [], cache=tmp_path)
    (kept,) = tmp_path.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(leaves, "make_leaves", None)
        assert training.build_source(config, [], cache=tmp_path).digest() == drawn.digest()
    kept.write_bytes(kept.read_bytes()[:500])
    assert training.build_source(config, [], cache=tmp_path).digest() == drawn.digest()
    assert training.build_source(config, []).digest() == drawn.digest()


def test_crop_source_refusals():
    empty = pack([])
    with pytest.raises(ValueError, match="photographs"):
        CropSource(empty, photographs(), 0.5, CropConfig(), 0)
    with pytest.raises(ValueError, match="leaves"):
        CropSource(photographs(), empty, 0.5, CropConfig(), 0)
    with pytest.raises(ValueError, match="leaves_share"):
        CropSource(photographs(), photographs(), 1.5, CropConfig(), 0)


def test_crop_config_refusals():
    for values in ({"smooth_share": 1.5}, {"smooth_high": 0.5}, {"smooth_low": 7.0}, {"patch": 4}):
        with pytest.raises(ValueError, match=next(iter(values))):
            CropConfig(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"batch": 0},
        {"leaves_share": 2.0},
        {"learning_rate": 0.0},
        {"log_floor": -1.0},
        {"decay_steps": 7},
        {"precision": "int8"},
        {"crops": CropConfig(patch=18)},
    ],
)
def test_training_config_refusals(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        replace(TINY, **values)


def test_command_line(tmp_path, capsys):
    out = str(tmp_path / "run")
    tiny = [
        "--channels",
        "4,6",
        "--patch",
        "16",
        "--batch",
        "2",
        "--quiet",
        "--threads",
        "1",
        "--share-cpu",
        "--smooth",
        "0.5",
        "--magnify",
        "9",
        "--log-floor",
        "0.01",
    ]
    start = ["train", "--dead-leaves", "1", "--leaves-count", "2", "--steps", "4", *tiny]
    assert main([*start, "--out", out]) == 0
    assert main(["train", "--out", out, "--resume", "--final-decay", "2", "--quiet"]) == 0
    state = read_checkpoint(tmp_path / "run")
    assert state["step"] == 6
    config = training.config_from_json(state["config"])
    crops = config.crops
    assert (crops.smooth_share, crops.smooth_high, config.log_floor) == (0.5, 9.0, 0.01)
    assert main(["train", "--out", out, "--resume", "--batch", "3", "--quiet"]) == 1
    assert "batch: 3, checkpoint has 2" in capsys.readouterr().err
    assert main(["train", "--out", out, "--resume", "--steps", "3", "--quiet"]) == 1
    assert "--steps: got 3, but the run is at step 6 already" in capsys.readouterr().err
    weights = str(tmp_path / "run" / training.WEIGHTS)
    second = [argument for argument in start if argument not in ("--channels", "4,6")]
    second += ["--start-from", weights, "--out"]
    assert main([*second, str(tmp_path / "second")]) == 0
    state = read_checkpoint(tmp_path / "second")
    assert training.config_from_json(state["config"]).start_from == load_denoiser(weights).sha256
    assert main([*second, str(tmp_path / "third"), "--channels", "4,5"]) == 1
    assert "--channels: got " in capsys.readouterr().err
    assert main(["train", "--out", out, "--resume", "--start-from", weights]) == 1
    assert "--start-from" in capsys.readouterr().err
    assert main(["train", "--out", str(tmp_path / "new"), "--quiet"]) == 1
    assert "folders: got none" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["train", str(tmp_path / "empty"), "--out", str(tmp_path / "new"), "--quiet"]) == 1
    assert "no usable picture" in capsys.readouterr().err


def test_help_teaches_with_an_example(capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "--help"])
    assert end.value.code == 0
    assert "example:" in capsys.readouterr().out


def poison(trainer, value):
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(value)


@pytest.mark.parametrize("where", ["weights", "loss"])
def test_numbers_that_are_none_are_neither_kept_nor_exported(tmp_path, monkeypatch, where):
    run(tmp_path, stop_at=2)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    real = training.Trainer.advance

    def advance(self, batch):
        if where == "loss":
            batch = batch._replace(clean=batch.clean * float("nan"))
        real(self, batch)
        if where == "weights":  # after the last step that a loss could tell of
            poison(self, float("inf"))

    monkeypatch.setattr(training.Trainer, "advance", advance)
    for stop_at, shown in ((3, QUIET), (5, Shown(0.0, progress=False))):
        with pytest.raises(FloatingPointError, match="became nan|became infinite"):
            run(tmp_path, resume=True, stop_at=stop_at, shown=shown)
        kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert kept == files
    monkeypatch.undo()
    assert run(tmp_path, resume=True).step == TINY.steps


def test_weights_too_large_for_the_file_are_not_exported(tmp_path):
    trainer = run(tmp_path, stop_at=1)
    with torch.no_grad():
        next(trainer.mean.parameters()).fill_(1e5)
    content = (tmp_path / training.WEIGHTS).read_bytes()
    with pytest.raises(FloatingPointError, match="net"):
        training.export(trainer, tmp_path / training.WEIGHTS)
    assert (tmp_path / training.WEIGHTS).read_bytes() == content


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "clip", "log_floor"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0])
def test_rates_are_finite(tmp_path, capsys, name, value):
    with pytest.raises(ValueError, match=f"^{name}: got {value}"):
        replace(TINY, **{name: value})
    option = f"--{name.replace('_', '-')}"
    out = tmp_path / "run"
    assert main(["train", "no-such-folder", "--out", str(out), option, str(value)]) == 1
    assert f"{option}: got {value}" in capsys.readouterr().err
    assert not out.exists()


def test_steps_may_grow_until_the_rate_falls(tmp_path):
    run(tmp_path, stop_at=3)
    assert run(tmp_path, replace(TINY, steps=8), resume=True, stop_at=6).step == 6
    with pytest.raises(ValueError, match="steps: got 5, but the run is at step 6"):
        run(tmp_path, replace(TINY, steps=5), resume=True)
    with pytest.raises(
        ValueError, match="steps: got 9, checkpoint has 8 and the learning rate falls"
    ):
        run(tmp_path, replace(TINY, steps=9), resume=True)


def test_old_checkpoints_go_on(tmp_path):
    """The format of version 0.1.0: other names, no scaler and no sums."""
    whole = run(tmp_path / "whole")
    run(tmp_path / "old", stop_at=2)
    path = tmp_path / "old" / CHECKPOINT
    state = torch.load(path, weights_only=True)
    old = {
        "format": "ddrm_fast.training/1", "config": state["config"], "data": state["data"],
        "step": 2, "model": state["network"], "ema": state["mean"], "optimiser": state["optimiser"],
        "random": torch.get_rng_state(),
    }  # fmt: skip
    torch.save(old, path)
    for one, other in zip(tensors(whole), tensors(run(tmp_path / "old", resume=True)), strict=True):
        assert torch.equal(one, other)
    del old["model"]
    torch.save(old, path)
    with pytest.raises(ValueError, match=r"checkpoint: .* is incomplete \(KeyError\('model'\)\)"):
        run(tmp_path / "old", resume=True)
    state["kind"] = "ddpm"
    torch.save(state, path)
    with pytest.raises(ValueError, match="of a run that trains a ddpm, expected a denoiser"):
        run(tmp_path / "old", resume=True)
    del state["network"]["net.head.bias"]
    torch.save({**state, "kind": "denoiser"}, path)
    with pytest.raises(ValueError, match="checkpoint: does not fit its own description"):
        run(tmp_path / "old", resume=True)


class Rank(OneProcess):
    count = 2

    def __init__(self, rank):
        super().__init__("cpu")
        self.rank = rank


def test_processes_and_parts_share_one_batch():
    """The mean of the gradients of two processes, and the sum of those of two parts, is that of one."""
    config = replace(TINY, batch=8, log_floor=0.01)
    whole = training.Trainer(config, source())
    shares = [training.Trainer(config, source(), Rank(rank)) for rank in (0, 1)]
    split = training.Trainer(replace(config, accumulate=2), source())
    batch = whole.prepare(7)
    parts = [share.prepare(7) for share in shares]
    assert sorted(batch.sigma.tolist()) == sorted(torch.cat([p.sigma for p in parts]).tolist())
    with torch.no_grad():  # away from the zeros that a fresh network starts with
        for same in zip(*(t.network.parameters() for t in (whole, *shares, split)), strict=True):
            noise = 0.1 * torch.randn_like(same[0])
            for parameter in same:
                parameter.add_(noise)
    whole.backward(batch)
    for share, part in zip(shares, parts, strict=True):
        share.backward(part)
    for rows in (slice(0, 4), slice(4, 8)):
        split.backward(type(batch)(*(x[rows] for x in batch)))
    gradients = [[p.grad for p in t.network.parameters()] for t in (whole, *shares, split)]
    for one, first, second, added in zip(*gradients, strict=True):
        close = {"rtol": 1e-4, "atol": 1e-5 * float(one.abs().max() + 1e-3)}
        assert torch.allclose(one, (first + second) / 2, **close)
        assert torch.allclose(one, added, **close)


def test_a_wider_network_starts_as_the_narrow_one(tmp_path):
    narrow = run(tmp_path / "narrow").mean
    with torch.no_grad():
        for parameter in narrow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    config = replace(TINY, model=DenoiserConfig(channels=(6, 9), blocks=1, embedding=8))
    trainer = training.Trainer(config, source(), start_from=narrow)
    x, sigma = torch.randn(2, 3, 16, 16), torch.tensor([0.1, 2.0])
    with torch.no_grad():
        assert torch.allclose(trainer.network(x, sigma), narrow(x, sigma), atol=1e-5)
    trainer.advance(trainer.prepare(0))
    trainer.advance(trainer.prepare(1))
    old, new = narrow.config.channels[0], trainer.network.net.tail.weight
    assert new[:, old:].abs().min() > 0  # what was added is listened to
    for model in (DenoiserConfig((4, 5), 1, 8), DenoiserConfig((4, 6), 2, 8)):
        with pytest.raises(ValueError, match="^channels: got "):
            training.Trainer(replace(TINY, model=model), source(), start_from=narrow)


def test_crops_of_the_most_detail(tmp_path):
    flat = np.full((40, 50, 3), 90, np.uint8)
    mixed = flat.copy()
    mixed[:, 25:] = np.random.default_rng(0).integers(0, 256, (40, 25, 3), dtype=np.uint8)

    def roughness(detail):
        config = CropConfig(
            patch=16, smooth_share=0.0, scale_low=1.0, scale_high=1.0, detail=detail
        )
        crops = CropSource(pack([mixed]), pack([]), 0.0, config, 0).batch(0, 40).astype(float)
        return np.abs(np.diff(crops, axis=2)).mean()

    assert roughness(8) > 1.3 * roughness(1)


def test_folders_are_drawn_from_by_their_shares(tmp_path):
    for name, count, value in (("many", 6, 10), ("few", 1, 200), ("none", 0, 0)):
        (tmp_path / name).mkdir()
        for number in range(count):
            picture = Image.fromarray(np.full((20, 20, 3), value, np.uint8))
            picture.save(tmp_path / name / f"{number}.png")
    folders = [tmp_path / name for name in ("many", "few", "none")]
    photographs = load_folders(folders, 16)
    assert photographs.groups == [6, 1, 0]

    def bright(shares):
        config = CropConfig(patch=16, smooth_share=0.0, shares=shares)
        crops = CropSource(photographs, pack([]), 0.0, config, 0).batch(0, 400)
        return (crops.reshape(400, -1).mean(axis=1) > 100).mean()

    assert 0.08 < bright(()) < 0.22
    assert 0.68 < bright((1, 3, 0)) < 0.82
    with pytest.raises(ValueError, match="shares: got 2, expected one for each of 3 folders"):
        bright((1, 3))
    with pytest.raises(ValueError, match="shares: folder number 3 holds no usable picture"):
        bright((1, 1, 1))


def test_licences_of_a_table(tmp_path):
    rows = [
        ("a.png", "CC0 1.0"), ("b.png", "CC BY 4.0"), ("c.png", "CC BY-SA 4.0"),
        ("sub/d.png", 'public domain as stated ("all of them")'), ("e.png", "CC BY-NC 2.0"),
    ]  # fmt: skip
    (tmp_path / "sub").mkdir()
    for name in [*(name for name, _ in rows), "unknown.png"]:
        Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / name)
    free = Licences(["CC0", "public domain", "cc by"])
    with pytest.raises(ValueError, match=r"licences: .* holds no CREDITS.tsv"):
        load_folders([tmp_path], 16, licences=free)
    table = tmp_path / "CREDITS.tsv"
    table.write_text("file\tlicence\n" + "".join(f"{a}\t{b}\n" for a, b in rows))
    pictures = load_folders([tmp_path], 16, licences=free)
    assert len(pictures) == 3
    assert [os.path.basename(name) for name in pictures.left_out] == [
        "c.png", "e.png", "unknown.png",
    ]  # fmt: skip
    table.write_text(table.read_text() + "*\tCC0\n")
    assert len(load_folders([tmp_path], 16, licences=free)) == 4
    assert len(load_folders([tmp_path], 16)) == 6
    table.write_text("name\tlicence\n")
    with pytest.raises(ValueError, match="has no column file"):
        load_folders([tmp_path], 16, licences=free)
    with pytest.raises(ValueError, match="licences: got none"):
        Licences([" "])

"""DDPM training: resuming, learning, saving, refusals."""

import errno
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_ddpm import NETWORK, TINY, pictures

import ddrm_fast
from ddrm_fast.ddpm import DDPMConfig, Shown, Trainer, bound, learner, load_ddpm, train
from ddrm_fast.training import OneProcess, checkpoints, learning_rate_at, report
from ddrm_fast.training.checkpoints import CHECKPOINT
from ddrm_fast.training.files import ConfigMismatch
from ddrm_fast.training.loop import TENSORBOARD
from ddrm_fast.training.report import LOG, SAMPLES

QUIET = Shown(progress=False, log_every=2)
WEIGHTS = Trainer.weights
EVERYTHING = replace(
    TINY,
    network={**NETWORK, "dropout": 0.3},
    variance="learned",
    objective="hybrid",
    num_classes=3,
    label_drop=0.3,
    accumulate=2,
)

WITHOUT_DROPOUT = replace(EVERYTHING, network=NETWORK)


def run(out, config=TINY, data=None, **options):
    options.setdefault("shown", QUIET)
    machine = OneProcess("cpu")
    data = data or pictures(classes=config.num_classes, channels=config.channels)
    return train(config, data, out, machine=machine, **options)


def read_checkpoint(folder):
    return checkpoints.read_checkpoint(folder, "ddpm")


def assert_same(one, other):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


def log_lines(out):
    return [json.loads(line) for line in (out / LOG).read_text().splitlines()]


def log_of(out):
    lines = log_lines(out)
    for line in lines:
        del line["pictures_per_second"]
    return lines


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resumed_run_equals_uninterrupted_run_bit_for_bit(tmp_path, precision):
    """Dropout, labels, dropped labels, learned variances, accumulation: all of them."""
    config = replace(EVERYTHING, precision=precision)
    whole = run(tmp_path / "whole", config)
    run(tmp_path / "parts", config, stop_at=1)
    torch.manual_seed(123)  # nothing depends on the state that a process starts with
    run(tmp_path / "parts", config, resume=True, stop_at=3)
    parts = run(tmp_path / "parts", config, resume=True)
    assert whole.step == parts.step == 5
    assert_same(whole.state(), parts.state())
    files = [(tmp_path / name / WEIGHTS).read_bytes() for name in ("whole", "parts")]
    assert files[0] == files[1]
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "parts")
    assert [line["step"] for line in log_of(tmp_path / "whole")] == [2, 4]


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from test_ddpm_training import EVERYTHING, Shown, run, Path
real, written = os.replace, []
def replace(source, target):
    if str(target).endswith("checkpoint.pt"):
        written.append(target)
        if len(written) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
os.replace = replace
run(Path(sys.argv[2]), EVERYTHING, shown=Shown(0.0, 2, progress=False))
"""


def test_a_kill_while_a_checkpoint_is_written_costs_nothing(tmp_path):
    """SIGKILL between the bytes and the renaming of the fourth checkpoint."""
    tests = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": str(Path(ddrm_fast.__file__).parent.parent)}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tests), str(tmp_path / "killed")],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    state = read_checkpoint(tmp_path / "killed")
    assert state["step"] == 2
    assert (tmp_path / "killed" / ".checkpoint.pt.part").exists()
    resumed = run(tmp_path / "killed", EVERYTHING, resume=True)
    whole = run(tmp_path / "whole", EVERYTHING)
    assert_same(whole.state(), resumed.state())
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "killed")


def test_a_kill_before_the_first_checkpoint_can_be_resumed(tmp_path):
    class Killed(BaseException):
        pass

    def kill(step):
        raise Killed

    with pytest.raises(Killed):
        run(tmp_path, on_step=kill)
    assert run(tmp_path, resume=True).step == 5


def test_training_lowers_the_loss_and_the_bound(tmp_path):
    """Plain pictures in two colours are learned in no time."""
    data = pictures(8)
    for block in data.blocks:
        block[::2], block[1::2] = 40, 200
    config = replace(
        TINY, variance="learned", objective="hybrid", batch=8, steps=60, learning_rate=4e-3
    )
    fresh = Trainer(config, data, OneProcess("cpu"))
    trained = run(tmp_path, config, data, shown=Shown(progress=False, log_every=20))
    losses = [line["loss"] for line in log_of(tmp_path)]
    assert losses[-1] < 0.3 * losses[0]
    x0 = data.tensor(range(4))
    reverse = config.make_reverse()
    before = float(bound(fresh.network, reverse, x0).total.mean())
    loaded_config, network = load_ddpm(tmp_path / WEIGHTS)
    after = float(bound(network, reverse, x0).total.mean())
    assert loaded_config == config
    assert after < 0.6 * before
    for (name, value), mean in zip(
        network.state_dict().items(), trained.mean.state_dict().values(), strict=True
    ):
        assert torch.equal(value, mean), name


@pytest.mark.parametrize(
    "changes",
    [
        {"prediction": "v", "objective": "vlb", "variance": "large"},
        {"prediction": "x0", "schedule": "jsd"},
        {"prediction": "mean", "schedule": "jsd", "channels": 1},
        {"prediction": "mean", "variance": "learned", "objective": "vlb"},
    ],
)
def test_what_was_trained_is_a_prior(tmp_path, changes):
    config = replace(TINY, steps=2, **changes)
    trainer = run(tmp_path, config)
    prior = ddrm_fast.load_prior(tmp_path / WEIGHTS)
    prior.precision = "float32"
    prior.arrange(channels_last=False)  # as in training
    assert prior.channels == config.channels
    x_t = torch.randn(3, config.channels, 8, 8)
    t = torch.tensor([1, 10, 19])
    raw = trainer.mean(x_t, t.float())
    found = prior(x_t, t.float())
    if config.prediction == "mean":
        assert prior.prediction == "x0"
        step = config.make_reverse()(raw, x_t, t)
        assert torch.allclose(found[:, : config.channels], step.x0)
    else:
        assert prior.prediction == config.prediction and torch.equal(found, raw)
    sampler = ddrm_fast.DDPM(config.T, config.variance)
    drawn = ddrm_fast.sample(prior, (2, config.channels, 8, 8), sampler)
    assert torch.isfinite(drawn).all()


def test_classes_reach_the_network_and_its_file(tmp_path):
    run(tmp_path, replace(EVERYTHING, steps=2))
    prior = ddrm_fast.load_prior(tmp_path / WEIGHTS)
    assert prior.num_classes == 3
    with pytest.raises(ValueError, match="^labels: .* expected .2. from 0 to 2"):
        ddrm_fast.sample(prior, (2, 3, 8, 8), ddrm_fast.DDIM(2))
    with pytest.raises(ValueError, match=r"^labels: expected 0 to 2, got \[0, 3\]"):
        ddrm_fast.sample(prior, (2, 3, 8, 8), ddrm_fast.DDIM(2), labels=torch.tensor([0, 3]))
    free = ddrm_fast.classifier_free(prior, 2.0, null_label=3)
    labels = torch.tensor([0, 2])
    assert ddrm_fast.sample(free, (2, 3, 8, 8), ddrm_fast.DDIM(2), labels=labels).isfinite().all()


def test_labels_are_dropped_as_often_as_asked():
    config = replace(EVERYTHING, batch=4000, accumulate=1)
    labels = Trainer(config, pictures(classes=3), OneProcess("cpu")).prepare(0).labels
    assert float((labels == 3).double().mean()) == pytest.approx(0.3, abs=0.03)
    assert set(labels.tolist()) == {0, 1, 2, 3}


def test_draws_of_a_step():
    """Timesteps uniform, noise white and new in every step, half of the pictures mirrored."""
    config, data = replace(TINY, batch=600), pictures(600)
    trainer = Trainer(config, data, OneProcess("cpu"))
    batch, other = trainer.prepare(0), trainer.prepare(1)
    counts = torch.bincount(batch.t, minlength=20).double()
    assert len(counts) == 20 and float(((counts - 30) ** 2 / 30).sum()) < 44  # chi square, 0.1 %
    assert float(batch.noise.mean()) == pytest.approx(0, abs=0.02)
    assert float(batch.noise.std()) == pytest.approx(1, abs=0.02)
    pair = torch.stack([batch.noise.flatten(), other.noise.flatten()])
    assert abs(float(torch.corrcoef(pair)[0, 1])) < 0.02
    pictures_drawn = data.tensor([data.drawn(item, config.seed) for item in range(600)])
    as_they_are = (batch.x0 == pictures_drawn).flatten(1).all(dim=1)
    mirrored = (batch.x0.flip(3) == pictures_drawn).flatten(1).all(dim=1)
    assert (as_they_are ^ mirrored).all() and 240 < int(mirrored.sum()) < 360
    plain = Trainer(replace(config, flip=False), data, OneProcess("cpu")).prepare(0)
    assert torch.equal(plain.x0, pictures_drawn)


class Rank(OneProcess):
    count = 2

    def __init__(self, rank):
        super().__init__("cpu")
        self.rank = rank


def test_processes_and_parts_share_one_batch():
    """Shares of two processes are the batch of one; the mean of their gradients is its gradient."""
    config = replace(TINY, batch=8, variance="learned", objective="hybrid")
    data = pictures()
    whole = Trainer(config, data, OneProcess("cpu"))
    shares = [Trainer(config, data, Rank(rank)) for rank in (0, 1)]
    split = Trainer(replace(config, accumulate=4), data, OneProcess("cpu"))
    batch = whole.prepare(7)
    parts = [share.prepare(7) for share in shares]
    for index in range(3):
        assert torch.equal(batch[index], torch.cat([part[index] for part in parts]))
    assert len(set(batch.t.tolist())) > 3
    with torch.no_grad():  # away from the zeros that a fresh network starts with
        for parameters in zip(
            *(t.network.parameters() for t in (whole, *shares, split)), strict=True
        ):
            noise = 0.1 * torch.randn_like(parameters[0])
            for parameter in parameters:
                parameter.add_(noise)
    shown = whole.backward(batch)
    halves = [share.backward(part) for share, part in zip(shares, parts, strict=True)]
    quarters = []
    for part in range(4):
        rows = slice(2 * part, 2 * part + 2)
        quarters.append(split.backward(type(batch)(*(x if x is None else x[rows] for x in batch))))
    assert torch.allclose(shown, sum(halves) / 2, rtol=1e-5)
    assert torch.allclose(shown, sum(quarters), rtol=1e-5)
    gradients = [[p.grad for p in t.network.parameters()] for t in (whole, *shares, split)]
    for one, first, second, added in zip(*gradients, strict=True):
        close = {"rtol": 1e-4, "atol": 1e-5 * float(one.abs().max() + 1e-3)}
        assert torch.allclose(one, (first + second) / 2, **close)
        assert torch.allclose(one, added, **close)


def test_a_fresh_network_says_nothing():
    """Its last layers are zero: training starts from a prediction of 0, not from noise."""
    network = Trainer(TINY, pictures(), OneProcess("cpu")).network
    assert torch.equal(network(torch.randn(2, 3, 8, 8), torch.ones(2)), torch.zeros(2, 3, 8, 8))
    branches = [m for m in network.modules() if hasattr(m, "out_layers")]
    assert branches and not any(m.out_layers[-1].weight.any() for m in branches)


def test_running_mean_of_the_weights():
    trainer = Trainer(replace(TINY, ema=0.4), pictures(), OneProcess("cpu"))
    expected = None
    for step in range(4):
        trainer.advance(trainer.prepare(step))
        now = trainer.network.out[-1].weight.detach().clone()
        decay = min(0.4, (1 + step) / (10 + step))
        expected = now if expected is None else decay * expected + (1 - decay) * now
    assert torch.allclose(trainer.mean.state_dict()["out.2.weight"], expected, atol=1e-7)


def test_gradients_are_clipped(monkeypatch):
    trainer = Trainer(replace(TINY, clip=1e-3), pictures(), OneProcess("cpu"))
    norms = []
    real = trainer.optimiser.step

    def spy(*arguments, **keywords):
        gradients = [p.grad for p in trainer.network.parameters()]
        norms.append(float(torch.stack([g.norm() for g in gradients]).norm()))
        return real(*arguments, **keywords)

    monkeypatch.setattr(trainer.optimiser, "step", spy)
    trainer.advance(trainer.prepare(0))
    assert norms[0] == pytest.approx(1e-3, rel=1e-3)
    assert trainer.means()["gradient"] > 0.01


def test_learning_rate():
    config = replace(TINY, warmup=4, learning_rate=1.0)
    assert [learning_rate_at(config, step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert learning_rate_at(replace(config, warmup=0), 0) == 1


def test_steps_may_grow_and_nothing_else(tmp_path):
    run(tmp_path, stop_at=2)
    assert run(tmp_path, replace(TINY, steps=6), resume=True).step == 6
    with pytest.raises(ConfigMismatch, match=r"batch: 2, checkpoint has 4") as error:
        run(tmp_path, replace(TINY, batch=2), resume=True)
    assert "seed" not in str(error.value)
    wider = replace(TINY, network={**NETWORK, "num_res_blocks": 2})
    with pytest.raises(ConfigMismatch, match=r"network.num_res_blocks: 2, checkpoint has 1"):
        run(tmp_path, wider, resume=True)
    with pytest.raises(ConfigMismatch, match="pictures"):
        run(tmp_path, data=pictures(seed=1), resume=True)


def test_a_run_is_not_overwritten_and_nothing_is_not_resumed(tmp_path):
    run(tmp_path, stop_at=1)
    with pytest.raises(FileExistsError, match="resume"):
        run(tmp_path)
    with pytest.raises(FileNotFoundError, match="checkpoint"):
        run(tmp_path / "empty", resume=True)
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="cannot be read"):
        run(tmp_path, resume=True)


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch, caplog):
    run(tmp_path, stop_at=2)
    names = (CHECKPOINT, WEIGHTS)
    files = [(tmp_path / name).read_bytes() for name in names]

    def full(step):
        if step == 3:
            monkeypatch.setattr(os, "fsync", full_disk)

    with pytest.raises(OSError, match="No space left"):
        run(tmp_path, resume=True, on_step=full, shown=Shown(0.0, 2, 1, 2, progress=False))
    monkeypatch.undo()
    assert "no checkpoint at step 4: " in caplog.text and "no samples at step 4" in caplog.text
    assert read_checkpoint(tmp_path)["step"] in (2, 3)
    load_ddpm(tmp_path / WEIGHTS)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert len(files) == 2 and run(tmp_path, resume=True).step == 5


def test_a_loss_that_is_no_number_ends_the_run_and_spoils_nothing(tmp_path, monkeypatch):
    run(tmp_path, stop_at=2)
    content = (tmp_path / CHECKPOINT).read_bytes()
    real = Trainer.place

    def poisoned(self, batch, step):
        batch = real(self, batch, step)
        return batch._replace(x0=batch.x0 * float("nan")) if step == 2 else batch

    monkeypatch.setattr(Trainer, "place", poisoned)
    with pytest.raises(FloatingPointError, match="the loss became nan"):
        run(tmp_path, resume=True, stop_at=3)
    assert (tmp_path / CHECKPOINT).read_bytes() == content


def test_terminate_signal_saves_and_ends(tmp_path):
    def stop(step):
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    assert run(tmp_path, on_step=stop).step == 2
    assert read_checkpoint(tmp_path)["step"] == 2
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_grids_on_the_way_change_nothing(tmp_path):
    plain = run(tmp_path / "plain")
    with_grids = run(tmp_path / "grids", shown=Shown(10.0, 2, 2, 3, progress=False))
    assert_same(plain.state(), with_grids.state())
    grids = sorted(path.name for path in (tmp_path / "grids" / SAMPLES).iterdir())
    assert grids == ["0000002.png", "0000004.png"]


def test_loss_curves_of_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = Shown(10.0, 2, 4, 2, tensorboard=True, progress=False)
    run(tmp_path, shown=shown)
    events = EventAccumulator(str(tmp_path / TENSORBOARD)).Reload()
    curve = [(point.step, point.value) for point in events.Scalars("loss")]
    expected = [(line["step"], line["loss"]) for line in log_of(tmp_path)]
    assert [step for step, _ in curve] == [2, 4]
    for (_, value), (_, logged) in zip(curve, expected, strict=True):
        assert value == pytest.approx(logged, rel=1e-5)
    assert len(events.Images("samples")) >= 1


def test_curves_that_cannot_be_drawn_leave_nothing_behind(tmp_path, monkeypatch):
    """The run can be started again as it was, without them."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"TensorBoard: pip install 'ddrm-fast\[tensorboard\]'"):
        run(tmp_path / "run", shown=Shown(tensorboard=True, progress=False))
    assert not list((tmp_path / "run").iterdir())
    assert run(tmp_path / "run").step == TINY.steps


def test_grids_do_not_count_for_the_speed(tmp_path, monkeypatch):
    """A step takes a second, a grid a thousand."""
    clock = [0.0]

    def drawn(*arguments, **options):
        clock[0] += 1000

    def stepped(step):
        clock[0] += 1

    monkeypatch.setattr(report, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(learner, "write_grid", drawn)
    run(tmp_path, shown=Shown(1e9, 1, 1, 2, progress=False), on_step=stepped)
    speeds = [line["pictures_per_second"] for line in log_lines(tmp_path)]
    assert len(speeds) == TINY.steps and speeds[1:] == [TINY.batch] * (TINY.steps - 1)


def test_few_timesteps_are_enough_where_the_end_is_allowed():
    for values in ({"T": 21}, {"T": 20, "prediction": "v"}, {"T": 20, "beta_end": 0.5}):
        assert replace(TINY, schedule="linear", **values).make_schedule().T == values["T"]


@contextmanager
def refused(name):
    with pytest.raises(ValueError, match=f"^{name}: "):
        yield


@pytest.mark.parametrize(
    "name, values",
    [
        ("prediction", {"prediction": "score"}),
        ("prediction", {"schedule": "jsd"}),
        ("variance", {"variance": "medium"}),
        ("objective", {"objective": "hybrid"}),
        ("schedule", {"schedule": "sawtooth"}),
        ("beta_start", {"schedule": "constant", "beta_start": 0.1}),
        ("beta_end", {"schedule": "cosine", "beta_end": 0.1}),
        ("beta_start, beta_end", {"schedule": "linear", "T": 10, "beta_end": 2.0}),
        ("T", {"schedule": "linear", "T": 10}),
        ("T", {"schedule": "linear", "T": 20}),
        ("T", {"schedule": "constant", "T": 20, "prediction": "v"}),
        ("T", {"T": 1}),
        ("channels", {"channels": 4}),
        ("batch", {"batch": 0}),
        ("accumulate", {"accumulate": 3}),
        ("label_drop", {"label_drop": 0.5}),
        ("num_classes", {"num_classes": 0}),
        ("precision", {"precision": "int8"}),
        ("ema", {"ema": 1.0}),
        ("network", {"network": {"kind": "transformer"}}),
        ("network", {"network": {**NETWORK, "depth": 3}}),
        ("network", {"network": {**NETWORK, "model_channels": 24}}),
        ("network", {"network": {**NETWORK, "out_channels": 4}}),
        ("network", {"network": {"kind": "guided", "model_channels": 32}}),
        ("size", {"size": 9, "network": {**NETWORK, "channel_mult": (1, 2)}}),
    ],
)
def test_refusals_of_configurations(name, values):
    with refused(name):
        replace(TINY, **{"network": NETWORK, **values})


def test_refusals_of_trainers():
    with refused("precision"):
        Trainer(replace(TINY, precision="float16"), pictures(), OneProcess("cpu"))
    with refused("pictures"):
        Trainer(replace(TINY, num_classes=3), pictures(), OneProcess("cpu"))
    with refused("batch"):
        Trainer(replace(TINY, batch=3), pictures(), Rank(0))
    with refused("log_every"):
        Shown(log_every=0)
    for minutes in (-1.0, float("nan")):
        with refused("checkpoint_minutes"):
            Shown(checkpoint_minutes=minutes)
    with refused("configuration"):
        DDPMConfig.from_json("[")


def test_damaged_weights(tmp_path):
    run(tmp_path, replace(TINY, steps=1))
    path = tmp_path / WEIGHTS
    with pytest.raises(ValueError, match="^config: .* describes itself"):
        ddrm_fast.load_prior(path, {"num_heads": 1})
    content = path.read_bytes()
    path.write_bytes(content[:-4] + b"\0\0\1\0")
    with pytest.raises(ValueError, match="is damaged"):
        ddrm_fast.load_prior(path)
    path.write_bytes(content[:1000])
    with pytest.raises(ValueError, match="ddpm.safetensors"):
        ddrm_fast.load_prior(path)


def test_networks_of_diffusers(tmp_path):
    pytest.importorskip("diffusers")
    network = {
        "kind": "diffusers",
        "block_out_channels": [8, 8],
        "down_block_types": ["DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D"],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "add_attention": False,
    }
    config = replace(
        TINY, network=network, num_classes=2, label_drop=0.2, variance="learned", objective="vlb"
    )
    whole = run(tmp_path / "whole", config)
    run(tmp_path / "parts", config, stop_at=2)
    assert_same(whole.state(), run(tmp_path / "parts", config, resume=True).state())
    prior = ddrm_fast.load_prior(tmp_path / "whole" / WEIGHTS)
    prior.precision = "float32"
    x, t, labels = torch.randn(2, 3, 8, 8), torch.tensor([3.0, 19.0]), torch.tensor([0, 1])
    assert prior.channels_last
    prior.arrange(channels_last=False)  # as in training
    assert torch.equal(prior(x, t, labels), whole.mean(x, t, labels))

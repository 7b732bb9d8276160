"""Training of DiffIR: data, losses of both stages, and a run that was killed goes on to the same weights."""

import json

import golden_diffir as golden
import numpy as np
import pytest
import torch
from golden_diffir import HERE
from PIL import Image

from ddrm_fast import cli, diffir
from ddrm_fast.diffir.learner import DiffIRFit, Trainer, train
from ddrm_fast.diffir.pairs import Degraded, Pairs, load_pairs
from ddrm_fast.training import ConfigMismatch, Shown
from ddrm_fast.training.data.crops import CropConfig, CropSource
from ddrm_fast.training.data.packs import pack

QUIET = Shown(progress=False)
TINY = {"dim": 4, "heads": (1, 1, 1, 1), "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1}
TINY |= {"ffn_expansion_factor": 1, "n_encoder_res": 0}


def _config(stage=1, task="deblurring", **more):
    return diffir.DiffIRConfig(task, stage, **{**TINY, **more})


def _pictures(count=3, side=40):
    rng = np.random.default_rng(0)
    return pack(rng.integers(0, 256, (side, side + 8, 3), dtype=np.uint8) for _ in range(count))


def _crops(seed=0):
    config = CropConfig(smooth_share=0.0, scale_low=0.9)
    return CropSource(_pictures(), pack([]), 0.0, config, seed)


def _noise(**how):
    return Degraded(_crops(), {"sigma_y": 0.1, **how})


def _fit(network, **more):
    settings = {"steps": 4, "progress": ((0, 16, 2), (2, 24, 2)), "warmup": 1, "decay_steps": 4}
    return DiffIRFit(network=network, **{**settings, **more})


def _weights(trainer):
    return {k: x.clone() for k, x in trainer.network.state_dict().items()}


def test_both_stages_go_on_after_a_stop_to_the_same_weights(here):
    data, first = _noise(), None
    for stage in (1, 2):
        fit = _fit(_config(stage))
        whole = train(fit, data, f"whole{stage}", first=first, shown=QUIET)
        train(fit, data, f"parts{stage}", first=first, shown=QUIET, stop_at=1)
        train(fit, data, f"parts{stage}", first=first, shown=QUIET, stop_at=3, resume=True)
        parts = train(fit, data, f"parts{stage}", first=first, shown=QUIET, resume=True)
        ours, theirs = _weights(parts), _weights(whole)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        files = [
            (here / f"{run}{stage}" / "diffir.safetensors").read_bytes()
            for run in ("whole", "parts")
        ]
        assert files[0] == files[1]
        loaded = diffir.load(f"whole{stage}/diffir.safetensors")
        assert loaded.config == fit.network
        first = loaded if stage == 1 else None
    assert torch.isfinite(diffir.restore(loaded, torch.rand(1, 3, 20, 13)).mean).all()


def test_a_run_refuses_other_settings(here):
    data = _noise()
    train(_fit(_config()), data, "run", shown=QUIET, stop_at=1)
    with pytest.raises(
        ConfigMismatch, match=r"network: DiffIRConfig\(.*dim=8.*checkpoint has .*dim=4"
    ):
        train(_fit(_config(dim=8)), data, "run", shown=QUIET, resume=True)
    with pytest.raises(ConfigMismatch, match="the pictures are not those"):
        train(_fit(_config()), _noise(jpeg=50), "run", shown=QUIET, resume=True)


def test_losses_are_the_published_ones():
    """Stage 2 from golden data: L1, and the mean difference of the last state from stage 1's vector."""
    arrays, _ = golden.read(HERE / "ddpm.npz")
    expected = (arrays["kd.S1"] - arrays["kd.S2"]).abs().mean()
    assert torch.allclose(expected, arrays["kd.l_abs"])
    first = diffir.build(_config(1))
    trainer = Trainer(_fit(_config(2), vector_weight=3.0), _noise(), first=first)
    x, truth = trainer.prepare(0)
    torch.manual_seed(1)
    loss, sums = trainer.losses((x, truth))
    torch.manual_seed(1)
    vector = first.E(x, truth)
    out, states = trainer.network(x, vector)
    pixels, distance = (out - truth).abs().mean(), (states[-1] - vector).abs().mean()
    assert torch.allclose(loss, pixels + 3 * distance)
    assert torch.allclose(sums["vector"][0], distance) and len(states) == 4
    loss.backward()
    assert all(p.grad is None for p in first.E.parameters())
    learned = {
        name.split(".")[0] for name, p in trainer.network.named_parameters() if p.grad is not None
    }
    assert learned == {"G", "condition", "denoise"}
    equal = zip(trainer.network.G.parameters(), first.G.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in equal)


def test_gradients_are_those_of_plain_pytorch():
    """The fused operations against the reference backend, for a step of training."""
    from ddrm_fast import ops

    torch.manual_seed(0)
    network, x, gt = diffir.build(_config()), torch.rand(2, 3, 16, 24), torch.rand(2, 3, 16, 24)
    found = {}
    for backend in ("reference", "cpp"):
        if ops.backends()[backend] is not None:
            pytest.skip(str(ops.backends()[backend]))
        network.zero_grad()
        with ops.use_backend(backend):
            (network(x, gt)[0] - gt).abs().mean().backward()
        found[backend] = {name: p.grad.clone() for name, p in network.named_parameters()}
    for name, one in found["reference"].items():
        scale = float(one.abs().max()) + 1e-6
        assert float((found["cpp"][name] - one).abs().max()) < 1e-3 * scale, name


def test_degraded_pictures():
    data = Degraded(
        _crops(), {"task": "deblur", "options": {"kernel": "gaussian:1"}, "sigma_y": (0.0, 0.2)}
    )
    y, truth = data.batch(3, 4, 16)
    assert y.shape == truth.shape == (4, 3, 16, 16)
    again = data.batch(3, 4, 16)
    assert torch.equal(again[0], y) and torch.equal(again[1], truth)
    assert not torch.equal(data.batch(4, 4, 16)[1], truth)
    small, large = Degraded(_crops(), {"task": "sr", "options": {"factor": 2}}, 2).batch(0, 2, 8)
    assert small.shape == (2, 3, 8, 8) and large.shape == (2, 3, 16, 16)
    assert torch.allclose(small, torch.nn.functional.avg_pool2d(large, 2), atol=1e-6)
    holes = {"task": "inpaint", "options": {"mask": "random:0.5"}}
    x, truth = Degraded(_crops(), holes, with_mask=True).batch(0, 2, 16)
    assert x.shape == (2, 4, 16, 16) and set(x[:, 3].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(x[:, :3], truth * (1 - x[:, 3:]))
    rough = Degraded(_crops(), {"jpeg": 10}).batch(0, 2, 16)
    assert 0.001 < float((rough[0] - rough[1]).abs().mean()) < 0.3
    assert data.digest() != Degraded(_crops(), {"sigma_y": 0.1}).digest()


def test_pairs_of_folders(here):
    rng = np.random.default_rng(1)
    for folder, factor in (("small", 1), ("large", 2)):
        (here / folder).mkdir()
        for name in ("a", "b"):
            pixels = rng.integers(0, 256, (20 * factor, 24 * factor, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(here / folder / f"{name}.png")
    data = load_pairs("small", "large", 2)
    x, gt = data.batch(0, 3, 16)
    assert x.shape == (3, 3, 16, 16) and gt.shape == (3, 3, 32, 32) and len(data) == 2
    with pytest.raises(ValueError, match="target 1 has 40 x 48 pixels, expected 20 x 24"):
        load_pairs("small", "large", 1)
    (here / "small" / "b.png").unlink()
    with pytest.raises(ValueError, match="b is in one of small and large only"):
        load_pairs("small", "large", 2)
    with pytest.raises(ValueError, match="patch: got 32, but input 1 has"):
        Pairs(_pictures(1, 20), _pictures(1, 20)).batch(0, 1, 32)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: _fit(_config(), progress=((1, 16, 2),)), "progress: got"),
        (lambda: _fit(_config(), progress=((0, 16, 2), (0, 24, 2))), "rising"),
        (
            lambda: _fit(_config(), progress=((0, 12, 2),)),
            "patch: got 12, expected a multiple of 8",
        ),
        (lambda: _fit(_config(), progress=((0, 16, 3),), accumulate=2), "batch: got 3"),
        (lambda: _fit(_config(), vector_weight=-1.0), "vector_weight: got -1.0"),
        (
            lambda: Trainer(_fit(_config(2)), _noise()),
            "first: got None, expected the network of st",
        ),
        (
            lambda: Trainer(_fit(_config(1)), _noise(), first=diffir.build(_config(1))),
            "first: got a network, but stage 1",
        ),
        (
            lambda: Trainer(_fit(_config(2)), _noise(), first=diffir.build(_config(1, dim=8))),
            "first: differs from the network in dim",
        ),
        (lambda: _noise(sigma_y="much"), "sigma_y: got 'much'"),
        (lambda: _noise(jpeg=0), "jpeg: got 0"),
        (lambda: _noise(blur=1), "degrade: blur is unknown"),
        (
            lambda: Degraded(_crops(), {"task": "sr", "options": {"factor": 2}}).batch(0, 1, 16),
            r"sr measures \(3, 8, 8\), expected \(3, 16, 16\)",
        ),
        (
            lambda: Degraded(_crops(), {"task": "deblur"}, with_mask=True),
            "the network is for inpainting",
        ),
    ],
)
def test_arguments_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_command(here, capsys):
    (here / "photos").mkdir()
    for name in ("a", "b"):
        pixels = np.random.default_rng(2).integers(0, 256, (48, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(here / "photos" / f"{name}.png")
    (here / "network.json").write_text(json.dumps(TINY))
    common = [
        "photos",
        "--noise",
        "0.1",
        "--progress",
        "0,16,2",
        "--steps",
        "2",
        "--quiet",
        "--device",
        "cpu",
    ]
    one = ["train-diffir", *common, "--network", "network.json", "--out", "one"]
    assert cli.main(one) == 0
    assert cli.main(one) == 1 and "resume the run or choose another" in capsys.readouterr().err
    two = ["train-diffir", *common, "--first", "one/diffir.safetensors", "--out", "two"]
    assert cli.main(two) == 0
    assert cli.main([*two, "--resume", "--steps", "3"]) == 1
    assert "learning rate falls already" in capsys.readouterr().err
    assert cli.main([*two, "--resume", "--final-decay", "1"]) == 0
    assert diffir.load("two/diffir.safetensors").config.stage == 2
    assert cli.main(["train-diffir", "--out", "three", "--network", "network.json"]) == 1
    assert "FOLDER: got none" in capsys.readouterr().err

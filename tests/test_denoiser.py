"""The default prior's network: shapes, limits, refusals, and its weights file."""

import pytest
import safetensors.torch
import torch

from ddrm_fast.priors.networks import denoiser
from ddrm_fast.priors.networks.denoiser import Denoiser, DenoiserConfig
from ddrm_fast.priors.weights import load_denoiser, save_metadata

TINY = DenoiserConfig(channels=(4, 6), blocks=1, embedding=8)


def trained(config=TINY, seed=0):
    """A network whose last layer is not the zero of a fresh one."""
    torch.manual_seed(seed)
    model = Denoiser(config)
    torch.nn.init.normal_(model.net.tail.weight, std=0.1)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2), (4, 4), (5, 9), (17, 13), (31, 64)])
def test_any_size(shape):
    x = torch.randn(2, 3, *shape)
    out = trained()(x, torch.tensor([0.1, 3.0]))
    assert out.shape == x.shape and out.dtype == x.dtype and out.isfinite().all()


def test_default_fits_in_16_mib_of_half_precision():
    model = Denoiser()
    assert sum(p.numel() for p in model.parameters()) * 2 <= 16 * 2**20


def test_limits_of_the_noise_level():
    x = torch.rand(1, 3, 8, 8) * 2 - 1
    model = trained()
    assert torch.allclose(model(x, torch.tensor([0.002])), x, atol=0.02)
    far = model(x + 160 * torch.randn_like(x), torch.tensor([160.0]))
    assert far.isfinite().all() and far.abs().max() < 50


def test_each_picture_has_its_own_noise_level():
    model, x = trained(), torch.randn(3, 3, 10, 6)
    sigma = torch.tensor([0.01, 0.5, 40.0])
    together = model(x, sigma)
    for i in range(3):
        assert torch.allclose(together[i : i + 1], model(x[i : i + 1], sigma[i]), atol=1e-5)
    same = model(x, torch.tensor(0.5))
    assert torch.allclose(same, model(x, torch.full((3,), 0.5)), atol=1e-6)


def modulated(seed=0):
    """A network whose noise level matters, as after training."""
    model = trained(seed=seed)
    for block in (block for block in model.modules() if isinstance(block, denoiser.ResidualBlock)):
        torch.nn.init.normal_(block.modulation.weight, std=0.3)
        torch.nn.init.normal_(block.modulation.bias, std=0.3)
    return model


@pytest.mark.parametrize("levels", [(0.4, 0.4), (0.4, 7.0)])
@pytest.mark.parametrize("dtype, close", [(torch.float32, 1e-6), (torch.bfloat16, 0.03)])
def test_a_noise_level_in_the_weights_is_that_of_the_training(levels, dtype, close):
    x, sigma, model = torch.randn(2, 3, 12, 20), torch.tensor(levels), modulated()
    # what needs gradients goes through blocks that take the level as scale and shift
    expected = model(x.clone().requires_grad_(), sigma).detach()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        out = model(x, sigma)
    assert torch.allclose(out, expected, atol=close, rtol=close)
    other = model(x, sigma[:1])[1] if levels[0] != levels[1] else model(x, 3 * sigma)[1]
    assert not torch.allclose(other, expected[1], atol=close, rtol=close)


def test_no_pictures():
    assert modulated()(torch.zeros(0, 3, 8, 8), torch.zeros(0)).shape == (0, 3, 8, 8)


def test_a_gain_multiplies_the_picture_first():
    x, sigma, gain = torch.randn(2, 3, 9, 12), torch.tensor([0.3, 2.0]), torch.tensor([1.7, 0.4])
    model = trained()
    expected = model(x * gain.view(-1, 1, 1, 1), sigma)
    assert torch.allclose(model(x, sigma, gain), expected, atol=1e-6)
    assert not torch.allclose(model(x, sigma), expected, atol=1e-2)


def test_memory_layout_does_not_matter():
    model, x = trained(), torch.randn(2, 3, 12, 8)
    sigma = torch.tensor([0.3])
    flipped = x.to(memory_format=torch.channels_last)
    assert torch.allclose(model(x, sigma), model(flipped, sigma), atol=1e-5)


SHAPES = [
    DenoiserConfig(channels=(4, 6, 8), blocks=(1, 2, 1), embedding=8),
    DenoiserConfig(channels=(4, 6), blocks=2, embedding=8),
    DenoiserConfig(channels=(4,), blocks=2, embedding=8),
]


@pytest.mark.parametrize("side", [12, 16, 30])
@pytest.mark.parametrize("config", SHAPES, ids=lambda config: f"{len(config.channels)} scales")
def test_stages_in_tiles_give_the_whole(config, side, monkeypatch):
    """Also where the last tiles are of another size, and where the picture has to be padded."""
    model, x = trained(config), torch.randn(2, 3, 131, 94)
    for layer in model.modules():  # fresh blocks are too near to zero to reach far
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.normal_(layer.weight, std=0.2)
    sigma = torch.tensor([0.3, 4.0])
    monkeypatch.setattr(denoiser, "TILE", 10_000)
    whole = model(x, sigma)
    monkeypatch.setattr(denoiser, "TILE", side)
    assert torch.allclose(model(x, sigma), whole, rtol=1e-5, atol=1e-5 * whole.abs().max())


def test_a_batch_in_parts_is_the_batch(monkeypatch):
    model, x = trained(), torch.randn(5, 3, 20, 14)
    sigma = torch.tensor([0.01, 0.5, 40.0, 2.0, 0.1])
    whole = model(x, sigma)
    monkeypatch.setattr(denoiser, "TILE", 14)  # two of them at a time
    assert torch.allclose(model(x, sigma), whole, rtol=1e-5, atol=1e-5)


def test_a_stage_reaches_no_less_than_its_tiles_assume(monkeypatch):
    model, x = trained(SHAPES[0]), torch.randn(1, 3, 96, 96)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.normal_(layer.weight, std=0.2)
    whole = model(x, torch.tensor([0.3]))
    monkeypatch.setattr(denoiser, "TILE", 16)
    monkeypatch.setattr(denoiser._Blocks, "reach", property(lambda blocks: 2 * len(blocks) - 2))
    assert not torch.allclose(model(x, torch.tensor([0.3])), whole, rtol=1e-3, atol=1e-3)


def test_gradients_reach_a_large_picture_whole(monkeypatch):
    model = trained()
    picture = torch.randn(1, 3, 40, 40)
    slopes = []
    for side in (4, 10_000):
        monkeypatch.setattr(denoiser, "TILE", side)
        x = picture.clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(x, torch.tensor([0.3])).square().sum(), x)
        slopes.append(slope)
    assert torch.allclose(*slopes, rtol=1e-5, atol=1e-6)


def test_float64_in_float64_out():
    x = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    assert trained()(x, torch.tensor([0.5], dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(
    ("x", "sigma", "error", "name"),
    [
        (torch.zeros(1, 1, 4, 4), torch.ones(1), ValueError, "x:"),
        (torch.zeros(3, 4, 4), torch.ones(1), ValueError, "x:"),
        (torch.zeros(1, 3, 0, 4), torch.ones(1), ValueError, "x:"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.ones(1), TypeError, "x:"),
        (torch.zeros(2, 3, 4, 4), torch.ones(3), ValueError, "sigma:"),
        (torch.zeros(2, 3, 4, 4), torch.ones(2, 1, 1, 1), ValueError, "sigma:"),
        (torch.zeros(2, 3, 4, 4), 0.5, TypeError, "sigma:"),
    ],
)
def test_refusals_name_the_argument(x, sigma, error, name):
    with pytest.raises(error, match=name):
        trained()(x, sigma)


@pytest.mark.parametrize(
    "values",
    [{"channels": ()}, {"blocks": 0}, {"blocks": (1, 2, 3)}, {"embedding": 3}, {"sigma_data": 0}],
)
def test_config_refusals(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        DenoiserConfig(**{"channels": (4, 6), **values})


def write(path, model, change=None):
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    metadata = save_metadata(model.config, weights, {"step": 3})
    if change:
        change(weights, metadata)
    path.write_bytes(safetensors.torch.save(weights, metadata))
    return path


def test_round_trip(tmp_path):
    model = trained()
    loaded = load_denoiser(write(tmp_path / "w.safetensors", model))
    assert loaded.config == TINY and loaded.training_summary == {"step": 3}
    assert len(loaded.sha256) == 64 and not loaded.training
    x, sigma = torch.randn(1, 3, 9, 5), torch.tensor([0.2])
    assert torch.allclose(loaded(x, sigma), model(x, sigma), atol=2e-3)


def damage(weights, metadata):
    weights["net.tail.bias"] += 1


def other_format(weights, metadata):
    metadata["format"] = "something"


def other_shape(weights, metadata):
    metadata["config"] = metadata["config"].replace("[4, 6]", "[4, 8]")


@pytest.mark.parametrize(
    ("change", "message"),
    [(damage, "damaged"), (other_format, "format"), (other_shape, "does not fit")],
)
def test_bad_weights_are_refused(tmp_path, change, message):
    path = write(tmp_path / "w.safetensors", trained(), change)
    with pytest.raises(ValueError, match=message):
        load_denoiser(path)


def test_no_file_and_no_safetensors(tmp_path):
    with pytest.raises(FileNotFoundError, match="path"):
        load_denoiser(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("hello, this is not a weights file")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_denoiser(tmp_path / "text.safetensors")

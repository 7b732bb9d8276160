"""Options of a network: the same pictures up to the rounding that was asked for."""

import copy

import pytest
import torch
from small_cases import GAUSSIAN, PICTURE, restore_small

from ddrm_fast import Prior, load_prior
from ddrm_fast.large import windowed
from ddrm_fast.ops import noise_keys, normal
from ddrm_fast.priors import accelerated


class Network(torch.nn.Module):
    """Two convolutions, and what they were given."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.first = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.last = torch.nn.Conv2d(8, 6, 3, padding=1)
        self.seen = []

    def forward(self, x, t, labels=None):
        hidden = self.first(x + 1e-3 * t.view(-1, 1, 1, 1))
        if not torch.compiler.is_compiling():
            layout = x.is_contiguous(memory_format=torch.channels_last)
            self.seen.append((hidden.dtype, layout and not x.is_contiguous()))
        return self.last(torch.tanh(hidden))


@pytest.fixture
def prior():
    return Prior(Network(), "v", name="small")


def _restored(prior):
    with torch.no_grad():
        return restore_small(PICTURE, prior=prior).samples


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_runs_in_half_precision(prior, dtype):
    expected = _restored(prior)
    prior.network.seen.clear()
    result = _restored(accelerated(prior, autocast=dtype))
    assert {seen[0] for seen in prior.network.seen} == {dtype}
    assert result.dtype == torch.float32 and not torch.equal(result, expected)
    assert (result - expected).abs().max() < 0.05


def test_channels_last_reaches_the_network(prior):
    expected = _restored(prior)
    prior.network.seen.clear()
    result = _restored(accelerated(prior, channels_last=True))
    assert all(seen == (torch.float32, True) for seen in prior.network.seen)
    assert torch.allclose(result, expected, atol=1e-5)
    prior.network.seen.clear()
    assert torch.equal(_restored(accelerated(prior, channels_last=False)), expected)
    assert all(seen == (torch.float32, False) for seen in prior.network.seen)


def test_layouts_are_shared_with_the_prior_that_was_given(prior):
    """As the docstring says: the weights move for both, the input for the new one alone."""
    last = accelerated(prior, channels_last=True)
    weight = prior.network.first.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    assert last.channels_last and not prior.channels_last
    same = accelerated(last)
    assert same.channels_last and same.module is prior.module
    accelerated(prior, channels_last=False)
    assert weight.is_contiguous()


def test_compiled_networks_draw_the_same_pictures(prior, monkeypatch):
    expected = _restored(prior)
    modes, real = [], torch.compile

    def recorded(run, mode, dynamic):
        assert dynamic is False
        modes.append(mode)
        return real(run, backend="eager", dynamic=dynamic)

    monkeypatch.setattr(torch, "compile", recorded)
    for option in (True, "max-autotune-no-cudagraphs"):
        assert torch.allclose(_restored(accelerated(prior, compile=option)), expected, atol=1e-6)
    assert modes == [None, "max-autotune-no-cudagraphs"]


def test_compiled_networks_can_be_sent_to_workers(prior, monkeypatch):
    """Also after a call; there they are compiled anew."""
    expected, compiled = _restored(prior), []
    monkeypatch.setattr(torch, "compile", lambda run, **settings: compiled.append(run) or run)
    fast = accelerated(prior, compile=True)
    assert torch.equal(_restored(fast), expected)
    sent = copy.deepcopy(fast.network)
    assert len(compiled) == 1 and sent.__getstate__()["_compiled"] is None
    x, t = torch.rand(1, 3, 8, 8), torch.tensor([5.0])
    assert torch.equal(sent(x, t), fast.network(x, t)) and len(compiled) == 2


def test_both_ways_to_a_denoiser_are_accelerated(monkeypatch):
    """The one by timestep and the one by noise level, which grey pictures take."""
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda run, **settings: compiled.append(run) or run)
    fast = accelerated(load_prior(), compile=True)
    x = torch.rand(1, 3, 16, 16)
    assert torch.equal(fast.denoise(x, 0.1), load_prior().denoise(x, 0.1)) and len(compiled) == 1
    fast(x, torch.tensor([5.0]))
    assert len(compiled) == 1
    assert windowed(fast, 400).tiling.halo == load_prior().denoiser.config.reach


def test_nothing_asked_for_changes_nothing(prior):
    same = accelerated(prior)
    assert torch.equal(_restored(same), _restored(prior))
    assert (same.prediction, same.name, same.dtype) == ("v", "small", None)


def test_every_kind_of_prior_can_be_accelerated():
    expected = _restored(GAUSSIAN)
    assert torch.equal(_restored(accelerated(GAUSSIAN)), expected)


def test_labels_reach_an_accelerated_network(prior):
    given = []
    conditional = Prior(lambda x, t, labels: given.append(labels) or 0.3 * x)
    labels = torch.tensor([3, 5])
    restore_small(prior=accelerated(conditional, autocast=torch.bfloat16), labels=labels)
    assert all(torch.equal(seen, labels) for seen in given) and given


def test_options_that_cannot_be(prior):
    with pytest.raises(ValueError, match="^autocast: expected torch.bfloat16 or torch.float16"):
        accelerated(prior, autocast=torch.float32)
    with pytest.raises(ValueError, match="^channels_last: needs a network that is a Module"):
        accelerated(Prior(lambda x, t: x), channels_last=True)


class Rounding(torch.nn.Module):
    """eps with an error in half precision, in parts of the noise."""

    def __init__(self, error):
        super().__init__()
        self.error, self.halves = error, 0

    def forward(self, x, t, labels=None):
        half = torch.is_autocast_enabled("cpu")
        self.halves += half
        return 0.5 * x + (self.error if half else 0.0) * torch.ones_like(x)


@pytest.mark.parametrize(
    "error, native, expected",
    [(0.01, True, "bfloat16"), (0.03, True, "float32"), (0.01, False, "float32")],
)
def test_half_precision_by_itself(monkeypatch, error, native, expected):
    monkeypatch.setattr("ddrm_fast.priors.precision.native_bfloat16", lambda: native)
    prior = Prior(Rounding(error), precision="auto")
    assert prior.precision_on("cpu") == expected
    asked = prior.network.halves
    prior(PICTURE, torch.tensor([5.0]))
    assert prior.network.halves == asked + (expected == "bfloat16")


def test_networks_that_refuse_the_probe_stay_in_single_precision(monkeypatch):
    monkeypatch.setattr("ddrm_fast.priors.precision.native_bfloat16", lambda: True)

    def network(x, t):
        raise RuntimeError("only 32 x 32 pixels")

    assert Prior(network, precision="auto").precision_on("cpu") == "float32"


def test_half_precision_of_the_shipped_prior(monkeypatch):
    """Denoising a smooth picture, where rounding shows most: it adds less than 2 % (0.09 dB) to the error."""
    monkeypatch.setattr("ddrm_fast.priors.precision.native_bfloat16", lambda: True)
    prior, exact = load_prior(), load_prior()
    assert prior.precision_on("cpu") == "bfloat16"
    exact.precision = "float32"
    clean = (torch.linspace(0, 9, 64)[:, None] * torch.linspace(0, 3, 64)).sin()
    clean = clean.expand(1, 3, 64, 64) * 0.7
    for level in (0.05, 0.2, 0.6):
        noisy = clean + level * normal(noise_keys(8, 3), 3, 64, 64)
        rough, fine = (p.denoise(noisy, level) for p in (prior, exact))
        assert not torch.equal(rough, fine)
        ratio = (rough - clean).square().mean() / (fine - clean).square().mean()
        assert abs(ratio - 1) < 0.02


def test_unknown_precision():
    with pytest.raises(ValueError, match="^precision: expected one of auto, float32, bfloat16"):
        Prior(lambda x, t: x, precision="half")
    prior = Prior(lambda x, t: x)
    prior.precision = "int8"
    with pytest.raises(ValueError, match="^precision: .*got 'int8'"):
        prior(PICTURE, torch.tensor([5.0]))

"""Options of a network: the same pictures up to the rounding that was asked for."""

import pytest
import torch
from small_cases import GAUSSIAN, PICTURE, restore_small

from ddrm_fast import Prior
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


def test_compiled_networks_draw_the_same_pictures(prior, monkeypatch):
    expected = _restored(prior)
    modes, real = [], torch.compile

    def recorded(run, mode):
        modes.append(mode)
        return real(run, backend="eager")

    monkeypatch.setattr(torch, "compile", recorded)
    for option in (True, "max-autotune-no-cudagraphs"):
        assert torch.allclose(_restored(accelerated(prior, compile=option)), expected, atol=1e-6)
    assert modes == [None, "max-autotune-no-cudagraphs"]


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

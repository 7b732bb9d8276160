"""Gradients through a network whose blocks are computed twice."""

import pytest
import torch
from small_cases import pictures
from torch import nn

from ddrm_fast import Prior, load_prior, restore
from ddrm_fast.operators import SuperResolution
from ddrm_fast.priors import accelerated
from ddrm_fast.priors.adapters import DenoiserPrior
from ddrm_fast.priors.checkpointing import blocks_of, checkpointed
from ddrm_fast.priors.networks.denoiser import Denoiser, DenoiserConfig
from ddrm_fast.samplers import DPS, fallback


def network(seed=0):
    torch.manual_seed(seed)
    made = Denoiser(DenoiserConfig(channels=(8, 12, 16), embedding=8))
    for value in made.parameters():
        nn.init.normal_(value, std=0.1)
    return made.requires_grad_(False)


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


def kept(prior, x, t):
    """The gradient, and bytes that were saved for it."""
    total = 0

    def pack(saved):
        nonlocal total
        total += saved.numel() * saved.element_size()
        return saved

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        leaf = x.clone().requires_grad_()
        out = prior.at(leaf, t)
        saved = total
        (gradient,) = torch.autograd.grad(out.square().sum(), leaf)
    return gradient, saved


def test_the_same_gradient_with_less_kept():
    prior = DenoiserPrior(network(), (-1.0, 1.0))
    x, t = (
        torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)),
        torch.tensor([300.0]),
    )
    gradient, before = kept(prior, x, t)
    small = accelerated(prior, checkpointing=True)
    again, after = kept(small, x, t)
    assert torch.equal(gradient, again)
    assert after < 0.5 * before
    assert not prior.checkpointing and kept(prior, x, t)[1] == before
    assert not any("forward" in vars(module) for module in prior.module.modules())
    with torch.no_grad():
        assert torch.equal(small.at(x, t), prior.at(x, t))


def test_blocks_are_found_in_lists_else_in_sequences():
    assert len(blocks_of(network())) == 4 * 2 + 2
    layer = nn.Conv2d(3, 3, 3, padding=1)
    pair = nn.Sequential(layer, nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1))
    assert blocks_of(nn.Sequential(layer, pair)) == []  # sequences of single layers
    block = Residual(pair)
    assert blocks_of(nn.Sequential(layer, block)) == [block]
    with (
        torch.enable_grad(),
        pytest.raises(ValueError, match="checkpointing: Conv2d has no blocks"),
    ):
        with checkpointed(layer):
            pass


def test_pictures_of_dps_are_the_same():
    prior = DenoiserPrior(network(), (-1.0, 1.0))
    operator = SuperResolution(2)
    y = operator.H(pictures(1, 3, 16, 16))
    found = [
        restore(y, operator, 0.1, each, DPS(4)).mean
        for each in (prior, accelerated(prior, checkpointing=True))
    ]
    assert torch.equal(*found)


def test_where_memory_runs_out_it_is_tried_first(monkeypatch):
    prior = DenoiserPrior(network(), (-1.0, 1.0))
    operator = SuperResolution(2)
    y = operator.H(pictures(2, 3, 16, 16))
    expected = restore(y, operator, 0.1, prior, DPS(3)).mean
    seen = []
    at = Prior.at

    def full(self, *arguments):
        seen.append(self.checkpointing)
        if not self.checkpointing:
            raise torch.OutOfMemoryError("no room")
        return at(self, *arguments)

    monkeypatch.setattr(Prior, "at", full)
    with pytest.warns(UserWarning, match="going on with its blocks computed twice"):
        found = restore(y, operator, 0.1, prior, DPS(3)).mean
    assert torch.equal(found, expected)
    assert seen[0] is False and all(seen[1:])
    assert fallback.FallingBack(prior, (16, 16))._may_checkpoint is False


def test_what_has_no_blocks_is_refused():
    with pytest.raises(
        ValueError, match="checkpointing: needs a network that is a Module with blocks"
    ):
        accelerated(Prior(lambda x, t: x), checkpointing=True)
    assert accelerated(load_prior("default"), checkpointing=True).checkpointing

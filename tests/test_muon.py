"""Muon: what its iteration converges to, its AdamW half, and runs of the denoiser with it."""

from functools import partial

import pytest
import torch
from torch import nn

from ddrm_fast.priors.networks.denoiser import DenoiserConfig
from ddrm_fast.training import OneProcess, Shown
from ddrm_fast.training.data.crops import CropConfig, CropSource
from ddrm_fast.training.data.packs import pack
from ddrm_fast.training.denoiser import Trainer, TrainingConfig, train
from ddrm_fast.training.muon import Muon, orthogonal

CONFIG = TrainingConfig(
    model=DenoiserConfig(channels=(4, 6), blocks=1, embedding=8), crops=CropConfig(patch=16),
    leaves_share=0.0, batch=2, steps=6, warmup=2, decay_steps=3, optimiser="muon",
)  # fmt: skip


def source():
    pictures = torch.randint(0, 256, (3, 40, 50, 3), generator=torch.Generator().manual_seed(0))
    return CropSource(pack(pictures.byte().numpy()), pack([]), 0.0, CONFIG.crops, 0)


@pytest.mark.parametrize("shape", [(3, 20, 33), (2, 33, 20), (1, 8, 8)])
def test_the_iteration_keeps_directions_and_levels_what_they_count(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = orthogonal(matrices).double()
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    inner = left.mT @ found @ right.mT
    diagonal = inner.diagonal(dim1=1, dim2=2)
    seen = values > 0.05 * values[:, :1]
    assert ((diagonal > 0.6) & (diagonal < 1.3))[seen].all()
    assert (inner - torch.diag_embed(diagonal)).abs().max() < 0.1
    assert (orthogonal(1e6 * matrices).double() - found).abs().max() < 0.05


def test_nothing_stays_nothing():
    assert not orthogonal(torch.zeros(2, 4, 5)).any()


def parameters(seed=2):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((7,), (5, 3))]


def test_what_is_no_matrix_takes_steps_of_adamw():
    ours, theirs = parameters(), parameters()
    settings = {"weight_decay": 0.1, "betas": (0.9, 0.99)}
    mine = Muon([], ours, 0.01, **settings)
    other = torch.optim.AdamW(theirs, 0.01, **settings)
    for step in range(5):
        for optimiser, values in ((mine, ours), (other, theirs)):
            generator = torch.Generator().manual_seed(step)
            for value in values:
                value.grad = torch.randn(value.shape, generator=generator)
            optimiser.step()
    for one, another in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, another, rtol=1e-6, atol=1e-7)


def test_a_matrix_moves_along_the_orthogonal_factor_of_its_gradient():
    value = nn.Parameter(torch.zeros(6, 4, 3, 3))
    value.grad = torch.randn(value.shape, generator=torch.Generator().manual_seed(3))
    Muon([value], [], 0.01).step()
    left, _, right = torch.linalg.svd(value.grad.reshape(6, 36), full_matrices=False)
    expected = -0.01 * 0.4 * 36**0.5 * (left @ right)
    found = value.detach().reshape(6, 36)
    assert torch.linalg.norm(found - expected) < 0.3 * torch.linalg.norm(expected)
    assert torch.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.95


def test_vectors_are_no_matrices():
    with pytest.raises(ValueError, match="matrices: got shape .7,., expected two dimensions"):
        Muon(parameters()[:1], [], 0.01)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path):
    quiet = Shown(progress=False, log_every=2)
    whole = train(CONFIG, source(), tmp_path / "whole", shown=quiet)
    train(CONFIG, source(), tmp_path / "parts", shown=quiet, stop_at=2)
    parts = train(CONFIG, source(), tmp_path / "parts", shown=quiet, resume=True)
    kinds = {group["orthogonal"] for group in whole.optimiser.param_groups}
    assert kinds == {True, False}
    for one, other in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_compiled_network_takes_the_same_steps(monkeypatch):
    monkeypatch.setattr(
        torch, "compile", partial(torch.compile, backend="aot_eager", fullgraph=True)
    )
    losses = []
    for compiled in (False, True):
        trainer = Trainer(CONFIG, source(), OneProcess("cpu", compiled))
        assert (trainer.model is trainer.network) != compiled
        for step in range(3):
            trainer.advance(trainer.prepare(step))
        losses.append(trainer.means()["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_other_optimisers_are_refused():
    with pytest.raises(ValueError, match="optimiser: got 'sgd', expected 'adamw' or 'muon'"):
        TrainingConfig(optimiser="sgd")

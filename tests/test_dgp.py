"""A generator that is fitted to measurements."""

import pytest
import torch
from torch import nn

from ddrm_fast.interop.dgp import Stage, restore_by_generator
from ddrm_fast.operators import Inpainting, SuperResolution


def generator(seed=0, size=8):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, 32),
        nn.Tanh(),
        nn.Linear(32, 3 * size**2),
        nn.Tanh(),
        nn.Unflatten(1, (3, size, size)),
    )


LATENT = Stage(400, latent_rate=0.05)


def test_pictures_of_the_generator_are_found():
    made = generator()
    truth = (made(torch.randn(2, 6, generator=torch.Generator().manual_seed(1))).detach() + 1) / 2
    y = SuperResolution(2).H(truth)
    start = torch.randn(8, 6, generator=torch.Generator().manual_seed(2))
    before = {name: value.clone() for name, value in made.state_dict().items()}
    found = restore_by_generator(y, SuperResolution(2), made, start, stages=[LATENT], candidates=4)
    assert found.shape == truth.shape
    assert (found - truth).abs().max() < 0.02
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_other_pictures_want_other_weights():
    made = generator()
    truth = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    mask = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(4)) > 0.3
    operator = Inpainting(mask)
    y, start = operator.H(truth), torch.zeros(1, 6)

    def misfit(*stages):
        found = restore_by_generator(y, operator, made, start, stages=stages)
        return float((operator.H(found) - y).square().mean())

    fitted = misfit(LATENT, Stage(300, 0.01, 0.01, blocks=3))
    assert fitted < 0.05 * misfit(LATENT)


def test_the_one_that_fits_best_begins():
    made = generator()
    good = torch.randn(1, 6, generator=torch.Generator().manual_seed(5))
    truth = (made(good).detach() + 1) / 2
    latents = torch.cat([torch.full((1, 6), 3.0), good])
    still = Stage(1, latent_rate=0.0, weight_rate=0.0)
    operator = SuperResolution(2)
    found = restore_by_generator(
        operator.H(truth), operator, made, latents, stages=[still], candidates=2
    )
    assert torch.allclose(found, truth, atol=1e-6)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"candidates": 2}, "latents: got 1, expected 2 for each of 1 measurements"),
        ({"stages": []}, "stages: got none"),
        ({"generator": generator(size=4)}, "generator: its picture is measured as"),
    ],
)
def test_what_does_not_fit(change, message):
    arguments = {
        "generator": generator(),
        "latents": torch.zeros(1, 6),
        "stages": [Stage(1)],
    } | change
    with pytest.raises(ValueError, match=message):
        restore_by_generator(torch.zeros(1, 3, 4, 4), SuperResolution(2), **arguments)


def test_bad_stages():
    with pytest.raises(ValueError, match="steps, blocks: got 0"):
        Stage(0)
    with pytest.raises(ValueError, match="latent_rate"):
        Stage(1, latent_rate=float("nan"))

"""DDNM+ without SVD: its operators, and the paper's noise where the published code differs."""

import math

import pytest
import textbook_compat as textbook
import torch
from golden_compat import relative, travel_config

from ddrm_fast.compat import ddnm
from ddrm_fast.compat.schedule import travel_pairs
from ddrm_fast.compat.simplified import MeanUpsample, color2gray, gray2color

BETAS = torch.linspace(1e-4, 2e-2, 1000)
SHAPE = (1, 3, 8, 8)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


MASK = (randn(8, 8, seed=9) > -0.3).float()


@pytest.mark.parametrize(
    "deg, scale",
    [("colorization", 1), ("sr_averagepooling", 2), ("inpainting", 1), ("denoising", 1)],
)
def test_pseudo_inverse(deg, scale):
    A, Ap = ddnm.simplified_operators(deg, scale, MASK)
    x = randn(*SHAPE)
    y = A(x)
    assert relative(A(Ap(y)), y) <= 1e-6
    assert relative(Ap(A(Ap(y))), Ap(y)) <= 1e-6


def test_old_photograph():
    A, _ = ddnm.simplified_operators("mask_color_sr", 2.0, MASK)
    x = randn(2, 3, 8, 8)
    grey = (x * MASK).mean(1, keepdim=True)
    expected = torch.nn.functional.avg_pool2d(grey, 2).expand(-1, 3, -1, -1)
    assert relative(A(x), expected) <= 1e-6


def test_helpers():
    x = randn(2, 3, 4, 4)
    assert relative(color2gray(x)[:, 2], x.mean(1)) <= 1e-6
    assert torch.equal(gray2color(x), x[:, [0, 0, 0]])
    assert torch.equal(MeanUpsample(x, 3)[..., ::3, 1::3], x)


def run(sigma_y, eta=0.8, config=None, **keywords):
    config = travel_config(5, 2, 2) if config is None else config
    pairs = travel_pairs(config, 1000)
    z = randn(len(pairs), *SHAPE, seed=3)
    A, Ap = ddnm.simplified_operators("sr_averagepooling", 2)
    y = A(randn(*SHAPE, seed=1))
    model = textbook.swaying_network(SHAPE)
    x = randn(*SHAPE)
    states, _ = ddnm.simplified_ddnm_plus(
        x, model, BETAS, eta, A, Ap, y, sigma_y, config, noise=lambda k: z[k], keep=True, **keywords
    )
    return states, (x, model, A, Ap, y, pairs, z)


@pytest.mark.parametrize("sigma_y", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("eta", [0.0, 0.8])
def test_paper(sigma_y, eta):
    """Eqs. 17 and 19: the noise of the state and lambda times the noise of y make sigma_t together."""
    states, (x_t, model, A, Ap, y, pairs, z) = run(sigma_y, eta)
    abar = textbook.abar_table(BETAS)
    x_t, x0 = x_t.double(), None
    for k, (t, t_next) in enumerate(pairs):
        a, sigma_t = math.sqrt(abar[t_next]), math.sqrt(1 - abar[t_next])
        if t_next > t:
            x_t = a * x0 + sigma_t * z[k]
        else:
            eps = model(x_t.float(), torch.full((1,), float(t))).double()
            x0 = (x_t - math.sqrt(1 - abar[t]) * eps) / math.sqrt(abar[t])
            lam = 1.0 if sigma_t >= a * sigma_y else sigma_t / (a * sigma_y)
            gamma = sigma_t**2 - (a * lam * sigma_y) ** 2
            fresh = math.sqrt(max(gamma, 0.0)) * (eta * z[k] + math.sqrt(1 - eta**2) * eps)
            x_t = a * (x0 - lam * Ap(A(x0) - y)) + fresh
        assert relative(states[k + 1], x_t) <= 1e-4, k


def test_without_noise_it_is_ddnm():
    """For block means, whose pseudo-inverse is exact, by the fused steps of the other path too."""
    states, (x, model, _, _, y, pairs, z) = run(0.0)
    A = ddnm.SuperResolution(3, 8, 2, "cpu")
    expected, _ = ddnm.ddnm_diffusion(
        x, model, BETAS, 0.8, A, y, config=travel_config(5, 2, 2), noise=lambda k: z[k], keep=True
    )
    assert len(states) == len(expected)
    assert all(relative(a, e) <= 1e-4 for a, e in zip(states, expected, strict=True))


def test_official_noise_is_another():
    ours, official = run(0.1)[0], run(0.1, official=True)[0]
    assert relative(official[-2], ours[-2]) > 0.02


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("blur",), "deg: expected colorization"),
        (("inpainting",), "mask: is needed"),
        (("sr_averagepooling", 2.5), "deg_scale: expected an integer"),
        (("sr_averagepooling", 0), "deg_scale: expected an integer"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        ddnm.simplified_operators(*arguments)


def test_errors_of_pictures():
    pool, _ = ddnm.simplified_operators("sr_averagepooling", 3)
    with pytest.raises(ValueError, match="multiples of 3, got"):
        pool(randn(*SHAPE))
    cover, _ = ddnm.simplified_operators("inpainting", mask=MASK)
    with pytest.raises(ValueError, match="expected the mask's"):
        cover(randn(1, 3, 8, 9))
    with pytest.raises(ValueError, match=r"expected \(B, 3, H, W\)"):
        color2gray(randn(1, 1, 8, 8))
    A, Ap = ddnm.simplified_operators("sr_averagepooling", 2)
    with pytest.raises(ValueError, match=r"y: expected A\(x\)"):
        ddnm.simplified_ddnm_plus(
            randn(*SHAPE), lambda x, t: x, BETAS, 0.8, A, Ap, randn(*SHAPE), 0.1, travel_config(4)
        )

"""Priors: denoisers, closed forms, networks of diffusers, and pictures drawn from them."""

import math
from types import SimpleNamespace

import pytest
import torch
from small_cases import (
    FAST,
    GAUSSIAN,
    PIXELWISE,
    SCHEDULE,
    measured,
    pixelwise,
    restated,
    seeded,
)

import ddrm_fast
from ddrm_fast import (
    DDIM,
    DDPM,
    DDRM,
    DenoiserPrior,
    Prior,
    load_prior,
    ops,
    restore,
    sample,
)
from ddrm_fast.priors import GaussianPrior, accelerated, wrap_diffusers


def _shrink(x, sigma):
    """A denoiser of pictures in [-1, 1]: the posterior mean for pixels N(0, 0.25)."""
    return x * 0.25 / (0.25 + sigma.view(-1, 1, 1, 1) ** 2)


def _shrink_in_0_1(x, sigma):
    return (_shrink(2 * x - 1, 2 * sigma) + 1) / 2


def test_denoisers_of_either_range():
    """The same denoiser for pictures in [0, 1] and in [-1, 1] is the same prior."""
    symmetric = DenoiserPrior(_shrink, (-1.0, 1.0))
    positive = DenoiserPrior(_shrink_in_0_1, (0.0, 1.0))
    assert torch.equal(DenoiserPrior(_shrink_in_0_1)(*_call()), positive(*_call()))
    assert torch.allclose(symmetric(*_call()), positive(*_call()), atol=1e-4)
    x, t = _call()
    for sigma in (0.1, torch.tensor([0.1, 3.0])):
        first, second = symmetric.denoise(x, sigma), positive.denoise(x, sigma)
        expected = _shrink(x, torch.as_tensor(sigma).expand(2))
        assert torch.allclose(first, expected, atol=1e-6)
        assert torch.allclose(second, expected, atol=1e-5)
    operator, y = measured("super-resolution")
    first, second = (restore(y, operator, 0.05, p, FAST).mean for p in (symmetric, positive))
    assert torch.allclose(first, second, atol=1e-4)


def _call():
    return seeded(2, 3, 4, 4, dtype=torch.float32), torch.tensor([100.0, 900.0])


def test_a_denoiser_is_told_the_level_of_its_timestep():
    seen = []

    def denoiser(x, sigma):
        seen.append((x, sigma))
        return x

    x_t, t = _call()
    DenoiserPrior(denoiser, (0.0, 1.0))(x_t, t)
    (x, sigma) = seen[0]
    for i, step in enumerate((100, 900)):
        root = math.sqrt(SCHEDULE.abar(step))
        assert float(sigma[i]) == pytest.approx(SCHEDULE.sigma(step) / 2, rel=1e-5)
        assert torch.allclose(x[i], (x_t[i] / root + 1) / 2, rtol=1e-5, atol=1e-5)


def test_an_exact_denoiser_is_the_gaussian_prior():
    operator, y = measured("inpainting")
    flat = GaussianPrior(torch.full((8, 8), 0.25))
    expected = restore(y, operator, 0.05, flat, FAST).mean
    result = restore(y, operator, 0.05, DenoiserPrior(_shrink, (-1.0, 1.0)), FAST).mean
    assert torch.allclose(result, expected, atol=1e-4)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_denoise_is_the_posterior_mean(prediction):
    """Against the closed form of a Gaussian prior, at levels of the schedule."""
    height, width = 8, 6
    power = torch.rand(height, width, dtype=torch.float64) + 0.1
    mirror = torch.roll(power.flip((0, 1)), (1, 1), (0, 1))
    power, mean = (power + mirror) / 2, torch.randn(3, height, width, dtype=torch.float64)
    gaussian = GaussianPrior(power, mean)

    def network(x, t):
        return restated(gaussian(x, t), x, t, prediction)

    prior = Prior(network, prediction)
    x = torch.randn(3, 3, height, width, dtype=torch.float64)
    levels = [SCHEDULE.sigma(t) for t in (3, 400, 900)]
    result = prior.denoise(x, torch.tensor(levels, dtype=torch.float64))
    for i, sigma in enumerate(levels):
        share = power / (power + sigma**2)
        expected = mean + torch.fft.ifft2(share * torch.fft.fft2(x[i] - mean)).real
        assert torch.allclose(result[i], expected, atol=1e-9)
        alone = prior.denoise(x[i : i + 1], sigma)
        assert torch.allclose(alone, result[i : i + 1], atol=1e-12)


class _FakeUNet(torch.nn.Module):
    """What `wrap_diffusers` uses of diffusers' UNet2DModel."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.config, self.dtype = SimpleNamespace(in_channels=3), dtype
        self.calls = []

    def forward(self, sample, timestep, class_labels=None):
        assert sample.dtype == self.dtype
        self.calls.append((timestep, class_labels))
        return SimpleNamespace(sample=0.3 * sample)


def test_networks_of_diffusers():
    model = _FakeUNet()
    prior = wrap_diffusers(model, {"prediction_type": "epsilon"})
    operator, y = measured("super-resolution")
    labels = torch.tensor([1, 0])
    result = restore(y, operator, 0.05, prior, FAST, labels=labels).mean
    assert torch.equal(result, restore(y, operator, 0.05, PIXELWISE, FAST).mean)
    assert prior.channels == 3 and len(model.calls) == 5
    timestep, given = model.calls[0]
    assert timestep.dtype == torch.int64 and timestep.tolist() == [800, 800]
    assert torch.equal(given, labels)
    for kind, expected in (("sample", "x0"), ("v_prediction", "v")):
        assert wrap_diffusers(model, {"prediction_type": kind}).prediction == expected
    assert wrap_diffusers(model).prediction == "eps"


def test_networks_are_fed_in_their_own_precision():
    """The state stays float32: only its copy for the network is rounded."""
    operator, y = measured("super-resolution")
    expected = restore(y, operator, 0.05, PIXELWISE, FAST).mean
    for dtype, error in ((torch.float16, 3e-3), (torch.bfloat16, 3e-2)):
        prior = wrap_diffusers(_FakeUNet(dtype))
        result = restore(y, operator, 0.05, prior, FAST).mean
        assert result.dtype == torch.float32
        assert torch.allclose(result, expected, atol=error)
        rounded = Prior(lambda x, t, d=dtype: 0.3 * x.to(d))
        assert torch.equal(restore(y, operator, 0.05, rounded, FAST).mean, result)
        inside = Prior(pixelwise, dtype=dtype)
        assert torch.equal(restore(y, operator, 0.05, inside, FAST).mean, result)


def test_schedules_of_diffusers():
    """The betas of DDPMScheduler, written out."""

    def schedule(**config):
        return wrap_diffusers(_FakeUNet(), config).schedule.alphas_cumprod

    linear = torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)
    assert torch.allclose(schedule(), torch.cumprod(1 - linear, 0))
    config = {"num_train_timesteps": 50, "beta_start": 0.01, "beta_end": 0.04}
    roots = torch.linspace(0.1, 0.2, 50, dtype=torch.float64)
    scaled = schedule(beta_schedule="scaled_linear", **config)
    assert torch.allclose(scaled, torch.cumprod(1 - roots**2, 0))
    betas = [0.1, 0.2, 0.5]
    assert schedule(trained_betas=betas).tolist() == pytest.approx([0.9, 0.72, 0.36])

    def bar(u):
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    cosine = schedule(beta_schedule="squaredcos_cap_v2", num_train_timesteps=10)
    product = 1.0
    for i in range(10):
        product *= 1 - min(1 - bar((i + 1) / 10) / bar(i / 10), 0.999)
        assert float(cosine[i]) == pytest.approx(product, rel=1e-9)


# sample


def test_sample_is_ddim_on_the_noise_of_the_seed():
    """Against the recursion written out, for a prior whose pixels are independent."""
    power = 0.16
    prior = GaussianPrior(torch.full((6, 8), power))
    x = ops.normal(ops.noise_keys(2, torch.tensor([9, 10]), 0), 3, 6, 8, stream=0).double()
    visited = SCHEDULE.steps(50)
    for t, t_next in zip(visited, [*visited[1:], -1], strict=True):
        a, a_next = SCHEDULE.abar(t), SCHEDULE.abar(t_next)
        eps = math.sqrt(1 - a) * x / (a * power + 1 - a)
        x0 = (x - math.sqrt(1 - a) * eps) / math.sqrt(a)
        x = math.sqrt(a_next) * x0 + math.sqrt(1 - a_next) * eps
    drawn = sample(prior, (2, 3, 6, 8), seed=9)
    assert torch.allclose(drawn.double(), ((x + 1) / 2).clamp(0, 1), atol=1e-4)
    assert float(2 * drawn.std()) == pytest.approx(math.sqrt(power), rel=0.15)


@pytest.mark.parametrize("sampler", [None, DDIM(steps=5, eta=1.0), DDPM(steps=20), DDRM(steps=5)])
def test_samples_of_a_prior(sampler):
    """In [0, 1], by seed; a picture does not depend on its batch."""
    drawn = sample(PIXELWISE, (3, 2, 5, 4), sampler, seed=torch.tensor([7, 8, 7]))
    assert drawn.shape == (3, 2, 5, 4) and drawn.dtype == torch.float32
    assert (drawn >= 0).all() and (drawn <= 1).all()
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])
    assert torch.equal(sample(PIXELWISE, (1, 2, 5, 4), sampler, seed=8), drawn[1:2])
    assert sample(PIXELWISE, (0, 2, 5, 4), sampler).shape == (0, 2, 5, 4)


def test_sample_passes_its_arguments_on():
    seen, clean = [], []

    def network(x_t, t, labels):
        seen.append(labels)
        return 0.3 * x_t

    labels = torch.tensor([2, 6])
    arguments = {"labels": labels, "guidance": lambda x, t, labels: 0.1 * x, "clip_x0": True}
    drawn = sample(
        Prior(network), (2, 1, 4, 4), DDIM(steps=4), **arguments,
        callback=lambda info: clean.append(info.x0.abs().max()),
    )  # fmt: skip
    assert len(seen) == len(clean) == 4 and all(torch.equal(x, labels) for x in seen)
    assert max(clean) <= 1
    assert not torch.allclose(drawn, sample(PIXELWISE, (2, 1, 4, 4), DDIM(steps=4)), atol=1e-3)


def test_priors_have_names():
    drawn = sample("gaussian", (1, 1, 8, 8), DDIM(steps=3))
    assert torch.equal(drawn, sample(GAUSSIAN, (1, 1, 8, 8), DDIM(steps=3)))
    assert ddrm_fast.load_prior("gaussian").name == "gaussian"


class Moved(torch.nn.Module):
    """Remembers where it was sent."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x, sigma):
        return x * self.weight


@pytest.mark.parametrize(
    "make",
    [
        lambda module: Prior(module),
        lambda module: DenoiserPrior(module),
        lambda module: Prior(lambda x, t: module(x, t), module=module),
        lambda module: accelerated(Prior(module), channels_last=True),
    ],
)
def test_priors_move_their_weights(make):
    module = Moved()
    prior = make(module)
    assert prior.to("meta") is prior and module.weight.device.type == "meta"


def test_priors_of_files_go_where_they_are_sent():
    assert next(load_prior().module.parameters()).device.type == "cpu"
    assert next(load_prior(device="meta").module.parameters()).device.type == "meta"
    assert load_prior("gaussian", device="meta").module is None
    Prior(lambda x, t: x).to("meta")  # nothing that it knows of

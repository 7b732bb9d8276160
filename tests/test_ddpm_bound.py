"""The variational bound against closed forms."""

import math

import pytest
import torch
from scipy.stats import norm

from ddrm_fast import Schedule
from ddrm_fast.ddpm import (
    Process,
    Reverse,
    bound,
    discretised_log_likelihood,
    normal_kl,
    prior_term,
    step_term,
)

LEVELS = torch.arange(256, dtype=torch.float64) / 127.5 - 1


@pytest.mark.parametrize("mean", [-3.0, -1.0, 0.123, 1.0, 40.0])
@pytest.mark.parametrize("std", [1e-4, 0.01, 0.3, 20.0])
def test_probabilities_of_the_256_values_sum_to_one(mean, std):
    mean, log_variance = torch.tensor([mean, 2 * math.log(std)], dtype=torch.float64)
    nats = discretised_log_likelihood(LEVELS, mean, log_variance)
    assert torch.isfinite(nats).all() and (nats <= 0).all()
    assert float(nats.exp().sum()) == pytest.approx(1.0, abs=1e-12)


def test_probabilities_are_those_of_the_bins():
    """Also far out in both tails, where a difference of distribution functions is 0."""
    mean, std = 0.2, 0.05
    arguments = torch.tensor([mean, 2 * math.log(std)], dtype=torch.float64)
    found = discretised_log_likelihood(LEVELS, *arguments)
    edges = (LEVELS.numpy()[:-1] + 1 / 255 - mean) / std
    inside = norm.cdf(edges[1:]) - norm.cdf(edges[:-1])
    near = inside > 1e-9
    assert near.sum() > 60
    expected = torch.from_numpy(inside[near]).log()
    assert torch.allclose(found[1:-1][torch.from_numpy(near)], expected, rtol=1e-6)
    assert float(found[0]) == pytest.approx(norm.logcdf(edges[0]), rel=1e-12)
    assert float(found[-1]) == pytest.approx(norm.logsf(edges[-1]), rel=1e-12)
    # a bin of width d at distance z std: about d phi(z) / std
    x = LEVELS[10]
    z = (float(x) - mean) / std
    centre = norm.logpdf(z) + math.log(2 / 255 / std)
    curvature = math.log(math.sinh(z / 255 / std) / (z / 255 / std))
    assert float(found[10]) == pytest.approx(centre + curvature, rel=1e-3)


def test_likelihood_has_finite_gradients():
    log_variance = torch.full((256,), -18.0, dtype=torch.float64, requires_grad=True)
    mean = torch.full((256,), 0.9, dtype=torch.float64, requires_grad=True)
    discretised_log_likelihood(LEVELS, mean, log_variance).sum().backward()
    assert torch.isfinite(mean.grad).all() and torch.isfinite(log_variance.grad).all()
    assert (mean.grad[LEVELS < 0.8] < 0).all() and mean.grad[-1] > 0


def test_kl_of_gaussians():
    p = torch.distributions.Normal(torch.tensor(0.3).double(), torch.tensor(1.7).double())
    q = torch.distributions.Normal(torch.tensor(-1.1).double(), torch.tensor(0.4).double())
    found = normal_kl(p.mean, 2 * p.stddev.log(), q.mean, 2 * q.stddev.log())
    assert float(found) == pytest.approx(float(torch.distributions.kl_divergence(p, q)), rel=1e-12)
    assert float(normal_kl(p.mean, p.variance.log(), p.mean, p.variance.log())) == 0


def test_prior_term():
    process = Process(Schedule.constant(10, 0.3))
    x0 = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    abar = 0.7**10
    nats = 0.5 * (1 - abar + abar * x0.square() - 1 - math.log(1 - abar))
    expected = nats.flatten(1).mean(dim=1) / math.log(2)
    assert torch.allclose(prior_term(process, x0), expected, rtol=1e-9)
    assert torch.equal(prior_term(Process(Schedule.jsd(10)), x0), torch.zeros(2).double())


MEAN, VARIANCE = 0.1, 0.04  # of Gaussian data


def exact_x0(x_t, t, process):
    """E[x0 | x_t] of Gaussian data."""
    signal, noise = (v[t].view(-1, 1, 1, 1) for v in (process.signal, process.noise))
    gain = VARIANCE * signal / (VARIANCE * signal**2 + noise**2)
    return MEAN + gain * (x_t - signal * MEAN)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "mean"])
@pytest.mark.parametrize("variance", ["small", "large"])
def test_terms_of_gaussian_data_with_the_exact_denoiser(prediction, variance):
    """E L_{t-1} has a closed form: half the error of the means over the variance, plus that of the
    variances. The mean squared error of the exact x0 is the posterior variance of x0 given x_t."""
    process = Process(Schedule.linear(100, 1e-3, 0.2))
    reverse = Reverse(process, prediction, variance)
    generator = torch.Generator().manual_seed(1)
    count = 200_000
    for step in (1, 7, 50, 99):
        x0, noise = (
            torch.randn(1, 1, 1, count, generator=generator, dtype=torch.float64) for _ in range(2)
        )
        x0 = MEAN + math.sqrt(VARIANCE) * x0
        t = torch.tensor([step])
        x_t = process.diffuse(x0, t, noise)
        estimate = exact_x0(x_t, t, process)
        clean, dirty = process.signal[step], process.noise[step]
        out = reverse.target(estimate, x_t, t, (x_t - clean * estimate) / dirty)
        found = step_term(reverse, out, x0, x_t, t)
        left = VARIANCE * dirty**2 / (VARIANCE * clean**2 + dirty**2)
        small = process.log_small[step].exp()
        own = small if variance == "small" else process.beta[step]
        nats = 0.5 * (
            process.mean_x0[step] ** 2 * left / own + (own / small).log() + small / own - 1
        )
        assert float(found) == pytest.approx(float(nats) / math.log(2), rel=0.02)


def test_the_bound_of_gaussian_data_is_its_entropy():
    """With the exact reverse process the whole bound is -log p(x0): here a product over independent
    pixels, each with the probability that the data's Gaussian falls into its bin."""
    process = Process(Schedule.linear(400, 1e-4, 0.06))
    reverse = Reverse(process, "x0", "learned")

    def network(x_t, t):
        """The mean and the variance of p(x_{t-1} | x_t) for Gaussian data, exactly."""
        t = t.long()
        x = x_t.double()
        x0 = exact_x0(x, t, process)
        view = [v[t].view(-1, 1, 1, 1) for v in (process.signal, process.noise, process.mean_x0)]
        left = VARIANCE * view[1] ** 2 / (VARIANCE * view[0] ** 2 + view[1] ** 2)
        small, beta = (v[t].view(-1, 1, 1, 1) for v in (process.log_small, process.log_beta))
        exact = torch.where(t.view(-1, 1, 1, 1) == 0, left, small.exp() + view[2] ** 2 * left)
        v = 2 * (exact.log() - small) / (beta - small) - 1
        return torch.cat([x0, v.expand_as(x0)], dim=1)

    generator = torch.Generator().manual_seed(0)
    x0 = MEAN + math.sqrt(VARIANCE) * torch.randn(1, 1, 128, 128, generator=generator)
    x0 = ((x0.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    result = bound(network, reverse, x0, clip=False)
    parameters = torch.tensor([MEAN, math.log(VARIANCE)], dtype=torch.float64)
    nats = -discretised_log_likelihood(((x0.double() + 1) * 127.5).round() / 127.5 - 1, *parameters)
    expected = float(nats.mean()) / math.log(2)
    assert float(result.total) == pytest.approx(expected, rel=0.002)
    assert torch.allclose(result.total, result.prior + result.terms.sum(dim=1))
    worse = bound(lambda x, t: 0.9 * network(x, t), reverse, x0, clip=False)
    assert float(worse.total) > 1.05 * float(result.total)


def test_the_bound_of_a_picture_does_not_depend_on_its_batch():
    reverse = Reverse(Process(Schedule.cosine(5)), "v", "large")
    x0 = torch.randint(0, 256, (3, 3, 4, 4)) / 127.5 - 1
    network = lambda x, t: 0.3 * x + 0.01 * t.view(-1, 1, 1, 1)  # noqa: E731
    whole = bound(network, reverse, x0)
    parts = [bound(network, reverse, x0[i : i + 1], first=i) for i in range(3)]
    assert torch.allclose(whole.terms, torch.cat([part.terms for part in parts]), rtol=1e-12)
    assert torch.allclose(whole.total, torch.cat([part.total for part in parts]), rtol=1e-12)
    assert not torch.allclose(whole.terms, bound(network, reverse, x0, seed=1).terms, rtol=1e-3)


def test_the_bound_wants_8_bit_values():
    reverse = Reverse(Process(Schedule.cosine(5)))
    with pytest.raises(ValueError, match="^x0: expected the values k / 127.5 - 1"):
        bound(lambda x, t: x, reverse, torch.full((1, 3, 4, 4), 0.1234))

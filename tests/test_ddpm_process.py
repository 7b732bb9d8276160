"""The forward process, its posterior and the meaning of outputs, against Bayes in float64."""

import math

import pytest
import torch

from ddrm_fast import Schedule
from ddrm_fast.ddpm import Process, Reverse
from ddrm_fast.ddpm.process import at

SCHEDULES = {
    "linear": Schedule.linear(),
    "cosine": Schedule.cosine(50),
    "jsd": Schedule.jsd(20),
    "constant": Schedule.constant(10, 0.3),
}
EXACT = {"rtol": 1e-9, "atol": 1e-12}
B, C, H, W = 6, 2, 3, 4


def draws(process, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x0, noise = (
        torch.randn(B, C, H, W, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    t = torch.tensor([0, 1, 2, process.T // 2, process.T - 2, process.T - 1])
    return x0, t, noise, process.diffuse(x0, t, noise)


@pytest.mark.parametrize("name", SCHEDULES)
def test_posterior_is_bayes(name):
    """q(x_{t-1} | x_t, x0) from the product of two Gaussians: precisions add."""
    process = Process(SCHEDULES[name])
    x0, t, _, x_t = draws(process)
    mean = process.posterior_mean(x0, x_t, t)
    abar = process.schedule.alphas_cumprod
    for i, step in enumerate(t.tolist()):
        if step == 0:
            assert torch.allclose(mean[i], x0[i], **EXACT)
            continue
        alpha, before = float(abar[step] / abar[step - 1]), float(abar[step - 1])
        # x_{t-1} ~ N(sqrt(before) x0, 1 - before), x_t ~ N(sqrt(alpha) x_{t-1}, 1 - alpha)
        precision = 1 / (1 - before) + alpha / (1 - alpha)
        weighted = math.sqrt(before) * x0[i] / (1 - before)
        weighted = weighted + math.sqrt(alpha) * x_t[i] / (1 - alpha)
        assert torch.allclose(mean[i], weighted / precision, **EXACT)
        assert math.exp(float(process.log_small[step])) == pytest.approx(1 / precision, rel=1e-9)
        assert math.exp(float(process.log_large[step])) == pytest.approx(1 - alpha, rel=1e-9)
    assert process.log_small[0] == process.log_large[0] == process.log_small[1]


def test_the_forward_process_composes():
    """Steps of eq. 2 one after another have the mean and the variance of eq. 4."""
    process = Process(SCHEDULES["cosine"])
    mean, variance = 1.0, 0.0
    for t in range(process.T):
        beta = float(process.beta[t])
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        assert mean == pytest.approx(float(process.signal[t]), rel=1e-12)
        assert variance == pytest.approx(float(process.noise[t]) ** 2, rel=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "mean"])
def test_a_perfect_prediction_gives_the_posterior(name, prediction):
    process = Process(SCHEDULES[name])
    if process.reaches_zero and prediction == "eps":
        with pytest.raises(ValueError, match="eps says nothing of the image where abar is 0"):
            Reverse(process, prediction)
        return
    reverse = Reverse(process, prediction)
    x0, t, noise, x_t = draws(process)
    target = reverse.target(x0, x_t, t, noise)
    step = reverse(target, x_t, t)
    assert torch.allclose(step.x0, x0, rtol=1e-6, atol=1e-8)
    assert torch.allclose(step.mean, process.posterior_mean(x0, x_t, t), rtol=1e-8, atol=1e-9)
    clipped = reverse(target, x_t, t, clip=True)
    expected = process.posterior_mean(x0.clamp(-1, 1), x_t, t)
    assert x0.abs().max() > 1 and torch.allclose(clipped.mean, expected, rtol=1e-8, atol=1e-9)


def test_learned_variances_lie_between_small_and_large():
    process = Process(SCHEDULES["linear"])
    reverse = Reverse(process, "eps", "learned")
    x0, t, noise, x_t = draws(process)
    small, beta = at(process.log_small, t, x_t), at(process.log_beta, t, x_t)
    for v, expected in ((-1.0, small), (1.0, beta), (0.0, (small + beta) / 2)):
        out = torch.cat([noise, torch.full_like(noise, v)], dim=1)
        step = reverse(out, x_t, t)
        assert step.log_variance.shape == x0.shape
        assert torch.allclose(step.log_variance, expected.expand_as(x0), **EXACT)
    # a field: one pixel's variance is its own
    out[2, C, 0, 0] = -1.0
    field = reverse(out, x_t, t).log_variance
    assert torch.allclose(field[2, 0, 0, 0], small[2, 0, 0, 0], **EXACT)
    assert torch.allclose(field[2, 0, 0, 1], (small + beta)[2, 0, 0, 0] / 2, **EXACT)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_fixed_variances(variance):
    process = Process(SCHEDULES["linear"])
    x0, t, noise, x_t = draws(process)
    table = {"small": process.log_small, "large": process.log_large}[variance]
    step = Reverse(process, "eps", variance)(noise, x_t, t)
    assert torch.equal(step.log_variance.flatten(), table[t])


def test_refusals():
    process = Process(SCHEDULES["linear"])
    with pytest.raises(ValueError, match="^prediction: expected one of eps, x0, v, mean"):
        Reverse(process, "score")
    with pytest.raises(ValueError, match="^variance: expected one of small"):
        Reverse(process, "eps", "medium")
    with pytest.raises(ValueError, match=r"^network: expected an output of \(1, 6, 2, 2\)"):
        x = torch.zeros(1, 3, 2, 2)
        Reverse(process, "eps", "learned")(x, x, torch.tensor([1]))
    with pytest.raises(ValueError, match="at least 2"):
        Process(Schedule(torch.tensor([0.5])))
    with pytest.raises(ValueError, match="beta is 0 at timestep 1"):
        Process(Schedule(torch.tensor([0.5, 0.5])))
    with pytest.raises(ValueError, match="abar is 0 from timestep 1 on"):
        Process(Schedule(torch.tensor([0.5, 0.0, 0.0])))

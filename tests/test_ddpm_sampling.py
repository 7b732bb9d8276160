"""Ancestral sampling: learned variances, and schedules that end in pure noise."""

import math

import pytest
import torch

from ddrm_fast import DDIM, DDPM, Prior, Schedule, operators, restore, sample
from ddrm_fast.ddpm import Process, Reverse
from ddrm_fast.samplers import run

SCHEDULE = Schedule.linear(40, 1e-3, 0.2)
SHAPE = (2, 3, 6, 8)


def learned(v):
    """A network with eps = x / 2 and a constant or a picture v behind it."""

    def network(x, t):
        return torch.cat([0.5 * x, torch.as_tensor(v, dtype=x.dtype).expand_as(x)], dim=1)

    return Prior(network, schedule=SCHEDULE)


def draw(prior, sampler, **options):
    """As `sample`, but not clamped to pictures."""
    seen = []
    sample(prior, SHAPE, sampler, callback=lambda info: seen.append(info.x_next.clone()), **options)
    return seen[-1]


@pytest.mark.parametrize("v, fixed", [(-1.0, "small"), (1.0, "large")])
@pytest.mark.parametrize("steps", [40, 8])
@pytest.mark.parametrize("clip_x0", [False, True])
def test_learned_variances_at_their_ends_are_the_fixed_ones(v, fixed, steps, clip_x0):
    prior = learned(v)
    result = draw(prior, DDPM(steps, "learned"), clip_x0=clip_x0)
    expected = draw(prior, DDPM(steps, fixed), clip_x0=clip_x0)
    assert torch.allclose(result, expected, rtol=1e-4, atol=1e-5)
    other = "large" if fixed == "small" else "small"
    assert not torch.allclose(result, draw(prior, DDPM(steps, other)), atol=1e-2)


def test_learned_variances_are_a_field():
    v = torch.full(SHAPE[1:], -1.0)
    v[:, :, 4:] = 1.0
    result = draw(learned(v), DDPM(40, "learned"))
    small, large = (draw(learned(0.0), DDPM(40, fixed)) for fixed in ("small", "large"))
    assert torch.allclose(result[..., :4], small[..., :4], rtol=1e-4, atol=1e-5)
    assert torch.allclose(result[..., 4:], large[..., 4:], rtol=1e-4, atol=1e-5)


def test_a_step_of_the_sampler_is_the_reverse_process():
    """Mean and variance of every step, against the process in float64."""
    reverse = Reverse(Process(SCHEDULE), "eps", "learned")
    states = []
    noises = torch.randn(41, *SHAPE)
    prior = learned(torch.rand(SHAPE[1:]) * 2 - 1)
    run(
        operators.Denoising(), prior, DDPM(40, "learned"), torch.zeros(SHAPE),
        torch.zeros(1).double(), torch.zeros(2, 4, dtype=torch.int64), noise=lambda k: noises[k],
        callback=lambda info: states.append((info.t, info.x_t.clone(), info.x_next.clone())),
    )  # fmt: skip
    for k, (t, x_t, x_next) in enumerate(states):
        x = x_t.double()
        step = reverse(prior.network(x, None), x, torch.tensor([t, t]))
        z = noises[k + 1].double() if t else 0.0
        expected = step.mean + (0.5 * step.log_variance).exp() * z
        assert torch.allclose(x_next.double(), expected, rtol=1e-4, atol=1e-5), t


def test_learned_variances_need_their_channels():
    prior = Prior(lambda x, t: x, schedule=SCHEDULE)
    with pytest.raises(ValueError, match="^network: expected 6 channels for learned variances"):
        sample(prior, SHAPE, DDPM(8, "learned"))


@pytest.mark.parametrize("operator", [operators.Denoising(), operators.Blur(torch.ones(1, 1))])
def test_learned_noise_reaches_the_state_of_transform_operators(operator):
    """What a step adds in pixel space is there in the next step's coefficients."""
    prior = learned(-1.0)
    keys, zero = torch.arange(8).view(2, 4), torch.zeros(1).double()
    noises = torch.randn(9, *SHAPE)
    results = [
        run(
            operator,
            prior,
            DDPM(8, kind),
            torch.zeros(SHAPE),
            zero,
            keys,
            noise=lambda k: noises[k],
        )
        for kind in ("learned", "small")
    ]
    assert torch.allclose(*results, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_ancestral_sampling_from_pure_noise(prediction):
    """Gaussian data under the schedule that ends at abar = 0: every step is affine in x_t, so the
    draws' moments follow from the steps' numbers."""
    schedule, variance, mean = Schedule.jsd(100), 0.09, 0.2
    process = Process(schedule)
    abar = schedule.alphas_cumprod

    def network(x, t):
        a = abar.float()[t.long()].view(-1, 1, 1, 1)
        x0 = mean + variance * a.sqrt() / (variance * a + 1 - a) * (x - a.sqrt() * mean)
        if prediction == "x0":
            return x0
        return (a.sqrt() * x - x0) / (1 - a).sqrt()

    expected_mean, expected_variance = 0.0, 1.0
    for t in range(99, -1, -1):
        a = float(abar[t])
        gain = variance * math.sqrt(a) / (variance * a + 1 - a)
        x0_weight, slope = float(process.mean_x0[t]), float(process.mean_x_t[t])
        slope += x0_weight * gain
        expected_mean = slope * expected_mean + x0_weight * mean * (1 - gain * math.sqrt(a))
        noise = math.exp(float(process.log_small[t])) if t else 0.0
        expected_variance = slope**2 * expected_variance + noise
    x = 2 * sample(Prior(network, prediction, schedule), (1, 1, 256, 256), DDPM(100)) - 1
    assert float(x.mean()) == pytest.approx(expected_mean, abs=0.005)
    assert float(x.std()) == pytest.approx(math.sqrt(expected_variance), rel=0.01)
    assert expected_mean == pytest.approx(mean, abs=1e-3)


def test_schedules_that_end_in_pure_noise_are_for_ancestral_sampling_alone():
    prior = Prior(lambda x, t: x, "x0", Schedule.jsd(10))
    y = torch.rand(1, 3, 4, 4)
    for sampler in (DDPM(10), DDIM(10)):
        with pytest.raises(ValueError, match="abar is 0 at timestep 9"):
            restore(y, operators.Denoising(), 0.1, prior, sampler)
    with pytest.raises(ValueError, match="abar is 0 at timestep 9"):
        sample(prior, SHAPE, DDIM(10))
    eps = Prior(lambda x, t: x, "eps", Schedule.jsd(10))
    with pytest.raises(ValueError, match="^prediction: the noise says nothing of the image"):
        sample(eps, SHAPE, DDPM(10))
    with pytest.raises(ValueError, match="^guidance: .* timestep 9"):
        sample(prior, SHAPE, DDPM(10), guidance=lambda x, t, labels: x)

"""Noise levels and timesteps: between whole ones, below the lowest, and never mistaken for each other."""

import math

import pytest
import torch
from small_cases import GAUSSIAN, PIXELWISE, SCHEDULE, pictures, restated

import ddrm_fast
from ddrm_fast import DDIM, DDRM, DenoiserPrior, Prior, Schedule, load_prior, operators, restore
from ddrm_fast.priors import GaussianPrior, without_labels
from ddrm_fast.priors.networks.denoiser import SIGMA_MIN

SCHEDULES = {
    "linear": Schedule.linear(),
    "cosine": Schedule.cosine(50),
    "ends in noise": Schedule.jsd(10),
    "begins clean": Schedule(torch.cat((torch.ones(2), torch.linspace(0.9, 0.1, 5)))),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_levels_between_timesteps(name):
    """Whole timesteps keep their numbers; between them the level rises, and timestep is its inverse."""
    schedule = SCHEDULES[name]
    whole = [schedule.abar(t) for t in range(schedule.T)]
    assert whole == schedule.alphas_cumprod.tolist() and schedule.abar(-1) == 1
    times = torch.linspace(-1, schedule.T - 1, 401, dtype=torch.float64)
    levels = [schedule.sigma(t) for t in times.tolist()]
    assert all(a <= b for a, b in zip(levels, levels[1:], strict=False))
    table = schedule.abar_at(times)
    assert table.tolist() == pytest.approx([schedule.abar(t) for t in times.tolist()], abs=1e-15)
    assert torch.equal(schedule.abar_at(torch.arange(schedule.T)), schedule.alphas_cumprod)
    finite = [t for t in range(schedule.T) if schedule.abar(t) > 0]
    for t, sigma in zip(times.tolist(), levels, strict=True):
        if sigma > 0 and t <= finite[-1]:
            assert schedule.sigma(schedule.timestep(sigma)) == pytest.approx(sigma, rel=1e-9)
    assert schedule.timestep(1e9) == finite[-1]


def test_log_sigma_is_linear_between_timesteps_and_sigma_below_the_first():
    low, high = SCHEDULE.sigma(7), SCHEDULE.sigma(8)
    assert SCHEDULE.sigma(7.25) == pytest.approx(low**0.75 * high**0.25, rel=1e-12)
    assert SCHEDULE.sigma(-0.75) == pytest.approx(SCHEDULE.sigma(0) / 4, rel=1e-12)


@pytest.mark.parametrize("t", [-2, -1.01, 999.5, 1000, math.nan])
def test_timesteps_outside_the_schedule_are_refused(t):
    for function in (SCHEDULE.abar, SCHEDULE.sigma):
        with pytest.raises(ValueError, match="^t: expected -1 to 999, got"):
            function(t)


@pytest.mark.parametrize("sigma", [-1e-9, math.nan])
def test_levels_are_not_negative(sigma):
    for function in (SCHEDULE.timestep, PIXELWISE.timestep):
        with pytest.raises(ValueError, match="^sigma: expected a noise level of 0 or more, got"):
            function(sigma)


def test_which_timesteps_a_network_takes():
    """Whole ones, the nearest in log sigma, unless the prior says that it takes any."""
    between = SCHEDULE.sigma(100.4)
    assert PIXELWISE.timestep(between) == 100 and isinstance(PIXELWISE.timestep(between), int)
    assert PIXELWISE.timestep(SCHEDULE.sigma(100.6)) == 101
    assert PIXELWISE.timestep(1e-6) == 0 and PIXELWISE.timestep(1e6) == 999
    free = Prior(lambda x, t: x, fractional=True)
    assert free.timestep(between) == pytest.approx(100.4) and free.timestep(0.0) == 0
    plain = DenoiserPrior(lambda x, sigma: x)
    assert plain.timestep(between) == pytest.approx(100.4) and plain.timestep(0) == -1
    known = DenoiserPrior(lambda x, sigma: x, sigma_min=0.002)
    assert SCHEDULE.sigma(known.timestep(0)) == pytest.approx(0.004, rel=1e-9)
    default = load_prior()
    assert default.fractional and default.sigma_range[0] == SIGMA_MIN
    assert SCHEDULE.sigma(default.timestep(0)) == pytest.approx(SIGMA_MIN, rel=1e-9)


def test_lists_of_fractional_steps():
    free = DenoiserPrior(lambda x, sigma: x, sigma_min=0.001)
    assert free.steps([9, 2.5, -0.5]) == [9, 2.5, -0.5]
    assert free.steps(20) == PIXELWISE.steps(20) == SCHEDULE.steps(20)
    with pytest.raises(ValueError, match=r"^steps: expected timesteps from -0\.8 to 999"):
        free.steps([9, -0.9])
    with pytest.raises(ValueError, match="^steps: expected descending"):
        free.steps([2.5, 2.5])
    for steps in ([math.nan], [math.inf], "20", [None]):
        with pytest.raises(ValueError, match="^steps: expected a whole number, or a list of"):
            free.steps(steps)
    with pytest.raises(ValueError, match="^steps: expected a whole number, or a list of them"):
        PIXELWISE.steps([9, 2.5])


def test_a_dense_list_near_the_low_end_restores_exactly():
    """Sixteen levels within two timesteps: the exact network's, as the recursion of DDIM has them."""
    power = 0.16
    schedule = Schedule.linear()
    prior = GaussianPrior(torch.full((4, 4), power), schedule=schedule)
    denoiser = DenoiserPrior(
        lambda x, s: x * power / (power + s.view(-1, 1, 1, 1) ** 2), (-1.0, 1.0)
    )
    levels = torch.logspace(math.log10(0.015), math.log10(0.001), 16, dtype=torch.float64).tolist()
    steps = [prior.schedule.timestep(sigma) for sigma in levels]
    assert len(set(denoiser.steps(steps))) == 16
    drawn = ddrm_fast.sample(denoiser, (1, 3, 4, 4), DDIM(steps=steps), seed=3)
    x = ddrm_fast.ops.normal(ddrm_fast.ops.noise_keys(1, 3), 3, 4, 4, stream=0).double()
    for t, t_next in zip(steps, [*steps[1:], -1], strict=True):
        a, b = schedule.abar(t), schedule.abar(t_next)
        eps = math.sqrt(1 - a) * x / (a * power + 1 - a)
        x0 = (x - math.sqrt(1 - a) * eps) / math.sqrt(a)
        x = math.sqrt(b) * x0 + math.sqrt(1 - b) * eps
    assert torch.allclose(drawn.double(), ((x + 1) / 2).clamp(0, 1), atol=1e-5)
    exact = ddrm_fast.sample(prior, (1, 3, 4, 4), DDIM(steps=[t for t in steps if t > 0]), seed=3)
    assert torch.allclose(exact, drawn, atol=1e-3)


def test_whole_timesteps_reach_a_denoiser_unchanged():
    """The table's levels to the last bit, one by one and in one batch."""
    seen = []
    prior = DenoiserPrior(lambda x, sigma: seen.append(sigma) or x, (-1.0, 1.0))
    abar = prior.schedule.alphas_cumprod
    expected = ((1 - abar) / abar).sqrt().float()
    prior(torch.zeros(1000, 1, 1, 1), torch.arange(1000).float())
    assert torch.equal(seen[0], expected)
    half = torch.tensor([41.5, -0.5])
    prior.at(torch.zeros(2, 1, 1, 1), half)
    assert seen[1].tolist() == pytest.approx([SCHEDULE.sigma(float(t)) for t in half], rel=1e-6)


# below the lowest level


def test_the_default_prior_keeps_small_noise_small():
    """At a hundredth of what 8-bit rounding is, no pixel moves by more than that share allows."""
    prior = load_prior()
    x = 2 * pictures(1, 3, 32, 32) - 1
    at_lowest = (prior.denoise(x, SIGMA_MIN) - x).abs().max()
    assert float(at_lowest) < 0.1
    for share in (0.5, 0.25, 0.01):
        moved = prior.denoise(x, share * SIGMA_MIN) - x
        assert float(moved.abs().max()) <= share**2 * float(at_lowest) * 1.001


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_below_the_lowest_level_the_score_stays(prediction):
    """A Gaussian's posterior mean to first order, exact at the lowest level; each picture its own level."""
    network = Prior(lambda x, t: restated(GAUSSIAN(x, t), x, t, prediction), prediction)
    x, low = torch.randn(4, 3, 8, 8, dtype=torch.float64), SCHEDULE.sigma(0)
    shares = torch.tensor([1.0, 0.5, 0.1, 1e-6], dtype=torch.float64)
    result = network.denoise(x, low * shares)
    edge = network.denoise(x, low)
    expected = x + shares.view(-1, 1, 1, 1) ** 2 * (edge - x)
    assert torch.allclose(result, expected, atol=1e-9)
    flat = Prior(lambda x, t: restated(FLAT(x, t), x, t, prediction), prediction)
    for share in (0.7, 0.2):
        exact = x * 0.25 / (0.25 + (share * low) ** 2)
        assert torch.allclose(flat.denoise(x, share * low), exact, atol=1e-7)


FLAT = GaussianPrior(torch.full((8, 8), 0.25))


# which is which


@pytest.mark.parametrize(
    "t, got",
    [
        (0.1, "0.1"),
        (torch.tensor(0.1), r"shape \(\)"),
        (torch.tensor([0.1, 0.1]), r"\[0\.1"),
        (torch.full((3,), 3.0), r"shape \(3,\)"),
        (torch.tensor([0.1]), r"\[0\.1"),
        (torch.tensor([3.0, 1000.0]), "1000"),
        (torch.tensor([-1.0, 3.0]), "-1"),
        (torch.tensor([math.nan, 3.0]), "nan"),
    ],
)
@pytest.mark.parametrize("prior", [PIXELWISE, DenoiserPrior(lambda x, s: x), GAUSSIAN])
def test_a_noise_level_in_the_place_of_a_timestep_is_refused(prior, t, got):
    x = torch.zeros(2, 3, 8, 8)
    with pytest.raises(ValueError, match=f"^t: expected timesteps .*got .*{got}.*prior.denoise"):
        prior(x, t)
    for whole in (torch.tensor([3, 999]), torch.tensor([3.0, 0.0])):
        assert prior(x, whole).shape == x.shape


# labels


def test_denoisers_get_their_labels_or_refuse_them():
    seen = []

    def conditional(x, sigma, labels=None):
        seen.append(labels)
        return 0.5 * x

    y, labels = pictures(2, 3, 4, 4), torch.tensor([1, 0])
    prior = DenoiserPrior(conditional, num_classes=2)
    restore(y, operators.Denoising(), 0.1, prior, DDRM(steps=2), labels=labels)
    prior.denoise(y, 0.1, labels)
    assert len(seen) == 3 and all(torch.equal(given, labels) for given in seen)
    deaf = DenoiserPrior(conditional)
    for call in (
        lambda: restore(y, operators.Denoising(), 0.1, deaf, DDRM(steps=2), labels=labels),
        lambda: deaf.denoise(y, 0.1, labels),
    ):
        with pytest.raises(ValueError, match="^labels: denoiser takes none"):
            call()
    seen.clear()
    restore(
        y, operators.Denoising(), 0.1, without_labels(deaf), DDRM(steps=2), labels=labels,
        guidance=lambda x, t, labels: torch.zeros_like(x),
    )  # fmt: skip
    assert seen == [None, None]

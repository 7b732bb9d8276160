"""Samplers with a memory, and with several network calls a step: DPM-Solver++ (2M) and Heun's method."""

import math

import pytest
import torch
from small_cases import GAUSSIAN, PIXELWISE, pictures

from ddrm_fast import DDIM, Travel, sample
from ddrm_fast.large import restore_on_disk, restore_windows
from ddrm_fast.operators import Denoising
from ddrm_fast.samplers import DPMSolver, Heun, run

SHAPE = (2, 3, 16, 16)
#: a fine enough run of any of them gives the flow's picture
FLOW = 400


def drawn(sampler, **keywords):
    """Pictures from the prior, not clamped."""
    seen = []
    sample(
        GAUSSIAN,
        SHAPE,
        sampler,
        seed=3,
        callback=lambda s: seen.append(s.x_next.clone()),
        **keywords,
    )
    return seen[-1]


def geometric(count):
    """Timesteps whose noise levels are equal ratios apart, from the last to the first."""
    schedule = GAUSSIAN.schedule
    levels = [math.log(schedule.sigma(t)) for t in range(schedule.T)]
    wanted = torch.linspace(levels[-1], levels[0], count)
    distances = (torch.tensor(levels)[None] - wanted[:, None]).abs()
    return sorted(set(distances.argmin(dim=1).tolist()), reverse=True)


def distance(sampler, exact):
    return float((drawn(sampler) - exact).norm() / exact.norm())


def plain_2m(times, noise):
    """Algorithm 2 of the paper, as written there, in float64."""
    schedule = GAUSSIAN.schedule
    alpha = [math.sqrt(schedule.abar(t)) for t in times]
    sigma = [math.sqrt(1 - schedule.abar(t)) for t in times]
    level = [math.log(a / s) for a, s in zip(alpha, sigma, strict=True)]
    x, before = noise.double(), None
    for i, t in enumerate(times):
        eps = GAUSSIAN(x, torch.full((len(x),), float(t)))
        x0 = (x - sigma[i] * eps) / alpha[i]
        if i + 1 == len(times):
            return x0
        h = level[i + 1] - level[i]
        direction = x0
        if before is not None:
            r = (level[i] - level[i - 1]) / h
            direction = (1 + 1 / (2 * r)) * x0 - before / (2 * r)
        x = sigma[i + 1] / sigma[i] * x - alpha[i + 1] * math.expm1(-h) * direction
        before = x0


def plain_heun(times, noise):
    """Algorithm 1 of the paper without churn: x / alpha as the state, sigma / alpha as time."""
    schedule = GAUSSIAN.schedule

    def eps(state, t):
        alpha = math.sqrt(schedule.abar(t))
        return GAUSSIAN(state * alpha, torch.full((len(state),), float(t)))

    state = noise.double() / math.sqrt(schedule.abar(times[0]))
    for t, t_next in zip(times, [*times[1:], -1], strict=True):
        step = schedule.sigma(t_next) - schedule.sigma(t)
        slope = eps(state, t)
        there = state + step * slope
        if t_next == -1:
            return there
        state = state + step * 0.5 * (slope + eps(there, t_next))


@pytest.mark.parametrize("sampler, plain", [(DPMSolver, plain_2m), (Heun, plain_heun)])
def test_against_the_algorithm_as_published(sampler, plain):
    times = [900, 700, 450, 250, 120, 40]
    noise = torch.randn(SHAPE, dtype=torch.float64)
    keys = torch.zeros(2, 4, dtype=torch.int64)
    level = torch.zeros(1, dtype=torch.float64)
    given = run(
        Denoising(), GAUSSIAN, sampler(times), torch.zeros(SHAPE, dtype=torch.float64), level, keys,
        noise=lambda k: noise,
    )  # fmt: skip
    expected = plain(times, noise)
    assert torch.allclose(given, expected, rtol=1e-5, atol=1e-5)


def test_ten_steps_of_the_multistep_solver_are_closer_to_the_flow_than_twenty_of_ddim():
    """Noise levels equal ratios apart, as the paper has them; measured 0.040 and 0.114."""
    exact = drawn(DDIM(geometric(FLOW)))
    assert 2 * distance(DPMSolver(geometric(10)), exact) < distance(DDIM(geometric(20)), exact)


def test_heun_is_closer_to_the_flow_than_as_many_calls_of_ddim():
    """Uniform timesteps; measured 0.092 with 19 calls, and 0.129."""
    exact = drawn(DDIM(1000))
    assert distance(Heun(10), exact) < distance(DDIM(20), exact)


def test_network_calls():
    calls = []

    def counted(x_t, t, labels=None):
        calls.append(float(t[0]))
        return 0.3 * x_t

    from ddrm_fast import Prior

    sample(Prior(counted), SHAPE, DPMSolver([600, 300, 100]))
    assert calls == [600, 300, 100]
    calls.clear()
    sample(Prior(counted), SHAPE, Heun([600, 300, 100]))
    assert calls == [600, 300, 300, 100, 100]


@pytest.mark.parametrize("sampler", [DPMSolver(6), Heun(6)], ids=repr)
def test_windows_and_disk_keep_what_a_sampler_keeps(tmp_path, sampler):
    """A window is a run of its own: the same in memory, in batches, and from disk to disk."""
    zarr = pytest.importorskip("zarr", reason="zarr is not installed: pip install ddrm-fast[large]")
    from ddrm_fast.io.blocks import write_blocks

    y = pictures(1, 3, 32, 48)
    one = restore_windows(y, Denoising(), 0.1, PIXELWISE, sampler, window=16).mean
    many = restore_windows(y, Denoising(), 0.1, PIXELWISE, sampler, window=16, batch=4).mean
    assert torch.equal(one, many)
    write_blocks(
        tmp_path / "y.zarr",
        (3, 32, 48),
        "float32",
        lambda t, l, h, w: y[0, :, t : t + h, l : l + w],
    )
    restore_on_disk(
        tmp_path / "y.zarr", tmp_path / "x.zarr", None, 0.1, PIXELWISE, sampler, window=16
    )
    stored = torch.from_numpy(zarr.open(str(tmp_path / "x.zarr"))[:])
    if stored.shape[-1] == 3:
        stored = stored.permute(2, 0, 1)
    assert torch.allclose(stored, one[0], atol=1e-6)


def test_going_back_up_forgets_the_step_before():
    """Else the first step of a stretch would extrapolate across it."""
    times = [800, 600, 400, 200]
    noise = torch.zeros(SHAPE, dtype=torch.float64)
    first = torch.randn(SHAPE, dtype=torch.float64)
    states = []
    run(
        Denoising(), GAUSSIAN, DPMSolver(times), noise, torch.zeros(1, dtype=torch.float64),
        torch.zeros(2, 4, dtype=torch.int64), noise=lambda k: first if k == 0 else noise,
        travel=Travel(1, 2), callback=lambda s: states.append((s.t, s.x_t.clone(), s.x_next.clone())),
    )  # fmt: skip
    schedule = GAUSSIAN.schedule
    again = [k for k in range(1, len(states)) if states[k][0] == states[k - 1][0]]
    assert again
    for k in again:
        t, x_t, x_next = states[k]
        following = times[times.index(t) + 1] if t != times[-1] else -1
        if following == -1:
            continue
        abar, abar_next = schedule.abar(t), schedule.abar(following)
        eps = GAUSSIAN(x_t, torch.full((2,), float(t)))
        x0 = (x_t - math.sqrt(1 - abar) * eps) / math.sqrt(abar)
        euler = math.sqrt(abar_next) * x0 + math.sqrt(1 - abar_next) * eps
        assert torch.allclose(x_next, euler, atol=1e-5)

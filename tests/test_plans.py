"""Defaults: what a problem gets unless somebody says otherwise, the same for Python, windows and disk."""

import pytest
import torch
from small_cases import GAUSSIAN, OPERATORS, PICTURE, pictures

from ddrm_fast import DDRM, Prior, degrade, restore
from ddrm_fast.large import restore_windows, windowed
from ddrm_fast.operators import (
    BlockCS,
    Blur,
    BlurDecimate,
    Colorization,
    CosineDecimation,
    Denoising,
    Gain,
    Inpainting,
    SuperResolution,
    WalshHadamardCS,
    gaussian_kernel,
    motion_kernel,
)
from ddrm_fast.operators.transforms import Cosine, Fourier
from ddrm_fast.problems import Problem
from ddrm_fast.restoration import draw
from ddrm_fast.samplers import HQS, Drawing, Steps, parse_steps, run
from ddrm_fast.samplers.guess import _at_once, _power, smooth_guess
from ddrm_fast.samplers.plans import plan, plans
from ddrm_fast.samplers.weights import proximal

SIZE = (64, 64)


def speckled(share, seed=1):
    return torch.rand(1, *SIZE, generator=torch.Generator().manual_seed(seed)) > share


def with_hole(side):
    mask = torch.ones(1, *SIZE, dtype=torch.bool)
    mask[:, 20 : 20 + side, 20 : 20 + side] = False
    return mask


KINDS = {
    "noise": (Denoising(), 0.1),
    "missing pixels": (Inpainting(speckled(0.5)), 0.0),
    "holes": (Inpainting(with_hole(24)), 0.0),
    "uneven gain": (Gain(torch.linspace(0.3, 1, 64).expand(64, 64)), 0.02),
    "lost colour": (Colorization(), 0.0),
    "low resolution": (SuperResolution(4), 0.0),
    "blur": (Blur(gaussian_kernel(1.5)), 0.01),
    "block sensing": (BlockCS(16, 4), 0.0),
    "scrambled": (WalshHadamardCS(SIZE, 4), 0.0),
}


def problem_of(operator, sigma_y, batch=1):
    x = pictures(batch, 3, *SIZE)
    return Problem.of(degrade(x, operator, sigma_y), operator, sigma_y)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_recognised(kind):
    operator, sigma_y = KINDS[kind]
    problem = problem_of(operator, sigma_y)
    estimate, samples = plan(problem), plan(problem, samples=True)
    assert estimate.kind == samples.kind == kind
    assert samples.drawn and isinstance(samples.sampler, DDRM)
    assert estimate.drawn == (kind in ("lost colour", "scrambled"))
    assert kind in str(estimate)


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind not in ("lost colour", "scrambled")]
)
def test_an_estimate_takes_ten_calls_at_most_and_no_noise(kind):
    operator, sigma_y = KINDS[kind]
    problem, calls = problem_of(operator, sigma_y), []

    def network(x_t, t, labels=None):
        calls.append(len(x_t))
        return 0.3 * x_t

    first, again = (
        restore(problem.y, operator, sigma_y, Prior(network), seed=seed).mean for seed in (0, 1)
    )
    assert len(calls) <= 20 and len(calls) % 2 == 0
    assert torch.equal(first, again)
    assert len(calls) == 2 or kind != "noise"


def test_samples_are_drawn_when_they_are_asked_for():
    one = restore(PICTURE, Denoising(), 0.1, GAUSSIAN, num_samples=1, seed=0)
    other = restore(PICTURE, Denoising(), 0.1, GAUSSIAN, num_samples=1, seed=9)
    assert not torch.equal(one.mean, other.mean)
    many = restore(PICTURE, Denoising(), 0.1, GAUSSIAN, num_samples=3)
    assert many.samples.shape[0] == 3 and float(many.std.min()) > 0
    estimate = restore(PICTURE, Denoising(), 0.1, GAUSSIAN)
    assert estimate.samples.shape[0] == 1 and float(estimate.std.max()) == 0


def test_noise_alone_takes_one_call_at_its_level():
    x = pictures(1, 3, 16, 16)
    y = degrade(x, Denoising(), 0.1)
    exact = (GAUSSIAN.denoise(2 * y - 1, 0.2) + 1) / 2
    found = restore(y, Denoising(), 0.1, GAUSSIAN, clamp=False).mean
    # this prior knows whole timesteps alone, so the level is the nearest of those
    assert torch.allclose(found, exact, atol=2e-3)


def test_the_plan_of_a_picture_does_not_depend_on_its_batch():
    levels = torch.tensor([0.02, 0.2, 0.02])
    y = torch.rand(3, 3, *SIZE)
    groups = plans(Problem.of(y, Denoising(), levels))
    assert [rows for _, rows in groups] == [[0, 2], [1]]
    together = restore(y, Denoising(), levels, GAUSSIAN).mean
    for k in range(3):
        alone = restore(y[k : k + 1], Denoising(), float(levels[k]), GAUSSIAN).mean
        assert torch.allclose(together[k], alone[0], atol=1e-6)


def test_masks_of_their_own_have_plans_of_their_own():
    masks = torch.stack([speckled(0.5), with_hole(24)])
    groups = plans(problem_of(Inpainting(masks), 0.0, batch=2))
    assert [found.kind for found, _ in groups] == ["missing pixels", "holes"]


def test_windows_follow_the_plan_of_the_whole_picture():
    """Most windows see no hole, and all are restored as the picture with the hole is."""
    mask = torch.ones(1, 64, 96, dtype=torch.bool)
    mask[:, 4:30, 4:30] = False
    y, times = mask * torch.rand(1, 3, 64, 96), []

    def network(x_t, t, labels=None):
        times.append(float(t[0]))
        return 0.3 * x_t

    prior = Prior(network)
    restore(y, Inpainting(mask), 0.0, prior)
    whole, times[:] = list(times), []
    restore_windows(y, Inpainting(mask), 0.0, prior, window=32)
    assert times == whole * (len(times) // len(whole)) and len(times) > len(whole)
    times.clear()
    restore(y, Inpainting(mask), 0.0, windowed(prior, 32))
    assert sorted(set(times)) == sorted(set(whole))


@pytest.mark.parametrize("name", OPERATORS)
def test_splitting_is_the_plain_loop(name):
    """Denoise, project, and so on, in plain PyTorch; the projection is held against dense ones elsewhere."""
    operator, shape = OPERATORS[name]
    y = degrade(pictures(2, *shape).double(), operator, 0.05)
    h_ones = operator.H(torch.ones(1, *shape, dtype=torch.float64))
    y, sigma_y = 2 * y - h_ones, torch.tensor([0.1], dtype=torch.float64)
    times, schedule = [600, 300, 100, 20], GAUSSIAN.schedule
    found = run(
        operator, GAUSSIAN, HQS(times, trust=0.3, guess="pinv"), y, sigma_y,
        torch.zeros(2, 4, dtype=torch.int64),
    )  # fmt: skip
    x = operator.H_pinv(y)
    for t in times:
        abar, sigma = schedule.abar(t), schedule.sigma(t)
        x_t = abar**0.5 * x
        eps = GAUSSIAN(x_t, torch.full((2,), float(t)))
        x0 = (x_t - (1 - abar) ** 0.5 * eps) / abar**0.5
        x = operator.project(x0, y, sigma / 0.3**0.5, sigma_y)
    assert torch.allclose(found, x0, rtol=1e-5, atol=1e-5 * float(x0.abs().max()))


def test_the_proximal_step_of_hqs():
    weights = HQS(trust=0.25).weights(0.5, 0.8, torch.tensor([0.2], dtype=torch.float64))
    expected = proximal(1.0 / 0.25, torch.tensor([0.04], dtype=torch.float64)).scaled(0.8**0.5)
    assert weights.at(0.7) == pytest.approx(expected.at(0.7))
    assert weights.at(0.0) == pytest.approx((0.8**0.5, 0, 0, 0))


@pytest.mark.parametrize("kind", ["missing pixels", "low resolution", "blur", "block sensing"])
def test_the_guess_fits_the_measurement_and_is_smooth(kind):
    operator, _ = KINDS[kind]
    ramp = torch.linspace(-0.8, 0.8, 64)
    x = (0.5 * ramp[:, None] + 0.5 * ramp).expand(1, 3, 64, 64).contiguous()
    problem = Problem(operator, operator.H(x), range=(-1.0, 1.0))
    guess = smooth_guess(problem, 1, 2 / 255)
    assert float((operator.H(guess) - problem.y).abs().max()) < 0.02
    # a plane is what such a field continues best; scattered sums of blocks are the hardest
    error = guess - x
    if kind == "blur":  # periodic, and so is the field: a plane is not, at the edges
        error = error[..., 8:-8, 8:-8]
    assert float(error.square().mean().sqrt()) < (0.1 if kind == "block sensing" else 0.03)


@pytest.mark.parametrize(
    "operator",
    [
        Blur(gaussian_kernel(1.0)), Blur(motion_kernel(5, 30)), Blur(gaussian_kernel(1.0), "reflect"),
        BlurDecimate(motion_kernel(5, 30), 2), CosineDecimation(torch.full((4, 4), 1 / 16), 2),
        CosineDecimation(torch.full((3, 3), 1 / 9), 3),
    ],
    ids=repr,
)  # fmt: skip
def test_the_closed_form_of_the_guess(operator):
    """P H^T (H P H^T + v)^-1 y with dense matrices."""
    shape, size = (2, 12, 18), 2 * 12 * 18
    pictures = torch.eye(size, dtype=torch.float64).view(size, *shape)
    H = operator.H(pictures).flatten(1).mT
    height, width = shape[1:]
    if operator.field_basis is Fourier:
        power = _power(torch.fft.fftfreq(height).double(), torch.fft.fftfreq(width).double())
        field = Fourier.full_inverse(power * Fourier.full(pictures))
    else:
        power = _power(*(torch.arange(n).double() / (2 * n) for n in (height, width)))
        field = Cosine.inverse(power * Cosine.forward(pictures))
    P = field.flatten(1).mT
    y = torch.randn(2, *operator.H(pictures[:1]).shape[1:], dtype=torch.float64)
    noise = torch.tensor([0.05, 0.2], dtype=torch.float64)
    found = _at_once(operator, y, noise, shape).flatten(1)
    for k, v in enumerate(noise.square()):
        inner = H @ P @ H.mT + v * torch.eye(len(H), dtype=torch.float64)
        expected = P @ H.mT @ torch.linalg.solve(inner, y[k].flatten())
        assert torch.allclose(found[k], expected, atol=1e-9 * float(expected.abs().max()))


def test_steps_by_name():
    steps = Steps("karras", 5, 1.0, 0.01)
    assert steps.levels[0] == pytest.approx(1.0) and steps.levels[-1] == pytest.approx(0.01)
    assert all(a > b for a, b in zip(steps.levels, steps.levels[1:], strict=False))
    ratios = Steps("geometric", 4, 0.8, 0.1).levels
    assert [a / b for a, b in zip(ratios, ratios[1:], strict=False)] == pytest.approx([2, 2, 2])
    assert parse_steps("20") == 20 and parse_steps("900,600,30.5") == (900, 600, 30.5)
    for text in ("karras:20:1:0.01", "geometric:19:0.5:0.002", "karras:8:1:0.01:3"):
        assert str(parse_steps(text)) == text
    assert str(steps) == "karras:5:1:0.01"
    with pytest.raises(ValueError, match="^steps: expected COUNT, karras:COUNT:START:END"):
        parse_steps("quick")
    with pytest.raises(ValueError, match="start, end: expected noise levels start >= end > 0"):
        parse_steps("karras:20:0.01:1")
    with pytest.raises(ValueError, match="^count: expected an integer >= 1"):
        Steps("karras", 0, 1.0, 0.1)
    with pytest.raises(ValueError, match="^spacing: expected one of karras, geometric"):
        Steps("linear", 5, 1.0, 0.1)


def test_steps_are_the_timesteps_of_their_levels():
    found = Steps("geometric", 12, 1.0, 0.02).timesteps(GAUSSIAN)
    assert found == sorted(set(found), reverse=True)
    sigma = [GAUSSIAN.schedule.sigma(t) for t in found]
    assert sigma[0] == pytest.approx(2.0, rel=0.02) and sigma[-1] == pytest.approx(0.04, rel=0.1)
    words = restore(PICTURE, Denoising(), 0.1, GAUSSIAN, DDRM("geometric:12:1:0.02"), seed=2)
    named = restore(
        PICTURE, Denoising(), 0.1, GAUSSIAN, DDRM(Steps("geometric", 12, 1.0, 0.02)), seed=2
    )
    listed = restore(PICTURE, Denoising(), 0.1, GAUSSIAN, DDRM(found), seed=2)
    assert torch.equal(words.mean, named.mean) and torch.equal(named.mean, listed.mean)


@pytest.mark.parametrize(
    "keywords, message",
    [
        ({"trust": 0.0}, "^trust: expected a number > 0"),
        ({"guess": "zero"}, "^guess: expected 'smooth' or 'pinv'"),
        ({"least_noise": -1.0}, "^least_noise: expected a number >= 0"),
    ],
)
def test_bad_settings_of_hqs(keywords, message):
    with pytest.raises(ValueError, match=message):
        HQS(**keywords)


def test_a_drawing_says_what_its_network_computes_in():
    seen = []

    def network(x_t, t, labels=None):
        seen.append(torch.is_autocast_enabled("cpu"))
        return 0.3 * x_t

    prior, problem = Prior(network), problem_of(Denoising(), 0.1)
    draw(problem, Drawing(prior, DDRM(2), precision="bfloat16"))
    draw(problem, Drawing(prior, DDRM(2)))
    assert seen == [True, True, False, False] and prior.precision == "float32"
    with pytest.raises(ValueError, match="^precision: expected one of auto"):
        draw(problem, Drawing(prior, DDRM(2), precision="int8"))

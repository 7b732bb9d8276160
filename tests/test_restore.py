"""`restore`: what it promises about results, ranges, steps and callbacks."""

import math

import pytest
import torch
from small_cases import (
    FAST,
    GAUSSIAN,
    OPERATORS,
    PIXELWISE,
    SCHEDULE,
    measured,
    pictures,
)

from ddrm_fast import (
    DDIM,
    DDNM,
    DDPM,
    DDRM,
    DDNMPlus,
    Prior,
    degrade,
    ops,
    restore,
)
from ddrm_fast.operators import (
    BlockCS,
    Blur,
    BlurDecimate,
    Denoising,
    Gain,
    GeneralOperator,
    Inpainting,
    SeparableBlur,
    SuperResolution,
    WalshHadamardCS,
)
from ddrm_fast.samplers import run

# results


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("sampler", [FAST, DDNM(steps=5), DDNMPlus(steps=5)], ids=lambda s: str(s))
def test_every_operator_with_every_sampler(name, sampler):
    operator, y = measured(name)
    result = restore(y, operator, 0.05, GAUSSIAN, sampler, num_samples=2)
    shape = OPERATORS[name][1]
    assert result.samples.shape == (2, 2, *shape)
    assert result.mean.shape == result.std.shape == (2, *shape)
    assert result.samples.dtype == torch.float32
    assert (result.samples >= 0).all() and (result.samples <= 1).all()
    assert result.samples.std() > 0.01
    if sampler is FAST:  # (DDNM restores what is measured completely without a draw)
        assert not torch.equal(result.samples[0], result.samples[1])


def test_mean_and_std_are_those_of_the_samples():
    operator, y = measured("super-resolution", batch=3)
    result = restore(y, operator, 0.05, GAUSSIAN, FAST, num_samples=5, batch_size=4, clamp=False)
    assert torch.allclose(result.mean, result.samples.mean(dim=0), atol=1e-6)
    assert torch.allclose(result.std, result.samples.std(dim=0), atol=1e-6)
    assert result.std.min() > 0


def test_one_sample_has_no_spread():
    operator, y = measured("inpainting")
    result = restore(y, operator, 0.05, PIXELWISE, FAST)
    assert result.samples.shape == (1, 2, 3, 8, 8)
    assert torch.equal(result.mean, result.samples[0]) and not result.std.any()


def test_samples_need_not_be_kept():
    operator, y = measured("inpainting")
    kept = restore(y, operator, 0.05, PIXELWISE, FAST, num_samples=3)
    lean = restore(y, operator, 0.05, PIXELWISE, FAST, num_samples=3, keep_samples=False)
    assert lean.samples is None
    assert torch.equal(lean.mean, kept.mean) and torch.equal(lean.std, kept.std)


def test_clamping_is_the_last_thing():
    operator, y = measured("inpainting", sigma_y=0.0)
    free = restore(3 * y - 1, operator, 0.0, PIXELWISE, FAST, clamp=False).samples
    clamped = restore(3 * y - 1, operator, 0.0, PIXELWISE, FAST).samples
    assert free.min() < 0 and free.max() > 1
    assert torch.equal(clamped, free.clamp(0, 1))


def test_double_precision():
    """float64 in, float64 out, and the same picture."""
    for name in ("super-resolution", "blur", "decimation", "walsh-hadamard"):
        operator, y = measured(name)
        single = restore(y, operator, 0.05, GAUSSIAN, FAST).mean
        double = restore(y.double(), operator, 0.05, GAUSSIAN, FAST).mean
        assert double.dtype == torch.float64
        assert torch.allclose(single.double(), double, atol=2e-5)


@pytest.mark.parametrize("name", OPERATORS)
def test_backends_restore_the_same_picture(name):
    """A whole run, noise drawn by each backend itself."""
    operator, y = measured(name)
    results = {}
    for backend, reason in ops.backends().items():
        if reason is None:
            with ops.use_backend(backend):
                results[backend] = restore(y, operator, 0.05, GAUSSIAN, FAST, seed=4).mean
    assert {"reference", "cpp"} <= set(results)
    for result in results.values():
        assert torch.allclose(result, results["reference"], atol=2e-5)


def test_nothing_asks_for_a_gradient():
    operator, y = measured("blur")
    network = torch.nn.Conv2d(3, 3, 3, padding=1)
    prior = Prior(lambda x, t: 0.1 * network(x))
    result = restore(y.requires_grad_(), operator, 0.05, prior, FAST)
    assert not result.samples.requires_grad and network.weight.grad is None


# ranges


@pytest.mark.parametrize(
    "operator",
    [
        Denoising(),
        Inpainting(torch.ones(8, 8)),
        Gain(torch.linspace(-2.0, 2.0, 64).view(8, 8)),
        Gain(torch.full((8, 8), 0.25)),
        SuperResolution(1),
        SuperResolution(1, mask=torch.linspace(-2.0, 2.0, 64).view(8, 8)),
        WalshHadamardCS((8, 8), 1),
        BlockCS(4, 1),
        Blur(torch.tensor([[0.0, 0.2, 0.0], [0.2, 2.0, 0.2], [0.0, 0.2, 0.0]])),
        Blur(torch.tensor([[0.2, 2.0, 0.2]]), "reflect"),
        SeparableBlur(torch.tensor([0.2, 2.0, 0.2]), size=(8, 8)),
        GeneralOperator(torch.randn(192, 192) + 20 * torch.eye(192), (3, 8, 8)),
    ],
    ids=lambda o: repr(o),
)
def test_a_fully_measured_picture_comes_back(operator):
    """In [0, 1], although H(1) is not 1 for gains, compressed sensing and zero boundaries.

    DDNM ends on the measurement; so does DDRM where it is asked to.
    """
    x = torch.rand(2, 3, 8, 8)
    y = degrade(x, operator)
    for sampler, end in ((DDNM(steps=3), False), (FAST, True)):
        result = restore(y, operator, 0.0, PIXELWISE, sampler, end_on_measurement=end).mean
        assert torch.allclose(result, x, atol=2e-4), type(sampler).__name__


def test_known_pixels_come_back_and_black_is_black():
    mask = torch.rand(8, 8) > 0.5
    x = torch.rand(2, 3, 8, 8)
    x[0, :, :4] = 0.0
    operator = Inpainting(mask)
    result = restore(degrade(x, operator), operator, 0.0, PIXELWISE, DDNM(steps=4)).mean
    assert torch.allclose(result[..., mask], x[..., mask], atol=1e-5)


def test_what_stands_in_unknown_pixels_does_not_matter():
    mask = torch.rand(8, 8) > 0.5
    operator, y = Inpainting(mask), torch.rand(2, 3, 8, 8)
    first = restore(y, operator, 0.05, PIXELWISE, FAST).mean
    second = restore(torch.where(mask, y, 0.77), operator, 0.05, PIXELWISE, FAST).mean
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", OPERATORS)
def test_ending_on_the_measurement(name):
    """Without noise in y the result measures exactly as y; DDRM by itself ends on the network."""
    operator, y = measured(name, sigma_y=0.0)
    loose = restore(y, operator, 0.0, GAUSSIAN, FAST, clamp=False).mean
    exact = restore(y, operator, 0.0, GAUSSIAN, FAST, clamp=False, end_on_measurement=True).mean
    error = (operator.H(exact) - y).norm() / y.norm()
    assert error < 1e-5
    assert (operator.H(loose) - y).norm() / y.norm() > 1e2 * error


def test_ending_on_a_noisy_measurement_weighs_it():
    """g = sigma^2 / (sigma^2 + sigma_y'^2) in the network's range, sigma of the last step."""
    y = pictures(2, 3, 8, 8)
    levels = torch.tensor([0.02, 0.3])
    loose = restore(y, Denoising(), levels, PIXELWISE, FAST, clamp=False).mean
    ended = restore(
        y, Denoising(), levels, PIXELWISE, FAST, clamp=False, end_on_measurement=True
    ).mean
    sigma = SCHEDULE.sigma(0)
    g = (sigma**2 / (sigma**2 + (2 * levels) ** 2)).view(2, 1, 1, 1)
    assert torch.allclose(ended, loose + g * (y - loose), atol=1e-6)


# steps and callbacks


def _identities(shape):
    """Operators that all mean y = x, by every kind of step, and their layout of y."""
    channels, height, width = shape
    delta = torch.ones(1, 1)
    n = channels * height * width
    return {
        "pointwise": (Denoising(), None),
        "mask": (Inpainting(torch.ones(height, width)), None),
        "negative gain": (Gain(-torch.ones(height, width)), lambda y: -y),
        "block": (SuperResolution(1), None),
        "fft": (Blur(delta), None),
        "shifted fft": (Blur(torch.tensor([[0.0, 0.0, 1.0]])), lambda y: y.roll(1, -1)),
        "dct": (Blur(delta, "reflect"), None),
        "alias": (BlurDecimate(delta, 1), None),
        "kronecker": (SeparableBlur(torch.ones(1), size=(height, width)), None),
        "matrix": (GeneralOperator(torch.eye(n), shape), lambda y: y.flatten(1)),
    }


@pytest.mark.parametrize("clip", [None, (-1.0, 1.0)], ids=["free", "clipped"])
@pytest.mark.parametrize("sampler", [FAST, DDNMPlus(steps=6), DDRM(steps=4, eta=0.5, eta_b=0.7)])
def test_every_kind_of_step_restores_the_same_picture(sampler, clip):
    """With the noise given in pixels, operators that mean the same give the same.

    The network makes x0 leave [-1, 1], so that clipping matters on each way.
    """
    shape = (3, 6, 5)
    y, sigma_y = torch.randn(2, *shape), torch.tensor([0.1, 0.9], dtype=torch.float64)
    noise = torch.randn(len(SCHEDULE.steps(sampler.steps)) + 1, 2, *shape)
    results, clean = {}, []
    for name, (operator, layout) in _identities(shape).items():
        results[name] = run(
            operator,
            PIXELWISE,
            sampler,
            y if layout is None else layout(y),
            sigma_y,
            ops.noise_keys(2),
            clip=clip,
            noise=lambda k: noise[k],
            callback=lambda info: clean.append(info.x0.abs().max()),
        )
    for name, result in results.items():
        assert torch.allclose(result, results["pointwise"], atol=1e-4), name
    assert max(clean) <= 1 if clip else max(clean) > 2


@pytest.mark.parametrize("name", ["inpainting", "super-resolution", "blur", "decimation"])
def test_callbacks_see_every_step(name):
    operator, y = measured(name)
    seen = []

    def callback(info):
        copies = [x.clone() for x in (info.x_t, info.x0, info.x_next)]
        seen.append((info.index, info.total, info.t, info.t_next, *copies))

    result = restore(y, operator, 0.05, PIXELWISE, FAST, callback=callback, clamp=False).mean
    assert [step[:4] for step in seen] == [
        (0, 5, 800, 600), (1, 5, 600, 400), (2, 5, 400, 200), (3, 5, 200, 0), (4, 5, 0, -1),
    ]  # fmt: skip
    for before, after in zip(seen, seen[1:], strict=False):
        assert torch.equal(after[4], before[6])
    for _, _, t, _, x_t, x0, _ in seen:
        a = SCHEDULE.abar(t)
        expected = (x_t - math.sqrt(1 - a) * 0.3 * x_t) / math.sqrt(a)
        assert torch.allclose(x0, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal((seen[-1][6] + 1) / 2, result)
    assert torch.equal(result, restore(y, operator, 0.05, PIXELWISE, FAST, clamp=False).mean)


def test_callbacks_of_several_chunks():
    count = []
    restore(
        pictures(3, 3, 4, 4), Denoising(), 0.1, PIXELWISE, FAST,
        num_samples=2, batch_size=4, callback=lambda info: count.append(len(info.x_t)),
    )  # fmt: skip
    assert count == [4] * 5 + [2] * 5


def _visited(sampler):
    times = []

    def network(x_t, t):
        times.append(int(t[0]))
        return 0.3 * x_t

    restore(pictures(1, 1, 2, 2), Denoising(), 0.1, Prior(network), sampler)
    return times


@pytest.mark.parametrize("make", [DDRM, DDNM, DDNMPlus, DDIM, DDPM])
def test_steps_may_be_listed(make):
    assert _visited(make(steps=[999, 500, 499, 3])) == [999, 500, 499, 3]
    assert _visited(make(steps=torch.tensor([700, 20]))) == [700, 20]
    assert _visited(make(steps=(5,))) == [5]


def test_a_number_of_steps_means_every_nth_timestep():
    assert _visited(DDRM()) == list(range(950, -1, -50))
    assert _visited(DDRM(steps=1)) == [0]
    assert _visited(DDRM(steps=3)) == [999, 666, 333, 0]  # as published: one more


def test_a_list_of_the_same_steps_is_the_same_run():
    operator, y = measured("super-resolution")
    listed = DDRM(steps=[800, 600, 400, 200, 0])
    expected = restore(y, operator, 0.05, PIXELWISE, FAST).mean
    assert torch.equal(restore(y, operator, 0.05, PIXELWISE, listed).mean, expected)


def test_the_progress_bar_is_off_by_default(capsys):
    y = pictures(1, 1, 4, 4)
    restore(y, Denoising(), 0.1, PIXELWISE, FAST)
    restore(y, Denoising(), 0.1, PIXELWISE, FAST, progress=None)  # no terminal here
    quiet = capsys.readouterr()
    assert quiet.out == quiet.err == ""
    restore(y, Denoising(), 0.1, PIXELWISE, FAST, progress=True, num_samples=2)
    shown = capsys.readouterr()
    assert shown.out == "" and "0/10" in shown.err

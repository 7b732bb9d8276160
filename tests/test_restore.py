"""The public functions: what they promise about results, noise, ranges, networks and steps."""

import math
from types import SimpleNamespace

import pytest
import torch

import ddrm_fast
from ddrm_fast import (
    DDIM,
    DDNM,
    DDPM,
    DDRM,
    DDNMPlus,
    DenoiserPrior,
    Prior,
    Schedule,
    degrade,
    ops,
    restore,
    sample,
)
from ddrm_fast.operators import (
    BicubicDownscaling,
    BlockCS,
    Blur,
    BlurDecimate,
    Colorization,
    Denoising,
    Gain,
    GeneralOperator,
    Inpainting,
    SeparableBlur,
    SuperResolution,
    WalshHadamardCS,
    gaussian_kernel,
)
from ddrm_fast.priors import GaussianPrior, wrap_diffusers
from ddrm_fast.samplers import run

FAST = DDRM(steps=5)
SCHEDULE = Schedule.linear()


def _pixelwise(x_t, t, labels=None):
    """A network that looks at one pixel at a time: a crop of its output is its output of a crop."""
    return 0.3 * x_t


PIXELWISE = Prior(_pixelwise)
GAUSSIAN = GaussianPrior()


def _pictures(*shape):
    return 0.2 + 0.6 * torch.rand(*shape)


OPERATORS = {
    "denoising": (Denoising(), (3, 8, 8)),
    "inpainting": (Inpainting(torch.rand(1, 8, 8) > 0.4), (3, 8, 8)),
    "gain": (Gain(torch.linspace(0.2, 2.0, 192).view(3, 8, 8)), (3, 8, 8)),
    "colorization": (Colorization(), (3, 8, 8)),
    "super-resolution": (SuperResolution(2), (3, 8, 8)),
    "old photo": (SuperResolution(2, (0.2, 0.5, 0.3), torch.rand(8, 8) > 0.4), (3, 8, 8)),
    "walsh-hadamard": (WalshHadamardCS((8, 8), 2), (3, 8, 8)),
    "block cs": (BlockCS(4, 2), (3, 8, 8)),
    "blur": (Blur(gaussian_kernel(0.8)), (3, 8, 7)),
    "reflecting blur": (Blur(gaussian_kernel(0.8), "reflect"), (3, 8, 7)),
    "separable blur": (SeparableBlur(torch.tensor([0.2, 0.5, 0.3]), size=(8, 7)), (3, 8, 7)),
    "bicubic": (BicubicDownscaling(2, (8, 6)), (3, 8, 6)),
    "decimation": (BlurDecimate(gaussian_kernel(0.8), 2), (3, 8, 6)),
    "matrix": (GeneralOperator(torch.randn(5, 48), (3, 4, 4)), (3, 4, 4)),
}
PIXEL_BASED = ["denoising", "inpainting", "gain", "colorization", "super-resolution", "old photo"]


def _measured(name, batch=2, sigma_y=0.05):
    operator, shape = OPERATORS[name]
    return operator, degrade(_pictures(batch, *shape), operator, sigma_y)


# results


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("sampler", [FAST, DDNM(steps=5), DDNMPlus(steps=5)], ids=lambda s: str(s))
def test_every_operator_with_every_sampler(name, sampler):
    operator, y = _measured(name)
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
    operator, y = _measured("super-resolution", batch=3)
    result = restore(y, operator, 0.05, GAUSSIAN, FAST, num_samples=5, batch_size=4, clamp=False)
    assert torch.allclose(result.mean, result.samples.mean(dim=0), atol=1e-6)
    assert torch.allclose(result.std, result.samples.std(dim=0), atol=1e-6)
    assert result.std.min() > 0


def test_one_sample_has_no_spread():
    operator, y = _measured("inpainting")
    result = restore(y, operator, 0.05, PIXELWISE, FAST)
    assert result.samples.shape == (1, 2, 3, 8, 8)
    assert torch.equal(result.mean, result.samples[0]) and not result.std.any()


def test_samples_need_not_be_kept():
    operator, y = _measured("inpainting")
    kept = restore(y, operator, 0.05, PIXELWISE, FAST, num_samples=3)
    lean = restore(y, operator, 0.05, PIXELWISE, FAST, num_samples=3, keep_samples=False)
    assert lean.samples is None
    assert torch.equal(lean.mean, kept.mean) and torch.equal(lean.std, kept.std)


def test_clamping_is_the_last_thing():
    operator, y = _measured("inpainting", sigma_y=0.0)
    free = restore(3 * y - 1, operator, 0.0, PIXELWISE, FAST, clamp=False).samples
    clamped = restore(3 * y - 1, operator, 0.0, PIXELWISE, FAST).samples
    assert free.min() < 0 and free.max() > 1
    assert torch.equal(clamped, free.clamp(0, 1))


def test_double_precision():
    """float64 in, float64 out, and the same picture."""
    for name in ("super-resolution", "blur", "decimation", "walsh-hadamard"):
        operator, y = _measured(name)
        single = restore(y, operator, 0.05, GAUSSIAN, FAST).mean
        double = restore(y.double(), operator, 0.05, GAUSSIAN, FAST).mean
        assert double.dtype == torch.float64
        assert torch.allclose(single.double(), double, atol=2e-5)


@pytest.mark.parametrize("name", OPERATORS)
def test_backends_restore_the_same_picture(name):
    """A whole run, noise drawn by each backend itself."""
    operator, y = _measured(name)
    results = {}
    for backend, reason in ops.backends().items():
        if reason is None:
            with ops.use_backend(backend):
                results[backend] = restore(y, operator, 0.05, GAUSSIAN, FAST, seed=4).mean
    assert {"reference", "cpp"} <= set(results)
    for result in results.values():
        assert torch.allclose(result, results["reference"], atol=2e-5)


def test_nothing_asks_for_a_gradient():
    operator, y = _measured("blur")
    network = torch.nn.Conv2d(3, 3, 3, padding=1)
    prior = Prior(lambda x, t: 0.1 * network(x))
    result = restore(y.requires_grad_(), operator, 0.05, prior, FAST)
    assert not result.samples.requires_grad and network.weight.grad is None


# noise: seeds, batches, crops


@pytest.mark.parametrize("name", OPERATORS)
def test_a_sample_does_not_depend_on_what_runs_beside_it(name):
    """Bit for bit where no library transform is involved, to rounding elsewhere."""
    operator, y = _measured(name, batch=3)
    whole = restore(y, operator, 0.05, PIXELWISE, FAST, num_samples=2, seed=7).samples
    for size in (1, 2, 6):
        split = restore(
            y, operator, 0.05, PIXELWISE, FAST, num_samples=2, seed=7, batch_size=size
        ).samples
        if name in PIXEL_BASED:
            assert torch.equal(split, whole), size
        else:
            assert torch.allclose(split, whole, atol=1e-5), size
    assert not torch.allclose(
        restore(y, operator, 0.05, PIXELWISE, FAST, seed=8).samples[0], whole[0], atol=1e-2
    )


def test_more_samples_begin_with_the_same_ones():
    operator, y = _measured("super-resolution")
    three = restore(y, operator, 0.05, PIXELWISE, FAST, num_samples=3).samples
    two = restore(y, operator, 0.05, PIXELWISE, FAST, num_samples=2).samples
    assert torch.equal(three[:2], two)


def test_picture_i_has_seed_plus_i():
    operator, y = _measured("super-resolution", batch=3)
    whole = restore(y, operator, 0.05, PIXELWISE, FAST, seed=11).mean
    for i in range(3):
        one = restore(y[i : i + 1], operator, 0.05, PIXELWISE, FAST, seed=11 + i).mean
        assert torch.equal(one, whole[i : i + 1])


def test_seeds_of_the_pictures_may_be_given():
    operator, y = _measured("inpainting", batch=3)
    seeds = torch.tensor([5, -3, 2**62])
    whole = restore(y, operator, 0.05, PIXELWISE, FAST, seed=seeds, num_samples=2).samples
    for i, seed in enumerate(seeds.tolist()):
        one = restore(y[i : i + 1], operator, 0.05, PIXELWISE, FAST, seed=seed, num_samples=2)
        assert torch.equal(one.samples, whole[:, i : i + 1])
    pair = restore(y[1:], operator, 0.05, PIXELWISE, FAST, seed=seeds[1:], num_samples=2)
    assert torch.equal(pair.samples, whole[:, 1:])


def test_seeds_are_64_bits_that_wrap_around():
    operator, y = _measured("denoising")
    largest = restore(y, operator, 0.05, PIXELWISE, FAST, seed=2**63 - 1).mean
    wrapped = torch.tensor([2**63 - 1, -(2**63)])
    assert torch.equal(restore(y, operator, 0.05, PIXELWISE, FAST, seed=wrapped).mean, largest)
    unsigned = restore(y, operator, 0.05, PIXELWISE, FAST, seed=2**64 - 1).mean
    assert torch.equal(restore(y, operator, 0.05, PIXELWISE, FAST, seed=-1).mean, unsigned)


@pytest.mark.parametrize("name", ["inpainting", "super-resolution", "blur"])
def test_threads_do_not_change_the_picture(name):
    """Pictures large enough to be shared out between threads."""
    operator = {
        "inpainting": Inpainting(torch.rand(90, 140) > 0.4),
        "super-resolution": SuperResolution(2),
        "blur": Blur(gaussian_kernel(1.0)),
    }[name]
    y = operator.H(_pictures(1, 3, 90, 140))
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(restore(y, operator, 0.05, PIXELWISE, DDRM(steps=2)).mean)
    if name == "blur":
        assert torch.allclose(*results, atol=1e-5)
    else:
        assert torch.equal(*results)


@pytest.mark.parametrize("kind", ["inpainting", "gain", "old photo"])
def test_pictures_with_masks_of_their_own(kind):
    masks = (torch.rand(3, 1, 8, 8) > 0.4).float()

    def make(mask):
        if kind == "gain":
            return Gain(mask * 1.5)
        return Inpainting(mask) if kind == "inpainting" else SuperResolution(2, None, mask)

    operator = make(masks)
    y = operator.H(_pictures(3, 3, 8, 8))
    levels = torch.tensor([0.0, 0.05, 0.3])
    whole = restore(y, operator, levels, PIXELWISE, FAST, num_samples=2).samples
    for size in (1, 2, 4):
        split = restore(y, operator, levels, PIXELWISE, FAST, num_samples=2, batch_size=size)
        assert torch.equal(split.samples, whole)
    for i in range(3):
        one = restore(
            y[i : i + 1], make(masks[i : i + 1]), levels[i], PIXELWISE, FAST, num_samples=2, seed=i
        )
        assert torch.equal(one.samples, whole[:, i : i + 1])


def test_noise_levels_of_pictures():
    """One level each equals separate runs, in one batch with others or not."""
    for name in ("super-resolution", "colorization", "blur", "decimation"):
        operator, y = _measured(name, batch=3)
        levels = torch.tensor([0.0, 0.1, 2.0])
        for sampler in (FAST, DDNMPlus(steps=5)):
            whole = restore(y, operator, levels, PIXELWISE, sampler).mean
            for i in range(3):
                one = restore(y[i : i + 1], operator, levels[i], PIXELWISE, sampler, seed=i).mean
                assert torch.allclose(one, whole[i : i + 1], atol=1e-5), (name, sampler, i)


@pytest.mark.parametrize("name", PIXEL_BASED)
@pytest.mark.parametrize("place", [(0, 0), (4, 2), (2, 10)])
def test_a_crop_restores_as_its_place_in_the_whole_picture(name, place):
    """Bit for bit, at columns that do not begin a counter, with samples and clipping."""
    top, left = place
    gain = torch.linspace(0.2, 2.0, 16 * 20).view(16, 20)
    mask = (torch.rand(16, 20) > 0.4).float()
    cut = (..., slice(top, top + 8), slice(left, left + 10))
    make = {
        "denoising": lambda part: Denoising(),
        "inpainting": lambda part: Inpainting(mask[part]),
        "gain": lambda part: Gain(gain[part], rcond=0.0),
        "colorization": lambda part: Colorization(),
        "super-resolution": lambda part: SuperResolution(2),
        "old photo": lambda part: SuperResolution(2, (0.2, 0.5, 0.3), mask[part], rcond=0.0),
    }[name]
    operator, x = make(...), _pictures(2, 3, 16, 20)
    y = degrade(x, operator, 0.05)
    small = make(cut)
    r = getattr(operator, "factor", 1)
    y_cut = y[..., top // r : (top + 8) // r, left // r : (left + 10) // r].contiguous()
    both = {"num_samples": 2, "seed": 3, "clip_x0": True}
    whole = restore(y, operator, 0.05, PIXELWISE, FAST, **both).samples
    crop = restore(y_cut, small, 0.05, PIXELWISE, FAST, **both, origin=place).samples
    assert torch.equal(crop, whole[cut])


def test_crops_of_one_batch_have_origins_of_their_own():
    operator, y = Denoising(), _pictures(1, 3, 12, 16)
    whole = restore(y, operator, 0.1, PIXELWISE, FAST, seed=3).mean
    origin = torch.tensor([[0, 0], [5, 7]])
    crops = torch.cat((y[..., :6, :8], y[..., 5:11, 7:15]))
    seeds = torch.tensor([3, 3])
    result = restore(crops, operator, 0.1, PIXELWISE, FAST, seed=seeds, origin=origin).mean
    assert torch.equal(result[0], whole[0, :, :6, :8])
    assert torch.equal(result[1], whole[0, :, 5:11, 7:15])


# degrade


@pytest.mark.parametrize("name", OPERATORS)
def test_degrade_is_h_plus_white_noise(name):
    operator, shape = OPERATORS[name]
    x = _pictures(400, *shape)
    levels = torch.linspace(0.0, 1.0, 400)
    clean = degrade(x, operator)
    assert torch.equal(clean, operator.H(x))
    noise = (degrade(x, operator, levels, seed=5) - clean).flatten(1)
    assert not noise[0].any()
    white = (noise[1:] / levels[1:, None]).double().flatten()
    assert abs(white.mean()) < 5 / math.sqrt(len(white))
    assert abs(white.square().mean() - 1) < 5 * math.sqrt(2 / len(white))
    assert torch.equal(degrade(x, operator, 0.1, seed=5), degrade(x, operator, 0.1, seed=5))
    assert not torch.equal(degrade(x, operator, 0.1, seed=6), degrade(x, operator, 0.1, seed=5))


def test_noise_of_degrade_is_not_that_of_restore():
    """The same seed for both must not make the sampler's noise that of the measurement."""
    x = torch.full((1, 1, 1, 4096), 0.5)
    drawn = (degrade(x, Denoising(), 1.0, seed=3) - x).flatten()
    first = ops.normal(ops.noise_keys(1, 3), 1, 1, 4096, stream=0).flatten()
    assert abs(float((drawn * first).mean())) < 5 / 64


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
    operator, y = _measured(name, sigma_y=0.0)
    loose = restore(y, operator, 0.0, GAUSSIAN, FAST, clamp=False).mean
    exact = restore(y, operator, 0.0, GAUSSIAN, FAST, clamp=False, end_on_measurement=True).mean
    error = (operator.H(exact) - y).norm() / y.norm()
    assert error < 1e-5
    assert (operator.H(loose) - y).norm() / y.norm() > 1e2 * error


def test_ending_on_a_noisy_measurement_weighs_it():
    """g = sigma^2 / (sigma^2 + sigma_y'^2) in the network's range, sigma of the last step."""
    y = _pictures(2, 3, 8, 8)
    levels = torch.tensor([0.02, 0.3])
    loose = restore(y, Denoising(), levels, PIXELWISE, FAST, clamp=False).mean
    ended = restore(
        y, Denoising(), levels, PIXELWISE, FAST, clamp=False, end_on_measurement=True
    ).mean
    sigma = SCHEDULE.sigma(0)
    g = (sigma**2 / (sigma**2 + (2 * levels) ** 2)).view(2, 1, 1, 1)
    assert torch.allclose(ended, loose + g * (y - loose), atol=1e-6)


# clipping


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


@pytest.mark.parametrize("name", PIXEL_BASED)
def test_noise_may_be_given(name):
    """k = 0 for the first state, k + 1 for step k: the numbers that would have been drawn."""
    operator, shape = OPERATORS[name]
    y = operator.H(torch.randn(2, *shape))
    keys, asked = ops.noise_keys(2, 21, origin=(2, 3)), []

    def noise(k):
        asked.append(k)
        return ops.normal(keys, *shape, iteration=k, stream=0)

    sigma_y = torch.tensor([0.2], dtype=torch.float64)
    drawn = run(operator, PIXELWISE, FAST, y, sigma_y, keys)
    given = run(operator, PIXELWISE, FAST, y, sigma_y, keys, noise=noise)
    assert asked == [0, 1, 2, 3, 4, 5]
    assert torch.allclose(given, drawn, atol=1e-5)


@pytest.mark.parametrize("name", OPERATORS)
def test_clipped_predictions_are_in_the_range_of_pictures(name):
    operator, y = _measured(name)
    seen = []

    def callback(info):
        seen.append((info.x0.min(), info.x0.max()))

    free = restore(y, operator, 0.05, PIXELWISE, FAST, callback=callback).mean
    assert max(high for _, high in seen) > 1
    seen.clear()
    clipped = restore(y, operator, 0.05, PIXELWISE, FAST, clip_x0=True, callback=callback).mean
    assert all(low >= -1 and high <= 1 for low, high in seen)
    assert not torch.allclose(free, clipped, atol=1e-3)


# networks


@pytest.mark.parametrize("name", OPERATORS)
def test_predictions_of_every_kind_restore_the_same_picture(name):
    """The Gaussian network as eps, x0 and v."""
    operator, y = _measured(name)
    abar = SCHEDULE.alphas_cumprod

    def as_x0(x, t):
        a = abar[t.long()].to(x).view(-1, 1, 1, 1)
        return (x - (1 - a).sqrt() * GAUSSIAN(x, t)) / a.sqrt()

    def as_v(x, t):
        a = abar[t.long()].to(x).view(-1, 1, 1, 1)
        return a.sqrt() * GAUSSIAN(x, t) - (1 - a).sqrt() * as_x0(x, t)

    for clip in (False, True):
        expected = restore(y, operator, 0.05, GAUSSIAN, FAST, clip_x0=clip).mean
        for prediction, network in (("x0", as_x0), ("v", as_v)):
            prior = Prior(network, prediction)
            result = restore(y, operator, 0.05, prior, FAST, clip_x0=clip).mean
            assert torch.allclose(result, expected, atol=1e-4), prediction


@pytest.mark.parametrize("name", ["inpainting", "super-resolution", "blur", "decimation"])
@pytest.mark.parametrize("clip", [False, True], ids=["free", "clipped"])
def test_variances_of_the_network_are_not_read(name, clip):
    operator, y = _measured(name)
    plain = restore(y, operator, 0.05, PIXELWISE, FAST, clip_x0=clip).mean
    junk = torch.full((2, 3, *OPERATORS[name][1][1:]), torch.nan)
    learned = Prior(lambda x, t: torch.cat((_pixelwise(x, t), junk), dim=1))
    assert torch.equal(restore(y, operator, 0.05, learned, FAST, clip_x0=clip).mean, plain)
    strided = Prior(lambda x, t: _pixelwise(x, t).to(memory_format=torch.channels_last))
    assert torch.equal(restore(y, operator, 0.05, strided, FAST, clip_x0=clip).mean, plain)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["inpainting", "super-resolution", "blur", "decimation"])
def test_networks_may_answer_in_half_precision(name, dtype):
    operator, y = _measured(name)
    half = Prior(lambda x, t: (0.3 * x).to(dtype))
    rounded = Prior(lambda x, t: (0.3 * x).to(dtype).float())
    for clip in (False, True):
        result = restore(y, operator, 0.05, half, FAST, clip_x0=clip)
        assert result.mean.dtype == torch.float32
        expected = restore(y, operator, 0.05, rounded, FAST, clip_x0=clip).mean
        assert torch.equal(result.mean, expected)


def test_what_a_network_is_given():
    """x_t float32, t float32 [B], descending; no labels unless there are some."""
    calls = []

    def network(*arguments):
        calls.append(arguments)
        return 0.3 * arguments[0]

    restore(_pictures(2, 3, 4, 4), Denoising(), 0.1, Prior(network), FAST)
    assert [len(arguments) for arguments in calls] == [2] * 5
    for (x_t, t), expected in zip(calls, (800, 600, 400, 200, 0), strict=True):
        assert x_t.shape == (2, 3, 4, 4) and x_t.dtype == t.dtype == torch.float32
        assert t.tolist() == [expected, expected]


def test_labels_reach_the_network_and_stay_with_their_picture():
    labels = torch.tensor([3, 1, 2])

    def network(x_t, t, labels):
        seen.append(labels.tolist())
        return 0.3 * x_t + 0.1 * labels.view(-1, 1, 1, 1)

    prior, y, seen = Prior(network), _pictures(3, 3, 4, 4), []
    whole = restore(y, Denoising(), 0.1, prior, FAST, labels=labels, num_samples=2).samples
    assert seen == [[3, 1, 2]] * 10
    seen.clear()
    split = restore(
        y, Denoising(), 0.1, prior, FAST, labels=labels, num_samples=2, batch_size=2
    ).samples
    assert seen == [[3, 1]] * 5 + [[2, 3]] * 5 + [[1, 2]] * 5
    assert torch.equal(split, whole)


# guidance


def _guided_by_hand(prediction, gradient):
    """A network whose eps is eps - sqrt(1 - abar) gradient, whatever it predicts."""

    def network(x_t, t):
        out = 0.3 * x_t
        a = SCHEDULE.alphas_cumprod[t.long()].view(-1, 1, 1, 1)
        root, noise = a.sqrt(), (1 - a).sqrt()
        x = x_t.double()
        if prediction == "eps":
            eps = out.double()
        else:
            eps = (x - root * out) / noise if prediction == "x0" else noise * x + root * out
        eps = eps - noise * gradient(x_t, t, None).double()
        x0 = (x - noise * eps) / root
        return {"eps": eps, "x0": x0, "v": root * eps - noise * x0}[prediction].float()

    return Prior(network, prediction)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("name", ["inpainting", "super-resolution", "blur"])
def test_guidance_is_added_to_eps(name, prediction):
    operator, y = _measured(name)

    def gradient(x_t, t, labels):
        return 0.2 * torch.cos(x_t) * (t.view(-1, 1, 1, 1) / 1000)

    prior = Prior(lambda x, t: 0.3 * x, prediction)
    result = restore(y, operator, 0.05, prior, FAST, guidance=gradient).mean
    by_hand = restore(y, operator, 0.05, _guided_by_hand(prediction, gradient), FAST).mean
    without = restore(y, operator, 0.05, prior, FAST).mean
    assert torch.allclose(result, by_hand, atol=1e-4)
    assert not torch.allclose(result, without, atol=1e-3)


def test_guidance_is_evaluated_at_the_state():
    """At x_t itself, after the network and for the same t and labels; variances pass by."""
    labels, asked, guided = torch.tensor([4, 5]), [], []

    def network(x_t, t, labels):
        asked.append((x_t.clone(), t.clone(), labels))
        return torch.cat((0.3 * x_t, torch.full_like(x_t, torch.nan)), dim=1)

    def gradient(x_t, t, labels):
        guided.append((x_t.clone(), t.clone(), labels))
        return torch.zeros_like(x_t)

    y = _pictures(2, 3, 4, 4)
    result = restore(y, Denoising(), 0.1, Prior(network), FAST, labels=labels, guidance=gradient)
    assert len(asked) == len(guided) == 5
    for network_call, gradient_call in zip(asked, guided, strict=True):
        for a, b in zip(network_call, gradient_call, strict=True):
            assert torch.equal(a, b)
    assert torch.equal(result.mean, restore(y, Denoising(), 0.1, PIXELWISE, FAST).mean)


# steps and callbacks


@pytest.mark.parametrize("name", ["inpainting", "super-resolution", "blur", "decimation"])
def test_callbacks_see_every_step(name):
    operator, y = _measured(name)
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
        _pictures(3, 3, 4, 4), Denoising(), 0.1, PIXELWISE, FAST,
        num_samples=2, batch_size=4, callback=lambda info: count.append(len(info.x_t)),
    )  # fmt: skip
    assert count == [4] * 5 + [2] * 5


def _visited(sampler):
    times = []

    def network(x_t, t):
        times.append(int(t[0]))
        return 0.3 * x_t

    restore(_pictures(1, 1, 2, 2), Denoising(), 0.1, Prior(network), sampler)
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
    operator, y = _measured("super-resolution")
    listed = DDRM(steps=[800, 600, 400, 200, 0])
    expected = restore(y, operator, 0.05, PIXELWISE, FAST).mean
    assert torch.equal(restore(y, operator, 0.05, PIXELWISE, listed).mean, expected)


def test_the_progress_bar_is_off_by_default(capsys):
    y = _pictures(1, 1, 4, 4)
    restore(y, Denoising(), 0.1, PIXELWISE, FAST)
    restore(y, Denoising(), 0.1, PIXELWISE, FAST, progress=None)  # no terminal here
    quiet = capsys.readouterr()
    assert quiet.out == quiet.err == ""
    restore(y, Denoising(), 0.1, PIXELWISE, FAST, progress=True, num_samples=2)
    shown = capsys.readouterr()
    assert shown.out == "" and "0/10" in shown.err


# priors


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
    operator, y = _measured("super-resolution")
    first, second = (restore(y, operator, 0.05, p, FAST).mean for p in (symmetric, positive))
    assert torch.allclose(first, second, atol=1e-4)


def _call():
    generator = torch.Generator().manual_seed(5)
    return torch.randn(2, 3, 4, 4, generator=generator), torch.tensor([100.0, 900.0])


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
    operator, y = _measured("inpainting")
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
        a = SCHEDULE.alphas_cumprod[t.long()].to(x).view(-1, 1, 1, 1)
        root, noise = a.sqrt(), (1 - a).sqrt()
        eps = gaussian(x, t)
        x0 = (x - noise * eps) / root
        return {"eps": eps, "x0": x0, "v": root * eps - noise * x0}[prediction]

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
    operator, y = _measured("super-resolution")
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
    operator, y = _measured("super-resolution")
    expected = restore(y, operator, 0.05, PIXELWISE, FAST).mean
    for dtype, error in ((torch.float16, 3e-3), (torch.bfloat16, 3e-2)):
        prior = wrap_diffusers(_FakeUNet(dtype))
        result = restore(y, operator, 0.05, prior, FAST).mean
        assert result.dtype == torch.float32
        assert torch.allclose(result, expected, atol=error)
        rounded = Prior(lambda x, t, d=dtype: 0.3 * x.to(d))
        assert torch.equal(restore(y, operator, 0.05, rounded, FAST).mean, result)
        inside = Prior(_pixelwise, dtype=dtype)
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

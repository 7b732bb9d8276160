"""The noise of `restore` and `degrade`: seeds, batches, crops, levels."""

import math

import pytest
import torch
from small_cases import (
    FAST,
    OPERATORS,
    PIXEL_BASED,
    PIXELWISE,
    measured,
    pictures,
)

from ddrm_fast import (
    DDRM,
    DDNMPlus,
    degrade,
    ops,
    restore,
)
from ddrm_fast.operators import (
    Blur,
    Colorization,
    Denoising,
    Gain,
    Inpainting,
    SuperResolution,
    gaussian_kernel,
)
from ddrm_fast.samplers import run


@pytest.mark.parametrize("name", OPERATORS)
def test_a_sample_does_not_depend_on_what_runs_beside_it(name):
    """Bit for bit where no library transform is involved, to rounding elsewhere."""
    operator, y = measured(name, batch=3)
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
    operator, y = measured("super-resolution")
    three = restore(y, operator, 0.05, PIXELWISE, FAST, num_samples=3).samples
    two = restore(y, operator, 0.05, PIXELWISE, FAST, num_samples=2).samples
    assert torch.equal(three[:2], two)


def test_picture_i_has_seed_plus_i():
    operator, y = measured("super-resolution", batch=3)
    whole = restore(y, operator, 0.05, PIXELWISE, FAST, seed=11).mean
    for i in range(3):
        one = restore(y[i : i + 1], operator, 0.05, PIXELWISE, FAST, seed=11 + i).mean
        assert torch.equal(one, whole[i : i + 1])


def test_seeds_of_the_pictures_may_be_given():
    operator, y = measured("inpainting", batch=3)
    seeds = torch.tensor([5, -3, 2**62])
    whole = restore(y, operator, 0.05, PIXELWISE, FAST, seed=seeds, num_samples=2).samples
    for i, seed in enumerate(seeds.tolist()):
        one = restore(y[i : i + 1], operator, 0.05, PIXELWISE, FAST, seed=seed, num_samples=2)
        assert torch.equal(one.samples, whole[:, i : i + 1])
    pair = restore(y[1:], operator, 0.05, PIXELWISE, FAST, seed=seeds[1:], num_samples=2)
    assert torch.equal(pair.samples, whole[:, 1:])


def test_seeds_are_64_bits_that_wrap_around():
    operator, y = measured("denoising")
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
    y = operator.H(pictures(1, 3, 90, 140))
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
    y = operator.H(pictures(3, 3, 8, 8))
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
        operator, y = measured(name, batch=3)
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
    operator, x = make(...), pictures(2, 3, 16, 20)
    y = degrade(x, operator, 0.05)
    small = make(cut)
    r = getattr(operator, "factor", 1)
    y_cut = y[..., top // r : (top + 8) // r, left // r : (left + 10) // r].contiguous()
    both = {"num_samples": 2, "seed": 3, "clip_x0": True}
    whole = restore(y, operator, 0.05, PIXELWISE, FAST, **both).samples
    crop = restore(y_cut, small, 0.05, PIXELWISE, FAST, **both, origin=place).samples
    assert torch.equal(crop, whole[cut])


def test_crops_of_one_batch_have_origins_of_their_own():
    operator, y = Denoising(), pictures(1, 3, 12, 16)
    whole = restore(y, operator, 0.1, PIXELWISE, FAST, seed=3).mean
    origin = torch.tensor([[0, 0], [5, 7]])
    crops = torch.cat((y[..., :6, :8], y[..., 5:11, 7:15]))
    seeds = torch.tensor([3, 3])
    result = restore(crops, operator, 0.1, PIXELWISE, FAST, seed=seeds, origin=origin).mean
    assert torch.equal(result[0], whole[0, :, :6, :8])
    assert torch.equal(result[1], whole[0, :, 5:11, 7:15])


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


# degrade


@pytest.mark.parametrize("name", OPERATORS)
def test_degrade_is_h_plus_white_noise(name):
    operator, shape = OPERATORS[name]
    x = pictures(400, *shape)
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

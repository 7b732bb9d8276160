"""Hierarchical restoration: small problems that belong to large ones, and levels that agree."""

import pytest
import torch
from small_cases import FAST, PIXELWISE, pictures, seeded

from ddrm_fast import Prior, degrade, restore
from ddrm_fast.large import restore_windows, windowed
from ddrm_fast.operators import (
    BlockCS,
    Blur,
    Colorization,
    Denoising,
    Gain,
    Inpainting,
    SuperResolution,
    WalshHadamardCS,
    gaussian_kernel,
)

SIZE = (24, 32)


def blocky(*shape, factor=4):
    """Random numbers from 0 to 1 that are equal within blocks."""
    return torch.rand(*shape).repeat_interleave(factor, -2).repeat_interleave(factor, -1)


def means(x, factor=4):
    return torch.nn.functional.avg_pool2d(x, factor)


MASK = torch.rand(2, 1, *SIZE, generator=torch.Generator().manual_seed(3)) > 0.05
EXACT = {
    "denoising": (Denoising(), 1 / 4),
    "inpainting": (Inpainting(MASK), 1 / 4),
    "gain of blocks": (Gain(0.2 + blocky(6, 8)), 1 / 4),
    "colorization": (Colorization((0.2, 0.5, 0.3)), 1 / 4),
    "super-resolution by 8": (SuperResolution(8), 1.0),
    "super-resolution by 4": (SuperResolution(4), 1.0),
    "super-resolution by 2": (SuperResolution(2), 1 / 2),
    "old photo of blocks": (SuperResolution(8, (0.2, 0.5, 0.3), blocky(6, 8) > 0.5), 1.0),
    "old photo of blocks by 2": (SuperResolution(2, (0.2, 0.5, 0.3), blocky(6, 8) > 0.5), 1 / 2),
}


@pytest.mark.parametrize("name", EXACT)
def test_the_small_problem_is_that_of_the_means(name):
    """Noise-free, the small operator applied to the means gives the small measurement."""
    operator, share = EXACT[name]
    x = pictures(2, 3, *SIZE).double()
    small, y, noise = operator.coarse(operator.H(x), 4)
    assert noise == pytest.approx(share)
    assert small.image_shape(y) == (3, SIZE[0] // 4, SIZE[1] // 4)
    torch.testing.assert_close(small.H(means(x)), y, rtol=1e-6, atol=1e-7)
    assert bool((small.singulars((3, 6, 8)) > 0).any())


@pytest.mark.parametrize("name", EXACT)
def test_the_noise_of_the_small_measurement(name):
    operator, share = EXACT[name]
    noise = seeded(2, 3, *SIZE, dtype=torch.float32)
    y = operator.H(torch.zeros(2, 3, *SIZE))
    z = seeded(*y.shape, dtype=torch.float32)
    if name == "inpainting":
        z = z * MASK
    small, low, _ = operator.coarse(z, 4)
    measured = small.singulars((3, 6, 8)).expand(low.shape) > 0
    assert noise.std() > 0 and float(low[measured].std()) == pytest.approx(share, rel=0.25)


def test_a_small_pixel_is_known_where_all_of_it_is():
    small, _, _ = Inpainting(MASK).coarse(torch.zeros(2, 3, *SIZE), 4)
    assert torch.equal(small.gain[:, 0] == 1, means(MASK.double())[:, 0] == 1)
    assert set(small.gain.unique().tolist()) == {0.0, 1.0}


def test_more_samples_begin_with_the_same_ones():
    operator = SuperResolution(4)
    y = degrade(pictures(1, 3, *SIZE), operator, 0.02)

    def samples(count, levels):
        return restore_windows(
            y, operator, 0.02, PIXELWISE, FAST, window=16, levels=levels, num_samples=count
        ).samples

    assert torch.equal(samples(1, 1), samples(2, 1)[:1])
    assert not torch.allclose(samples(1, 1), samples(1, 0), atol=1e-2)


def test_the_next_level_is_held_to_the_small_picture():
    """A constant small picture: far from the mean that the network alone would give."""
    widths = []

    def network(x_t, t, labels=None):
        widths.append(x_t.shape[-1])
        return torch.full_like(x_t, 0.5 if x_t.shape[-1] == 8 else 0.0)

    prior = Prior(network, "x0")
    mask = torch.zeros(*SIZE, dtype=torch.bool)
    mask[:, :4] = True
    operator = Inpainting(mask)
    y = torch.full((1, 3, *SIZE), 0.5) * mask
    held = restore_windows(y, operator, 0.0, prior, FAST, window=None, levels=1).mean
    alone = restore_windows(y, operator, 0.0, prior, FAST, window=None).mean
    hole = ~mask
    torch.testing.assert_close(alone[..., hole], torch.full_like(alone[..., hole], 0.5))
    torch.testing.assert_close(means(held)[..., 1:], torch.full((1, 3, 6, 7), 0.75))
    assert widths[:5] == [8] * 5 and set(widths[5:]) == {32}


def test_every_sample_and_picture_is_held_to_its_own():
    operator = Inpainting(MASK)
    y = degrade(pictures(2, 3, *SIZE), operator, 0.02)
    whole = restore_windows(
        y, operator, 0.02, PIXELWISE, FAST, window=16, levels=2, factor=2, num_samples=2, seed=3
    )
    for i in range(2):
        one = restore_windows(
            y[i : i + 1], operator.select(torch.tensor([i])), 0.02, PIXELWISE, FAST, window=16,
            levels=2, factor=2, num_samples=2, seed=3 + i, batch=7,
        )  # fmt: skip
        assert torch.equal(one.samples, whole.samples[:, i : i + 1])
    assert not torch.equal(whole.samples[0], whole.samples[1])


def test_levels_with_a_prior_in_tiles():
    """Whole pictures at every level, their network in tiles."""
    operator = SuperResolution(4)
    y = degrade(pictures(1, 3, *SIZE), operator, 0.02)
    joint = windowed(PIXELWISE, 8, overlap=4)
    tiled = restore_windows(y, operator, 0.02, joint, FAST, window=None, levels=1).samples
    whole = restore_windows(y, operator, 0.02, PIXELWISE, FAST, window=None, levels=1).samples
    torch.testing.assert_close(tiled, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "operator",
    [Blur(gaussian_kernel(1.0)), WalshHadamardCS((16, 16), 4), Inpainting(torch.ones(16, 16))],
    ids=repr,
)
def test_one_window_of_everything_is_restore(operator):
    y = degrade(pictures(2, 3, 16, 16), operator, 0.05)
    whole = restore(y, operator, 0.05, PIXELWISE, FAST, num_samples=2, seed=1)
    windows = restore_windows(
        y, operator, 0.05, PIXELWISE, FAST, window=None, num_samples=2, seed=1
    )
    torch.testing.assert_close(windows.samples, whole.samples, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "operator, message",
    [
        (Blur(gaussian_kernel(0.6)), "has no counterpart for a smaller picture"),
        (BlockCS(4, 4), "has no counterpart for a smaller picture"),
        (SuperResolution(6), "4 neither divides the operator's blocks of 6 nor is a multiple"),
    ],
)
def test_measurements_without_a_small_counterpart(operator, message):
    y = degrade(pictures(1, 3, 24, 24), operator)
    with pytest.raises(ValueError, match=message):
        restore_windows(y, operator, prior=PIXELWISE, window=12, levels=1)


@pytest.mark.parametrize(
    "keywords, message",
    [
        ({"levels": -1}, "levels: expected an integer >= 0, got -1"),
        ({"levels": 1, "factor": 1}, "factor: expected an integer >= 2, got 1"),
        ({"levels": 2}, "with 2 levels height and width must be multiples of 16, got 24 x 32"),
        ({"levels": 1, "window": 10}, "window: expected multiples of 4"),
    ],
)
def test_wrong_levels(keywords, message):
    y = pictures(1, 3, *SIZE)
    with pytest.raises(ValueError, match=message):
        restore_windows(y, Denoising(), 0.1, PIXELWISE, FAST, **{"window": 16, **keywords})

"""Noise that grows with the light: its law, the problem of white noise that stands for it, its estimate."""

import math

import numpy as np
import pytest
import torch
from small_cases import pictures

import ddrm_fast
from ddrm_fast.cli import main
from ddrm_fast.io import read_measurement, read_picture, write_picture
from ddrm_fast.io.picture import Picture
from ddrm_fast.operators import Blur, Denoising, Inpainting, gaussian_kernel
from ddrm_fast.operators.pointwise import Gain
from ddrm_fast.problems import (
    Poisson,
    PoissonGaussian,
    Problem,
    estimate_sensor_noise,
    read_measured,
)
from ddrm_fast.problems.counts import as_gaussian, parse_counts


def flat(level, side=200):
    return torch.full((1, 1, side, side), level, dtype=torch.float64)


@pytest.mark.parametrize("law", [Poisson(20), PoissonGaussian(0.01, 0.002)])
@pytest.mark.parametrize("level", [0.0, 0.1, 1.0])
def test_what_is_drawn_has_the_mean_and_variance_of_the_law(law, level):
    y = ddrm_fast.degrade(flat(level), Denoising(), law, seed=3)
    count, variance = y.numel(), law.a * level + law.b
    assert abs(float(y.mean()) - level) <= 4 * math.sqrt(variance / count)
    # the fourth moment of a Poisson law, with a's power, adds a^2 variance to 2 variance^2
    spread = math.sqrt((2 * variance**2 + law.a**2 * variance) / count)
    assert abs(float(y.var()) - variance) <= 4 * spread


def test_counts_are_whole_and_a_picture_does_not_depend_on_its_batch():
    x = pictures(3, 3, 8, 10)
    y = ddrm_fast.degrade(x, Denoising(), Poisson(50), seed=7)
    assert torch.allclose(y * 50, (y * 50).round(), atol=1e-4)
    assert torch.equal(y[1:2], ddrm_fast.degrade(x[1:2], Denoising(), Poisson(50), seed=8))
    assert torch.equal(y, ddrm_fast.degrade(x, Denoising(), Poisson(50), seed=7))


def test_each_pixel_counts_by_its_own_noise():
    law = PoissonGaussian(0.02, 0.0001)
    mask = torch.ones(1, 40, 60)
    mask[:, ::3] = 0
    x = torch.full((1, 3, 40, 60), 0.1)
    x[..., 30:] = 0.8
    operator = Inpainting(mask)
    y = ddrm_fast.degrade(x, operator, law)
    weighted, made, sigma = as_gaussian(y, operator, law)
    assert isinstance(made, Gain) and torch.equal(made.gain[0, 0] > 0, mask[0] > 0)
    # what is left of the noise has the same deviation in the dark and in the light
    rest = (weighted - made.H(x)) / sigma.view(-1, 1, 1, 1)
    seen = mask.bool().expand(3, -1, -1)
    for columns in (slice(4, 26), slice(34, 56)):
        assert float(rest[0][..., columns][seen[..., columns]].std()) == pytest.approx(1, abs=0.08)
    # and it is the same equation, with a weight for each
    share = made.gain / torch.where(mask > 0, mask, 1.0)
    assert torch.allclose(weighted, y * share.float())


def test_mixed_pixels_share_the_mean_variance():
    law, operator = Poisson(100), Blur(gaussian_kernel(1.0))
    x = pictures(2, 3, 16, 16)
    y = ddrm_fast.degrade(x, operator, law)
    same, made, sigma = as_gaussian(y, operator, law)
    assert same is y and made is operator
    assert torch.allclose(sigma, (y.double().flatten(1).mean(1) / 100).sqrt())
    assert torch.equal(Problem.of(y, operator, law).sigma_y, sigma)


def test_restored_pictures_are_better_than_with_one_level():
    columns = torch.linspace(0, 1, 96)
    x = (0.03 + 0.9 * columns**3 * (0.8 + 0.2 * torch.sin(columns * 40)))[None, None, None].expand(
        1, 3, 96, 96
    )
    law = Poisson(60)
    y = ddrm_fast.degrade(x, Denoising(), law, seed=1)
    one = float(law.variance(y.double()).mean().sqrt())

    def error(noise):
        found = ddrm_fast.restore(y, Denoising(), noise)
        return float((found.mean - x).square().mean())

    assert error(law) < 0.8 * error(one)
    drawn = ddrm_fast.restore(y, Denoising(), law, num_samples=2)
    assert drawn.samples.shape == (2, *x.shape)


@pytest.mark.parametrize(
    "law", [PoissonGaussian(0.01, 0.0004), Poisson(300), PoissonGaussian(1e-6, 0.002)]
)
def test_the_law_is_found_in_a_picture(law):
    from skimage import data

    x = torch.from_numpy(np.float32(data.astronaut()) / 255).permute(2, 0, 1)[None]
    y = ddrm_fast.degrade(x, Denoising(), law, seed=2)[0]
    found = estimate_sensor_noise(y)
    for level in (0.1, 0.4, 0.8):
        truth = law.a * level + law.b
        assert (found.a * level + found.b) ** 0.5 == pytest.approx(truth**0.5, rel=0.2)


@pytest.mark.parametrize("text", ["poisson:100", "sensor:0.01:0.0004"])
def test_laws_in_words(text):
    law = parse_counts("sigma", text)
    assert str(law) == text and parse_counts("sigma", str(law)) == law
    assert parse_counts("sigma", "0.1") is None and parse_counts("sigma", "sensor") is None


@pytest.mark.parametrize(
    "text",
    ["poisson", "poisson:0", "poisson:x", "sensor:1", "sensor:0:1", "sensor:1:nan", "poisson:1:2"],
)
def test_words_that_are_no_laws(text):
    with pytest.raises(ValueError, match=r"--sigma: got .*, expected 0.1, 25/255, poisson:RATE"):
        parse_counts("--sigma", text)


def test_bad_laws_and_counts():
    dark = -torch.ones(1, 3, 8, 8)
    for make, message in (
        (lambda: Poisson(0), "rate: got 0"),
        (lambda: Poisson(float("inf")), "rate: got inf"),
        (lambda: PoissonGaussian(0.0), "a: got 0.0, expected a number > 0"),
        (lambda: PoissonGaussian(1.0, -1.0), "b: got -1.0, expected a number >= 0"),
        (lambda: ddrm_fast.restore(dark, Denoising(), Poisson(9)), "y: has values below 0"),
        (lambda: estimate_sensor_noise(torch.zeros(3, 64, 64)), "picture: got 0 windows"),
        (lambda: estimate_sensor_noise(torch.zeros(3, 5, 5)), "picture: got 0 windows"),
        (lambda: estimate_sensor_noise(torch.zeros(5, 5)), "picture: expected .C, H, W."),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            make()


def test_from_the_shell(tmp_path, capsys):
    columns = torch.linspace(0.05, 0.95, 64)[None, None].expand(3, 48, 64)
    write_picture(tmp_path / "clean.png", Picture(columns.contiguous()))
    clean, out = str(tmp_path / "clean.png"), tmp_path / "out"
    assert (
        main(["degrade", clean, "--task", "noise", "--sigma", "poisson:80", "--out", str(out)]) == 0
    )
    stored = read_measurement(out / "clean.npz")
    assert stored.law == "poisson:80" and "sigma poisson:80" in capsys.readouterr().out
    job = read_measured(out / "clean.npz")
    assert job.law == Poisson(80) and job.sigma_from == "stored"
    assert job.sigma_y == pytest.approx((0.5 / 80) ** 0.5, rel=0.05)
    restored = tmp_path / "restored"
    arguments = [
        "restore",
        str(out / "clean.npz"),
        "--out",
        str(restored),
        "--truth",
        str(tmp_path),
    ]
    assert main(arguments) == 0
    assert "noise poisson:80 (stored)" in capsys.readouterr().out
    assert '"law": "poisson:80"' in (restored / "clean.json").read_text()
    noisy = read_picture(out / "clean.png").pixels
    found = read_picture(restored / "clean-estimate.png").pixels
    assert (found - columns).square().mean() < 0.1 * (noisy - columns).square().mean()
    # a picture of which it is said, and one whose law is estimated
    for sigma in ("sensor:0.0125:0", "sensor"):
        done = ["restore", str(out / "clean.png"), "--task", "noise", "--sigma", sigma, "--out"]
        assert main([*done, str(tmp_path / sigma.replace(":", "-"))]) == 0
    assert main([*arguments, "--sigma", "sensor:1"]) == 1
    assert "--sigma: got 'sensor:1'" in capsys.readouterr().err

"""Pictures in and out, measurement files, sheets, and what is measured on pictures."""

import errno
import math
import os
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import ddrm_fast
from ddrm_fast import operators
from ddrm_fast.evaluation import metrics
from ddrm_fast.io import (
    OutputError,
    Panel,
    Picture,
    StoredMeasurement,
    heat,
    read_measurement,
    read_picture,
    sheet,
    write_atomically,
    write_measurement,
    write_picture,
)
from ddrm_fast.io.png16 import png_16bit
from ddrm_fast.priors import DenoiserPrior
from ddrm_fast.priors.grey import for_channels
from ddrm_fast.problems import continue_blurred
from ddrm_fast.problems.edges import _filled, easy_length, extend


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def smooth(height=96, width=128):
    """A picture (3, H, W) of soft waves with an edge."""
    down, right = torch.linspace(0, 3, height)[:, None], torch.linspace(0, 4, width)[None]
    plane = 0.5 + 0.25 * torch.sin(2 * down + right) + 0.1 * (right > 2)
    return torch.stack((plane, 0.9 * plane, 1 - plane)).clamp(0, 1)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_written_is_read_back(tmp_path, channels, alpha, bits):
    levels = 2**bits - 1
    pixels = (noise(channels, 7, 9) * levels).round() / levels
    opacity = (noise(7, 9, seed=1) * levels).round() / levels if alpha else None
    write_picture(tmp_path / "a.png", Picture(pixels, opacity, bits, b"profile"))
    back = read_picture(tmp_path / "a.png")
    assert torch.equal(back.pixels, pixels) and back.bits == bits and back.icc == b"profile"
    assert (back.alpha is None) if opacity is None else torch.equal(back.alpha, opacity)


def test_16bit_tiff(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    values = np.random.default_rng(0).integers(0, 65536, (5, 6, 3), dtype=np.uint16)
    for compression in (None, "zlib"):
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", compression=compression)
        picture = read_picture(tmp_path / "a.tif")
        assert picture.bits == 16
        assert np.array_equal(np.rint(picture.pixels.permute(1, 2, 0).numpy() * 65535), values)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    image = Image.fromarray((noise(4, 6, 3).numpy() * 255).astype(np.uint8))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "turned.png", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "turned.png")))
    read = read_picture(tmp_path / "turned.png").pixels.permute(1, 2, 0).numpy()
    assert np.array_equal(np.rint(read * 255), expected)


@pytest.mark.parametrize(
    ("mode", "channels", "alpha"),
    [("1", 1, False), ("L", 1, False), ("LA", 1, True), ("P", 3, False), ("CMYK", 3, False)],
)
def test_modes(tmp_path, mode, channels, alpha):
    image = Image.fromarray((noise(4, 6, 3).numpy() * 255).astype(np.uint8)).convert(mode)
    image.save(tmp_path / "a.tif")
    picture = read_picture(tmp_path / "a.tif")
    assert picture.pixels.shape == (channels, 4, 6) and (picture.alpha is not None) == alpha


def test_transparent_palette(tmp_path):
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6)).convert("P")
    image.save(tmp_path / "a.png", transparency=3)
    assert read_picture(tmp_path / "a.png").alpha is not None


def png(pixels):
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "is empty"),
        (b"These are words.\n" * 9, "is not a picture"),
        (png(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))[:2000], "truncated"),
        (png_16bit(np.zeros((40, 40, 3), np.uint16) + 7)[:70], "not readable"),
    ],
)
def test_unreadable_pictures_are_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=f"bad.png.*{message}"):
        read_picture(tmp_path / "bad.png")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    write_atomically(tmp_path / "a.txt", b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"a\.txt: cannot be written \(No space left"):
        write_atomically(tmp_path / "a.txt", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"old"


def stored(**changes):
    values = {
        "y": noise(3, 4, 5),
        "task": "inpaint",
        "parameters": {"factor": 2, "weights": [0.1, 0.2, 0.7]},
        "arrays": {"mask": (noise(4, 5) > 0.5).to(torch.uint8)},
        "sigma_y": 0.1,
        "image_shape": (3, 4, 5),
        "crop": (3, 5),
        "alpha": noise(3, 5),
        "bits": 16,
        "icc": b"profile",
    }
    return StoredMeasurement(**{**values, **changes})


def test_measurement_files(tmp_path):
    first = stored()
    write_measurement(tmp_path / "a.npz", first)
    second = read_measurement(tmp_path / "a.npz")
    for name in ("task", "parameters", "sigma_y", "image_shape", "crop", "bits", "icc"):
        assert getattr(first, name) == getattr(second, name)
    assert torch.equal(first.y, second.y) and torch.equal(first.alpha, second.alpha)
    assert torch.equal(first.arrays["mask"], second.arrays["mask"])


def test_foreign_measurement_files_are_named(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.save(tmp_path / "array.npz", np.zeros(3))
    os.rename(tmp_path / "array.npz.npy", tmp_path / "array.npz")
    np.savez(tmp_path / "pickle.npz", header=np.array([{}], dtype=object))
    write_measurement(tmp_path / "whole.npz", stored())
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-200])
    for name in ("other", "array", "pickle", "cut"):
        with pytest.raises(ValueError, match=f"{name}.npz: is "):
            read_measurement(tmp_path / f"{name}.npz")


def test_sheet(tmp_path):
    rows = [[Panel(noise(3, 50, 200), "one\ntwo"), Panel(noise(1, 25, 100), "small")]] * 2
    sheet(tmp_path / "s.png", rows, "title")
    page = read_picture(tmp_path / "s.png").pixels
    assert page.shape[1] > 2 * 50 and page.shape[2] > 2 * 200
    with pytest.raises(ValueError, match="rows"):
        sheet(tmp_path / "s.png", [[]])


def test_heat_rises_in_lightness():
    colours = heat(torch.linspace(0, 1, 64)[None], 1.0)
    lightness = (colours * torch.tensor([0.2126, 0.7152, 0.0722]).view(3, 1, 1)).sum(0)[0]
    assert (lightness.diff() > 0).all()
    assert torch.equal(heat(torch.tensor([[2.0]]), 1.0), heat(torch.tensor([[1.0]]), 1.0))


@pytest.mark.parametrize("sigma", [5 / 255, 25 / 255, 100 / 255])
def test_noise_estimate(sigma):
    x = smooth()
    y = x + sigma * torch.randn(x.shape)
    assert metrics.estimate_noise(y) == pytest.approx(sigma, rel=0.1)
    known = noise(*x.shape[1:]) > 0.1
    assert metrics.estimate_noise(y * known, known) == pytest.approx(sigma, rel=0.15)


def test_noise_estimate_of_a_clipped_picture():
    x = smooth() * 0.3 + torch.tensor([0.0, 0.7])[(torch.arange(128) > 64).long()]
    y = (x + 0.1 * torch.randn(x.shape)).clamp(0, 1)
    assert metrics.estimate_noise(y) == pytest.approx(0.1, rel=0.1)


def test_noise_estimate_needs_pixels():
    with pytest.raises(ValueError, match="at least 3 x 3"):
        metrics.estimate_noise(noise(1, 2, 9))
    with pytest.raises(ValueError, match="too few places"):
        metrics.estimate_noise(noise(1, 20, 20), torch.arange(400).view(20, 20) % 2 == 0)


def test_psnr():
    x = noise(3, 8, 8)
    assert metrics.psnr(x, x) == math.inf
    assert metrics.psnr(torch.full((1, 4), 0.6), torch.full((1, 4), 0.5)) == pytest.approx(
        20.0, 1e-4
    )
    with pytest.raises(ValueError, match="shape"):
        metrics.psnr(x, x[:1])
    whole = (x * 255).round().byte()
    assert metrics.psnr(whole, whole) == math.inf
    assert metrics.psnr(whole, 255 - whole) == pytest.approx(
        metrics.psnr(whole / 255, (255 - whole) / 255), 1e-6
    )
    with pytest.raises(ValueError, match="estimate: got torch.uint8, expected floating-point"):
        metrics.psnr(whole, x)
    with pytest.raises(ValueError, match=r"truth: reaches 255, expected a picture in \[0, 1\]"):
        metrics.psnr(x, torch.full_like(x, 255))


def test_ssim():
    pytest.importorskip("skimage")
    x = smooth()
    assert metrics.ssim(x, x) == pytest.approx(1.0)
    assert metrics.ssim(x + 0.2 * torch.randn(x.shape), x) < 0.5


@pytest.mark.parametrize(
    "operator",
    [
        operators.Denoising(),
        operators.Inpainting(noise(16, 16) > 0.5),
        operators.SuperResolution(4),
        operators.Blur(operators.gaussian_kernel(0.5)),
        operators.WalshHadamardCS((16, 16), 4),
        operators.BicubicDownscaling(2, (16, 16)),
    ],
    ids=repr,
)
def test_residual_of_the_truth_is_the_noise(operator):
    x = noise(1, 3, 16, 16)
    y = ddrm_fast.degrade(x, operator, 0.1)
    assert metrics.residual(y, x, operator) == pytest.approx(0.1, rel=0.25)
    assert metrics.residual(operator.H(x), x, operator) < 1e-5


def test_a_colour_prior_serves_grey_pictures():
    """Independent N(0, 1) channels: their mean g has variance 1/3, E[g | y] = y / (1 + 3 sigma^2)."""
    colour = DenoiserPrior(lambda x, s: x / (1 + s.view(-1, 1, 1, 1) ** 2), (-1, 1), channels=3)
    grey, x = for_channels(colour, 1), noise(2, 1, 4, 4)
    assert grey.channels == 1 and for_channels(colour, 3) is colour
    assert torch.allclose(grey.denoise(x, 0.7), x / (1 + 3 * 0.49), atol=1e-5)


def test_a_continued_picture_is_the_blur_of_something_smooth():
    """A window of a blurred picture: the periodic deconvolution of its continuation has no waves."""
    kernel = operators.motion_kernel(9, 30.0)
    operator = operators.Blur(kernel)
    whole = smooth(96, 128)
    y = operator.H(whole[None])[0, :, 20:68, 30:94]
    y = y + 0.01 * torch.randn(y.shape)
    longer = continue_blurred(y, operator, 9, 0.01)
    assert longer.shape == (3, 57, 73) and torch.equal(longer[:, :48, :64], y)

    def sharpened(y):
        K = operator._spectrum(tuple(y.shape), y[None])
        filtered = K.conj() * torch.fft.rfft2(y[None], norm="ortho") / (K.abs() ** 2 + 0.01)
        return torch.fft.irfft2(filtered, s=y.shape[1:], norm="ortho")[0, :, :48, :64]

    truth = whole[:, 20:68, 30:94]
    assert metrics.psnr(sharpened(longer), truth) > metrics.psnr(sharpened(y), truth) + 5


@pytest.mark.parametrize("axis", [-2, -1])
def test_a_long_picture_is_continued_from_what_is_near(axis):
    """Of a picture above 512 only the ends are solved for: as good as all of it."""
    operator = operators.Blur(operators.gaussian_kernel(1.2))
    size = (700, 60) if axis == -2 else (60, 700)
    whole = smooth(size[0] + 40, size[1] + 40)
    y = operator.H(whole[None])[0, :, 20:-20, 20:-20] + 0.01 * torch.randn(3, *size)
    longer = continue_blurred(y, operator, (12, 15), 0.01)
    assert longer.shape == (3, size[0] + 12, size[1] + 15)
    assert torch.equal(longer[:, : size[0], : size[1]], y)
    known = torch.zeros(longer.shape[1:])
    known[: size[0], : size[1]] = 1.0
    all_of_it = _filled(extend(y, (12, 15)), known, operator, (0.01 / 0.05) ** 2)
    flat = extend(y, (12, 15))
    there = known == 0
    far, start = ((x - all_of_it)[:, there].square().mean().sqrt() for x in (longer, flat))
    assert far < 0.5 * start and far < 0.05


def test_lengths_that_transforms_like():
    assert [easy_length(n) for n in (1, 7, 11, 1741, 2611, 4096)] == [1, 7, 12, 1750, 2625, 4096]

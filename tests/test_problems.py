"""Problems from Python: tasks made definite, stored measurements and pictures with their operators."""

import numpy as np
import pytest
import torch
from cli_cases import PARAMETERS, picture, scene
from PIL import Image, ImageDraw

import ddrm_fast
from ddrm_fast import operators as O
from ddrm_fast import problems
from ddrm_fast.io import Picture, read_measurement, read_picture, write_measurement
from ddrm_fast.machine.memory import forget_peak, peak, resident
from ddrm_fast.registry import TASKS

SHAPE = (3, 16, 16)


def options_of(task):
    words = PARAMETERS[task]
    names = (word[2:].replace("-", "_") for word in words[::2])
    return dict(zip(names, words[1::2], strict=True))


@pytest.mark.parametrize("task", TASKS)
def test_a_stored_measurement_knows_operator_y_and_noise(tmp_path, task):
    x = Picture(scene(3, 16, 16))
    stored = problems.measure(x, task, options_of(task), sigma_y=0.05, seed=4)
    write_measurement(tmp_path / "a.npz", stored)
    found = problems.read_measured(tmp_path / "a.npz")
    made = problems.operator_of(stored)
    assert repr(found.operator) == repr(made)
    assert found.sigma_y == 0.05 and found.sigma_from == "stored"
    expected = ddrm_fast.degrade(x.pixels[None], made, 0.05, seed=4)
    assert torch.equal(found.y, expected) and found.image_shape == (3, 16, 16)
    again = problems.measure(x, task, options_of(task), sigma_y=0.05, seed=4)
    assert torch.equal(again.y, stored.y), "random masks and bases follow the seed"


def test_values_and_words_are_the_same():
    kernel = O.gaussian_kernel(1.0)
    pairs = [
        ("sr", {"factor": 4}, {"factor": "4"}),
        ("blur", {"kernel": kernel}, {"kernel": "gaussian:1"}),
        ("color", {"weights": (2, 1, 1)}, {"weights": "0.5,0.25,0.25"}),
        ("inpaint", {"mask": torch.ones(16, 16).bool()}, {"mask": torch.ones(16, 16)}),
        ("super-resolution", {"factor": 2}, {"factor": "2"}),
    ]
    x = scene(3, 16, 16)[None].double()
    for task, values, words in pairs:
        a, b = (problems.degradation(task, SHAPE, given).operator() for given in (values, words))
        assert torch.equal(a.H(x), b.H(x))


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("nois", {}, r"^task: got 'nois', did you mean noise\? Expected one of noise, sr"),
        ("sr", {}, "^factor: task sr needs it, for example 4"),
        ("sr", {"factor": 2.5}, r"^factor: got 2.5, expected a whole number of at least 1"),
        ("noise", {"mask": "a.png"}, "^mask: task noise does not take it; its parameters: none"),
        ("inpaint", {"mask": torch.ones(3, 4)}, r"^mask: got a tensor \(3, 4\), expected"),
        ("inpaint", {"mask": "random:0.5"}, "^mask: got 'random:0.5', expected a mask file"),
        ("blur", {"kernel": torch.zeros(3, 3)}, r"^kernel: the tensor sums to 0"),
        ("blur", {"kernel": "uniform:3", "boundary": "zero"}, "^boundary: got 'zero', expected"),
        ("color", {"weights": (1, 2)}, r"^weights: got \(1, 2\), expected three numbers"),
        ("gain", {"gain": "vignette:2"}, "^gain vignette: got '2', expected a number from 0 to 1"),
    ],
)
def test_what_is_wrong_is_named_as_in_python(task, options, message):
    with pytest.raises(ValueError, match=message):
        problems.degradation(task, SHAPE, options)


def test_a_missing_array_is_named():
    broken = problems.Degradation("inpaint", {}, {}, SHAPE)
    with pytest.raises(ValueError, match="task inpaint: 'mask' is missing"):
        broken.operator()


def test_a_picture_is_taken_for_a_measurement(tmp_path):
    path = picture(tmp_path / "a.png", scene(3, 12, 10))
    found = problems.read_measured(path, "sr", {"factor": 2}, sigma="5/255")
    assert found.y.shape == (1, 3, 12, 10) and found.image_shape == (3, 24, 20)
    assert found.sigma_y == pytest.approx(5 / 255) and found.record["task_parameters"] == {
        "factor": 2
    }
    result = ddrm_fast.restore(
        found.y, found.operator, found.sigma_y, "gaussian", ddrm_fast.DDRM(steps=2)
    )
    assert result.mean.shape == (1, 3, 24, 20)
    blurred = problems.read_measured(path, "blur", {"kernel": "uniform:3"}, sigma=0.1)
    assert blurred.problem.y.shape == (1, 3, 15, 14) and blurred.problem.shape == (3, 15, 14)
    assert blurred.margin == (3, 4) and blurred.continued().y.shape == (1, 3, 15, 14)
    assert torch.equal(blurred.continued().y[:, :, :12, :10], blurred.y)
    grey = problems.read_measured(path, "color", sigma=0.1)
    assert grey.y.shape == (1, 1, 12, 10) and grey.image_shape == (3, 12, 10)


def test_the_measurement_file_comes_first(tmp_path):
    path = picture(tmp_path / "a.png", scene(3, 16, 16))
    with pytest.raises(ValueError, match=r"^task: is needed for a picture without .* \(a.npz\)"):
        problems.read_measured(path)
    stored = problems.measure(Picture(scene(3, 16, 16)), "sr", {"factor": 4})
    write_measurement(tmp_path / "a.npz", stored)
    assert repr(problems.read_measured(path).operator) == "SuperResolution(factor=4)"
    assert read_measurement(tmp_path / "a.npz").task == "sr"
    with pytest.raises(ValueError, match="is a measurement of task sr .* leave out task noise"):
        problems.read_measured(tmp_path / "a.npz", "denoising")


def test_noise_is_never_below_the_rounding():
    flat = torch.full((3, 40, 40), 0.5)
    assert problems.noise_of_file(flat, 8) == problems.noise_floor(8) == 1 / (255 * 12**0.5)
    noisy = flat + 0.1 * torch.randn(flat.shape, generator=torch.Generator().manual_seed(0))
    assert problems.noise_of_file(noisy, 8) == problems.estimate_noise(noisy)
    assert problems.estimate_noise(noisy) == pytest.approx(0.1, rel=0.1)


def photo(seed=0, side=192):
    """A picture with smooth parts, an edge and a textured corner."""
    down, right = torch.linspace(0, 3, side)[:, None], torch.linspace(0, 4, side)[None]
    plane = 0.45 + 0.2 * torch.sin(2 * down + right) + 0.1 * (right > 2)
    x = torch.stack((plane, 0.9 * plane, 1 - plane)).clamp(0.1, 0.9)
    generator = torch.Generator().manual_seed(seed)
    x[:, : side // 4, : side // 4] += 0.2 * torch.rand(side // 4, side // 4, generator=generator)
    return x


def noisy(x, level, seed=1):
    return x + level * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def pixels_of(x):
    return (x.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


@pytest.mark.parametrize("quality", [95, 75, 60, 45, 30])
@pytest.mark.parametrize("level", [0.03, 0.05, 0.1])
def test_noise_before_jpeg(tmp_path, quality, level):
    """Compression hides it from differences; how many coefficients are 0 tells it."""
    Image.fromarray(pixels_of(noisy(photo(), level))).save(tmp_path / "a.jpg", quality=quality)
    file = read_picture(tmp_path / "a.jpg")
    found = problems.judge_noise(file.pixels, 8, jpeg=file.jpeg)
    assert found.level == pytest.approx(level, rel=0.15)
    if quality <= 60:
        assert problems.estimate_noise(file.pixels) < 0.75 * level, "not seen by differences"


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_noise_of_turned_and_grey_jpeg(tmp_path, orientation):
    """Blocks begin elsewhere where a picture whose sides are no multiples of 8 was turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(pixels_of(noisy(photo(), 0.05))[:187, :181])
    for mode in ("RGB", "L"):
        image.convert(mode).save(tmp_path / "a.jpg", quality=50, exif=exif)
        file = read_picture(tmp_path / "a.jpg")
        right = 0.05 if mode == "RGB" else 0.05 * 0.668
        assert problems.noise_of_file(file.pixels, 8, None, file.jpeg) == pytest.approx(
            right, rel=0.15
        )


def test_noise_of_jpeg_where_pixels_are_known(tmp_path):
    x = noisy(photo(), 0.05)
    x[:, 100:] = noisy(x[:, 100:], 0.2)
    Image.fromarray(pixels_of(x)).save(tmp_path / "a.jpg", quality=60)
    file = read_picture(tmp_path / "a.jpg")
    known = torch.arange(192)[:, None].expand(192, 192) < 100
    assert problems.noise_of_file(file.pixels, 8, known, file.jpeg) == pytest.approx(0.05, rel=0.15)


@pytest.mark.parametrize("level", [0.0, 0.05])
def test_noise_of_an_enlarged_picture(level):
    """Coarser than a pixel: seen at half the size, and said."""
    image = Image.fromarray(pixels_of(noisy(photo(), level))).resize(
        (384, 384), Image.Resampling.BICUBIC
    )
    found = problems.judge_noise(
        torch.from_numpy(np.array(image) / np.float32(255)).permute(2, 0, 1), 8
    )
    assert found.level == pytest.approx(level, rel=0.3, abs=0.004)
    assert (found.doubt is not None) == (level > 0)


@pytest.mark.parametrize("paper", [255, 240])
def test_a_screenshot_has_no_noise(paper):
    image = Image.new("RGB", (400, 300), (paper,) * 3)
    draw = ImageDraw.Draw(image)
    for row in range(0, 300, 14):
        draw.text((10 + row % 40, row), "the quick brown fox jumps over it", fill=(0, 0, 0))
    draw.rectangle((0, 0, 400, 20), fill=(60, 90, 200))
    found = problems.judge_noise(
        torch.from_numpy(np.array(image) / np.float32(255)).permute(2, 0, 1), 8
    )
    assert found.level == problems.noise_floor(8) and "exactly even, as in a drawing" in found.doubt
    # painted borders around a picture are something else
    framed = torch.full((3, 256, 256), 0.5)
    framed[:, 32:224, 32:224] = noisy(photo(), 0.05)
    assert problems.estimate_noise(framed) == pytest.approx(0.05, rel=0.15)


def test_doubtful_levels_are_said(tmp_path, caplog):
    image = Image.fromarray(pixels_of(noisy(photo(), 0.05))).resize(
        (384, 384), Image.Resampling.BICUBIC
    )
    image.save(tmp_path / "large.png")
    Image.fromarray(pixels_of(noisy(photo(), 0.005))).save(tmp_path / "small.jpg", quality=30)
    for name in ("large.png", "small.jpg"):
        found = problems.read_measured(tmp_path / name, "noise")
        assert found.sigma_from == "estimated" and found.doubt in caplog.text
    assert "large.png: noise 0.0" in caplog.text and "small.jpg: noise 0.0" in caplog.text
    caplog.clear()
    assert problems.read_measured(tmp_path / "large.png", "noise", sigma=0.05).doubt is None
    assert not caplog.text


def test_noise_takes_little_memory():
    """By strips: what is kept beside them does not grow with the pixels."""
    x = noisy(torch.full((1, 2600, 2000), 0.5), 0.05)
    problems.estimate_noise(x[:, :300])
    forget_peak()
    before = resident()
    assert problems.estimate_noise(x) == pytest.approx(0.05, rel=0.02)
    assert peak() - before < 80 * 2**20 or not resident()  # 286 bytes a pixel would be 1.4 GiB

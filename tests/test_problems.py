"""Problems from Python: tasks made definite, stored measurements and pictures with their operators."""

import pytest
import torch
from cli_cases import PARAMETERS, picture, scene

import ddrm_fast
from ddrm_fast import operators as O
from ddrm_fast import problems
from ddrm_fast.io import Picture, read_measurement, write_measurement
from ddrm_fast.registry import TASKS

SHAPE = (3, 16, 16)


def options_of(task):
    words = PARAMETERS[task]
    return dict(zip((word[2:] for word in words[::2]), words[1::2], strict=True))


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
    assert blurred.margin == 3 and blurred.continued().y.shape == (1, 3, 15, 13)
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

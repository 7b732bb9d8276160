"""Degradations that are maps alone: against what they stand for, in Python and from the shell."""

import io
import json

import numpy as np
import pytest
import torch
from cli_cases import picture, scene
from PIL import Image
from small_cases import pictures

from ddrm_fast import degrade, load_prior, restore
from ddrm_fast.cli import main
from ddrm_fast.io import read_measurement, read_picture
from ddrm_fast.operators import (
    JPEG,
    Gamma,
    NetworkBlur,
    PhaseRetrieval,
    Quantised,
    Saturated,
    shake_kernel,
)  # fmt: skip
from ddrm_fast.operators.nonlinear.jpeg import quality_tables
from ddrm_fast.problems import Problem, degradation
from ddrm_fast.samplers import DDRMJPEG, DPS, HQS
from ddrm_fast.samplers.plans import plan


def photograph(height=120, width=90):
    """Smooth parts, edges and colours, 8 bits."""
    return np.rint(255 * scene(3, height, width, seed=2).permute(1, 2, 0).numpy()).astype(np.uint8)


def as_tensor(values):
    values = values if values.ndim == 3 else values[..., None]
    return torch.from_numpy(values.copy()).permute(2, 0, 1)[None].float() / 255


def through_file(values, **settings):
    """A picture after Pillow's encoder and decoder."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG", **settings)
    return np.asarray(Image.open(buffer)), buffer.getvalue()


@pytest.mark.parametrize("quality", [10, 30, 60, 90])
@pytest.mark.parametrize(("kind", "name"), [(2, "4:2:0"), (1, "4:2:2"), (0, "4:4:4")])
def test_jpeg_is_what_the_codec_does(quality, kind, name):
    values = photograph()
    found, content = through_file(values, quality=quality, subsampling=kind)
    tables = Image.open(io.BytesIO(content)).quantization
    assert tuple(map(tuple, tables.values())) == quality_tables(quality)
    made = 255 * JPEG(quality, subsampling=name).H(as_tensor(values))
    levels = (made - 255 * as_tensor(found)).abs()
    # where the codec's whole-number transform decides a tie otherwise, a block differs by a step
    assert float((levels < 0.5).float().mean()) > (0.8 if quality == 90 else 0.9)
    assert float((levels < 1.5).float().mean()) > 0.93
    by_tables = JPEG(tables=[list(t) for t in tables.values()], subsampling=name)
    assert torch.equal(255 * by_tables.H(as_tensor(values)), made)


def test_jpeg_of_a_grey_picture():
    values = photograph()[..., 0]
    found, _ = through_file(values, quality=25)
    levels = 255 * (JPEG(25).H(as_tensor(values)) - as_tensor(found)).abs()
    assert float((levels < 0.5).float().mean()) > 0.95


def test_blocks_of_a_turned_picture_begin_inside():
    """Rows and columns before the first whole block, as a file that was turned has them."""
    x = as_tensor(photograph(40, 56))
    turned = x.flip(-1, -2)
    top, left = 40 % 16, 56 % 16
    straight = JPEG(40, subsampling="4:4:4").H(x)
    inside = JPEG(40, subsampling="4:4:4", top=top, left=left).H(turned)
    assert torch.allclose(inside.flip(-1, -2), straight, atol=1.5 / 255)
    moved = JPEG(40, subsampling="4:4:4", top=(top + 3) % 16, left=left).H(turned)
    assert float((moved.flip(-1, -2) - straight).abs().max()) > 8 / 255


def test_few_bits():
    x = pictures(2, 3, 16, 16)
    y = Quantised(2).H(x)
    assert set(np.unique(y.numpy()).round(4)) <= set(np.float32([0, 0.3333, 0.6667, 1]))
    assert float((y - x).abs().max()) <= 1 / 6 + 1e-6
    dithered = Quantised(1, dither=True, seed=3)
    smooth = torch.full((1, 1, 64, 64), 0.3)
    assert torch.equal(dithered.H(smooth), dithered.H(smooth))
    assert float(dithered.H(smooth).mean()) == pytest.approx(0.3, abs=0.03)
    assert float(Quantised(1).H(smooth).mean()) == 0.0


def test_light_and_gamma():
    x = torch.linspace(0, 1, 48).view(1, 3, 4, 4)
    assert torch.equal(Saturated(2.0).H(x), (2 * x).clamp(max=1))
    assert torch.allclose(Gamma(2.0).H(x), x.clamp(min=1e-4) ** 2)
    for operator in (Saturated(2.0), Gamma(2.0)):
        dark = x * 0.5
        assert torch.allclose(operator.picture_of(operator.H(dark)), dark, atol=2e-4)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 30, 45)])
def test_phase_retrieval_knows_its_pictures(shape):
    for operator in (PhaseRetrieval(), PhaseRetrieval(1.0), PhaseRetrieval(pad=5)):
        x = 2 * pictures(2, *shape) - 1
        y = operator.H(x)
        assert operator.image_shape(y) == shape
        padded = torch.nn.functional.pad(x, (operator.padding(shape[1:]),) * 4)
        assert torch.allclose(y.square().sum(), padded.square().sum(), rtol=1e-4)  # Parseval
        assert torch.allclose(
            operator.H(x.flip(-1, -2)), y.flip(-1, -2).roll((1, 1), (-2, -1)), atol=1e-4
        ) or (y.shape[-1] % 2 or y.shape[-2] % 2)


def test_a_networks_blur_keeps_its_kernel():
    class Blur(torch.nn.Module):
        def forward(self, x, kernel):
            return x * kernel.mean(dim=(1, 2, 3)).view(-1, 1, 1, 1) + 0.1 * x**2

    x = pictures(2, 3, 8, 8)
    operator = NetworkBlur(Blur(), kernel_shape=(4, 2, 2), seed=3)
    assert torch.equal(operator.H(x), operator.H(x))
    assert not torch.equal(operator.H(x), NetworkBlur(Blur(), kernel_shape=(4, 2, 2), seed=4).H(x))
    assert torch.equal(NetworkBlur(torch.sin).H(x), torch.sin(x))


def test_gradients_are_those_of_what_is_not_rounded():
    """A step along the gradient of a misfit makes it smaller."""
    x = as_tensor(photograph(32, 32))
    for operator in (JPEG(20), Quantised(2), Saturated(1.5), Gamma(2.0), PhaseRetrieval(1.0)):
        y = operator.H(x)
        guess = (x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(
            0.02, 0.98
        )
        guess.requires_grad_()
        before = (y - operator.H(guess)).square().sum()
        (gradient,) = torch.autograd.grad(before, guess)
        step = 0.05 * guess.detach().sub(x).norm() / gradient.norm()
        assert (y - operator.H(guess.detach() - step * gradient)).square().sum() < before, operator


def psnr(a, b):
    return float(-10 * (a - b).square().mean().log10())


@pytest.mark.parametrize(
    ("operator", "gain"),
    [(JPEG(20), 0.5), (Quantised(2), 1.0), (Saturated(1.3), 0.3), (Gamma(2.2), 0.0)],
)
def test_the_default_restores_them(operator, gain):
    """One estimate of ten calls, nearer to the truth than what one could read off."""
    x = as_tensor(photograph(96, 96))
    y = degrade(x, operator, 0.0)
    problem = Problem.of(y, operator)
    assert isinstance(plan(problem).sampler, HQS) and isinstance(
        plan(problem, True).sampler, DDRMJPEG
    )
    prior = load_prior()
    before = psnr(operator.picture_of(y), x)
    found = psnr(restore(y, operator, 0.0, prior).mean, x)
    assert found > min(before + gain, 45)
    drawn = restore(y, operator, 0.0, prior, num_samples=2)
    assert drawn.samples.shape == (2, 1, 3, 96, 96) and not torch.equal(*drawn.samples)


def test_the_default_of_a_measurement_that_is_no_picture():
    y = PhaseRetrieval(1.0).H(2 * pictures(1, 3, 16, 16) - 1)
    assert isinstance(plan(Problem.of(y, PhaseRetrieval(1.0))).sampler, DPS)


def test_shake_kernels():
    kernel = shake_kernel(31, 0.5, seed=2)
    assert (
        kernel.shape == (31, 31)
        and float(kernel.sum()) == pytest.approx(1)
        and float(kernel.min()) >= 0
    )
    assert torch.equal(kernel, shake_kernel(31, 0.5, seed=2))
    assert not torch.equal(kernel, shake_kernel(31, 0.5, seed=3))
    spread = [float((shake_kernel(31, v, seed=4) > 0).sum()) for v in (0.0, 1.0)]
    assert spread[0] > 4 and spread[1] > 4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: JPEG(), "^quality, tables: expected one of the two"),
        (lambda: JPEG(0), "^quality: expected an integer from 1 to 100"),
        (lambda: JPEG(tables=[[1] * 63]), "^tables: expected 64 steps"),
        (lambda: JPEG(50, subsampling="4:1:1"), "^subsampling: expected one of"),
        (lambda: JPEG(50, top=16), "^top: expected an integer from 0 to 15"),
        (lambda: JPEG(50).H(torch.rand(1, 4, 8, 8)), "^x: expected pictures with 1 or 3 channels"),
        (lambda: Quantised(0), "^bits: expected an integer from 1 to 16"),
        (lambda: Saturated(0.0), "^gain: expected a number > 0"),
        (lambda: Gamma(float("nan")), "^gamma: expected a number > 0"),
        (lambda: PhaseRetrieval(-1.0), "^oversample: expected a number from 0 to 64"),
        (lambda: PhaseRetrieval(pad=4).image_shape(torch.rand(1, 1, 8, 8)), "^y: no picture has a transform"),
        (lambda: NetworkBlur(torch.nn.ReLU), "^network: (expected|got)"),
        (lambda: NetworkBlur(lambda x: x[..., :4]).H(torch.rand(1, 3, 8, 8)), "^network: expected pictures"),
        (lambda: shake_kernel(30), "^size: expected an odd integer"),
        (lambda: degradation("jpeg", (3, 16, 16)), "^jpeg_quality: task jpeg needs it"),
    ],
)  # fmt: skip
def test_refusals(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_jpeg_file_is_restored_with_its_own_tables(here):
    values = photograph(64, 80)
    Image.fromarray(values).save("a.jpg", quality=15, subsampling=1)
    assert main(["restore", "a.jpg", "--task", "jpeg", "--quiet", "--out", "out"]) == 0
    record = json.loads((here / "out" / "a.json").read_text())
    parameters = record["parameters"]["task_parameters"]
    assert parameters["subsampling"] == "4:2:2" and parameters["tables"][0] == list(
        quality_tables(15)[0]
    )
    restored = read_picture("out/a-estimate.png")
    x = as_tensor(values)[0]
    assert psnr(restored.pixels, x) > psnr(read_picture("a.jpg").pixels, x) + 0.3
    # saved anew, its tables have to be told
    read_picture("a.jpg")
    Image.open("a.jpg").save("b.png")
    assert main(["restore", "b.png", "--task", "jpeg", "--quiet", "--out", "out"]) == 1
    line = ["restore", "b.png", "--task", "jpeg", "--tables", "a.jpg", "--quiet", "--out", "out"]
    assert main(line) == 0


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("jpeg", ["--jpeg-quality", "20"]), ("quantize", ["--bits", "2"]), ("saturate", ["--gain", "1.5"]),
        ("gamma", []), ("quantize", ["--dither", "yes"]),
    ],
)  # fmt: skip
def test_the_shell_degrades_and_restores(here, task, options):
    picture("a.png", scene(3, 48, 48, seed=1))
    assert main(["degrade", "a.png", "--task", task, *options, "--quiet", "--out", "measured"]) == 0
    stored = read_measurement("measured/a.npz")
    assert stored.task == task and stored.y.shape == (3, 48, 48)
    line = ["restore", "measured/a.npz", "--prior", "gaussian", "--quiet", "--out", "out"]
    assert main(line) == 0
    assert main([*line[:-1], "drawn", "--sampler", "ddrm-jpeg", "--steps", "3"]) == 0


def test_phase_retrieval_from_the_shell(here):
    picture("a.png", scene(3, 24, 24, seed=1))
    assert (
        main(["degrade", "a.png", "--task", "phase", "--oversample", "1", "--quiet", "--out", "m"])
        == 0
    )
    line = ["restore", "m/a.npz", "--prior", "gaussian", "--steps", "4", "--quiet", "--out", "out"]
    assert main([*line, "--sampler", "dps"]) == 0

"""Against the real deepinv: our priors in its loops, our operators as its physics, and back."""

import re
from pathlib import Path

import deepinv_here
import pytest
import torch

dinv = deepinv_here.require()

from ddrm_fast import DenoiserPrior, Prior, Schedule, load_prior, operators, restore  # noqa: E402
from ddrm_fast.interop.deepinv import (  # noqa: E402
    OperatorPhysics,
    as_operator,
    as_physics,
    distance,
)
from ddrm_fast.priors import GaussianPrior  # noqa: E402

SHAPE = (3, 16, 16)
POWER = 0.04  # variance of a pixel in [0, 1] units
physics = dinv.physics
L2 = dinv.optim.data_fidelity.L2


def _shrink(x, sigma):
    """The exact denoiser of pixels N(1/2, POWER), in [0, 1] units."""
    share = POWER / (POWER + sigma.view(-1, 1, 1, 1) ** 2)
    return 0.5 + share * (x - 0.5)


EXACT = DenoiserPrior(_shrink)


class Shrink(torch.nn.Module):
    """The same by deepinv's protocol."""

    def forward(self, x, sigma, **ignored):
        return _shrink(x, torch.as_tensor(sigma, dtype=x.dtype).reshape(-1).expand(len(x)))


def _kernel(size=5):
    kernel = torch.rand(size, size, generator=torch.Generator().manual_seed(1))
    return kernel / kernel.sum()


def _mask():
    return (torch.rand(16, 16, generator=torch.Generator().manual_seed(2)) > 0.4).float()


OPERATORS = {
    "denoising": operators.Denoising(),
    "inpainting": operators.Inpainting(_mask()),
    "gain": operators.Gain(_mask() * 0.7 + 0.1),
    "colorization": operators.Colorization((0.3, 0.6, 0.1)),
    "super-resolution": operators.SuperResolution(4),
    "blur": operators.Blur(_kernel()),
    "reflecting blur": operators.Blur(torch.ones(3, 3) / 9, boundary="reflect"),
    "walsh-hadamard": operators.WalshHadamardCS((16, 16), 4),
    "block cs": operators.BlockCS(8, 4),
    "bicubic": operators.BicubicDownscaling(4, (16, 16)),
    "decimation": operators.BlurDecimate(_kernel(4), 4),
    "matrix": operators.GeneralOperator(torch.randn(40, 3 * 16 * 16), SHAPE),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_as_physics(name):
    """A, its adjoint, pseudo-inverse and proximal step; the decomposition where there is a real one."""
    operator = OPERATORS[name]
    made = as_physics(operator, SHAPE, 0.1)
    x = torch.rand(2, *SHAPE)
    y = made.A(x)
    assert torch.equal(y, operator.H(x)) and made.noise_model.sigma == pytest.approx(0.1)
    assert abs(made.adjointness_test(torch.rand(1, *SHAPE))) < 1e-3
    assert torch.allclose(made.A_dagger(y), operator.H_pinv(y), atol=1e-5)
    noisy, z = y + 0.1 * torch.randn_like(y), torch.rand(2, *SHAPE)
    for gamma in (0.3, torch.tensor([2.0, 50.0])):
        found = made.prox_l2(z, noisy, gamma)
        weight = torch.as_tensor(gamma).reshape(-1, 1, 1, 1)
        gradient = weight * made.A_adjoint(made.A(found) - noisy) + found - z
        assert float(gradient.norm()) < 1e-4 * float(
            (weight * made.A_adjoint(noisy)).norm() + z.norm()
        )
    assert isinstance(made, physics.DecomposablePhysics) == (name != "decimation")
    if name == "decimation":
        return
    coefficients = made.V_adjoint(x)
    assert not coefficients.is_complex()
    assert torch.allclose(made.V(coefficients), x, atol=1e-5)
    assert float(coefficients.norm()) == pytest.approx(float(x.norm()), rel=1e-5)
    assert torch.allclose(made.U(made.mask * coefficients), y, atol=1e-4)
    assert made.mask.shape == coefficients[:1].shape
    again = made.U_adjoint(y)
    assert torch.allclose(again, made.mask * coefficients, atol=1e-4)


THEIRS = {
    "Denoising()": lambda: physics.Denoising(),
    "Inpainting(img_size, mask)": lambda: physics.Inpainting(SHAPE, mask=0.5),
    "Demosaicing(img_size)": lambda: physics.Demosaicing(SHAPE),
    "Decolorize()": lambda: physics.Decolorize(),
    "BlurFFT(img_size, filter)": lambda: physics.BlurFFT(SHAPE, filter=_kernel()[None, None]),
    'Blur(filter, padding="circular")': lambda: physics.Blur(
        filter=_kernel(4)[None, None], padding="circular"
    ),
    "Downsampling(img_size, filter=None, factor=4)": lambda: physics.Downsampling(
        SHAPE, filter=None, factor=4
    ),
    'Downsampling(img_size, filter="gaussian", factor=2)': lambda: physics.Downsampling(
        SHAPE, filter="gaussian", factor=2
    ),
    'Downsampling(img_size, filter="bicubic", factor=4)': lambda: physics.Downsampling(
        SHAPE, filter="bicubic", factor=4
    ),
    "DownsamplingMatlab(factor=4)": lambda: physics.DownsamplingMatlab(factor=4),
    "Downsampling(img_size, filter=torch.ones(1, 1, 4, 4) / 16, factor=4)": lambda: physics.Downsampling(
        SHAPE, filter=torch.ones(1, 1, 4, 4) / 16, factor=4
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", THEIRS)
def test_physics_as_operators(name):
    """The same map, and the same as what it would be the other way round."""
    given = THEIRS[name]()
    operator = as_operator(given, SHAPE)
    x = torch.rand(2, *SHAPE)
    y = given.A(x)
    assert float((operator.H(x) - y).norm() / y.norm()) < 1e-4
    back = given.A_adjoint(y)
    assert float((operator.Ht(y) - back).norm() / back.norm()) < 1e-4
    assert as_operator(as_physics(operator, SHAPE), SHAPE) is operator
    result = restore(y, operator, 0.01, "gaussian", num_samples=1)
    assert result.mean.shape == x.shape and result.mean.isfinite().all()


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: physics.Blur(filter=_kernel()[None, None], padding="reflect"),
            "padding 'reflect'",
        ),
        (lambda: physics.Downsampling(SHAPE, "bicubic", 4, padding="reflect"), "padding 'reflect'"),
        (
            lambda: physics.BlurFFT(SHAPE, filter=torch.rand(1, 3, 3, 3)),
            r"filters of shape \(1, 3, 3, 3\)",
        ),
        (lambda: physics.Haze(), "no operator is known for Haze; expected one of Denoising"),
        (lambda: torch.nn.Identity(), "no operator is known for Identity"),
    ],
)
def test_physics_without_an_operator(make, message):
    with pytest.raises(ValueError, match=f"^physics: .*{message}"):
        as_operator(make(), SHAPE)


def test_two_that_differ_are_refused_with_the_distance():
    class Brighter(physics.Denoising):
        def A(self, x, **ignored):
            return 1.25 * x

    with pytest.raises(ValueError, match=r"Brighter and Denoising\(\) differ by 0\.2 \(relative\)"):
        as_operator(Brighter(), SHAPE)
    with pytest.raises(ValueError, match="^sigma_y: expected a noise level of 0 or more"):
        as_physics(operators.Denoising(), SHAPE, -1.0)
    many = as_physics(operators.Inpainting(_mask().expand(2, 1, 16, 16)), SHAPE)
    assert type(many) is OperatorPhysics


BOX4 = torch.ones(1, 1, 4, 4) / 16
#: what docs/deepinv.md says of the distance of two by name, on pictures of 3 x 64 x 64
PAIRS = {
    "Denoising() - Denoising()": (operators.Denoising(), lambda shape: physics.Denoising()),
    "Decolorize() - Colorization((0.299, 0.587, 0.114))": (
        operators.Colorization((0.299, 0.587, 0.114)), lambda shape: physics.Decolorize(),
    ),
    "Decolorize() - Colorization()": (operators.Colorization(), lambda shape: physics.Decolorize()),
    "DownsamplingMatlab(factor=4) - BicubicDownscaling(4, size)": (
        operators.BicubicDownscaling(4, (64, 64)), lambda shape: physics.DownsamplingMatlab(factor=4),
    ),
    'Downsampling(filter="bicubic", factor=4) - BicubicDownscaling(4, size)': (
        operators.BicubicDownscaling(4, (64, 64)),
        lambda shape: physics.Downsampling(shape, filter="bicubic", factor=4),
    ),
    "Downsampling(filter=None, factor=4) - SuperResolution(4)": (
        operators.SuperResolution(4), lambda shape: physics.Downsampling(shape, filter=None, factor=4),
    ),
    "Downsampling(filter=None, factor=4) - BlurDecimate(torch.ones(1, 1), 4)": (
        operators.BlurDecimate(torch.ones(1, 1), 4),
        lambda shape: physics.Downsampling(shape, filter=None, factor=4),
    ),
    "Downsampling(filter=torch.ones(1, 1, 4, 4) / 16, factor=4) - SuperResolution(4)": (
        operators.SuperResolution(4), lambda shape: physics.Downsampling(shape, filter=BOX4, factor=4),
    ),
    "Downsampling(filter=torch.ones(1, 1, 4, 4) / 16, factor=4) - BlurDecimate(torch.ones(4, 4) / 16, 4)": (
        operators.BlurDecimate(BOX4[0, 0], 4),
        lambda shape: physics.Downsampling(shape, filter=BOX4, factor=4),
    ),
    'Blur(filter, padding="circular") - Blur(kernel)': (
        operators.Blur(torch.ones(5, 5) / 25),
        lambda shape: physics.Blur(filter=torch.ones(1, 1, 5, 5) / 25, padding="circular"),
    ),
    'Blur(filter, padding="reflect") - Blur(kernel, "reflect")': (
        operators.Blur(torch.ones(5, 5) / 25, "reflect"),
        lambda shape: physics.Blur(filter=torch.ones(1, 1, 5, 5) / 25, padding="reflect"),
    ),
    'Blur(filter, padding="constant") - SeparableBlur(kernel, size=size)': (
        operators.SeparableBlur(torch.ones(5) / 5, size=(64, 64)),
        lambda shape: physics.Blur(filter=torch.ones(1, 1, 5, 5) / 25, padding="constant"),
    ),
}  # fmt: skip


def test_the_examples_run():
    text = (Path(__file__).parent.parent / "docs" / "deepinv.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    namespace = {}
    exec("\n".join(blocks), namespace)
    assert namespace["restored"].shape == namespace["x"].shape == namespace["clean"].shape
    assert namespace["result"].mean.shape == namespace["x"].shape


def test_the_table_of_distances_is_true():
    """Each row of the documentation's table, measured; within a fifth of what is written, and rounding."""
    text = (Path(__file__).parent.parent / "docs" / "deepinv.md").read_text()
    rows = re.findall(r"^\| `(.+?)` \| `(.+?)` \| ([\d.e-]+) \|", text, flags=re.MULTILINE)
    written = {f"{a} - {b}": float(number) for a, b, number in rows}
    assert set(written) == set(PAIRS)
    for name, (operator, make) in PAIRS.items():
        measured = distance(operator, make((3, 64, 64)), (3, 64, 64))
        assert measured == pytest.approx(written[name], rel=0.2, abs=2e-6), name


# priors as denoisers


@pytest.mark.parametrize("prior", [EXACT, GaussianPrior(torch.full((16, 16), 4 * POWER))])
def test_priors_as_denoisers(prior):
    """The exact posterior mean, whatever form the level has; none at sigma 0; float64 in and out."""
    denoiser = prior.as_deepinv()
    x = torch.rand(2, *SHAPE)
    for sigma in (0.2, torch.tensor(0.2), torch.tensor([0.05, 0.2]), torch.full((2, 1, 1, 1), 0.1)):
        level = torch.as_tensor(sigma).reshape(-1).expand(2)
        assert torch.allclose(denoiser(x, sigma), _shrink(x, level), atol=1e-4)
    assert denoiser(x, 0.0) is x
    mixed = denoiser(x, torch.tensor([0.0, 0.2]))
    assert torch.equal(mixed[0], x[0]) and torch.allclose(
        mixed[1:], denoiser(x[1:], 0.2), atol=1e-6
    )
    assert denoiser(x.double(), 0.1).dtype == torch.float64


def test_denoisers_are_differentiable():
    """Against the derivative in closed form, and for the default prior against a finite difference."""
    x = torch.rand(1, *SHAPE, requires_grad=True)
    EXACT.as_deepinv()(x, 0.2).sum().backward()
    assert torch.allclose(x.grad, torch.full_like(x, POWER / (POWER + 0.04)), atol=1e-5)
    prior = load_prior()
    prior.precision = "float32"
    denoiser = prior.as_deepinv()
    x, direction = torch.rand(1, *SHAPE), torch.randn(1, *SHAPE)
    x.requires_grad_()
    (slope,) = torch.autograd.grad((denoiser(x, 0.1) * direction).sum(), x)
    with torch.no_grad():
        step = 1e-2 * torch.randn_like(x)
        change = ((denoiser(x + step, 0.1) - denoiser(x - step, 0.1)) * direction).sum() / 2
    assert float((slope * step).sum()) == pytest.approx(float(change), rel=0.05, abs=2e-3)
    assert not any(p.requires_grad for p in denoiser.parameters())


@pytest.mark.parametrize("sigma", [-0.1, float("nan"), torch.ones(3)])
def test_levels_of_denoisers_are_checked(sigma):
    with pytest.raises(ValueError, match="^sigma: expected"):
        EXACT.as_deepinv()(torch.rand(2, *SHAPE), sigma)


def test_labels_of_denoisers():
    seen = []
    prior = Prior(lambda x, t, labels: seen.append(labels) or x, "x0", num_classes=4)
    with pytest.raises(ValueError, match="^labels: custom is a network for classes"):
        prior.as_deepinv()
    prior.as_deepinv(torch.tensor([3]))(torch.rand(2, *SHAPE), 0.1)
    assert seen[0].tolist() == [3, 3]


# their loops


def _measured(name, sigma=0.05):
    made = as_physics(OPERATORS[name], SHAPE, sigma)
    x = torch.rand(1, *SHAPE) * 0.6 + 0.2
    return x, made, made(x)


def _loops(denoiser):
    return {
        "DPIR": lambda sigma: dinv.optim.DPIR(sigma=sigma, denoiser=denoiser),
        "DiffPIR": lambda sigma: dinv.sampling.DiffPIR(denoiser, L2(), sigma=sigma, max_iter=6),
        "DDRM": lambda sigma: dinv.sampling.DDRM(denoiser, sigmas=torch.linspace(1, 0, 8).tolist()),
        "DPS": lambda sigma: dinv.sampling.DPS(denoiser, num_steps=6, dtype=torch.float32),
    }


@pytest.mark.parametrize("name", ["inpainting", "blur", "super-resolution"])
@pytest.mark.parametrize("loop", ["DPIR", "DiffPIR", "DDRM", "DPS"])
def test_their_loops_run_on_our_priors_and_operators(loop, name):
    """Our adapter of the exact denoiser gives the picture that the same denoiser written for them gives."""
    x, made, y = _measured(name)
    results = []
    for denoiser in (EXACT.as_deepinv(), Shrink()):
        torch.manual_seed(3)
        model = _loops(denoiser)[loop](0.05)
        results.append(model(y, made).detach())
    assert results[0].shape == x.shape and results[0].isfinite().all()
    assert torch.allclose(results[0], results[1], atol=2e-3)


@pytest.mark.parametrize("loop", ["DPIR", "DiffPIR", "DDRM", "DPS"])
def test_their_loops_see_the_same_in_both_physics(loop):
    """Inpainting by their class and by our adapter: the same picture from the same seed."""
    theirs = physics.Inpainting(SHAPE, mask=_mask()[None].expand(3, -1, -1).clone())
    theirs.noise_model = physics.GaussianNoise(0.05)
    ours = as_physics(operators.Inpainting(_mask()), SHAPE, 0.05)
    y = ours(torch.rand(1, *SHAPE))
    results = []
    for made in (theirs, ours):
        torch.manual_seed(3)
        results.append(_loops(Shrink())[loop](0.05)(y, made).detach())
    assert torch.allclose(results[0], results[1], atol=1e-3)


def test_the_default_prior_restores_in_their_loop():
    """DPIR with the network that ships: closer to the truth than what came in."""
    picture = torch.linspace(0.2, 0.8, 32).view(1, 1, 1, 32).expand(1, 3, 32, 32).clone()
    picture[..., 8:24, 8:24] = 0.9
    made = as_physics(operators.Denoising(), (3, 32, 32), 0.1)
    y = made(picture)
    with torch.no_grad():
        result = dinv.optim.DPIR(sigma=0.1, denoiser=load_prior().as_deepinv())(y, made)
    assert float((result - picture).square().mean()) < 0.3 * float((y - picture).square().mean())


def test_their_denoisers_are_our_priors():
    """A deepinv denoiser in restore: the posterior mean of a Gaussian in closed form is what DDIM ends on."""
    prior = DenoiserPrior(Shrink())
    assert prior.schedule.T == Schedule.linear().T
    x = torch.rand(1, *SHAPE)
    assert torch.allclose(
        prior.denoise(2 * x - 1, 0.4), 2 * _shrink(x, torch.tensor([0.2])) - 1, atol=1e-5
    )

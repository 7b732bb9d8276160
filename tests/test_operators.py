"""Laws of every operator, at odd sizes, against its own dense matrix."""

import pytest
import torch
from small_cases import seeded

from ddrm_fast import operators as O
from ddrm_fast.operators.separable import filter_matrix
from ddrm_fast.problems import degradation
from ddrm_fast.registry import TASKS
from ddrm_fast.testing import LAWS, check_operator
from ddrm_fast.testing.operators import PRECISION, measurement_like
from ddrm_fast.testing.operators import pictures as images


def mask(*shape):
    return seeded(*shape) > -0.2


def holes(*shape):
    """A mask with one block of 3 x 3 wholly unknown."""
    m = mask(*shape)
    m[..., :3, :3] = False
    return m


CASES = {
    "denoising": (lambda: O.Denoising(), (2, 5, 3)),
    "inpainting": (lambda: O.Inpainting(mask(5, 7)), (3, 5, 7)),
    "inpainting per channel": (lambda: O.Inpainting(mask(3, 5, 4)), (3, 5, 4)),
    "demosaicing": (lambda: O.Inpainting(O.bayer_mask(5, 6)), (3, 5, 6)),
    "gain": (lambda: O.Gain(seeded(5, 3)), (2, 5, 3)),
    "colorization": (lambda: O.Colorization((0.2, 0.7, 0.1)), (3, 5, 4)),
    "colorization of 4": (lambda: O.Colorization((0.2, -0.7, 0.1, 0.3)), (4, 3, 5)),
    "sr 3": (lambda: O.SuperResolution(3), (2, 9, 6)),
    "sr 1": (lambda: O.SuperResolution(1), (2, 3, 5)),
    "sr whole width": (lambda: O.SuperResolution(5), (1, 5, 5)),
    "sr grey": (lambda: O.SuperResolution(2, weights=(0.3, 0.5, 0.2)), (3, 4, 6)),
    "sr masked": (lambda: O.SuperResolution(3, mask=holes(6, 9)), (2, 6, 9)),
    "old photo": (
        lambda: O.SuperResolution(3, weights=(0.3, 0.5, 0.2), mask=holes(3, 6, 9)),
        (3, 6, 9),
    ),
    "sr of a gain": (lambda: O.SuperResolution(2, mask=seeded(4, 6)), (2, 4, 6)),
    "walsh-hadamard": (lambda: O.WalshHadamardCS((4, 8), ratio=3), (2, 4, 8)),
    "walsh-hadamard 1 x 8": (lambda: O.WalshHadamardCS((1, 8), ratio=2), (1, 1, 8)),
    "block cs": (lambda: O.BlockCS(3, ratio=2), (2, 6, 9)),
    "blur": (lambda: O.Blur(seeded(3, 2)), (2, 5, 7)),
    "blur even": (lambda: O.Blur(seeded(4, 5)), (2, 6, 8)),
    "blur per channel": (lambda: O.Blur(seeded(3, 3, 3)), (3, 5, 4)),
    "blur with zeros": (lambda: O.Blur(torch.ones(2, 2).double() / 4), (1, 6, 4)),
    "blur of one row": (lambda: O.Blur(seeded(1, 3)), (2, 1, 7)),
    "blur reflecting": (lambda: O.Blur(O.gaussian_kernel(0.7, 3), "reflect"), (2, 5, 7)),
    "blur reflecting even": (lambda: O.Blur(torch.ones(3, 5).double(), "reflect"), (2, 6, 8)),
    "separable zero": (lambda: O.SeparableBlur(seeded(4), seeded(3), size=(5, 7)), (2, 5, 7)),
    "separable reflecting": (
        lambda: O.SeparableBlur(seeded(4), size=(5, 7), boundary="reflect"),
        (2, 5, 7),
    ),
    "separable periodic": (lambda: O.SeparableBlur(seeded(3), boundary="periodic"), (2, 5, 7)),
    "bicubic 2": (lambda: O.BicubicDownscaling(2, (6, 8)), (2, 6, 8)),
    "bicubic 3": (lambda: O.BicubicDownscaling(3, (6, 9)), (1, 6, 9)),
    "blur decimate 2": (lambda: O.BlurDecimate(seeded(3, 4), 2), (2, 6, 8)),
    "blur decimate 2, odd grid": (lambda: O.BlurDecimate(seeded(3, 3), 2), (2, 6, 10)),
    "blur decimate 3": (lambda: O.BlurDecimate(seeded(2, 3), 3), (1, 9, 6)),
    "blur decimate 1": (lambda: O.BlurDecimate(seeded(3, 3), 1), (2, 5, 4)),
    "blur decimate with zeros": (
        lambda: O.BlurDecimate(torch.tensor([[1.0, 1.0]]).double(), 2),
        (1, 4, 4),
    ),
    "general": (lambda: O.GeneralOperator(seeded(17, 30), (2, 3, 5)), (2, 3, 5)),
    "general tall": (lambda: O.GeneralOperator(seeded(37, 30), (2, 3, 5)), (2, 3, 5)),
}


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request):
    make, shape = CASES[request.param]
    return make(), shape


def example_of(name):
    """A task's example, at 16 x 16, as the registry has it."""
    task, options = EXAMPLES[name]
    return degradation(task, (3, 16, 16), options, seed=3)


EXAMPLES = {
    label: (task, options) for task in TASKS.values() for label, options in task.examples.items()
}


@pytest.mark.parametrize("law", LAWS)
def test_laws(case, law):
    LAWS[law](*case)


@pytest.mark.parametrize("name", EXAMPLES)
def test_laws_of_every_task(name):
    """Arrays that are stored in float32 (a random basis) are orthonormal to its precision."""
    made = example_of(name)
    stored = any(x.dtype == torch.float32 for x in made.arrays.values())
    check_operator(made.operator(), (3, 16, 16), precision=1e-6 if stored else PRECISION)


def test_every_task_has_an_example():
    """But those without a decomposition, which have no laws to be held against."""
    for name, task in TASKS.items():
        if not task.examples:
            options = {"jpeg_quality": "30"} if name == "jpeg" else {}
            assert not isinstance(degradation(task, (3, 16, 16), options).operator(), O.Operator)


@pytest.mark.parametrize(
    ("wrong", "law"),
    [
        ({"Ht": lambda self, y: 2 * O.Gain.Ht(self, y)}, "adjoint"),
        ({"H": lambda self, x: 1.1 * O.Gain.H(self, x)}, "singular_values"),
        ({"V": lambda self, c: c + 0.1}, "basis"),
        ({"H_pinv": lambda self, y: 0 * y}, "pseudo_inverse"),
        ({"project": lambda self, x0, *a: x0}, "projection"),
        ({"image_shape": lambda self, y: (1, *y.shape[2:])}, "shapes"),
        ({"H": lambda self, x: O.Gain.H(self, x.float()).double()}, "precisions"),
        ({"H": lambda self, x: O.Gain.H(self, x.detach()) + 0 * x}, "autograd"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_wrong_operator_breaks_the_law(wrong, law):
    """The laws can fail, and the right one does."""
    operator = type("Wrong", (O.Gain,), wrong)(seeded(4, 5))
    with pytest.raises(AssertionError, match=rf"(?m)^{law} "):
        check_operator(operator, (2, 4, 5))
    check_operator(O.Gain(seeded(4, 5)), (2, 4, 5))


@pytest.mark.parametrize(
    ("factor", "weights"), [(3, None), (2, (0.3, 0.5, 0.2)), (1, (0.3, 0.5, 0.2))]
)
def test_first_coefficient_of_a_group_is_the_measured_one(factor, weights):
    """Householder completes w with its first place."""
    operator = O.SuperResolution(factor, weights=weights)
    x = images((3, 6, 12))
    corner = operator.Vt(x)[:, : 1 if weights else 3, ::factor, ::factor]
    torch.testing.assert_close(corner, operator.measure(x))


def test_first_frequency_of_an_alias_group_is_the_measured_one():
    operator = O.BlurDecimate(seeded(3, 3), 2)
    x = images((2, 6, 8))
    torch.testing.assert_close(operator.Vt(x)[..., :3, :4], operator.measure(x))


def test_operators_do_what_their_names_say():
    x = images((3, 6, 8), 1)
    torch.testing.assert_close(O.Denoising().H(x), x)
    torch.testing.assert_close(
        O.SuperResolution(2).H(x), torch.nn.functional.avg_pool2d(x, 2), rtol=1e-12, atol=1e-12
    )
    weights = torch.tensor([0.2, 0.3, 0.5]).double()
    grey = (weights.view(1, 3, 1, 1) * x).sum(1, keepdim=True)
    torch.testing.assert_close(O.Colorization((0.2, 0.3, 0.5)).H(x), grey)
    known = mask(6, 8)
    torch.testing.assert_close(O.Inpainting(known).H(x), x * known)
    old = O.SuperResolution(2, weights=(0.2, 0.3, 0.5), mask=known)
    torch.testing.assert_close(old.H(x), torch.nn.functional.avg_pool2d(grey * known, 2))


@pytest.mark.parametrize(("boundary", "mode"), [("periodic", "wrap"), ("reflect", "reflect")])
def test_blur_is_scipys_convolution(boundary, mode):
    ndimage = pytest.importorskip("scipy.ndimage")
    kernel = O.gaussian_kernel((0.8, 1.4), 5) if boundary == "reflect" else seeded(4, 3)
    x = images((1, 9, 8), 1)
    expected = ndimage.convolve(x[0, 0].numpy(), kernel.numpy(), mode=mode)
    y = O.Blur(kernel, boundary, rcond=0).H(x)
    torch.testing.assert_close(y[0, 0], torch.from_numpy(expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("boundary", ["zero", "reflect", "periodic"])
@pytest.mark.parametrize("taps", [3, 4])
def test_separable_blur_is_scipys_convolution(boundary, taps):
    ndimage = pytest.importorskip("scipy.ndimage")
    mode = {"zero": "constant", "reflect": "reflect", "periodic": "wrap"}[boundary]
    kernel = seeded(taps)
    x = images((1, 9, 8), 1)
    expected = ndimage.convolve1d(x[0, 0].numpy(), kernel.numpy(), axis=0, mode=mode)
    expected = ndimage.convolve1d(expected, kernel.numpy(), axis=1, mode=mode)
    y = O.SeparableBlur(kernel, size=(9, 8), boundary=boundary, rcond=0).H(x)
    torch.testing.assert_close(y[0, 0], torch.from_numpy(expected), rtol=1e-10, atol=1e-10)


def test_symmetric_reflecting_kernel_takes_the_cosine_transform():
    fast = O.SeparableBlur(torch.tensor([0.25, 0.5, 0.25]), boundary="reflect")
    assert isinstance(fast, O.Blur) and fast.boundary == "reflect"
    matrix = filter_matrix(torch.tensor([0.25, 0.5, 0.25]), 7, boundary="reflect")
    x = images((2, 7, 7), 1)
    torch.testing.assert_close(fast.H(x), matrix @ x @ matrix.mT, rtol=1e-10, atol=1e-10)


def test_blur_decimate_is_a_decimated_blur():
    x = images((2, 6, 9), 1)
    kernel = O.gaussian_kernel(0.6, 3)
    blurred = O.Blur(kernel, rcond=0).H(x)
    decimated = O.BlurDecimate(kernel, 3, rcond=0).H(x)
    torch.testing.assert_close(decimated, blurred[..., ::3, ::3], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_bicubic_keeps_a_ramp(factor):
    """Its kernel is centred on the block: away from the borders a ramp's block means come out."""
    size = 16 * factor
    ramp = torch.arange(size, dtype=torch.float64).expand(1, 1, size, size)
    y = O.BicubicDownscaling(factor, (size, size), rcond=0).H(ramp)
    means = torch.nn.functional.avg_pool2d(ramp, factor)
    torch.testing.assert_close(y[..., 3:-3], means[..., 3:-3], rtol=1e-10, atol=1e-10)


def test_small_singular_values_count_as_zero_everywhere():
    """A box kernel has exact zeros that arithmetic shows as 1e-17: H_pinv must not divide by them."""
    operator = O.Blur(torch.ones(4, 4).double() / 16)
    y = measurement_like(operator, (1, 16, 16))
    assert (operator.singulars((1, 16, 16)) == 0).any()
    assert operator.H_pinv(y).abs().max() < 1e3 * y.abs().max()


def test_motion_and_gaussian_kernels():
    for kernel in (O.motion_kernel(7), O.motion_kernel(8, 30.0), O.gaussian_kernel((1.0, 2.0))):
        assert kernel.min() >= 0
        torch.testing.assert_close(kernel.sum(), torch.tensor(1.0).double())
    flat = O.motion_kernel(9)
    assert (flat.sum(dim=1) > 1e-12).sum() == 1
    assert O.motion_kernel(9, 90.0).sum(dim=0).argmax() == 4


def test_select_takes_the_masks_of_some_images():
    masks = mask(3, 1, 4, 6)
    x = images((2, 4, 6), 3)
    for whole in (O.Inpainting(masks), O.SuperResolution(2, mask=masks)):
        part = whole.select(torch.tensor([2, 0, 0]))
        torch.testing.assert_close(part.H(x[[2, 0, 0]]), whole.H(x)[[2, 0, 0]])

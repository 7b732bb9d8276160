"""Wrong operators, and pictures and measurements that do not fit them, are named."""

import pytest
import torch
from small_cases import OPERATORS, PICTURE, restore_small

from ddrm_fast import Prior, degrade, ops
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
    Separable,
    SeparableBlur,
    SeparableDecimation,
    SuperResolution,
    WalshHadamardCS,
    bayer_mask,
    bicubic_kernel,
    gaussian_kernel,
    motion_kernel,
)

pytestmark = pytest.mark.filterwarnings("error")  # nothing warns unless a test says so
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("factor", [0, -2, 1.5, 2.0, "2", True, None])
def test_factors_are_whole_numbers(factor):
    kernel = torch.ones(3)
    for make in (
        lambda: SuperResolution(factor),
        lambda: BlurDecimate(torch.ones(3, 3), factor),
        lambda: BicubicDownscaling(factor, (8, 8)),
        lambda: SeparableDecimation(kernel, factor, size=(8, 8)),
        lambda: bicubic_kernel(factor),
        lambda: BlockCS(factor, 2),
    ):
        with pytest.raises(ValueError, match="^(factor|block): expected an integer >= 1"):
            make()


@pytest.mark.parametrize(
    "operator, name",
    [
        (SuperResolution(3), "factor"),
        (SuperResolution(3, (1, 1, 1)), "factor"),
        (BlurDecimate(torch.ones(3, 3), 3), "factor"),
        (BlockCS(3, 2), "block"),
    ],
)
def test_factors_divide_the_picture(operator, name):
    with pytest.raises(ValueError, match=f"^x: height and width must be multiples of the {name} 3"):
        operator.H(PICTURE)
    with pytest.raises(ValueError, match=f"^x: height and width must be multiples of the {name} 3"):
        degrade(PICTURE, operator)


def test_factors_divide_the_size():
    for make in (lambda: BicubicDownscaling(3, (9, 8)), lambda: BicubicDownscaling(3, (8, 9))):
        with pytest.raises(ValueError, match="must be multiples of the factor 3, got"):
            make()


@pytest.mark.parametrize("operator", [SuperResolution(16), BlockCS(16, 2)])
def test_pictures_are_no_smaller_than_a_block(operator):
    with pytest.raises(ValueError, match="^x: an image of 8 x 8 is smaller than a block of 16"):
        operator.H(PICTURE)


def test_decimation_of_a_picture_smaller_than_a_block():
    with pytest.raises(ValueError, match="^x: an image of 8 x 8 is smaller than a block of 16"):
        BlurDecimate(torch.ones(3, 3), 16).H(PICTURE)
    with pytest.raises(ValueError, match="^x: an image of 8 x 8 is smaller than a block of 16"):
        BicubicDownscaling(16, (8, 8))


def test_measurements_fit_their_operator():
    small = torch.rand(1, 3, 4, 4)
    for operator, y, message in (
        (Inpainting(torch.ones(8, 8)), small, "^x: this operator is for any channels of 8 x 8"),
        (Inpainting(torch.ones(2, 8, 8)), PICTURE, "^x: this operator is for 2 channels of 8 x 8"),
        (Colorization(), PICTURE, "^y: expected 1 channel, got 3"),
        (SuperResolution(2, mask=torch.ones(4, 4)), small, "^x: expected the mask's"),
        (BicubicDownscaling(2, (16, 16)), small, "^y: expected 8 x 8 pixels, got 4 x 4"),
        (WalshHadamardCS((8, 8), 2), torch.rand(1, 3, 31), "^y: expected 32 coefficients, got 31"),
        (WalshHadamardCS((8, 8), 2), PICTURE, r"^y: expected \(B, C, m\)"),
        (BlockCS(4, 2), torch.rand(1, 3, 2, 2, 9), "^y: expected 8 coefficients a block, got 9"),
        (BlockCS(4, 2), PICTURE, r"^y: expected \(B, C, H / block, W / block, m\)"),
        (GeneralOperator(torch.rand(5, 12), (3, 2, 2)), torch.rand(1, 6), "^y: expected 5 entries"),
        (GeneralOperator(torch.rand(5, 12), (3, 2, 2)), PICTURE, r"^y: expected \(B, m\)"),
        (Blur(torch.ones(9, 1)), PICTURE, "^kernel: 9 x 1 is larger than the image of 8 x 8"),
    ):
        with pytest.raises(ValueError, match=message):
            restore_small(y, operator)


def test_pictures_fit_their_operator():
    for operator, message in (
        (Colorization((0.5, 0.5)), "^x: expected 2 channels"),
        (WalshHadamardCS((16, 16), 2), "^x: this operator is for 16 x 16 pixels, got 8 x 8"),
        (Separable(torch.rand(2, 4), torch.rand(2, 4)), "^x: this operator is for 4 x 4 pixels"),
        (GeneralOperator(torch.rand(5, 12), (3, 2, 2)), "^x: expected images of shape"),
        (Blur(torch.rand(2, 3, 3)), "^kernel: is for 2 channels, the image has 3"),
    ):
        with pytest.raises(ValueError, match=message):
            operator.H(PICTURE)
    for dtype in (torch.uint8, torch.float16, torch.int32):
        with pytest.raises(ValueError, match=f"^x: expected float32 or float64, got {dtype}"):
            Denoising().H(PICTURE.to(dtype))


KERNEL_USERS = {
    "periodic": lambda kernel: Blur(kernel),
    "reflect": lambda kernel: Blur(kernel, "reflect"),
    "decimate": lambda kernel: BlurDecimate(kernel, 2),
}


@pytest.mark.parametrize("name", KERNEL_USERS)
@pytest.mark.parametrize(
    "kernel, message",
    [
        (torch.ones(0, 3), r"expected \(kh, kw\)"),
        (torch.ones(3), r"expected \(kh, kw\)"),
        (torch.ones(1, 1, 3, 3), r"expected \(kh, kw\)"),
        (torch.tensor([[1.0, NAN]]), "has NaN or infinite entries"),
        (torch.tensor([[1.0, INF]]), "has NaN or infinite entries"),
        (torch.zeros(3, 3), "is all zero"),
    ],
)
def test_kernels(name, kernel, message):
    with pytest.raises(ValueError, match=f"^kernel: {message}"):
        KERNEL_USERS[name](kernel)


@pytest.mark.parametrize("name", KERNEL_USERS)
@pytest.mark.parametrize("size", [(9, 3), (3, 9)])
def test_kernels_are_no_larger_than_the_picture(name, size):
    with pytest.raises(ValueError, match="^kernel: . x . is larger than the image of 8 x 8"):
        KERNEL_USERS[name](torch.ones(size)).H(PICTURE)


def _rotated_gaussian():
    axis = torch.arange(-3.0, 4.0)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.exp(-0.5 * ((x + y) ** 2 / 8 + (x - y) ** 2))


@pytest.mark.parametrize(
    "kernel, message",
    [
        (torch.ones(2, 3), "needs odd sides, got 2 x 3"),
        (torch.ones(3, 4), "needs odd sides, got 3 x 4"),
        (torch.tensor([[1.0, 2.0, 3.0]]), "needs symmetry under each axis flip"),
        (torch.tensor([[1.0], [2.0], [3.0]]), "needs symmetry under each axis flip"),
        (_rotated_gaussian(), "needs symmetry under each axis flip.*rotated Gaussian"),
    ],
)
def test_reflecting_blur_refuses_what_the_dct_does_not_diagonalise(kernel, message):
    with pytest.raises(ValueError, match=f"^kernel: boundary 'reflect' {message}"):
        Blur(kernel, "reflect")
    assert Blur(kernel).H(torch.ones(1, 1, 8, 8)).shape == (1, 1, 8, 8)


def test_point_symmetry_is_not_enough_for_the_dct():
    """Why: the refused kernel is not what its cosine spectrum would compute."""
    kernel = _rotated_gaussian()
    assert torch.equal(kernel, kernel.flip((0, 1)))
    assert not torch.allclose(kernel, kernel.flip(0))


def test_boundaries():
    kernel = torch.ones(3)
    for make in (
        lambda: Blur(torch.ones(3, 3), "replicate"),
        lambda: Blur(torch.ones(3, 3), "zero"),
        lambda: SeparableBlur(kernel, boundary="replicate"),
        lambda: SeparableDecimation(kernel, 2, size=(8, 8), boundary="replicate"),
    ):
        with pytest.raises(ValueError, match="^boundary: expected"):
            make()


@pytest.mark.parametrize("rcond", [-0.1, 1.0, NAN])
def test_rcond(rcond):
    for make in (
        lambda: Gain(torch.ones(4, 4), rcond),
        lambda: Blur(torch.ones(3, 3), rcond=rcond),
        lambda: BlurDecimate(torch.ones(3, 3), 2, rcond),
        lambda: Separable(torch.ones(2, 4), torch.ones(2, 4), rcond),
        lambda: GeneralOperator(torch.ones(2, 4), (1, 2, 2), rcond),
        lambda: SuperResolution(2, rcond=rcond),
    ):
        with pytest.raises(ValueError, match="^rcond: expected 0 <= rcond < 1"):
            make()


def test_masks_and_gains():
    with pytest.raises(ValueError, match="^mask: expected only 0 and 1"):
        Inpainting(torch.tensor([[0.0, 0.5]]))
    with pytest.raises(ValueError, match="^mask: expected only 0 and 1"):
        Inpainting(torch.tensor([[0.0, NAN]]))
    for gain in (torch.ones(4), torch.ones(1, 1, 1, 4, 4), torch.tensor(1.0)):
        with pytest.raises(ValueError, match=r"^gain: expected \(H, W\)"):
            Gain(gain)
    for value in (NAN, INF):
        with pytest.raises(ValueError, match="^gain: has NaN or infinite entries"):
            Gain(torch.tensor([[1.0, value]]))
        with pytest.raises(ValueError, match="^mask: expected finite"):
            SuperResolution(1, mask=torch.tensor([[1.0, value]]))
    with pytest.raises(ValueError, match="^mask: expected"):
        SuperResolution(2, mask=torch.ones(4))


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1.0, NAN], [[1.0]], 1.0])
def test_grey_weights(weights):
    with pytest.raises(ValueError, match="^weights: expected finite numbers"):
        Colorization(weights)


@pytest.mark.parametrize("pattern", ["", "RGB", "RGGBX", "RGGX", "rggb", "    "])
def test_bayer_patterns(pattern):
    with pytest.raises(ValueError, match="^pattern: expected four letters of R, G, B"):
        bayer_mask(4, 4, pattern)


@pytest.mark.parametrize("size", [(3, 4), (4, 6), (0, 4)])
def test_walsh_hadamard_sizes(size):
    with pytest.raises(ValueError, match="^size: expected powers of two"):
        WalshHadamardCS(size, 2)
    with pytest.raises(ValueError, match="^x: sides must be powers of two"):
        ops.fwht(torch.zeros(1, 1, *size))


@pytest.mark.parametrize(
    "kept, message",
    [
        ([0, 1, 1], "has repeated indices"),
        ([0, 16], "expected indices from 0 to 15"),
        ([-1, 3], "expected indices from 0 to 15"),
        ([], "expected indices from 0 to 15"),
        ([0.5, 2.0], "expected indices as integers, got torch.float32"),
        ([True, False], "expected indices as integers, got torch.bool"),
    ],
)
def test_kept_coefficients(kept, message):
    with pytest.raises(ValueError, match=f"^kept: {message}"):
        WalshHadamardCS((4, 4), kept=torch.tensor(kept))


@pytest.mark.parametrize("ratio", [0.5, 0, -1, NAN])
def test_ratios(ratio):
    for make in (lambda: WalshHadamardCS((4, 4), ratio), lambda: BlockCS(4, ratio)):
        with pytest.raises(ValueError, match="^ratio: expected >= 1"):
            make()


def test_exactly_one_way_to_choose_coefficients():
    for make in (
        lambda: WalshHadamardCS((4, 4)),
        lambda: WalshHadamardCS((4, 4), 2, kept=torch.tensor([0])),
        lambda: BlockCS(4),
        lambda: BlockCS(4, 2, keep=3),
    ):
        with pytest.raises(ValueError, match="^ratio, .*: give exactly one"):
            make()


def test_blocks_whose_basis_would_not_fit_into_memory():
    with pytest.raises(ValueError, match=r"^block: a side of 65 is over 64: .* 4225 x 4225"):
        BlockCS(65, 4)


def test_block_bases():
    with pytest.raises(ValueError, match=r"^basis: expected \(4, 4\), got \(2, 2\)"):
        BlockCS(2, 2, basis=torch.eye(2))
    with pytest.raises(ValueError, match="^basis: is not orthogonal"):
        BlockCS(2, 2, basis=2 * torch.eye(4))
    with pytest.raises(ValueError, match="^basis: is not orthogonal"):
        BlockCS(2, 2, basis=torch.full((4, 4), NAN))
    for keep in (0, 5, 1.5):
        with pytest.raises(ValueError, match="^keep: expected an integer from 1 to 4"):
            BlockCS(2, keep=keep)


def test_matrices():
    good = torch.ones(2, 4)
    for bad, message in (
        (torch.ones(5, 4), "expected a matrix with rows <= columns"),
        (torch.ones(4), "expected a matrix"),
        (torch.ones(0, 4), "expected a matrix"),
        (torch.tensor([[1.0, NAN]]), "has NaN or infinite entries"),
        (torch.ones(1, 8193), "a side of 8193 is over 8192"),
    ):
        with pytest.raises(ValueError, match=f"^vertical: {message}"):
            Separable(bad, good)
        with pytest.raises(ValueError, match=f"^horizontal: {message}"):
            Separable(good, bad)
    with pytest.raises(ValueError, match=r"^matrix: expected \(m, 12\), got \(5, 11\)"):
        GeneralOperator(torch.rand(5, 11), (3, 2, 2))
    with pytest.raises(ValueError, match="^matrix: has NaN or infinite entries"):
        GeneralOperator(torch.full((5, 12), NAN), (3, 2, 2))
    with pytest.raises(ValueError, match="^matrix: a side of 16385 is over 16384"):
        GeneralOperator(torch.ones(16385, 1), (1, 1, 1))


def test_separable_blur_refuses_large_sides_before_it_makes_a_matrix():
    kernel = torch.ones(3)
    for size in ((8193, 4), (4, 10**9)):
        with pytest.raises(ValueError, match=r"^size: a side of \d+ is over 8192"):
            SeparableBlur(kernel, size=size, boundary="zero")
        with pytest.raises(ValueError, match=r"^size: a side of \d+ is over 8192"):
            SeparableDecimation(kernel, 1, size=size, boundary="zero")
    assert isinstance(SeparableBlur(kernel, boundary="periodic"), Blur)  # any size
    assert isinstance(SeparableBlur(kernel, boundary="reflect"), Blur)


def test_separable_kernels():
    for kernel, message in (
        (torch.ones(3, 3), "expected a 1-D kernel"),
        (torch.ones(0), "expected a 1-D kernel"),
        (torch.tensor([1.0, NAN]), "has NaN or infinite entries"),
        (torch.zeros(3), "or is all zero"),
        (torch.ones(9), "9 taps are too many for a side of 4"),
    ):
        with pytest.raises(ValueError, match=f"^kernel: .*{message}"):
            SeparableBlur(kernel, size=(4, 4))
    with pytest.raises(ValueError, match="^horizontal: expected a 1-D kernel"):
        SeparableBlur(torch.ones(3), torch.ones(3, 3), size=(4, 4))
    with pytest.raises(ValueError, match=r"^size: \(H, W\) is needed for boundary 'zero'"):
        SeparableBlur(torch.ones(3))
    with pytest.raises(ValueError, match=r"^size: \(H, W\) is needed for boundary 'reflect'"):
        SeparableBlur(torch.ones(2), boundary="reflect")


def test_kernel_makers():
    for sigma in (0, -1.0, NAN, (1.0, 0.0)):
        with pytest.raises(ValueError, match="^sigma: expected > 0"):
            gaussian_kernel(sigma)
    for size in (0, -3, 4, 3.0):
        with pytest.raises(ValueError, match="^size: expected an odd integer >= 1"):
            gaussian_kernel(1.0, size)
    for length in (0, -1, 3.5):
        with pytest.raises(ValueError, match="^length: expected an integer >= 1"):
            motion_kernel(length)


@pytest.mark.parametrize("name", OPERATORS)
def test_no_pictures_give_no_pictures(name):
    """A batch of 0 passes through everything, and no network is asked."""
    operator, shape = OPERATORS[name]
    none = torch.zeros(0, *shape)
    y = degrade(none, operator, 0.1)
    expected = operator.H(torch.zeros(1, *shape)).shape[1:]
    assert y.shape == (0, *expected)
    for image in (operator.Ht(y), operator.H_pinv(y), operator.V(operator.Vt(none))):
        assert image.shape == none.shape
    result = restore_small(y, operator, num_samples=2, prior=Prior(lambda x, t: 1 / 0))
    assert result.samples.shape == (2, 0, *shape)
    assert result.mean.shape == result.std.shape == none.shape

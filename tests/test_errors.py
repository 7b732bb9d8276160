"""Wrong input gets an error that names the argument, before any work is done."""

import os
import subprocess
import sys
import warnings

import pytest
import torch

import ddrm_fast
from ddrm_fast import (
    DDIM,
    DDNM,
    DDPM,
    DDRM,
    DDNMPlus,
    Prior,
    Schedule,
    degrade,
    ops,
    restore,
    sample,
)
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
from ddrm_fast.ops import BackendError, Noise, dispatch, rows
from ddrm_fast.priors import DenoiserPrior, GaussianPrior, load_prior, wrap_diffusers
from ddrm_fast.samplers.weights import Branch, Weights

NAN, INF = float("nan"), float("inf")


def _prior(network=None, **keywords):
    return Prior(network or (lambda x, t: 0.3 * x), **keywords)


FAST = DDRM(steps=4)
PICTURE = torch.rand(2, 3, 8, 8)


def _restore(y=PICTURE, operator=None, sigma_y=0.1, prior=None, sampler=FAST, **keywords):
    operator, prior = operator or Denoising(), prior or _prior()
    return restore(y, operator, sigma_y, prior, sampler, **keywords)


@pytest.fixture(autouse=True)
def _no_warnings():
    """Nothing here warns unless a test says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# restore and degrade


def _with(value):
    picture = PICTURE.clone()
    picture[1, 2, 3, 4] = value
    return picture


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_pixels_have_to_be_finite(value):
    with pytest.raises(ValueError, match=r"^y: has 1 NaN or infinite entries of 384"):
        _restore(_with(value))
    with pytest.raises(ValueError, match=r"^x: has 1 NaN or infinite entries of 384"):
        degrade(_with(value), Denoising())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.int64, bool])
def test_pictures_have_to_be_float(dtype):
    dtype = torch.bool if dtype is bool else dtype
    with pytest.raises(ValueError, match=rf"^y: expected float32.*got {dtype}"):
        _restore(PICTURE.to(dtype))
    with pytest.raises(ValueError, match=rf"^x: expected float32.*got {dtype}"):
        degrade(PICTURE.to(dtype), Denoising())


def test_pictures_have_to_be_tensors():
    with pytest.raises(ValueError, match=r"^y: expected a tensor, got list"):
        _restore(PICTURE.tolist())
    with pytest.raises(ValueError, match=r"^x: expected a tensor, got ndarray"):
        degrade(PICTURE.numpy(), Denoising())


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0])
def test_clean_pictures_are_in_0_to_1(value):
    with pytest.raises(ValueError, match=r"^x: expected\s+clean\s+pictures\s+in\s+\[0,\s+1\]"):
        degrade(_with(value), Denoising())
    assert torch.equal(degrade(_with(value), Denoising(), keep_going=True), _with(value))


def test_measurements_may_leave_0_to_1():
    result = _restore(3 * PICTURE - 1)
    assert torch.isfinite(result.mean).all()


def test_bytes_only_warn():
    """Compressed sensing has large numbers of its own, so this is no error."""
    with pytest.warns(UserWarning, match=r"^y: reaches 2.*looks like 0\.\.255"):
        result = _restore(PICTURE * 255)
    assert result.mean.shape == PICTURE.shape
    operator = WalshHadamardCS((16, 16), 1)
    y = operator.H(torch.ones(1, 1, 16, 16))
    assert y.max() == 16  # and no warning: a white picture gives as much
    _restore(y, operator)


@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 8), (1, 2, 3, 8, 8)])
def test_pictures_have_four_dimensions(shape):
    with pytest.raises(ValueError, match=r"^y: expected \(B, C, H, W\), got shape"):
        _restore(torch.rand(shape))
    with pytest.raises(ValueError, match=r"^x: expected \(B, C, H, W\), got shape"):
        degrade(torch.rand(shape), SuperResolution(2))


@pytest.mark.parametrize("sigma_y", [-0.1, NAN, INF, torch.tensor([0.1, -0.1])])
def test_noise_level_is_a_finite_number_of_at_least_0(sigma_y):
    with pytest.raises(ValueError, match=r"^sigma_y: expected finite numbers >= 0"):
        _restore(sigma_y=sigma_y)
    with pytest.raises(ValueError, match=r"^sigma_y: expected finite numbers >= 0"):
        degrade(PICTURE, Denoising(), sigma_y)


@pytest.mark.parametrize("sigma_y", [None, "a lot", [[0.1], [0.1, 0.2]]])
def test_noise_level_is_a_number(sigma_y):
    with pytest.raises(ValueError, match=r"^sigma_y: expected a number or \[2\]"):
        _restore(sigma_y=sigma_y)


@pytest.mark.parametrize("count", [0, 3])
def test_noise_level_is_one_or_one_for_each(count):
    with pytest.raises(ValueError, match=rf"^sigma_y: expected one number or \[2\], got {count}"):
        _restore(sigma_y=torch.full((count,), 0.1))
    with pytest.raises(ValueError, match=rf"^sigma_y: expected one number or \[2\], got {count}"):
        degrade(PICTURE, Denoising(), torch.full((count,), 0.1))


@pytest.mark.parametrize("number", [0, -1, 1.5, "2"])
def test_num_samples(number):
    with pytest.raises(ValueError, match=r"^num_samples: expected an integer >= 1"):
        _restore(num_samples=number)


@pytest.mark.parametrize("size", [0, -3, 1.5])
def test_batch_size(size):
    with pytest.raises(ValueError, match=r"^batch_size: expected"):
        _restore(batch_size=size)


@pytest.mark.parametrize("labels", [torch.zeros(3), torch.zeros(2, 1), torch.tensor(1), [0, 1, 2]])
def test_labels_are_one_for_each_picture(labels):
    with pytest.raises(ValueError, match=r"^labels: expected \[2\]"):
        _restore(labels=labels)


def test_seeds_are_one_for_each_picture():
    for seed in (torch.zeros(3, dtype=torch.int64), torch.zeros(2), torch.tensor(5), 1.5, "5"):
        with pytest.raises(ValueError, match=r"^seed: expected a number or int64 \[2\]"):
            _restore(seed=seed)


def test_origin_is_one_for_each_picture_and_not_negative():
    with pytest.raises(ValueError, match=r"^origin: expected shape \(2, 2\), got \(3, 2\)"):
        _restore(origin=torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"^origin: rows and columns start at 0"):
        _restore(origin=(0, -1))


def test_prior_operator_and_sampler_are_what_they_should_be():
    with pytest.raises(ValueError, match=r"^prior: expected a Prior or a name, got function"):
        restore(PICTURE, Denoising(), 0.1, lambda x, t: x)
    with pytest.raises(ValueError, match=r"^operator: expected an Operator, got Tensor"):
        restore(PICTURE, PICTURE > 0.5, 0.1, _prior())
    with pytest.raises(ValueError, match=r"^prior: custom is for 1 channels, the picture has 3"):
        _restore(prior=_prior(channels=1))
    with pytest.raises(ValueError, match=r"^sampler: expected steps, start\(\) and weights\(\)"):
        _restore(sampler="ddrm")


def test_pictures_have_pixels():
    for shape in ((2, 3, 0, 8), (2, 0, 8, 8)):
        with pytest.raises(ValueError, match="^y: has no pixels, got shape"):
            _restore(torch.zeros(shape))


def test_arguments_of_sample():
    with pytest.raises(ValueError, match=r"^shape: expected \(B, C, H, W\), got \(3, 8, 8\)"):
        sample(_prior(), (3, 8, 8))
    with pytest.raises(ValueError, match=r"^prior: custom is for 1 channels, the picture has 3"):
        sample(_prior(channels=1), (2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"^prior: expected a Prior or a name, got function"):
        sample(lambda x, t: x, (2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"^labels: expected \[2\], got \(3,\)"):
        sample(_prior(), (2, 3, 8, 8), labels=torch.zeros(3))
    with pytest.raises(ValueError, match=r"^seed: expected a number or int64 \[2\]"):
        sample(_prior(), (2, 3, 8, 8), seed=torch.zeros(2))
    with pytest.raises(ValueError, match=r"^steps: expected 1 to 1000, got 0"):
        sample(_prior(), (2, 3, 8, 8), DDIM(steps=0))


def test_an_operator_of_many_masks_fits_their_number():
    operator = Inpainting(torch.rand(3, 1, 8, 8) > 0.4)
    with pytest.raises(ValueError, match=r"^y: this operator is for a batch of 3, got 2"):
        _restore(operator=operator)
    blocks = SuperResolution(2, mask=torch.rand(3, 1, 8, 8))
    for masked, y in ((operator, PICTURE), (blocks, PICTURE[..., :4, :4])):
        with pytest.raises(ValueError, match=r"^x: this operator is for a batch of 3, got 2"):
            masked.H(PICTURE)
        for method in (masked.Ht, masked.H_pinv, masked.prepare):
            with pytest.raises(ValueError, match=r"^y: this operator is for a batch of 3, got 2"):
                method(y)


NOTHING = {
    "mask": Inpainting(torch.zeros(8, 8)),
    "gain": Gain(torch.zeros(3, 8, 8)),
    "masked blocks": SuperResolution(2, mask=torch.zeros(8, 8)),
}


@pytest.mark.parametrize("name", NOTHING)
def test_measuring_nothing_is_an_error_of_restore_alone(name):
    """The operator itself accepts it: one tile of a picture may be covered completely."""
    operator = NOTHING[name]
    y = operator.H(PICTURE)
    assert not y.any() and not operator.H_pinv(y).any() and not operator.Ht(y + 1).any()
    assert torch.allclose(operator.V(operator.Vt(PICTURE)), PICTURE)
    with pytest.raises(ValueError, match=r"^operator: .* measures nothing \(an all-zero mask"):
        _restore(y, operator)


def test_measuring_nothing_of_one_picture_names_it():
    mask = torch.ones(2, 1, 8, 8)
    mask[1] = 0
    with pytest.raises(ValueError, match=r"^operator: .* measures nothing of picture 1"):
        _restore(operator=Inpainting(mask))


def test_errors_come_before_the_network_is_asked():
    def network(x, t):
        raise AssertionError("the network was called")

    prior = _prior(network)
    bad = [
        {"y": _with(NAN)},
        {"sigma_y": -1.0},
        {"num_samples": 0},
        {"batch_size": 0},
        {"labels": torch.zeros(5)},
        {"sampler": DDRM(steps=0)},
        {"operator": Inpainting(torch.zeros(8, 8))},
        {"operator": SuperResolution(16), "y": torch.rand(1, 3, 0, 0)},
    ]
    for keywords in bad:
        with pytest.raises(ValueError):
            _restore(**keywords, prior=prior)


# steps and schedules


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_number_of_steps(steps):
    with pytest.raises(ValueError, match=r"^steps: expected 1 to 1000, got"):
        _restore(sampler=DDRM(steps=steps))


@pytest.mark.parametrize(
    "steps, reason",
    [
        ([], "the list is empty"),
        ([100, 1000], "from 0 to 999"),
        ([100, -1], "from 0 to 999"),
        ([0, 100], "expected descending"),
        ([100, 100], "expected descending"),
        ([100.5, 50.0], "expected a whole number, or a list of them"),
        (20.0, "expected a whole number, or a list of them"),
        ("20", "expected a whole number, or a list of them"),
    ],
)
def test_lists_of_steps(steps, reason):
    with pytest.raises(ValueError, match=rf"^steps: .*{reason}"):
        _restore(sampler=DDRM(steps=steps))


def test_steps_without_signal_or_noise_are_refused():
    """abar = 0: x0 would be a division by 0. abar = 1: eps would be."""
    schedule = Schedule(torch.cat((torch.ones(1), torch.linspace(0.9, 0.0, 9))))
    with pytest.raises(ValueError, match=r"^steps: abar is 0 at timestep 9"):
        _restore(prior=_prior(schedule=schedule), sampler=DDRM(steps=[9, 5, 1]))
    with pytest.raises(ValueError, match=r"^steps: abar is 1 at timestep 0"):
        _restore(prior=_prior(schedule=schedule), sampler=DDRM(steps=[8, 5, 0]))
    _restore(prior=_prior(schedule=schedule), sampler=DDRM(steps=[8, 5, 1]))


@pytest.mark.parametrize(
    "abar", [[], [[0.5]], [0.5, 0.6], [1.1, 0.5], [0.5, -0.1], [0.5, NAN], 0.5]
)
def test_alphas_cumprod(abar):
    with pytest.raises(ValueError, match="^alphas_cumprod: expected"):
        Schedule(torch.tensor(abar))


@pytest.mark.parametrize("betas", [[0.1, 1.1], [-0.1], [NAN]])
def test_betas(betas):
    with pytest.raises(ValueError, match="^betas: expected numbers from 0 to 1"):
        Schedule.from_betas(betas)


@pytest.mark.parametrize("value", [-0.1, 1.1, NAN])
def test_weights_of_samplers(value):
    for name, make in {
        "eta": [DDRM, DDNM, DDNMPlus, DDIM],
        "eta_b": [DDRM],
        "eta_c": [DDRM],
    }.items():
        for sampler in make:
            with pytest.raises(ValueError, match=rf"^{name}: expected 0 <= {name} <= 1"):
                sampler(**{name: value})


def test_choices_of_samplers():
    with pytest.raises(ValueError, match="^start_scale: expected 'exact' or 'published'"):
        DDRM(start_scale="both")
    with pytest.raises(ValueError, match="^variance: expected 'small' or 'large'"):
        DDPM(variance="learned")


# operators


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
        with pytest.raises(ValueError, match="^factor: expected an integer >= 1"):
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
            _restore(y, operator)


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
            SeparableDecimation(kernel, 1, size=size)
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


ALL = {
    "denoising": (Denoising(), (3, 8, 8)),
    "inpainting": (Inpainting(torch.rand(8, 8) > 0.4), (3, 8, 8)),
    "gain": (Gain(torch.randn(3, 8, 8)), (3, 8, 8)),
    "colorization": (Colorization(), (3, 8, 8)),
    "super-resolution": (SuperResolution(2), (3, 8, 8)),
    "old photo": (SuperResolution(2, (0.2, 0.5, 0.3), torch.rand(8, 8) > 0.4), (3, 8, 8)),
    "walsh-hadamard": (WalshHadamardCS((8, 8), 2), (3, 8, 8)),
    "block cs": (BlockCS(4, 2), (3, 8, 8)),
    "blur": (Blur(torch.rand(3, 3)), (3, 8, 7)),
    "reflecting blur": (Blur(gaussian_kernel(1.0), "reflect"), (3, 8, 7)),
    "separable blur": (SeparableBlur(torch.rand(3), size=(8, 7)), (3, 8, 7)),
    "bicubic": (BicubicDownscaling(2, (8, 6)), (3, 8, 6)),
    "decimation": (BlurDecimate(torch.rand(3, 3), 2), (3, 8, 6)),
    "matrix": (GeneralOperator(torch.randn(5, 12), (3, 2, 2)), (3, 2, 2)),
}


@pytest.mark.parametrize("name", ALL)
def test_no_pictures_give_no_pictures(name):
    """A batch of 0 passes through everything, and no network is asked."""
    operator, shape = ALL[name]
    none = torch.zeros(0, *shape)
    y = degrade(none, operator, 0.1)
    expected = operator.H(torch.zeros(1, *shape)).shape[1:]
    assert y.shape == (0, *expected)
    for image in (operator.Ht(y), operator.H_pinv(y), operator.V(operator.Vt(none))):
        assert image.shape == none.shape
    result = _restore(y, operator, num_samples=2, prior=_prior(lambda x, t: 1 / 0))
    assert result.samples.shape == (2, 0, *shape)
    assert result.mean.shape == result.std.shape == none.shape


# networks and priors


@pytest.mark.parametrize(
    "network, got",
    [
        (lambda x, t: x[:, :2], r"\(2, 2, 8, 8\)"),
        (lambda x, t: x[:1], r"\(1, 3, 8, 8\)"),
        (lambda x, t: x[..., :4], r"\(2, 3, 8, 4\)"),
        (lambda x, t: x.flatten(1), r"\(2, 192\)"),
        (lambda x, t: (x, x), "tuple"),
        (lambda x, t: None, "NoneType"),
        (lambda x, t: x.numpy(), "ndarray"),
    ],
)
def test_outputs_of_the_network(network, got):
    with pytest.raises(ValueError, match=f"^network: expected .*got {got}"):
        _restore(prior=_prior(network))


@pytest.mark.parametrize("operator", [Denoising(), Blur(torch.rand(3, 3)), SuperResolution(2)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.uint8])
def test_dtypes_of_the_network(dtype, operator):
    y = operator.H(PICTURE)
    with pytest.raises(ValueError, match="^out: "):
        _restore(y, operator, prior=_prior(lambda x, t: x.to(dtype)))


def test_definitions_of_priors():
    with pytest.raises(ValueError, match="^prediction: expected one of eps, x0, v, got 'score'"):
        _prior(prediction="score")
    with pytest.raises(ValueError, match="^network: expected a callable, got str"):
        Prior("network")
    with pytest.raises(ValueError, match="^value_range: expected low < high"):
        DenoiserPrior(lambda x, sigma: x, (1.0, 0.0))
    with pytest.raises(ValueError, match=r"^power:\s+this\s+prior\s+is\s+for"):
        _restore(prior=GaussianPrior(torch.ones(4, 4)))


@pytest.mark.parametrize("sigma", [0.0, -1.0, NAN, 1e6])
def test_levels_of_denoise(sigma):
    with pytest.raises(ValueError, match="^sigma: expected"):
        _prior().denoise(PICTURE, sigma)
    if not sigma > 1:
        with pytest.raises(ValueError, match="^sigma: expected > 0"):
            DenoiserPrior(lambda x, s: x).denoise(PICTURE, sigma)


def test_levels_of_denoise_are_one_or_one_for_each():
    for prior in (_prior(), DenoiserPrior(lambda x, s: x)):
        with pytest.raises(ValueError, match=r"^sigma: expected one number or \[2\], got 3"):
            prior.denoise(PICTURE, torch.full((3,), 0.5))


def test_settings_of_diffusers():
    class Model:
        config = type("Config", (), {"in_channels": 3})
        dtype = torch.float32

    with pytest.raises(ValueError, match="^prediction_type: expected one of epsilon"):
        wrap_diffusers(Model(), {"prediction_type": "score"})
    with pytest.raises(ValueError, match="^beta_schedule: 'sigmoid' is not known"):
        wrap_diffusers(Model(), {"beta_schedule": "sigmoid"})


def test_paths_of_priors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file.*known names: default, gaussian"):
        load_prior("celeba")
    with pytest.raises(FileNotFoundError, match=r"no\.safetensors': no such file or folder"):
        load_prior(tmp_path / "no.safetensors")
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"weights\.pth:\s+expected\s+a\s+\.safetensors"):
        load_prior(weights)
    (tmp_path / "folder").mkdir()
    with pytest.raises((FileNotFoundError, ImportError), match="diffusers"):
        load_prior(tmp_path / "folder")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\0\0\0\0\0\0\0{}      ", bytes(200)])
def test_damaged_files_of_priors(tmp_path, content):
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.safetensors"):
        load_prior(path)


def test_guidance_of_a_wrong_shape():
    with pytest.raises(ValueError, match="^guidance: expected"):
        _restore(guidance=lambda x, t, labels: x[:, :1])
    with pytest.raises(ValueError, match="^guidance: expected"):
        _restore(guidance=lambda x, t, labels: None)


# backends


@pytest.fixture
def environment(monkeypatch):
    """Sets DDRM_FAST_BACKEND for one test (the choice is remembered, so it is forgotten here)."""

    def set_backend(name):
        monkeypatch.setenv(dispatch.ENVIRONMENT, name)
        dispatch.choose.cache_clear()

    yield set_backend
    monkeypatch.undo()
    dispatch.choose.cache_clear()


def test_unknown_backends(environment):
    with pytest.raises(ValueError, match="^backend: unknown name 'jax'; expected one of .*cpp"):
        ops.use_backend("jax")
    environment("jax")
    with pytest.raises(ValueError, match="unknown name 'jax'"):
        ops.fwht(torch.zeros(1, 1, 2, 2))


def test_the_environment_chooses(environment):
    environment("reference")
    assert dispatch.choose("cpu", torch.float32).__name__ == "ddrm_fast.ops.reference"
    with ops.use_backend("cpp"):  # the program's own word counts more
        assert dispatch.choose("cpu", torch.float32).__name__ == "ddrm_fast.ops.cpp"
    assert dispatch.choose("cpu", torch.float32).__name__ == "ddrm_fast.ops.reference"


def test_the_environment_of_a_process():
    """As a user sets it: before Python starts."""
    code = "import torch, ddrm_fast; ddrm_fast.ops.fwht(torch.zeros(1, 1, 2, 2))"
    search = os.pathsep.join(p for p in sys.path if p)
    env = {**os.environ, "DDRM_FAST_BACKEND": "jax", "PYTHONPATH": search}
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True
    )
    assert run.returncode != 0 and "unknown name 'jax'" in run.stderr


@pytest.mark.parametrize("name", ["cuda", "triton"])
def test_backends_that_cannot_run_say_why(name, environment):
    reason = ops.backends()[name]
    if reason is None:
        pytest.skip(f"{name} runs here")
    assert len(reason) > 20
    with pytest.raises(BackendError, match=f"^backend '{name}' cannot run: ") as error:
        ops.use_backend(name)
    assert reason in str(error.value)
    environment(name)
    with pytest.raises(BackendError, match=f"^backend '{name}' cannot run: "):
        ops.fwht(torch.zeros(1, 1, 2, 2))


def test_a_refused_request_changes_nothing():
    before = dispatch.choose("cpu", torch.float32)
    for name in ("jax", "cuda", "triton"):
        if ops.backends().get(name, "unknown") is not None:
            with pytest.raises((ValueError, BackendError)):
                ops.use_backend(name)
    assert dispatch.choose("cpu", torch.float32) is before


def test_explicit_cpp_does_not_fall_back_for_float64():
    with ops.use_backend("cpp"):
        with pytest.raises(BackendError, match="'cpp' was asked for, but it computes in float32"):
            ops.fwht(torch.zeros(1, 1, 2, 2, dtype=torch.float64))
        with pytest.raises(BackendError, match="'cpp' was asked for, but it computes in float32"):
            _restore(PICTURE.double())
    assert _restore(PICTURE.double()).mean.dtype == torch.float64


# operations, called directly


def _step(**changes):
    arguments = {
        "x_t": torch.zeros(2, 3, 4, 4),
        "out": torch.zeros(2, 3, 4, 4),
        "u": torch.zeros(2, 3, 4, 4),
        "s": torch.ones(1, 1, 1, 1),
        "table": torch.zeros(2, 1, rows.WIDTH),
        "step": torch.ones(1, dtype=torch.int64),
        "noise": Noise(ops.noise_keys(2)),
    }
    return {**arguments, **changes}


def _block(**changes):
    common = {"u": torch.zeros(2, 3, 2, 2), "weights": None, "mask": None, "factor": 2}
    return _step(**{**common, **changes})


def _spectral(**changes):
    half = torch.zeros(2, 3, 4, 3, dtype=torch.complex64)
    return _step(**{"x_t": half, "out": half, "u": half, "width": 4, **changes})


def _alias(**changes):
    small = torch.zeros(2, 3, 2, 2, dtype=torch.complex64)
    kernel = torch.zeros(1, 1, 4, 3, dtype=torch.complex64)
    return _spectral(**{"u": small, "kernel": kernel, "factor": 2, **changes})


CALLS = {
    "pointwise": (ops.pointwise_step, _step),
    "block": (ops.block_step, _block),
    "spectral": (ops.spectral_step, _spectral),
    "alias": (ops.alias_step, _alias),
}
ZEROS = torch.zeros(2, 3, 4, 4)


def _meta(make, name):
    value = make()[name]
    if isinstance(value, Noise):
        return Noise(value.keys.to("meta"))
    return value.to("meta")


@pytest.mark.parametrize("name", CALLS)
def test_good_steps_pass(name):
    """What the tests below take one argument away from."""
    operation, make = CALLS[name]
    assert operation(**make()).shape == make()["x_t"].shape


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("argument", ["out", "u", "s", "table", "step", "noise", "kernel"])
def test_steps_refuse_other_devices(name, argument):
    operation, make = CALLS[name]
    if argument not in make():
        argument = "x_t"
    message = {"noise": r"noise\.keys", "x_t": "out"}.get(argument, argument)
    with pytest.raises(ValueError, match=rf"^{message}: is on .*, the state is on"):
        operation(**make(**{argument: _meta(make, argument)}))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("argument", ["weights", "mask", "noise.pixels", "x_next"])
def test_steps_refuse_other_devices_of_optional_arguments(name, argument):
    operation, make = CALLS[name]
    state = make()["x_t"]
    if argument == "noise.pixels":
        changes = {"noise": Noise(ops.noise_keys(2), state.to("meta"))}
    elif argument == "x_next":
        changes = {"x_next": state.to("meta")}
    else:
        operation, make = CALLS["block"]
        value = {"weights": torch.ones(3), "mask": torch.ones(1, 1, 4, 4)}[argument]
        changes = {argument: value.to("meta")}
        if argument == "weights":
            changes["u"] = torch.zeros(2, 1, 2, 2)
    with pytest.raises(ValueError, match=rf"^{argument}: "):
        operation(**make(**changes))


WRONG = [
    ("x_t", ZEROS.half(), "x_t"),
    ("x_t", ZEROS.int(), "x_t"),
    ("x_t", ZEROS[0], "x_t"),
    ("x_t", ZEROS.mT, "x_t"),
    ("x_t", ZEROS.to(memory_format=torch.channels_last), "x_t"),
    ("x_t", None, "x_t, out|x_next"),
    ("out", ZEROS.double(), "out"),
    ("out", ZEROS.int(), "out"),
    ("out", ZEROS[:1], "out"),
    ("out", ZEROS[:, :2], "out"),
    ("out", ZEROS[..., :3], "out"),
    ("out", ZEROS[0], "out"),
    ("out", None, "x_t, out"),
    ("u", ZEROS.double(), "u"),
    ("u", ZEROS.half(), "u"),
    ("u", torch.zeros(3, 3, 4, 4), "u"),
    ("u", ZEROS[:, :1], "u"),
    ("u", ZEROS[..., :3], "u"),
    ("u", ZEROS[0], "u"),
    ("s", torch.ones(3, 1, 1, 1), "s"),
    ("s", torch.ones(1, 2, 1, 1), "s"),
    ("s", torch.ones(1, 1, 3, 1), "s"),
    ("s", torch.ones(1), "s"),
    ("table", torch.zeros(2, 1, 32), "table"),
    ("table", torch.zeros(2, 3, 33), "table"),
    ("table", torch.zeros(2, 33), "table"),
    ("table", torch.zeros(2, 1, 33).double(), "table"),
    ("table", torch.zeros(1, 33, 2).mT, "table"),
    ("step", torch.ones(1), "step"),
    ("step", torch.ones(1, dtype=torch.int32), "step"),
    ("step", torch.ones(2, dtype=torch.int64), "step"),
    ("noise", Noise(ops.noise_keys(3)), r"noise\.keys"),
    ("noise", Noise(ops.noise_keys(2).int()), r"noise\.keys"),
    ("noise", Noise(ops.noise_keys(2), ZEROS[:1]), r"noise\.pixels"),
    ("noise", Noise(ops.noise_keys(2), ZEROS.double()), r"noise\.pixels"),
    ("x_next", ZEROS[:1], "x_next"),
    ("x_next", ZEROS.double(), "x_next"),
    ("x_next", ZEROS.mT, "x_next"),
    ("x0", ZEROS[:1], "x0"),
    ("x0", ZEROS.half(), "x0"),
]


@pytest.mark.parametrize("argument, value, named", WRONG)
def test_pointwise_step_refuses(argument, value, named):
    with pytest.raises(ValueError, match=f"^({named}): "):
        ops.pointwise_step(**_step(**{argument: value}))


@pytest.mark.parametrize(
    "argument, value, named",
    [
        ("factor", 0, "factor"),
        ("factor", -2, "factor"),
        ("factor", 2.0, "factor"),
        ("factor", 3, "factor"),
        ("u", ZEROS, "u"),
        ("u", torch.zeros(2, 1, 2, 2), "u"),
        ("s", torch.ones(1, 1, 4, 4), "s"),
        ("weights", torch.ones(2), "weights"),
        ("weights", torch.ones(1, 3), "weights"),
        ("mask", torch.ones(4, 4), "mask"),
        ("mask", torch.ones(1, 2, 4, 4), "mask"),
        ("mask", torch.ones(3, 1, 4, 4), "mask"),
        ("mask", torch.ones(1, 1, 2, 2), "mask"),
    ],
)
def test_block_step_refuses(argument, value, named):
    changes = {argument: value}
    if argument == "weights":
        changes["u"] = torch.zeros(2, 1, 2, 2)
    with pytest.raises(ValueError, match=f"^{named}: "):
        ops.block_step(**_block(**changes))


HALF = torch.zeros(2, 3, 4, 3, dtype=torch.complex64)


@pytest.mark.parametrize(
    "argument, value, named",
    [
        ("width", 6, "width"),
        ("width", 3, "width"),
        ("x_t", HALF.real, "x_t"),
        ("x_t", HALF.conj(), "x_t"),
        ("out", HALF.real, "out"),
        ("out", HALF.to(torch.complex128), "out"),
        ("u", HALF.real, "u"),
        ("s", torch.ones(1, 1, 4, 4), "s"),
    ],
)
def test_spectral_step_refuses(argument, value, named):
    with pytest.raises(ValueError, match=f"^{named}: "):
        ops.spectral_step(**_spectral(**{argument: value}))


@pytest.mark.parametrize(
    "argument, value, named",
    [
        ("factor", 0, "factor"),
        ("factor", 3, "factor"),
        ("factor", 2.0, "factor"),
        ("width", 6, "width"),
        ("u", HALF, "u"),
        ("kernel", HALF[:, :, :2], "kernel"),
        ("kernel", HALF[:, :2], "kernel"),
        ("kernel", HALF[0], "kernel"),
        ("kernel", HALF.real, "kernel"),
        ("kernel", torch.zeros(3, 1, 4, 3, dtype=torch.complex64), "kernel"),
        ("s", torch.ones(1, 1, 4, 3), "s"),
    ],
)
def test_alias_step_refuses(argument, value, named):
    with pytest.raises(ValueError, match=f"^{named}: "):
        ops.alias_step(**_alias(**{argument: value}))


def test_initial_state_needs_a_buffer():
    for operation, make in CALLS.values():
        with pytest.raises(ValueError, match="^x_next: has to be given"):
            operation(**make(x_t=None, out=None))


def test_first_state_of_an_operator_needs_a_buffer():
    table = ddrm_fast.operators.Rows(torch.zeros(2, 1, rows.WIDTH))
    step = torch.zeros(1, dtype=torch.int64)
    for operator in (Denoising(), Blur(torch.rand(3, 3))):
        u = operator.prepare(PICTURE)
        with pytest.raises(ValueError, match="^x_next: has to be given"):
            operator.step(None, None, u, table, step, Noise(ops.noise_keys(2)))


def test_rows_outside_the_table_are_refused():
    for backend in [name for name, reason in ops.backends().items() if reason is None]:
        for index in (2, -1):
            with ops.use_backend(backend), pytest.raises((ValueError, IndexError)):
                ops.pointwise_step(**_step(step=torch.tensor([index])))


@pytest.mark.parametrize("x", [ZEROS.half(), ZEROS.int(), ZEROS[0], ZEROS.to(torch.complex64)])
def test_linear_operations_refuse(x):
    one = torch.ones(1, 1, 1, 1)
    table, step = torch.zeros(2, 1, rows.WIDTH), torch.ones(1, dtype=torch.int64)
    for name, call in (
        ("x", lambda: ops.fwht(x)),
        ("x", lambda: ops.block_measure(x, one, None, None, 2)),
        ("c", lambda: ops.block_lift(x, one, None, None, 2, 3)),
        ("x_t", lambda: ops.predict_x0(x, ZEROS, table, step)),
    ):
        with pytest.raises(ValueError, match=f"^{name}: expected"):
            call()


def test_block_lift_refuses_channels_that_do_not_fit():
    one = torch.ones(1, 1, 1, 1)
    with pytest.raises(ValueError, match="^c: expected 4 channels of coefficients, got 3"):
        ops.block_lift(ZEROS, one, None, None, 2, 4)
    with pytest.raises(ValueError, match="^c: expected 1 channels of coefficients, got 3"):
        ops.block_lift(ZEROS, one, torch.ones(3), None, 2, 3)
    with pytest.raises(ValueError, match="^factor: "):
        ops.block_lift(ZEROS, one, None, None, 0, 3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int32, torch.uint8])
def test_predict_x0_refuses_outputs(dtype):
    table, step = torch.zeros(2, 1, rows.WIDTH), torch.ones(1, dtype=torch.int64)
    with pytest.raises(ValueError, match="^out: "):
        ops.predict_x0(ZEROS, ZEROS.to(dtype), table, step)


@pytest.mark.parametrize(
    "keywords, named",
    [
        ({"iteration": -1}, "iteration"),
        ({"iteration": 2**24}, "iteration"),
        ({"stream": -1}, "stream"),
        ({"stream": 256}, "stream"),
        ({"keys": torch.zeros(1, 4)}, "keys"),
        ({"keys": torch.zeros(1, 3, dtype=torch.int64)}, "keys"),
        ({"keys": torch.zeros(4, dtype=torch.int64)}, "keys"),
        ({"channels": -1}, "channels"),
        ({"height": -1}, "height"),
    ],
)
def test_normal_refuses(keywords, named):
    arguments = {"keys": ops.noise_keys(1), "channels": 1, "height": 2, "width": 2, **keywords}
    with pytest.raises(ValueError, match=f"^{named}: expected"):
        ops.normal(**arguments)


def test_noise_keys_refuse():
    for name in ("seed", "sample"):
        with pytest.raises(ValueError, match=f"^{name}: got 3 values for a batch of 2"):
            ops.noise_keys(2, **{name: torch.zeros(3, dtype=torch.int64)})
    with pytest.raises(ValueError, match=r"^origin: expected shape \(2, 2\), got \(2,\)"):
        ops.noise_keys(2, origin=torch.zeros(2))
    with pytest.raises(ValueError, match="^origin: rows and columns start at 0"):
        ops.noise_keys(2, origin=torch.tensor([[0, 0], [0, -1]]))


# samplers of one's own


def test_a_sampler_of_ones_own_may_reach_every_branch():
    """What is no error: numbers and tensors, for one image or each."""

    class Mine:
        steps = [500, 100]

        def start(self, abar, sigma_y):
            return Weights.everywhere(Branch(d0=1.0))

        def weights(self, abar, abar_next, sigma_y):
            return Weights(Branch(a0=1.0), Branch(c2=0.5), Branch(c1=1.0), sigma_y)

    result = _restore(sampler=Mine(), sigma_y=torch.tensor([0.1, 0.9]))
    assert torch.isfinite(result.mean).all()

"""Wrong arguments of `restore`, `degrade` and `sample`: an error that names them, before any work."""

import pytest
import torch
from small_cases import PICTURE, PIXELWISE, pixelwise, restore_small

from ddrm_fast import DDIM, DDRM, Prior, degrade, restore, sample
from ddrm_fast.operators import Denoising, Gain, Inpainting, SuperResolution, WalshHadamardCS

pytestmark = pytest.mark.filterwarnings("error")  # nothing warns unless a test says so
NAN, INF = float("nan"), float("inf")


def _with(value):
    picture = PICTURE.clone()
    picture[1, 2, 3, 4] = value
    return picture


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_pixels_have_to_be_finite(value):
    with pytest.raises(ValueError, match=r"^y: has 1 NaN or infinite entries of 384"):
        restore_small(_with(value))
    with pytest.raises(ValueError, match=r"^x: has 1 NaN or infinite entries of 384"):
        degrade(_with(value), Denoising())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.int64, bool])
def test_pictures_have_to_be_float(dtype):
    dtype = torch.bool if dtype is bool else dtype
    with pytest.raises(ValueError, match=rf"^y: expected float32.*got {dtype}"):
        restore_small(PICTURE.to(dtype))
    with pytest.raises(ValueError, match=rf"^x: expected float32.*got {dtype}"):
        degrade(PICTURE.to(dtype), Denoising())


def test_pictures_have_to_be_tensors():
    with pytest.raises(ValueError, match=r"^y: expected a tensor, got list"):
        restore_small(PICTURE.tolist())
    with pytest.raises(ValueError, match=r"^x: expected a tensor, got ndarray"):
        degrade(PICTURE.numpy(), Denoising())


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0])
def test_clean_pictures_are_in_0_to_1(value):
    with pytest.raises(ValueError, match=r"^x: expected\s+clean\s+pictures\s+in\s+\[0,\s+1\]"):
        degrade(_with(value), Denoising())
    assert torch.equal(degrade(_with(value), Denoising(), keep_going=True), _with(value))


def test_measurements_may_leave_0_to_1():
    result = restore_small(3 * PICTURE - 1)
    assert torch.isfinite(result.mean).all()


def test_bytes_only_warn():
    """Compressed sensing has large numbers of its own, so this is no error."""
    with pytest.warns(UserWarning, match=r"^y: reaches 2.*looks like 0\.\.255"):
        result = restore_small(PICTURE * 255)
    assert result.mean.shape == PICTURE.shape
    operator = WalshHadamardCS((16, 16), 1)
    y = operator.H(torch.ones(1, 1, 16, 16))
    assert y.max() == 16  # and no warning: a white picture gives as much
    restore_small(y, operator)


@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 8), (1, 2, 3, 8, 8)])
def test_pictures_have_four_dimensions(shape):
    with pytest.raises(ValueError, match=r"^y: expected \(B, C, H, W\), got shape"):
        restore_small(torch.rand(shape))
    with pytest.raises(ValueError, match=r"^x: expected \(B, C, H, W\), got shape"):
        degrade(torch.rand(shape), SuperResolution(2))


@pytest.mark.parametrize("sigma_y", [-0.1, NAN, INF, torch.tensor([0.1, -0.1])])
def test_noise_level_is_a_finite_number_of_at_least_0(sigma_y):
    with pytest.raises(ValueError, match=r"^sigma_y: expected finite numbers >= 0"):
        restore_small(sigma_y=sigma_y)
    with pytest.raises(ValueError, match=r"^sigma_y: expected finite numbers >= 0"):
        degrade(PICTURE, Denoising(), sigma_y)


@pytest.mark.parametrize("sigma_y", [None, "a lot", [[0.1], [0.1, 0.2]]])
def test_noise_level_is_a_number(sigma_y):
    with pytest.raises(ValueError, match=r"^sigma_y: expected a number or \[2\]"):
        restore_small(sigma_y=sigma_y)


@pytest.mark.parametrize("count", [0, 3])
def test_noise_level_is_one_or_one_for_each(count):
    with pytest.raises(ValueError, match=rf"^sigma_y: expected one number or \[2\], got {count}"):
        restore_small(sigma_y=torch.full((count,), 0.1))
    with pytest.raises(ValueError, match=rf"^sigma_y: expected one number or \[2\], got {count}"):
        degrade(PICTURE, Denoising(), torch.full((count,), 0.1))


@pytest.mark.parametrize("number", [0, -1, 1.5, "2"])
def test_num_samples(number):
    with pytest.raises(ValueError, match=r"^num_samples: expected an integer >= 1"):
        restore_small(num_samples=number)


@pytest.mark.parametrize("size", [0, -3, 1.5])
def test_batch_size(size):
    with pytest.raises(ValueError, match=r"^batch_size: expected"):
        restore_small(batch_size=size)


@pytest.mark.parametrize("labels", [torch.zeros(3), torch.zeros(2, 1), torch.tensor(1), [0, 1, 2]])
def test_labels_are_one_for_each_picture(labels):
    with pytest.raises(ValueError, match=r"^labels: expected \[2\]"):
        restore_small(labels=labels)


def test_seeds_are_one_for_each_picture():
    for seed in (torch.zeros(3, dtype=torch.int64), torch.zeros(2), torch.tensor(5), 1.5, "5"):
        with pytest.raises(ValueError, match=r"^seed: expected a number or int64 \[2\]"):
            restore_small(seed=seed)


def test_origin_is_one_for_each_picture_and_not_negative():
    with pytest.raises(ValueError, match=r"^origin: expected shape \(2, 2\), got \(3, 2\)"):
        restore_small(origin=torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"^origin: rows and columns start at 0"):
        restore_small(origin=(0, -1))


def test_prior_operator_and_sampler_are_what_they_should_be():
    with pytest.raises(ValueError, match=r"^prior: expected a Prior or a name, got function"):
        restore(PICTURE, Denoising(), 0.1, lambda x, t: x)
    with pytest.raises(ValueError, match=r"^operator: expected an Operator, got Tensor"):
        restore(PICTURE, PICTURE > 0.5, 0.1, PIXELWISE)
    with pytest.raises(ValueError, match=r"^prior: custom is for 1 channels, the picture has 3"):
        restore_small(prior=Prior(pixelwise, channels=1))
    with pytest.raises(ValueError, match=r"^sampler: expected steps, start\(\) and weights\(\)"):
        restore_small(sampler="ddrm")


def test_pictures_have_pixels():
    for shape in ((2, 3, 0, 8), (2, 0, 8, 8)):
        with pytest.raises(ValueError, match="^y: has no pixels, got shape"):
            restore_small(torch.zeros(shape))


def test_arguments_of_sample():
    with pytest.raises(ValueError, match=r"^shape: expected \(B, C, H, W\), got \(3, 8, 8\)"):
        sample(PIXELWISE, (3, 8, 8))
    with pytest.raises(ValueError, match=r"^prior: custom is for 1 channels, the picture has 3"):
        sample(Prior(pixelwise, channels=1), (2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"^prior: expected a Prior or a name, got function"):
        sample(lambda x, t: x, (2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"^labels: expected \[2\], got \(3,\)"):
        sample(PIXELWISE, (2, 3, 8, 8), labels=torch.zeros(3))
    with pytest.raises(ValueError, match=r"^seed: expected a number or int64 \[2\]"):
        sample(PIXELWISE, (2, 3, 8, 8), seed=torch.zeros(2))
    with pytest.raises(ValueError, match=r"^steps: expected 1 to 1000, got 0"):
        sample(PIXELWISE, (2, 3, 8, 8), DDIM(steps=0))


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_network_that_gives_no_numbers_is_named(value):
    """One check of the finished pictures: else NaN would become a black picture without a word."""

    def broken(x_t, t):
        return torch.full_like(x_t, value)

    with pytest.raises(FloatingPointError, match=r"^prior: the network of mine led to 384 NaN"):
        restore(PICTURE, Denoising(), 0.1, Prior(broken, name="mine"), DDRM(steps=2))
    with pytest.raises(FloatingPointError, match=r"^prior: the network of mine led to 12 NaN"):
        sample(Prior(broken, name="mine"), (1, 3, 2, 2), DDIM(steps=2))


def test_an_operator_of_many_masks_fits_their_number():
    operator = Inpainting(torch.rand(3, 1, 8, 8) > 0.4)
    with pytest.raises(ValueError, match=r"^y: this operator is for a batch of 3, got 2"):
        restore_small(operator=operator)
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
        restore_small(y, operator)


def test_measuring_nothing_of_one_picture_names_it():
    mask = torch.ones(2, 1, 8, 8)
    mask[1] = 0
    with pytest.raises(ValueError, match=r"^operator: .* measures nothing of picture 1"):
        restore_small(operator=Inpainting(mask))


def test_errors_come_before_the_network_is_asked():
    def network(x, t):
        raise AssertionError("the network was called")

    prior = Prior(network)
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
            restore_small(**keywords, prior=prior)


@pytest.mark.parametrize(
    "pictures, advice",
    [(1, "windows"), (3, "3 pictures at a time; fewer pictures in a call would need less")],
)
def test_memory_that_is_not_enough_for_the_measurement(pictures, advice, monkeypatch):
    """Before the first step."""

    def full(self, x):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7 GiB")

    monkeypatch.setattr(Denoising, "H", full)
    with pytest.raises(torch.OutOfMemoryError, match=f"memory is not enough.*{advice}.*7 GiB"):
        restore_small(torch.rand(pictures, 3, 4, 4))


def test_memory_that_is_not_enough_for_the_samples(monkeypatch):
    """All samples are kept, unless one says not to."""
    whole, y = torch.Tensor.new_empty, torch.rand(2, 3, 4, 4)

    def small(self, *size):
        if size == (50, 2, 3, 4, 4):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7 GiB")
        return whole(self, *size)

    monkeypatch.setattr(torch.Tensor, "new_empty", small)
    with pytest.raises(torch.OutOfMemoryError, match="100 pictures.*keep_samples=False would need"):
        restore_small(y, num_samples=50)

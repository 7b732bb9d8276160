"""The noise: published vectors, statistics, and what it may and may not depend on."""

import importlib
import math

import pytest
import torch
from tolerances import NORMAL, assert_close

from ddrm_fast import ops
from ddrm_fast.ops import Noise, philox, rows

RUNNING = [name for name, reason in ops.backends().items() if reason is None]


@pytest.fixture(params=RUNNING)
def backend(request):
    """A backend that is in use for the whole test (its normals on the CPU)."""
    with ops.use_backend(request.param):
        try:
            ops.normal(ops.noise_keys(1), 1, 1, 1)
        except ops.BackendError as error:
            pytest.skip(str(error))
        yield request.param


# Known answers of Random123 (kat_vectors, philox4x32 with 10 rounds): counter, key, result

KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize("counter, key, words", KNOWN)
def test_philox_gives_the_published_words(counter, key, words):
    tensors = [[torch.tensor([word]) for word in part] for part in (counter, key)]
    assert tuple(int(word) for word in philox.philox(*map(tuple, tensors))) == words


@pytest.mark.parametrize("counter, key, words", KNOWN)
def test_compiled_philox_gives_the_published_words(counter, key, words):
    assert tuple(importlib.import_module("ddrm_fast._C").philox(counter, key)) == words


def test_counter_layout_is_the_documented_one(backend):
    """Word and lane of one pixel, by hand: (w >> 2, h, sample C + c, iteration + stream 2^24)."""
    seed, sample, iteration, stream = -(2**40) - 3, 7, 11, 5
    keys = ops.noise_keys(1, seed, sample, (100, 201))
    z = ops.normal(keys, 3, 2, 6, iteration=iteration, stream=stream)
    word = 2**32
    for c, h, w in ((0, 0, 0), (2, 1, 3), (1, 0, 5)):
        counter = ((201 + w) >> 2, 100 + h, sample * 3 + c, iteration + (stream << 24))
        key = (seed % word, (seed // word) % word)
        bits = [
            int(x) for x in philox.philox(*(tuple(map(torch.tensor, p)) for p in (counter, key)))
        ]
        lane = (201 + w) % 4
        u = [(b >> 9) * 2.0**-23 + 2.0**-24 for b in bits[2 * (lane // 2) :][:2]]
        turn = (math.cos, math.sin)[lane % 2]
        expected = math.sqrt(-2 * math.log(u[0])) * turn(2 * math.pi * u[1])
        assert abs(float(z[0, c, h, w]) - expected) <= NORMAL


def test_uniform_is_never_0_or_1():
    """Also in float32, where the tempting form rounds up to 1."""
    bits = torch.tensor([0, 1, 511, 512, 2**31, 2**32 - 512, 2**32 - 1])
    u = philox.uniform(bits)
    assert torch.equal(u.float().double(), u)
    assert 0 < float(u.min()) == 2.0**-24 and float(u.max()) == 1 - 2.0**-24 < 1
    assert torch.isfinite(torch.stack(philox.box_muller(bits, bits.flip(0)))).all()


# Statistics. Bounds are at 5 standard errors (6 for the largest of many); the seed is fixed.


def _sample(shape=(4, 4, 160, 128), seed=99, iteration=3):
    return ops.normal(ops.noise_keys(shape[0], seed), *shape[1:], iteration=iteration).double()


def _correlation(a, b):
    """sqrt(n) times the correlation of two standard normal fields: standard normal itself."""
    return float((a * b).sum()) / math.sqrt(a.numel())


def test_moments(backend):
    z = _sample().flatten()
    n = len(z)
    assert abs(z.mean()) < 5 / math.sqrt(n)
    assert abs(z.square().mean() - 1) < 5 * math.sqrt(2 / n)
    assert abs(z.pow(3).mean()) < 5 * math.sqrt(15 / n)
    assert abs(z.pow(4).mean() - 3) < 5 * math.sqrt(96 / n)


def test_tails(backend):
    z = _sample().flatten()
    n = len(z)
    for bound in (-4.0, -3.0, -2.0, -1.0, -0.1, 0.1, 1.0, 2.0, 3.0, 4.0):
        p = 0.5 * math.erfc(abs(bound) / math.sqrt(2))
        found = int((z > bound).sum() if bound > 0 else (z < bound).sum())
        assert abs(found - n * p) < 5 * math.sqrt(n * p * (1 - p)), bound
    assert z.abs().max() <= math.sqrt(-2 * math.log(2.0**-24))


def test_distribution_function(backend):
    """Kolmogorov and Smirnov: sqrt(n) D exceeds 2.7 once in a million."""
    z = _sample().flatten().sort().values
    n = len(z)
    expected = 0.5 * torch.erfc(-z / math.sqrt(2))
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    distance = torch.maximum((steps[1:] - expected).abs(), (expected - steps[:-1]).abs()).max()
    assert math.sqrt(n) * distance < 2.7


def test_lanes_are_independent(backend):
    """The four normals of one counter, and their squares (radii that two of them share)."""
    lanes = _sample().unflatten(-1, (-1, 4))
    for first in range(4):
        for second in range(first):
            a, b = lanes[..., first], lanes[..., second]
            assert abs(_correlation(a, b)) < 5, (first, second)
            assert abs(_correlation((a * a - 1) / 2**0.5, (b * b - 1) / 2**0.5)) < 5
        assert abs(lanes[..., first].square().mean() - 1) < 5 * math.sqrt(2 * 4 / lanes.numel())


def test_rows_and_columns_are_independent(backend):
    """Autocorrelation at every distance, through the spectrum."""
    z = _sample((1, 4, 160, 128))[0]
    power = torch.fft.rfft2(z, norm="ortho").abs().square().mean(dim=0)
    lags = torch.fft.irfft2(power, s=z.shape[-2:]) * math.sqrt(z.numel())
    lags[0, 0] = 0.0
    assert lags.abs().max() < 6
    squares = (z.square() - 1) / math.sqrt(2)
    power = torch.fft.rfft2(squares, norm="ortho").abs().square().mean(dim=0)
    lags = torch.fft.irfft2(power, s=z.shape[-2:]) * math.sqrt(z.numel())
    lags[0, 0] = 0.0
    assert lags.abs().max() < 6


def test_everything_that_names_a_draw_makes_it_independent(backend):
    """Seeds (either word), samples, iterations, streams, channels, far rows and columns."""
    draws = {}
    for seed in (0, 1, 2**32, -1, 2**63 - 1):
        draws["seed", seed] = ops.normal(ops.noise_keys(1, seed, 0), 1, 64, 64)[0, 0]
    for sample in (1, 2, 2**20):
        draws["sample", sample] = ops.normal(ops.noise_keys(1, 0, sample), 1, 64, 64)[0, 0]
    for iteration in (1, 2, 2**24 - 1):
        keys = ops.noise_keys(1, 0, 0)
        draws["iteration", iteration] = ops.normal(keys, 1, 64, 64, iteration=iteration)[0, 0]
    for stream in (0, 2, 255):
        keys = ops.noise_keys(1, 0, 0)
        draws["stream", stream] = ops.normal(keys, 1, 64, 64, stream=stream)[0, 0]
    for origin in ((64, 0), (0, 64), (2**16, 0), (0, 2**20)):
        keys = ops.noise_keys(1, 0, 0, origin)
        draws["origin", origin] = ops.normal(keys, 1, 64, 64)[0, 0]
    # (channel 0 of a picture with sample id 0 is already there, as seed 0)
    for channel, z in enumerate(ops.normal(ops.noise_keys(1, 77, 0), 4, 64, 64)[0]):
        draws["channel", channel] = z
    names = list(draws)
    fields = torch.stack([draws[name].double().flatten() for name in names])
    for values in (fields, (fields.square() - 1) / math.sqrt(2)):
        correlation = values @ values.mT / math.sqrt(fields.shape[1])
        correlation.fill_diagonal_(0.0)
        worst = int(correlation.abs().argmax())
        pair = names[worst // len(names)], names[worst % len(names)]
        assert correlation.abs().max() < 6, pair


# What noise depends on


@pytest.mark.parametrize("left", range(9))
def test_a_crop_draws_the_noise_of_its_place(backend, left):
    whole = ops.normal(ops.noise_keys(2, 5, origin=(40, 8)), 3, 12, 64, iteration=9)
    for top, height, width in ((0, 1, 1), (3, 9, 2), (5, 4, 35), (11, 1, 55)):
        keys = ops.noise_keys(2, 5, origin=(40 + top, 8 + left))
        crop = ops.normal(keys, 3, height, width, iteration=9)
        assert torch.equal(crop, whole[:, :, top : top + height, left : left + width])


def test_crops_of_one_batch_have_places_of_their_own(backend):
    whole = ops.normal(ops.noise_keys(1, 5), 3, 16, 64).expand(3, -1, -1, -1)
    origin = torch.tensor([[0, 3], [7, 0], [2, 29]])
    crops = ops.normal(ops.noise_keys(3, 5, sample=0, origin=origin), 3, 8, 31)
    for image, (top, left) in enumerate(origin.tolist()):
        assert torch.equal(crops[image], whole[image, :, top : top + 8, left : left + 31])


def test_an_image_does_not_depend_on_its_batch(backend):
    seeds, samples = torch.tensor([3, 3, -7, 2**62]), torch.tensor([0, 1, 0, 5])
    keys = ops.noise_keys(4, seeds, samples, (6, 1))
    whole = ops.normal(keys, 3, 9, 37, iteration=2)
    for part in (slice(0, 1), slice(1, 3), slice(3, 4)):
        assert torch.equal(ops.normal(keys[part].clone(), 3, 9, 37, iteration=2), whole[part])


def test_seeds_have_64_bits():
    """Negative and large seeds are the same 64 bits; every bit counts."""
    assert torch.equal(ops.noise_keys(2, 2**64 - 1), ops.noise_keys(2, -1))
    assert torch.equal(ops.noise_keys(2, 2**63), ops.noise_keys(2, -(2**63)))
    first = ops.normal(ops.noise_keys(1, 0, 0), 1, 2, 2)
    for bit in range(64):
        assert not torch.equal(ops.normal(ops.noise_keys(1, 2**bit, 0), 1, 2, 2), first), bit


def test_backends_draw_the_same_numbers():
    """float32 rounding apart: a seed means the same picture everywhere."""
    keys = ops.noise_keys(3, -5, origin=(2, 3))
    expected = philox.normal_field(keys, 3, 21, 77, 4, 1)
    for name in RUNNING:
        with ops.use_backend(name):
            assert_close(ops.normal(keys, 3, 21, 77, iteration=4), expected, 0.0, NORMAL)


def test_threads_do_not_change_the_noise(backend):
    keys = ops.noise_keys(2, 5, origin=(1, 2))
    torch.set_num_threads(1)
    one = ops.normal(keys, 2, 90, 101)
    torch.set_num_threads(2)
    assert torch.equal(ops.normal(keys, 2, 90, 101), one)


# Noise of half spectra


def _drawn_spectrum(keys, channels, height, width):
    """The Hermitian noise as a backend's spectral step draws it."""
    table = torch.zeros(3, 1, rows.WIDTH)
    table[..., rows.NULL + 2] = 1.0
    shape = (len(keys), channels, height, width // 2 + 1)
    return ops.spectral_step(
        None, None, None, torch.zeros(1, 1, 1, 1), table, torch.tensor([2]), Noise(keys), width,
        x_next=torch.empty(shape, dtype=torch.complex64),
    )  # fmt: skip


SIZES = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 5), (5, 1), (3, 3), (4, 4), (4, 5), (5, 4), (3, 6)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_hermitian_field_is_the_spectrum_of_a_real_field(backend, size):
    """rfft2 of its irfft2 returns it: nothing of it is lost in the inverse."""
    field = _drawn_spectrum(ops.noise_keys(7, 3), 2, *size)
    assert_close(field, philox.hermitian_field(ops.noise_keys(7, 3), 2, *size, 2, 0), 0.0, NORMAL)
    field = field.to(torch.complex128)
    real = torch.fft.irfft2(field, s=size, norm="ortho")
    assert_close(torch.fft.rfft2(real, norm="ortho"), field, 1e-6)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_hermitian_field_is_white(size):
    """Covariance of the pixels of its inverse is the identity, means are 0."""
    count, n = 8000, size[0] * size[1]
    field = philox.hermitian_field(ops.noise_keys(count, 8), 1, *size, 0, 0)
    pixels = torch.fft.irfft2(field, s=size, norm="ortho").flatten(1)
    covariance = pixels.mT @ pixels / count
    error = (covariance - torch.eye(n, dtype=torch.float64)).abs() * math.sqrt(count)
    assert error.diagonal().max() < 6 * math.sqrt(2)
    assert error.fill_diagonal_(0.0).max() < 6
    assert pixels.mean(dim=0).abs().max() * math.sqrt(count) < 6


def test_hermitian_field_does_not_depend_on_the_batch(backend):
    keys = ops.noise_keys(4, 6)
    whole = _drawn_spectrum(keys, 3, 6, 14)
    assert torch.equal(_drawn_spectrum(keys[1:3].clone(), 3, 6, 14), whole[1:3])


def test_streams_keep_their_numbers():
    """Pictures and records depend on them."""
    named = {stream.name: int(stream) for stream in ops.Stream}
    assert named == {
        "SAMPLING": 0, "FREE": 1, "MEASUREMENT": 2, "TRAINING": 3, "BOUND": 4, "PRIOR_VECTOR": 7,
        "DEGRADED": 8, "GUIDANCE": 9,
    }  # fmt: skip
    keys = ops.noise_keys(1, 5)
    free = ops.normal(keys, 1, 2, 8, stream=1)
    assert torch.equal(ops.normal(keys, 1, 2, 8), free)
    assert torch.equal(ops.normal(keys, 1, 2, 8, stream=ops.Stream.FREE), free)

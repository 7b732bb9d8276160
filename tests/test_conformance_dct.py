"""The cosine transform on every backend against the float64 reference, and that against scipy."""

import pytest
import scipy.fft
import torch
from conformance import LAYOUTS, check, layouts, random_images
from tolerances import assert_close, transform

from ddrm_fast import ops
from ddrm_fast.ops import dct


def _tolerance(shape):
    """That of a transform of 64 times as many numbers: an FFT and the twiddles of two axes."""
    return transform(64 * shape[2] * shape[3])


SHAPES = [
    (1, 1, 1, 1), (2, 3, 1, 2), (2, 3, 2, 1), (1, 1, 2, 2), (1, 2, 3, 3), (2, 1, 4, 4), (1, 1, 1, 7),
    (1, 1, 8, 1), (2, 3, 5, 6), (1, 3, 6, 5), (2, 2, 16, 137), (1, 1, 137, 16), (0, 3, 4, 4),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_dct2_matches(device, shape):
    check(device, dct.forward, {"x": random_images(shape)}, _tolerance(shape))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_idct2_matches(device, shape):
    check(device, dct.inverse, {"c": random_images(shape)}, _tolerance(shape))


@pytest.mark.parametrize(
    "factor, shape",
    [
        (2, (2, 3, 4, 6)),
        (3, (1, 2, 9, 3)),
        (4, (1, 1, 4, 4)),
        (4, (2, 1, 24, 136)),
        (5, (1, 1, 35, 10)),
    ],
)
def test_dct2_matches_in_the_order_of_groups(device, factor, shape):
    call = {"factor": factor}
    check(device, dct.forward, {"x": random_images(shape), **call}, _tolerance(shape))
    check(device, dct.inverse, {"c": random_images(shape), **call}, _tolerance(shape))


def test_the_order_of_groups():
    """The same coefficients, k, 2M - k, 2M + k, ... beside each other."""
    x = torch.randn(1, 1, 12, 8, dtype=torch.float64)
    plain, grouped = dct.forward(x)[0, 0], dct.forward(x, 4)[0, 0]
    rows = [0, 3, 6, 9, 1, 5, 7, 11, 2, 4, 8, 10]
    columns = [0, 2, 4, 6, 1, 3, 5, 7]
    assert torch.equal(grouped, plain[rows][:, columns])
    assert_close(dct.inverse(grouped[None, None], 4), x, 1e-14)
    with pytest.raises(ValueError, match="^factor: expected a divisor of both sides"):
        dct.forward(x, 5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dct2_matches_for_layouts(device, layout):
    x = layouts((2, 3, 6, 10))[layout]
    check(device, dct.forward, {"x": x}, _tolerance(x.shape))
    check(device, dct.inverse, {"c": x}, _tolerance(x.shape))


@pytest.mark.parametrize("shape", SHAPES[:-1], ids=str)
def test_the_oracle_is_the_dct_of_scipy(shape):
    x = torch.randn(shape, dtype=torch.float64)
    expected = torch.from_numpy(scipy.fft.dctn(x.numpy(), axes=(2, 3), norm="ortho"))
    with ops.use_backend("reference"):
        assert_close(dct.forward(x), expected, 1e-14)
        assert_close(dct.inverse(expected), x, 1e-14)

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

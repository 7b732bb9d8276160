"""The Walsh-Hadamard transform on every backend against the float64 reference."""

import pytest
import torch
from conformance import LAYOUTS, NATIVE, check, layouts, move, random_images, run_on
from tolerances import assert_close, transform

from ddrm_fast import ops


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 1), (2, 3, 1, 2), (2, 3, 2, 1), (1, 1, 1, 8), (3, 1, 16, 2), (2, 3, 4, 4),
        (1, 2, 32, 64), (1, 1, 1, 4096), (1, 1, 8192, 1), (1, 1, 256, 512), (0, 3, 4, 4),
    ],
    ids=str,
)  # fmt: skip
def test_fwht_matches(device, shape):
    call = {"x": random_images(shape)}
    check(device, ops.fwht, call, transform(shape[2] * shape[3]))


@pytest.mark.parametrize("device", NATIVE, indirect=True)
@pytest.mark.parametrize("bits", range(5, 22))
def test_fwht_of_few_numbers(device, bits):
    """Every length up to 2^21: a 1 at place k has coefficients (-1)^popcount(i & k) / sqrt(n)."""
    n = 2**bits
    places = torch.randperm(n)[:3]
    x = torch.zeros(1, 1, 2 ** (bits // 2), 2 ** (bits - bits // 2))
    x.view(-1)[places] = torch.tensor([1.0, -2.0, 0.75])
    expected = torch.zeros(n, dtype=torch.float64)
    for k, value in zip(places.tolist(), (1.0, -2.0, 0.75), strict=True):
        common = torch.arange(n) & k
        for shift in (16, 8, 4, 2, 1):
            common ^= common >> shift
        expected += value * (1 - 2 * (common & 1)) / n**0.5
    result = run_on(device, ops.fwht, {"x": x})
    assert_close(result, expected.view(x.shape), transform(n))
    assert_close(run_on(device, ops.fwht, {"x": result}), x.double(), transform(n))


def test_fwht_out_matches(device):
    """Into a buffer, and in place."""
    x = move(random_images((2, 3, 8, 16)), device)
    expected = ops.fwht(x)
    assert torch.equal(ops.fwht(x, out=torch.zeros_like(x)), expected)
    assert torch.equal(ops.fwht(x, out=x), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fwht_matches_for_layouts(device, layout):
    call = {"x": layouts((2, 3, 8, 16))[layout]}
    check(device, ops.fwht, call, transform(128))


def test_fwht_of_the_oracle_is_the_hadamard_matrix():
    """Against the m-fold Kronecker power, written out."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(6):
        matrix = torch.kron(matrix, torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64))
    x = torch.randn(2, 3, 4, 16, dtype=torch.float64)
    with ops.use_backend("reference"):
        assert_close(ops.fwht(x).flatten(2), x.flatten(2) @ matrix / 8, 1e-14)

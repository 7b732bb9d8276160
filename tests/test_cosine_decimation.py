"""Decimation in the cosine basis, against dense matrices and their SVDs."""

import pytest
import torch
from conformance import some_keys
from small_cases import seeded

from ddrm_fast import DDRM, DDNMPlus, Schedule, degrade, restore
from ddrm_fast import operators as O
from ddrm_fast.operators.cosine_decimate import alias_factors
from ddrm_fast.operators.separable import filter_matrix
from ddrm_fast.ops import Noise, dct
from ddrm_fast.priors import GaussianPrior
from ddrm_fast.priors.schedule import pairs
from ddrm_fast.samplers.table import build_rows

CASES = [(1, 5, 7), (2, 8, 6), (3, 9, 15), (4, 16, 12), (4, 4, 4), (5, 10, 5), (8, 64, 8)]
each_case = pytest.mark.parametrize("r, height, width", CASES, ids=str)


def symmetric(taps, seed):
    kernel = seeded(taps, seed=seed)
    return kernel + kernel.flip(0)


def dense(r, height, width):
    """Two symmetric kernels, wider than the image where that is small, and the dense operator."""
    vertical, horizontal = symmetric(4 * r - r % 2, 1), symmetric(2 * r - r % 2, 2)
    matrices = [
        filter_matrix(k, n, r, "reflect") for k, n in ((vertical, height), (horizontal, width))
    ]
    return vertical, horizontal, matrices


@each_case
def test_the_operator_is_the_dense_one(r, height, width):
    vertical, horizontal, (A, B) = dense(r, height, width)
    operator = O.SeparableDecimation(
        vertical, r, size=(height, width), horizontal=horizontal, rcond=0
    )
    assert isinstance(operator, O.CosineDecimation)
    x = seeded(2, 3, height, width)
    torch.testing.assert_close(operator.H(x), A @ x @ B.mT, rtol=0, atol=1e-13 * float(A.norm()))
    s = operator.singulars((3, height, width)).flatten().sort(descending=True)[0]
    expected = torch.linalg.svdvals(torch.kron(A, B))
    torch.testing.assert_close(s, expected, rtol=0, atol=1e-13 * float(expected[0]))


@each_case
def test_one_measured_direction_for_each_coefficient(r, height, width):
    """In DCT bases the dense matrix has one number a column: rows are orthogonal to 1e-14."""
    kernel, _, (A, _) = dense(r, height, width)
    basis = [_dct_matrix(n) for n in (height, height // r)]
    folded = basis[1] @ A @ basis[0].mT
    places = dct.alias_places(height, r, torch.device("cpu"))
    groups = places // r
    inside = torch.zeros_like(folded, dtype=torch.bool)
    inside[groups, torch.arange(height)] = True
    assert float(folded[~inside].abs().max() if (~inside).any() else 0) <= 1e-14 * height
    offset = torch.arange(len(kernel)) - (len(kernel) - 1) / 2
    spectrum = (
        torch.cos(torch.pi * (offset.double() * torch.arange(height)[:, None] / height)) @ kernel
    )
    expected = folded[groups, torch.arange(height)]
    torch.testing.assert_close(alias_factors(height, r) * spectrum, expected, rtol=0, atol=1e-12)
    assert sorted(places.tolist()) == list(range(height))


def _dct_matrix(n):
    k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    matrix = (2 / n) ** 0.5 * torch.cos(torch.pi * k * (2 * i + 1) / (2 * n))
    matrix[0] /= 2**0.5
    return matrix


@pytest.mark.parametrize("r, height, width", [(2, 8, 6), (3, 9, 15), (4, 16, 12)])
@pytest.mark.parametrize("sampler", [DDRM(3), DDNMPlus(3)], ids=["ddrm", "ddnm+"])
def test_steps_are_those_of_the_dense_operator(r, height, width, sampler):
    """Whatever the basis, a step with the same white field is the same: null space and all."""
    vertical, horizontal, matrices = dense(r, height, width)
    rcond = 1e-3
    fast = O.SeparableDecimation(vertical, r, size=(height, width), horizontal=horizontal)
    slow = O.Separable(*matrices, rcond=rcond)
    shape = (2, 3, height, width)
    schedule = Schedule.linear()
    y = slow.H(seeded(*shape, seed=3)) + 0.1
    sigma_y = torch.tensor([0.1, 0.4], dtype=torch.float64)
    for clip in (None, (-1.0, 1.0)):
        rows = build_rows(sampler, schedule, pairs(schedule.steps(3)), sigma_y, "eps", clip)
        results = []
        for operator in (fast, slow):
            x = torch.empty(shape, dtype=torch.float64)
            u, carry = operator.prepare(y), O.Carry()
            for index in range(3):
                z = Noise(some_keys(2), seeded(*shape, seed=10 + index))
                given = {"x_next": x, "carry": carry}
                out = None if index == 0 else seeded(*shape, seed=20 + index)
                step = torch.tensor([index])
                x = operator.step(x if index else None, out, u, rows, step, z, **given)
            results.append(x.clone())
        torch.testing.assert_close(*results, rtol=0, atol=1e-6 * float(results[1].abs().max()))


def test_kernels_that_are_not_products_and_one_for_each_channel():
    kernel = seeded(3, 4, 6)
    kernel = kernel + kernel.flip(-1)
    kernel = kernel + kernel.flip(-2)
    operator = O.CosineDecimation(kernel, 2, rcond=0)
    x = seeded(1, 3, 8, 10)
    padded = torch.nn.functional.pad(x, (3, 3, 3, 3))
    for dim, n in ((-2, 8), (-1, 10)):
        index = torch.arange(-3, n + 3)
        index = torch.where(index < 0, -1 - index, index)
        index = torch.where(index >= n, 2 * n - 1 - index, index)
        padded = (x if dim == -2 else padded).index_select(dim, index)
    expected = torch.nn.functional.conv2d(
        padded[..., 1:-1, :][..., :, :], kernel[:, None], groups=3, stride=1
    )
    # kernel of 4 x 6 around the corner between pixels: rows from -2 + 2 i + 1 on, columns from -3 + 2 j + 1
    rows = torch.arange(4) * 2 + 1
    columns = torch.arange(5) * 2 + 1
    expected = expected.index_select(-2, rows).index_select(-1, columns)
    torch.testing.assert_close(operator.H(x), expected, rtol=0, atol=1e-12)


def test_no_side_is_too_large():
    operator = O.BicubicDownscaling(4)
    x = seeded(1, 1, 4, 4 * 2500, dtype=torch.float32)
    y = operator.H(x)
    assert y.shape == (1, 1, 1, 2500)
    assert operator.H_pinv(y).shape == x.shape


def test_a_run():
    """It ends on the measurement where that is asked for."""
    operator = O.BicubicDownscaling(2)
    x = 0.5 + 0.1 * seeded(2, 3, 16, 12, dtype=torch.float32)
    y = degrade(x, operator)
    sampler = DDRM(5)
    result = restore(y, operator, 0.0, GaussianPrior(), sampler, end_on_measurement=True).mean
    assert result.shape == x.shape
    torch.testing.assert_close(operator.H(result), y, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "kernel, factor",
    [
        (torch.ones(3, 3), 2),
        (torch.ones(4, 4), 3),
        (torch.tensor([[1.0, 2.0]]), 2),
        (torch.ones(2, 3), 2),
    ],
)
def test_kernels_without_a_basis(kernel, factor):
    with pytest.raises(
        ValueError, match="^kernel: expected one that is symmetric under each axis flip, of"
    ):
        O.CosineDecimation(kernel, factor)


def test_other_kernels_keep_dense_factors():
    lopsided = torch.tensor([0.1, 0.2, 0.3, 0.4])
    for kernel, boundary in (
        (lopsided, "reflect"),
        (torch.ones(4), "zero"),
        (torch.ones(3), "reflect"),
    ):
        operator = O.SeparableDecimation(kernel, 2, size=(8, 8), boundary=boundary)
        assert isinstance(operator, O.Separable)

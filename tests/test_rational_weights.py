"""Branches with denominators: their numbers, and conditioning a Gaussian on the measurement."""

import math

import pytest
import torch
from conformance import some_keys
from small_cases import OPERATORS, measured, pictures

from ddrm_fast import Schedule, ops
from ddrm_fast.operators import Rows
from ddrm_fast.ops import Noise, rows
from ddrm_fast.samplers.table import _row, build_rows
from ddrm_fast.samplers.weights import Branch, Weights, proximal, pure_noise, shares

FREE = (-math.inf, math.inf)
INF, NAN = math.inf, math.nan


def conditioned(operator, x0, y, R, v):
    """One step that does nothing but condition x0: the network's output is the clean image."""
    row = _row(proximal(R, v), (0, 1, 0, 0), (0, 0), FREE, 1.0, len(R)).float()
    table = row.repeat(2, 1, 1)
    noise = Noise(some_keys(len(x0)))
    u, step = operator.prepare(y), torch.ones(1, dtype=torch.int64)
    return operator.step(torch.zeros_like(x0), x0, u, Rows(table), step, noise)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("sigma, sigma_y", [(0.5, 0.1), (0.5, 0.0), (0.0, 0.0), (1e-3, 30.0)])
def test_the_step_is_the_operators_projection(name, sigma, sigma_y):
    operator, y = measured(name)
    x0 = pictures(2, *OPERATORS[name][1])
    variances = torch.tensor([[sigma**2], [sigma_y**2]], dtype=torch.float64)
    expected = operator.project(x0, y, sigma, torch.tensor([sigma_y]))
    actual = conditioned(operator, x0, y, *variances)
    if sigma_y > 0 or sigma > 0:
        assert not torch.allclose(actual, x0, atol=1e-5) or sigma < sigma_y
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["gain", "old photo", "blur", "decimation", "walsh-hadamard"])
def test_variances_of_its_own_for_each_picture(name):
    operator, y = measured(name)
    x0 = pictures(2, *OPERATORS[name][1])
    R, v = torch.tensor([0.3, 0.01]).double(), torch.tensor([0.0, 0.2]).double()
    both = conditioned(operator, x0, y, R, v)
    for i in range(2):
        alone = conditioned(operator, x0[i : i + 1], y[i : i + 1], R[i : i + 1], v[i : i + 1])
        assert torch.equal(both[i : i + 1], alone)


@pytest.mark.parametrize(
    "R, v, expected",
    [
        (3.0, 1.0, (0.25, 0.75)),
        (1.0, 0.0, (0.0, 1.0)),
        (0.0, 1.0, (1.0, 0.0)),
        (0.0, 0.0, (0.0, 1.0)),
        (INF, 1.0, (0.0, 1.0)),
        (1.0, INF, (1.0, 0.0)),
        (1e30, 1.0, (1e-30, 1.0)),
        (1e-300, 1e300, (1.0, 0.0)),
    ],
)
def test_shares(R, v, expected):
    assert shares(R, v) == pytest.approx(expected, rel=1e-15, abs=0)
    p, q = shares(torch.tensor([R, 3.0], dtype=torch.float64), v)
    assert p.dtype == torch.float64 and (float(p[0]), float(q[0])) == shares(R, v)


@pytest.mark.parametrize(
    "R, v, message",
    [
        (-1.0, 1.0, "^R: expected a variance >= 0"),
        (1.0, -1e-9, "^v: expected a variance >= 0"),
        (NAN, 1.0, "^R: expected a variance >= 0"),
        (torch.tensor([1.0, -1.0]), 1.0, "^R: expected a variance >= 0"),
        (INF, INF, "^R, v: expected at most one infinite variance"),
    ],
)
def test_bad_variances(R, v, message):
    with pytest.raises(ValueError, match=message):
        proximal(R, v)


def test_weights_over_their_denominators():
    numbers = {"a0": 1, "a1": 2, "a2": 3, "b0": 4, "b2": 5, "c0": 6, "c1": 7, "c2": 8}
    branch = Branch(**numbers, d0=9, d1=10, d2=11, p=0.5, q=2.0, over="bd")
    s, over = 0.3, 0.5 + 2 * 0.3**2
    a, b, c, d = Weights(Branch(), Branch(), branch).at(s)
    assert a == pytest.approx(1 + 2 * s + 3 * s**2)
    assert b == pytest.approx((4 + 5 * s**2) / over)
    assert c == pytest.approx(6 + 7 / s + 8 * s)
    assert d**2 == pytest.approx((9 + 10 / s**2 + 11 * s**2) / over)
    scaled = Weights(Branch(), Branch(), branch).scaled(3.0).at(s)
    assert scaled == pytest.approx((3 * a, 3 * b, 3 * c, 3 * d))


def test_conditioning_and_the_variance_that_is_left():
    R, v, s = 0.7, 0.2, 0.4
    p, q = shares(R, v)
    measured_ = Branch(a0=p, c2=q, d0=R * p, p=p, q=q, over="acd")
    a, b, c, d = Weights(Branch(a0=1.0), measured_, measured_).at(s)
    gain = s**2 * R / (s**2 * R + v)
    assert (a, b, c) == pytest.approx((1 - gain, 0.0, gain / s))
    assert d**2 == pytest.approx(R * v / (s**2 * R + v))


class Rational:
    """A sampler of two steps whose null branch stands over its denominator too."""

    steps = 2

    def start(self, abar, sigma_y):
        return pure_noise()

    def weights(self, abar, abar_next, sigma_y):
        branch = Branch(a0=1.0, b0=2.0, d0=3.0, p=0.5, over="abd")
        return Weights(branch, branch, Branch(a0=1.0, p=sigma_y, over="a"))


def test_rows_of_a_table():
    sigma_y = torch.tensor([0.1, 0.0], dtype=torch.float64)
    table = build_rows(Rational(), Schedule.linear(), [(500, 100), (100, -1)], sigma_y).table
    assert table.shape == (3, 2, rows.WIDTH)
    start, step = table[0], table[1]
    assert (start[:, rows.RATIONAL] == 0).all() and (step[:, rows.RATIONAL] == 1).all()
    null = step[:, rows.NULL : rows.NULL + 3].double()
    expected = torch.tensor([2.0, 4.0, math.sqrt(6.0)]).double().expand(2, 3)
    torch.testing.assert_close(null, expected, rtol=1e-6, atol=0)
    assert step[:, rows.HIGH + rows.P].tolist() == sigma_y.float().tolist()
    assert step[0, rows.LOW + rows.OVER :][:4].tolist() == [1, 1, 0, 1]
    assert step[0, rows.HIGH + rows.OVER :][:4].tolist() == [1, 0, 0, 0]


def test_a_null_branch_over_nothing():
    with pytest.raises(ValueError, match=r"^null: 'a' over p \+ q s\^2, which is 0"):
        Branch(a0=1.0, p=torch.tensor([1.0, 0.0]), q=1.0, over="a").at_zero()
    assert Branch(a0=1.0, c2=1.0, p=0.0, q=1.0, over="c").at_zero() == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("over", ["e", "aa", "a b"])
def test_names_of_weights(over):
    with pytest.raises(ValueError, match="^over: expected letters of 'abcd', each once, got"):
        Branch(over=over)


def test_an_extension_of_other_rows_is_refused():
    class Old:
        __name__ = "ddrm_fast._C"

    old = Old()
    assert "another number of columns, expected 48" in rows.mismatch(old)
    old.ROW_WIDTH = 33
    assert "33 columns, expected 48; build it again" in rows.mismatch(old)
    old.ROW_WIDTH = rows.WIDTH
    assert rows.mismatch(old) is None
    assert ops.backends()["cpp"] is None or "_C" in ops.backends()["cpp"]

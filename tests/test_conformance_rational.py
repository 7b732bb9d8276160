"""Rational weights in every step, on every backend against the float64 reference fed the same numbers."""

import pytest
import torch
from conformance import (
    STEP_1,
    alias_call,
    block_call,
    block_profile,
    check_in_place,
    check_step,
    fwht_call,
    move,
    pointwise_call,
    random_images,
    random_table,
    rational_table,
    run_on,
    some_keys,
    spectral_call,
)

from ddrm_fast import ops
from ddrm_fast.ops import Noise, rows
from ddrm_fast.samplers.table import _row
from ddrm_fast.samplers.weights import Branch, Weights, proximal


def _steps(table, batch=3):
    """A call of every step with singular values of all kinds: (operation, arguments, whether it has x0)."""
    shape, spectrum = (batch, 3, 8, 44), (batch, 3, 9, 45)
    gain = torch.rand(1, 3, 8, 44) * (torch.rand(1, 3, 8, 44) > 0.3)
    mask = (torch.rand(1, 1, 8, 44) > 0.5).float()
    grey, old = block_profile(shape, 1, True, "none"), block_profile(shape, 4, True, "real")
    means = block_profile(shape, 2, False, "none")
    half = torch.rand(1, 3, 9, 23) * (torch.rand(1, 3, 9, 23) > 0.3)
    return [
        (ops.pointwise_step, pointwise_call(shape, s=gain, table=table), True),
        (ops.pointwise_step, pointwise_call(shape, s=mask, table=table), True),
        (
            ops.pointwise_step,
            pointwise_call(shape, s=0.7 + 0 * mask[..., :1, :1], table=table),
            True,
        ),
        (ops.block_step, block_call(shape, grey, table=table), True),
        (ops.block_step, block_call(shape, old, table=table), True),
        (ops.block_step, block_call(shape, means, table=table), True),
        (ops.spectral_step, spectral_call(spectrum, s=half, table=table), False),
        (ops.alias_step, alias_call(3, spectrum, table=table), False),
        (ops.fwht_step, fwht_call((batch, 3, 8, 32), table=table), False),
    ]


STEPS = [
    "gain", "mask", "one value", "grey", "old photo", "means", "spectral", "alias", "fwht",
]  # fmt: skip
each_step = pytest.mark.parametrize("index", range(len(STEPS)), ids=STEPS)


@each_step
def test_steps_match_for_rational_rows(device, index):
    """Weights over their denominators or not, in one branch, the other or both, in one row for all."""
    for flags in (None, (1, 1, 1, 1), (0, 0, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1)):
        operation, call, x0 = _steps(rational_table(flags=flags))[index]
        check_step(device, operation, call, wants_x0=x0)


@each_step
def test_steps_match_for_rows_of_both_kinds_in_one_batch(device, index):
    table = rational_table(3, clip=(-1.0, 1.0) if index < 6 else None)
    table[:, 1] = random_table()[:, 0]
    table[:, 1, rows.CLIP_LO : rows.CLIP_HI + 1] = table[:, 0, rows.CLIP_LO : rows.CLIP_HI + 1]
    operation, call, x0 = _steps(table)[index]
    check_step(device, operation, call, wants_x0=x0)


def _proximal_table(R, v):
    free = (-torch.inf, torch.inf)
    row = _row(proximal(R, v), (0, 1, 0, 0), (0, 0), free, 1.0, len(R))
    return row.float().repeat(2, 1, 1)


@each_step
def test_steps_match_for_conditioning_a_gaussian(device, index):
    """The hard projection, almost none, and the middle, in one batch; NaN stands where s = 0."""
    variances = torch.tensor([[1.0, 0.0], [1e-12, 1.0], [0.3, 0.1]], dtype=torch.float64)
    operation, call, x0 = _steps(_proximal_table(*variances.T))[index]
    if operation in (ops.pointwise_step, ops.spectral_step, ops.fwht_step):
        call["u"] = torch.where(call["s"] > 0, call["u"], torch.nan)
    check_step(device, operation, call, wants_x0=x0)


@each_step
def test_a_denominator_of_one_changes_no_bit(device, index):
    """p = 1, q = 0, and all weights over it: the bits of the polynomial row."""
    plain = random_table(3)
    over = plain.clone()
    over[..., rows.RATIONAL] = 1.0
    for branch in (rows.LOW, rows.HIGH):
        over[..., branch + rows.B2 : branch + rows.OVER] = torch.tensor([0.0, 1.0, 0.0])
        over[..., branch + rows.OVER : branch + rows.OVER + 4] = 1.0
    operation, call, _ = _steps(plain)[index]
    call["noise"] = Noise(some_keys(3))
    expected = run_on(device, operation, call)
    assert torch.equal(run_on(device, operation, {**call, "table": over}), expected)


@each_step
def test_steps_of_rational_rows_in_place(device, index):
    operation, call, _ = _steps(rational_table(3))[index]
    check_in_place(device, operation, call)


def test_a_rational_row_reaches_past_its_polynomial(device):
    """A row whose only number beyond a polynomial's is b2."""
    shape = (1, 1, 4, 35)
    s = torch.rand(shape) + 0.1
    measured = Branch(b0=0.5, b2=2.0)
    weights = Weights(Branch(b0=1.0), measured, measured)
    table = _row(weights, (0, 0, 0, 1), (0, 0), (-torch.inf, torch.inf), 1.0, 1).float()[None]
    call = pointwise_call(shape, s=s, table=table.repeat(2, 1, 1), step=STEP_1)
    result = run_on(device, ops.pointwise_step, {**call, "noise": Noise(some_keys(1))})
    b = 0.5 + 2.0 * s.double().square()
    torch.testing.assert_close(result.cpu().double(), b * call["out"].double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("exponent", range(-30, 31, 5))
def test_conditioning_is_accurate_for_every_ratio_of_variances(device, exponent):
    """x0 + g (u/s - x0) for R / v up to 1e30, against float64, and relative to max(|x0|, |u/s|).

    The rounding of p, q and s^2 is part of it: 8e-8 in the mean, 3e-7 at most.
    """
    s = 10 ** (4 * torch.rand(1, 1, 64, 256) - 3)
    exact, R = s.double(), torch.tensor([10.0**exponent], dtype=torch.float64)
    table = _proximal_table(R, torch.ones(1, dtype=torch.float64))
    x0, over = random_images(s.shape), random_images(s.shape)
    u = (exact * over.double()).float()
    call = {"x_t": torch.zeros_like(x0), "out": x0, "u": u, "s": s, "table": table, "step": STEP_1}
    noise = move(Noise(some_keys(1)), device)
    result = run_on(device, ops.pointwise_step, {**call, "noise": noise}).cpu().double()
    gain = exact**2 * R / (exact**2 * R + 1)
    expected = x0.double() + gain * (u.double() / exact - x0.double())
    error = (result - expected).abs() / torch.maximum(x0.double().abs(), (u.double() / exact).abs())
    assert float(error.max()) <= 3e-7
    assert float(error.square().mean().sqrt()) <= 1e-7

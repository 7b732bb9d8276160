"""`alias_step` on every backend against the float64 reference fed the same numbers."""

import pytest
import torch
from conformance import (
    STEP_0,
    alias_call,
    check_in_place,
    check_step,
    each_sampler,
    places,
    random_spectra,
    sampler_table,
)

from ddrm_fast import ops

ALIAS_SIZES = [
    (1, (1, 1)), (1, (5, 7)), (1, (4, 6)),
    (2, (2, 2)), (2, (6, 10)), (2, (4, 8)), (2, (6, 12)), (2, (2, 34)), (2, (10, 6)),
    (2, (6, 1030)),
    (3, (3, 3)), (3, (9, 15)), (3, (9, 6)), (3, (6, 66)),
    (4, (4, 4)), (4, (12, 20)), (4, (8, 4)), (4, (16, 16)), (4, (20, 24)),
]  # fmt: skip


@pytest.mark.parametrize("case", ALIAS_SIZES, ids=str)
def test_alias_step_matches_for_sizes(device, case):
    factor, size = case
    check_step(device, ops.alias_step, alias_call(factor, (2, 3, *size)))


def test_alias_step_matches_for_no_images(device):
    arguments = alias_call(2, (1, 3, 4, 4), x_t=torch.empty(0, 3, 4, 3, dtype=torch.complex64))
    arguments["out"] = arguments["x_t"].clone()
    check_step(device, ops.alias_step, arguments)


@pytest.mark.parametrize("factor", [2, 3])
def test_alias_step_matches_for_unmeasured_groups(device, factor):
    """Groups that count as not measured: s = 0, and NaN in u."""
    arguments = alias_call(factor, (2, 1, 6 * factor, 5 * factor))
    s = arguments["s"] = arguments["s"].clone()
    s[..., 1:3, :] = 0.0
    s[..., 5, :] = 0.0  # the mirror of row 1; s of a real kernel is symmetric
    s[..., 4, :] = 0.0
    arguments["u"] = torch.where(s > 0, arguments["u"], torch.nan)
    check_step(device, ops.alias_step, arguments)
    check_step(device, ops.alias_step, {**arguments, "s": torch.zeros_like(s)})


@each_sampler
def test_alias_step_matches_for_samplers(device, sampler):
    shape = (3, 2, 6, 38)
    table = sampler_table(sampler, torch.tensor([0.0, 0.3, 1e3]))
    for step in places(table):
        check_step(device, ops.alias_step, alias_call(2, shape, table=table, step=step))
    start = alias_call(2, shape, table=table, step=STEP_0)
    start.update(x_t=None, out=None, x_next=torch.empty(3, 2, 6, 20, dtype=torch.complex64))
    check_step(device, ops.alias_step, start)


def test_alias_step_matches_for_broadcast_arguments(device):
    """A kernel for all channels, one or no measurement, conjugate views."""
    shape = (3, 2, 9, 15)
    shared = alias_call(3, (1, 1, 9, 15))
    common = {"kernel": shared["kernel"], "s": shared["s"]}
    check_step(device, ops.alias_step, alias_call(3, shape, **common))
    check_step(device, ops.alias_step, alias_call(3, shape, u=random_spectra((1, 2, 3, 5))))
    check_step(device, ops.alias_step, alias_call(3, shape, u=None))
    arguments = alias_call(3, shape)
    arguments.update(kernel=arguments["kernel"].conj(), u=arguments["u"].conj())
    check_step(device, ops.alias_step, arguments)


def test_alias_step_in_place(device):
    for factor in (1, 2, 3):
        check_in_place(device, ops.alias_step, alias_call(factor, (2, 3, 12, 18)))

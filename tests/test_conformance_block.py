"""The block operations on every backend against the float64 reference fed the same numbers."""

import pytest
import torch
from conformance import (
    LAYOUTS,
    MASKS,
    OUTPUTS,
    STEP_0,
    block_call,
    block_profile,
    broadcastable,
    check,
    check_in_place,
    check_step,
    each_sampler,
    free_and_clipped,
    layouts,
    places,
    random_images,
    random_table,
    sampler_table,
)

from ddrm_fast import DDRM, DDNMPlus, ops

BLOCK_SHAPES = [
    (1, (1, 1, 1, 1)),
    (1, (2, 3, 5, 37)),
    (2, (3, 3, 6, 26)),
    (2, (1, 1, 2, 2102)),
    (3, (1, 3, 9, 33)),
    (4, (2, 3, 8, 52)),
    (4, (1, 3, 8, 1100)),
    (5, (1, 2, 15, 35)),
    (8, (1, 3, 16, 40)),
    (16, (2, 3, 32, 48)),
    (7, (2, 3, 7, 7)),
    (13, (1, 3, 26, 13)),
    (40, (1, 1, 40, 40)),
    (2, (0, 3, 4, 4)),
]


def _named(pair):
    return f"r{pair[0]}-{'x'.join(map(str, pair[1]))}" if isinstance(pair, tuple) else None


each_block_shape = pytest.mark.parametrize("case", BLOCK_SHAPES, ids=_named)
per_channel_or_grey = pytest.mark.parametrize(
    "weighted", [False, True], ids=["per channel", "grey"]
)


@each_block_shape
@per_channel_or_grey
def test_block_step_matches_for_shapes(device, case, weighted):
    factor, shape = case
    profile = block_profile(shape, factor, weighted, "none")
    check_step(device, ops.block_step, block_call(shape, profile), wants_x0=True)


@pytest.mark.parametrize("case", [(1, (2, 3, 5, 19)), (2, (2, 3, 6, 38)), (5, (2, 3, 10, 25))])
@per_channel_or_grey
@pytest.mark.parametrize("mask", MASKS[1:])
def test_block_step_matches_for_masks(device, case, weighted, mask):
    """NaN stands in u where a block is fully masked."""
    factor, shape = case
    profile = block_profile(shape, factor, weighted, mask)
    arguments = block_call(shape, profile)
    measured = (profile.s > 0).expand(profile.grid)
    assert measured.any() and (mask == "real" or not measured.all())
    arguments["u"] = torch.where(measured, arguments["u"], torch.nan)
    check_step(device, ops.block_step, arguments, wants_x0=True)


@pytest.mark.parametrize("pattern", ["B...", ".C..", "..H.", "...W", "....", "B.H."])
def test_block_step_matches_for_singular_values(device, pattern):
    """s and the mask in every broadcast shape, whether or not an operator makes it so."""
    shape, factor = (2, 3, 6, 38), 2
    profile = block_profile(shape, factor, False, "real")
    s = torch.rand(broadcastable(profile.grid, pattern)) + 0.1
    check_step(device, ops.block_step, block_call(shape, profile, s=s))
    check_step(device, ops.block_step, block_call(shape, profile, s=torch.zeros_like(s)))


@pytest.mark.parametrize("shape", [(2, 3, 3, 37), (1, 3, 2, 4133), (2, 3, 2, 2048), (2, 4, 3, 50)])
@pytest.mark.parametrize("pattern", ["....", "B.H."])
@free_and_clipped
def test_block_step_matches_for_colours_made_grey(device, shape, pattern, clip):
    """Channels alone as groups, with as few singular values as colour pictures have."""
    profile = block_profile(shape, 1, True, "none")
    s = torch.rand(broadcastable(profile.grid, pattern)) + 0.1
    for table in (random_table(threshold=0.2, clip=clip), sampler_table(DDRM(), clip=clip)):
        arguments = block_call(shape, profile, s=s, table=table)
        check_step(device, ops.block_step, arguments, wants_x0=True)
        arguments = block_call(shape, profile, s=torch.zeros_like(s), table=table)
        check_step(device, ops.block_step, arguments)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_block_step_matches_for_network_outputs(device, layout):
    shape = (2, 3, 6, 38)
    profile = block_profile(shape, 2, True, "none")
    for dtype in OUTPUTS:
        arguments = block_call(shape, profile, out=layouts(shape, dtype)[layout])
        check_step(device, ops.block_step, arguments, wants_x0=True)


@each_sampler
@free_and_clipped
def test_block_step_matches_for_samplers(device, sampler, clip):
    shape = (2, 3, 8, 44)
    profile = block_profile(shape, 4, False, "none")
    table = sampler_table(sampler, clip=clip)
    for step in places(table):
        arguments = block_call(shape, profile, table=table, step=step)
        check_step(device, ops.block_step, arguments, wants_x0=True)


@per_channel_or_grey
def test_block_step_matches_for_the_first_state(device, weighted):
    shape = (3, 3, 4, 38)
    profile = block_profile(shape, 2, weighted, "per image")
    for sampler in (DDRM(), DDNMPlus(steps=10)):
        table = sampler_table(sampler, torch.tensor([0.0, 0.1, 2.0]))
        arguments = block_call(shape, profile, table=table, step=STEP_0)
        arguments.update(x_t=None, out=None, x_next=torch.empty(shape))
        check_step(device, ops.block_step, arguments, wants_x0=True)


def test_block_step_matches_for_a_row_per_image(device):
    shape = (3, 3, 4, 38)
    profile = block_profile(shape, 2, True, "shared")
    for table in (
        sampler_table(DDRM(), torch.tensor([0.0, 0.3, 1e3]), clip=(-1.0, 1.0)),
        random_table(3, threshold=0.2),
    ):
        check_step(device, ops.block_step, block_call(shape, profile, table=table), wants_x0=True)


def test_block_step_matches_with_one_or_no_measurement(device):
    shape = (3, 2, 6, 38)
    profile = block_profile(shape, 2, False, "none")
    one = random_images((1, *profile.grid[1:]))
    check_step(device, ops.block_step, block_call(shape, profile, u=one))
    check_step(device, ops.block_step, block_call(shape, profile, u=None), wants_x0=True)


def test_block_step_in_place(device):
    shape = (2, 3, 8, 44)
    for factor, weighted, mask in ((4, False, "shared"), (4, True, "shared"), (1, True, "none")):
        profile = block_profile(shape, factor, weighted, mask)
        check_in_place(device, ops.block_step, block_call(shape, profile))
        one = block_call(shape, profile, s=profile.s[:1, :1, :1, :1].clone())
        check_in_place(device, ops.block_step, one)


@each_block_shape
@per_channel_or_grey
def test_block_measure_matches(device, case, weighted):
    factor, shape = case
    for mask in ("none", "per image and channel", "real"):
        profile = block_profile(shape, factor, weighted, mask)
        call = {"x": random_images(shape), **profile.arguments}
        check(device, ops.block_measure, call)


@each_block_shape
@per_channel_or_grey
def test_block_lift_matches(device, case, weighted):
    factor, shape = case
    for mask in ("none", "per image and channel", "real"):
        profile = block_profile(shape, factor, weighted, mask)
        call = {"c": random_images(profile.grid), **profile.arguments, "channels": shape[1]}
        check(device, ops.block_lift, call)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_block_measure_and_lift_match_for_layouts(device, layout):
    shape = (2, 3, 6, 38)
    x = layouts(shape)[layout][:, :3]
    call = {"x": x, **block_profile(shape, 2, False, "real").arguments}
    check(device, ops.block_measure, call)
    call = {"c": x, "s": random_images((1, 3, 1, 1)).abs(), "weights": None, "mask": None}
    call.update(factor=2, channels=3)
    check(device, ops.block_lift, call)

"""`fwht_step` on every backend against the float64 reference: a transform and a step in one."""

import pytest
import torch
from conformance import (
    LAYOUTS,
    OUTPUTS,
    broadcastable,
    check_in_place,
    check_step,
    each_sampler,
    fwht_call,
    layouts,
    places,
    random_images,
    random_table,
    run_on,
    sampler_table,
    some_keys,
)

from ddrm_fast import ops
from ddrm_fast.ops import Noise


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 1), (2, 2, 8, 2), (2, 1, 2, 8),  # too small to be done in one
        (2, 3, 8, 4), (2, 1, 1, 64), (1, 3, 16, 16), (3, 1, 64, 128), (1, 2, 64, 256), (0, 3, 8, 8),
    ],
    ids=str,
)  # fmt: skip
def test_fwht_step_matches_for_shapes(device, shape):
    check_step(device, ops.fwht_step, fwht_call(shape))


@pytest.mark.parametrize("pattern", ["BCHW", ".CHW", "B...", "..H.", "...W", "....", "..HW"])
def test_fwht_step_matches_for_singular_values(device, pattern):
    """Any gain, and a mask of kept coefficients."""
    gain = torch.rand(broadcastable((2, 3, 8, 16), pattern)) + 0.05
    for s in (gain, (gain > 0.5).float()):
        check_step(device, ops.fwht_step, fwht_call((2, 3, 8, 16), s=s))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fwht_step_matches_for_network_outputs(device, layout):
    """In planes of one pass and of two."""
    for shape in ((2, 3, 8, 16), (2, 2, 64, 256)):
        for dtype in OUTPUTS if shape[3] == 16 else OUTPUTS[1:2]:
            arguments = fwht_call(shape, out=layouts(shape, dtype)[layout])
            check_step(device, ops.fwht_step, arguments)


@each_sampler
def test_fwht_step_matches_for_samplers(device, sampler):
    table = sampler_table(sampler)
    s = (torch.rand(1, 1, 8, 32) > 0.6).float()
    for step in places(table):
        check_step(device, ops.fwht_step, fwht_call((2, 3, 8, 32), s=s, table=table, step=step))


def test_fwht_step_matches_for_a_row_per_image_and_one_measurement(device):
    arguments = fwht_call((3, 2, 4, 32), u=random_images((1, 2, 4, 32)), table=random_table(3))
    check_step(device, ops.fwht_step, arguments)
    check_step(device, ops.fwht_step, fwht_call((3, 2, 4, 32), u=None, table=random_table(3)))


def test_fwht_step_matches_for_misaligned_tensors(device):
    for offset in (1, 3):
        arguments = fwht_call((2, 2, 8, 16))
        for name in ("x_t", "out", "u", "s"):
            x = arguments[name]
            arguments[name] = torch.cat((torch.zeros(offset), x.flatten()))[offset:].view(x.shape)
        check_step(device, ops.fwht_step, arguments)


@pytest.mark.parametrize("shape", [(2, 3, 8, 16), (1, 1, 64, 256)], ids=str)
def test_fwht_step_in_place(device, shape):
    check_in_place(device, ops.fwht_step, fwht_call(shape))


@pytest.mark.parametrize("shape", [(2, 3, 8, 16), (1, 2, 64, 256)], ids=str)
def test_fwht_step_is_the_transform_and_the_step(device, shape):
    """Given the same numbers the two ways round the same: no bit differs."""
    call = {**fwht_call(shape), "noise": Noise(some_keys(shape[0], (3, 5)))}
    apart = {**call, "out": run_on(device, ops.fwht, {"x": call["out"]}).cpu()}
    together = run_on(device, ops.fwht_step, call)
    assert torch.equal(together, run_on(device, ops.pointwise_step, apart))


def test_fwht_step_passes_nan_of_the_network_on(device):
    """Every coefficient of the plane depends on it; other planes do not."""
    call = {**fwht_call((1, 2, 8, 16)), "noise": Noise(some_keys(1))}
    call["out"][0, 1, 2, 3] = torch.nan
    result = run_on(device, ops.fwht_step, call).cpu()
    assert result[0, 1].isnan().all() and result[0, 0].isfinite().all()

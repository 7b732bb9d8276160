"""`spectral_step` on every backend against the float64 reference fed the same numbers."""

import pytest
import torch
from conformance import (
    STEP_0,
    broadcastable,
    check_in_place,
    check_step,
    each_sampler,
    places,
    random_spectra,
    random_table,
    run_on,
    sampler_table,
    some_keys,
    spectral_call,
)

from ddrm_fast import ops
from ddrm_fast.ops import Noise, rows

SPECTRAL_SIZES = [
    (1, 1), (1, 2), (2, 1), (2, 2), (1, 7), (7, 1), (3, 3), (4, 4), (4, 5), (5, 4), (9, 35),
    (16, 66), (2, 1029), (3, 2050),
]  # fmt: skip


@pytest.mark.parametrize("size", SPECTRAL_SIZES, ids=str)
def test_spectral_step_matches_for_sizes(device, size):
    check_step(device, ops.spectral_step, spectral_call((2, 3, *size)))


def test_spectral_step_matches_for_no_images(device):
    shape = (0, 3, 4, 3)
    arguments = spectral_call((1, 3, 4, 4), x_t=torch.empty(shape, dtype=torch.complex64))
    arguments.update(out=arguments["x_t"].clone(), s=torch.rand(1, 1, 4, 3))
    arguments["u"] = arguments["u"][:1]
    check_step(device, ops.spectral_step, arguments)


@pytest.mark.parametrize(
    "pattern", ["BCHW", ".CHW", "..HW", "B...", ".C..", "..H.", "...W", "...."]
)
def test_spectral_step_matches_for_singular_values(device, pattern):
    """Any, some 0, all 0. NaN stands in u where s = 0."""
    shape = (2, 3, 6, 43)
    gain = torch.rand(broadcastable((2, 3, 6, 22), pattern)) + 0.05
    for s in (gain, torch.where(gain > 0.5, gain, 0.0), torch.zeros_like(gain)):
        u = torch.where(s > 0, random_spectra(shape), torch.nan)
        check_step(device, ops.spectral_step, spectral_call(shape, s=s, u=u))


@each_sampler
def test_spectral_step_matches_for_samplers(device, sampler):
    shape = (3, 2, 6, 35)
    table = sampler_table(sampler, torch.tensor([0.0, 0.3, 1e3]), prediction="v")
    s = torch.rand(1, 1, 6, 18) * (torch.rand(1, 1, 6, 18) > 0.3)
    for step in places(table):
        check_step(device, ops.spectral_step, spectral_call(shape, s=s, table=table, step=step))
    start = spectral_call(shape, s=s, table=table, step=STEP_0)
    start.update(x_t=None, out=None, x_next=torch.empty(3, 2, 6, 18, dtype=torch.complex64))
    check_step(device, ops.spectral_step, start)


def test_spectral_step_ignores_the_clip_range(device):
    """Clipping belongs to pixels: a spectrum is taken as it is."""
    free, clipped = random_table(), None
    clipped = free.clone()
    clipped[..., rows.CLIP_LO], clipped[..., rows.CLIP_HI] = -0.1, 0.1
    arguments = spectral_call((1, 2, 6, 35), table=free)
    noise = Noise(some_keys(1))
    first = run_on(device, ops.spectral_step, {**arguments, "noise": noise})
    second = run_on(device, ops.spectral_step, {**arguments, "noise": noise, "table": clipped})
    assert torch.equal(first, second)


def test_spectral_step_matches_for_layouts(device):
    """One or no measurement; conjugate views and strided outputs are read as what they mean."""
    shape = (3, 2, 6, 35)
    check_step(device, ops.spectral_step, spectral_call(shape, u=random_spectra((1, 2, 6, 35))))
    check_step(device, ops.spectral_step, spectral_call(shape, u=None))
    check_step(device, ops.spectral_step, spectral_call(shape, u=random_spectra(shape).conj()))
    check_step(device, ops.spectral_step, spectral_call(shape, out=random_spectra(shape).conj()))
    check_step(
        device, ops.spectral_step, spectral_call(shape, out=random_spectra((6, 2, 6, 35))[::2])
    )


def test_spectral_step_in_place(device):
    check_in_place(device, ops.spectral_step, spectral_call((2, 3, 6, 35)))

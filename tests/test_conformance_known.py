"""`known_step` on every backend against the float64 reference fed the same numbers."""

import pytest
import torch
from conformance import (
    LAYOUTS,
    OUTPUTS,
    SHAPES,
    STEP_0,
    each_sampler,
    exact,
    guarded_buffer,
    guards_untouched,
    known_call,
    layouts,
    move,
    oracle,
    places,
    random_images,
    random_table,
    run_on,
    sampler_table,
    some_keys,
)
from tolerances import NORMAL, STEP, assert_close

from ddrm_fast import ops
from ddrm_fast.ops import Noise, rows

MASKS = ["one", "per channel", "per image", "per image and channel"]


def _mask(shape, kind):
    batch, channels, height, width = shape
    size = (batch if "image" in kind else 1, channels if "channel" in kind else 1, height, width)
    return torch.rand(size) > 0.4


def _check(device, call):
    """With given and with drawn noise; what is not known keeps its bits, and NaN there is not read."""
    state = call["x_next"]
    image = call["image"].expand(state.shape)
    call["image"] = torch.where(call["mask"], image, float("nan"))
    for noise in (
        Noise(some_keys(len(state)), torch.randn_like(state)),
        Noise(some_keys(len(state))),
    ):
        memory, buffer = guarded_buffer(state, device)
        buffer.copy_(state)
        result = run_on(device, ops.known_step, {**call, "x_next": buffer, "noise": noise})
        assert result is buffer
        expected = oracle(ops.known_step, {**call, "x_next": exact(state).clone(), "noise": noise})
        d = float(call["table"][..., rows.NULL + 2].abs().max())
        assert_close(result, expected, STEP, 0.0 if noise.pixels is not None else NORMAL * d)
        elsewhere = ~call["mask"].expand(state.shape)
        assert torch.equal(result.cpu()[elsewhere], state[elsewhere])
        guards_untouched(memory, state.numel())


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_known_step_matches(device, shape, kind):
    _check(device, known_call(shape, mask=_mask(shape, kind)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_known_step_matches_for_layouts(device, layout):
    shape = (2, 3, 5, 37)
    for dtype in OUTPUTS:
        table = random_table(2, clip=(-0.3, 0.3))
        _check(device, known_call(shape, out=layouts(shape, dtype)[layout], table=table))


@each_sampler
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_known_step_matches_for_samplers(device, sampler, prediction):
    """One image for the whole batch, and tables of samplers; the last step ends on the image."""
    shape = (2, 3, 7, 20)
    table = sampler_table(sampler, prediction=prediction)
    for step in places(table):
        call = known_call(shape, table=table, step=step, image=random_images((1, *shape[1:])))
        _check(device, call)
    call = {**known_call(shape, table=table, step=step), "noise": Noise(some_keys(2))}
    known = call["mask"].expand(shape)
    result = run_on(device, ops.known_step, call).cpu()
    assert torch.equal(result[known], call["image"][known])


def test_known_pixels_draw_the_noise_of_a_pixelwise_step(device):
    """A step of the null space and a known pixel with the network's x0 give the same state."""
    shape = (2, 3, 9, 70)
    call = known_call(shape, mask=torch.ones(1, 1, 9, 70, dtype=torch.bool))
    del call["x_next"], call["image"], call["mask"]
    table = call["table"]
    noise = Noise(some_keys(2, (3, 5)))
    s = torch.zeros(1, 1, 1, 1)
    x0 = torch.empty(shape)
    moved = {name: move(x, device) for name, x in call.items()}
    noise, s, x0 = (move(x, device) for x in (noise, s, x0))
    expected = ops.pointwise_step(**moved, u=None, s=s, noise=noise, x0=x0)
    mask = torch.ones(1, 1, 9, 70, dtype=torch.bool, device=device)
    start = torch.zeros(shape, device=device)
    result = ops.known_step(start, **moved, image=x0, mask=mask, noise=noise)
    assert torch.equal(result, expected)
    assert table[..., rows.NULL + 2].all()


@pytest.mark.parametrize("known", [False, True], ids=["nothing", "all"])
def test_nothing_and_all_known(device, known):
    shape = (2, 3, 8, 12)
    call = known_call(shape, mask=torch.full((1, 1, 8, 12), known), step=STEP_0)
    if not known:
        call["out"] = call["image"] = torch.full(shape, float("nan"))
    call["noise"] = Noise(some_keys(2))
    result = run_on(device, ops.known_step, {**call, "x_next": call["x_next"].clone()})
    assert torch.equal(result.cpu(), call["x_next"]) is not known
    assert torch.isfinite(result).all()

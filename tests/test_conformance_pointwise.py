"""`pointwise_step` on every backend against the float64 reference fed the same numbers."""

import pytest
import torch
from conformance import (
    LAYOUTS,
    OUTPUTS,
    SHAPES,
    STEP_0,
    STEP_1,
    broadcastable,
    check_in_place,
    check_step,
    each_sampler,
    free_and_clipped,
    layouts,
    move,
    places,
    pointwise_call,
    random_images,
    random_table,
    run_on,
    sampler_table,
    some_keys,
)
from tolerances import NORMAL, assert_close

from ddrm_fast import DDNMPlus, ops
from ddrm_fast.ops import Noise, philox, rows


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pointwise_step_matches_for_shapes(device, shape):
    check_step(device, ops.pointwise_step, pointwise_call(shape), wants_x0=True)


@pytest.mark.parametrize("shape", [(3, 2, 5, 41), (2, 3, 2, 1030)], ids=str)
@pytest.mark.parametrize(
    "pattern", ["BCHW", ".CHW", "B...", ".C..", "..H.", "...W", "....", "B.H."]
)
def test_pointwise_step_matches_for_singular_values(device, shape, pattern):
    """Any gain, a mask, all 0, all 1."""
    gain = torch.rand(broadcastable(shape, pattern)) + 0.05
    mask = (torch.rand_like(gain) > 0.5).float()
    for s in (gain, mask, torch.zeros_like(gain), torch.ones_like(gain)):
        check_step(device, ops.pointwise_step, pointwise_call(shape, s=s))


def test_pointwise_step_matches_for_changing_kinds_of_rows(device):
    """Rows of one picture where s is constant, 0, two-valued, arbitrary, or changes in mid-row."""
    s = torch.zeros(1, 1, 6, 1100)
    s[..., 0, :] = 0.7
    s[..., 2, ::3] = 0.7
    s[..., 3, :] = torch.rand(1100)
    s[..., 4, 1050:] = 0.2
    s[..., 5, 1099] = 0.9
    check_step(device, ops.pointwise_step, pointwise_call((1, 1, 6, 1100), s=s))


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0, torch.inf])
def test_pointwise_step_matches_at_the_threshold(device, threshold):
    """s = thr is the high branch; thr = inf is never reached."""
    s = torch.tensor([0.5, 1.0, 0.0, 0.25]).repeat(9).view(1, 1, 4, 9)
    table = random_table(threshold=threshold)
    check_step(device, ops.pointwise_step, pointwise_call((1, 1, 4, 9), s=s, table=table))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pointwise_step_matches_for_network_outputs(device, layout):
    shape = (2, 3, 5, 37)
    s = (torch.rand(1, 1, 5, 37) > 0.5).float()
    for dtype in OUTPUTS:
        arguments = pointwise_call(shape, out=layouts(shape, dtype)[layout], s=s)
        check_step(device, ops.pointwise_step, arguments, wants_x0=True)


def test_pointwise_step_matches_for_extreme_half_outputs(device):
    """Largest, smallest and subnormal numbers of the half formats are converted exactly."""
    bits = torch.arange(-32768, 32768, dtype=torch.int32).to(torch.int16)
    for dtype in (torch.float16, torch.bfloat16):
        values = bits.view(dtype)
        values = values[values.float().abs() < 1e15]
        values = values[: len(values) // 64 * 64].view(1, 1, 64, -1)
        state = torch.zeros(values.shape)
        table = torch.zeros(2, 1, rows.WIDTH)
        table[..., rows.P_OUT] = table[..., rows.NULL] = 1.0
        table[..., rows.CLIP_LO], table[..., rows.CLIP_HI] = -torch.inf, torch.inf
        result = run_on(
            device,
            ops.pointwise_step,
            {
                "x_t": state,
                "out": values,
                "u": None,
                "s": torch.zeros(1, 1, 1, 1),
                "table": table,
                "step": STEP_1,
                "noise": Noise(some_keys(1)),
            },
        )
        assert torch.equal(result.cpu(), values.float())


@each_sampler
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@free_and_clipped
def test_pointwise_step_matches_for_samplers(device, sampler, prediction, clip):
    table = sampler_table(sampler, prediction=prediction, clip=clip)
    s = torch.rand(1, 1, 7, 33) * (torch.rand(1, 1, 7, 33) > 0.3)
    for step in places(table):
        arguments = pointwise_call((2, 3, 7, 33), s=s, table=table, step=step)
        check_step(device, ops.pointwise_step, arguments, wants_x0=True)


@each_sampler
def test_pointwise_step_matches_for_the_first_state(device, sampler):
    table = sampler_table(sampler, torch.tensor([0.0, 0.1, 2.0]))
    s = torch.rand(1, 3, 5, 21) * (torch.rand(1, 1, 5, 21) > 0.3)
    arguments = pointwise_call((3, 3, 5, 21), s=s, table=table, step=STEP_0)
    arguments.update(x_t=None, out=None, x_next=torch.empty(3, 3, 5, 21))
    check_step(device, ops.pointwise_step, arguments, wants_x0=True)


@free_and_clipped
def test_pointwise_step_matches_for_a_row_per_image(device, clip):
    """Levels 0, middle and so high that nothing reaches the threshold, in one batch."""
    table = sampler_table(DDNMPlus(steps=10), torch.tensor([0.0, 0.3, 1e3]), clip=clip)
    arguments = pointwise_call((3, 2, 4, 35), s=torch.rand(1, 1, 4, 35), table=table)
    check_step(device, ops.pointwise_step, arguments, wants_x0=True)
    table = random_table(3, clip=clip)
    check_step(device, ops.pointwise_step, {**arguments, "table": table}, wants_x0=True)


def test_pointwise_step_matches_where_only_some_images_draw_noise(device):
    table = random_table(3)
    for image, branches in ((1, (rows.NULL + 2,)), (2, range(rows.NULL + 2, rows.WIDTH))):
        table[:, image, list(branches)] = 0.0
    check_step(device, ops.pointwise_step, pointwise_call((3, 2, 4, 35), table=table))


def test_pointwise_step_matches_for_one_measurement_of_many_images(device):
    check_step(
        device, ops.pointwise_step, pointwise_call((3, 2, 5, 19), u=random_images((1, 2, 5, 19)))
    )


def test_pointwise_step_matches_without_a_measurement(device):
    check_step(device, ops.pointwise_step, pointwise_call((2, 2, 5, 19), u=None), wants_x0=True)


def test_pointwise_step_ignores_what_was_not_measured(device):
    """NaN in the unmeasured places of u, for s of every shape that holds zeros."""
    for pattern in ("BCHW", ".CHW", "..H.", "B...", ".C.."):
        s = torch.rand(broadcastable((3, 3, 6, 35), pattern)) + 0.1
        s = s * (torch.arange(s.numel()) % 2).view(s.shape)
        u = random_images((3, 3, 6, 35))
        arguments = pointwise_call((3, 3, 6, 35), s=s, u=torch.where(s > 0, u, torch.nan))
        check_step(device, ops.pointwise_step, arguments)


def test_pointwise_step_passes_nan_of_the_network_on(device):
    """A broken network shows: its NaN reaches the state, clipped or not, and stays in its place."""
    for clip in (None, (-1.0, 1.0)):
        arguments = pointwise_call((1, 1, 4, 40), table=random_table(clip=clip))
        arguments["out"][0, 0, 2, 17] = torch.nan
        noise = Noise(some_keys(1))
        result = run_on(device, ops.pointwise_step, {**arguments, "noise": noise}).cpu()
        assert result.isnan().nonzero().tolist() == [[0, 0, 2, 17]]


def test_pointwise_step_in_place(device):
    check_in_place(device, ops.pointwise_step, pointwise_call((2, 3, 9, 41)))


def test_pointwise_step_leaves_its_inputs_alone(device):
    arguments = pointwise_call((2, 3, 9, 41), out=random_images((2, 3, 9, 41), 3))
    moved = {name: move(x, device) for name, x in arguments.items()}
    ops.pointwise_step(**moved, noise=move(Noise(some_keys(2)), device))
    for name, x in arguments.items():
        assert torch.equal(moved[name].cpu(), x), name


def test_pointwise_step_matches_for_misaligned_tensors(device):
    """Contiguous tensors that begin one number after an aligned address."""
    for offset in (1, 3):
        arguments = pointwise_call((2, 2, 5, 35))
        for name in ("x_t", "out", "u", "s"):
            x = arguments[name]
            arguments[name] = torch.cat((torch.zeros(offset), x.flatten()))[offset:].view(x.shape)
        check_step(device, ops.pointwise_step, arguments, wants_x0=True)


def test_pointwise_step_accepts_views_as_measurement(device):
    u = random_images((4, 2, 19, 5)).mT[::2]
    check_step(device, ops.pointwise_step, pointwise_call((2, 2, 5, 19), u=u))


def test_pointwise_step_draws_by_iteration(device):
    """The noise of a step is that of its row's index, and of the image's place in the picture."""
    table = torch.zeros(9, 1, rows.WIDTH)
    table[..., rows.NULL + 2] = 1.0
    s = torch.zeros(1, 1, 1, 1)
    for step, origin in ((0, (0, 0)), (8, (1000, 1001))):
        arguments = {"x_t": None, "out": None, "u": None, "s": s, "table": table}
        arguments["step"] = torch.tensor([step])
        arguments["noise"] = Noise(some_keys(2, origin))
        arguments["x_next"] = torch.empty(2, 3, 5, 40)
        z = run_on(device, ops.pointwise_step, arguments)
        expected = philox.normal_field(some_keys(2, origin), 3, 5, 40, step, 0)
        assert_close(z, expected, 0.0, NORMAL)

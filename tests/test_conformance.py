"""Every fused operation on every backend against the float64 reference fed the same numbers.

The matrix is made from the backend registry. The compiled backend is tested once for each
instruction set that it carries and this processor runs.
"""

import concurrent.futures
import contextlib
import dataclasses
import importlib
import os
import signal

import pytest
import torch
from tolerances import NORMAL, STEP, assert_close, transform

from ddrm_fast import DDIM, DDNM, DDPM, DDRM, DDNMPlus, Schedule, ops
from ddrm_fast.operators import BlurDecimate, SuperResolution
from ddrm_fast.ops import Noise, dispatch, library, philox, reference, rows
from ddrm_fast.priors.schedule import pairs
from ddrm_fast.samplers.table import build_rows

# The matrix: backends, and instruction sets of the compiled one


def _instruction_sets():
    if ops.backends().get("cpp", "not registered") is not None:
        return [None]
    return importlib.import_module("ddrm_fast._C").available_isas()


def _devices(name):
    """Devices of this machine where a backend takes float32, and why there is none."""
    backend = dispatch._BACKENDS[name]
    reason, devices = backend.unavailable(), []
    for device in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        if reason is None and backend.refuses(device, torch.float32) is None:
            devices.append(device)
    return devices, reason or backend.refuses("cpu", torch.float32)


def _variants():
    """Every backend on every device that it runs on, once for each of its instruction sets."""
    for name in dispatch._BACKENDS:
        for device in _devices(name)[0]:
            for isa in _instruction_sets() if name == "cpp" else [None]:
                parts = [name, isa, device if device != "cpu" else None]
                yield pytest.param((name, isa, device), id="-".join(filter(None, parts)))


# what is fast enough for large pictures
NATIVE = [variant for variant in _variants() if variant.values[0][0] != "reference"]


@pytest.mark.parametrize("name", dispatch._BACKENDS)
def test_backend_is_in_the_matrix(name):
    """A backend that cannot run is skipped here, once, with its reason."""
    devices, reason = _devices(name)
    if not devices:
        pytest.skip(f"{name}: {reason}")
    assert name in [variant.values[0][0] for variant in _variants()]


@pytest.fixture(params=_variants())
def device(request):
    """The device of a backend that is in use for the whole test."""
    name, isa, device = request.param
    with contextlib.ExitStack() as stack:
        stack.enter_context(ops.use_backend(name))
        if isa is not None:
            extension = importlib.import_module("ddrm_fast._C")
            stack.callback(extension.set_isa, extension.get_isa())
            extension.set_isa(isa)
        yield device


def test_compiled_backend_is_built():
    """CI builds the extension: there, and here, its absence is a failure, not a skip."""
    assert ops.backends()["cpp"] is None


def test_every_registered_operation_is_in_the_matrix():
    prefix = "ddrm_fast::"
    names = {n.removeprefix(prefix) for n in torch._C._dispatch_get_all_op_names() if prefix in n}
    tested = {name.split("_matches")[0].removeprefix("test_") for name in globals()}
    assert names and names <= tested


def test_results_start_as_nan():
    """The poison of conftest.py reaches what the operations return."""
    assert library._like(torch.zeros(3)).isnan().all()
    assert library._fake_lift(torch.zeros(1, 1, 2, 2), None, None, None, 2, 1).isnan().all()


# Inputs


def _exact(x):
    """The same numbers in double precision (integers and the float32 row table stay)."""
    if not isinstance(x, torch.Tensor) or not (x.is_floating_point() or x.is_complex()):
        return x
    return x.cpu().to(torch.complex128 if x.is_complex() else torch.float64)


def _move(x, device):
    if isinstance(x, Noise):
        return Noise(x.keys.to(device), None if x.pixels is None else x.pixels.to(device))
    return x.to(device) if isinstance(x, torch.Tensor) else x


def _run(device, operation, arguments):
    return operation(**{name: _move(x, device) for name, x in arguments.items()})


def _oracle(operation, arguments):
    """The reference backend in double precision."""
    exact = {}
    for name, x in arguments.items():
        if name in ("table", "step"):
            exact[name] = x.cpu()
        elif isinstance(x, Noise):
            exact[name] = Noise(x.keys.cpu(), None if x.pixels is None else _exact(x.pixels))
        elif name == "out" and x is not None and not x.is_complex():
            exact[name] = x.cpu()
        else:
            exact[name] = _exact(x)
    with ops.use_backend("reference"):
        return operation(**exact)


def _keys(batch, origin=(3, 5)):
    return ops.noise_keys(batch, 1234, origin=origin)


def _random_table(batch=1, steps=2, threshold=0.4, clip=None):
    """Rows of arbitrary numbers: every entry matters, also those that no sampler of ours uses."""
    table = torch.randn(steps, batch, rows.WIDTH)
    table[..., rows.CLIP_LO] = -torch.inf if clip is None else clip[0]
    table[..., rows.CLIP_HI] = torch.inf if clip is None else clip[1]
    table[..., rows.THR] = threshold
    table[..., rows.NULL + 2].abs_()
    for branch in (rows.LOW, rows.HIGH):
        table[..., branch + 5] *= 0.1
        table[..., branch + 7].abs_()
        table[..., branch + 8] *= 0.05
    return table


STEP_1 = torch.ones(1, dtype=torch.int64)
SCHEDULE = Schedule.linear()


def _sampler_table(sampler, sigma_y=0.3, prediction="eps", clip=None):
    visited = SCHEDULE.steps(sampler.steps)
    sigma_y = torch.as_tensor(sigma_y, dtype=torch.float64).reshape(-1)
    return build_rows(sampler, SCHEDULE, pairs(visited), sigma_y, prediction, clip).table


def _noise_weight(table, step, s):
    """The largest weight that noise has in a row: what an error of the noise is multiplied by."""
    row = reference._row(table, step, torch.float64)
    return max(float(reference._weights(row, s.cpu().double())[3].max()), 0.0) if s.numel() else 0.0


def _images(shape, extra_channels=0):
    batch, channels, height, width = shape
    return torch.randn(batch, channels + extra_channels, height, width)


def _spectra(shape):
    return torch.fft.rfft2(torch.randn(shape), norm="ortho")


def _check_step(device, operation, arguments, *, wants_x0=False):
    """Runs a step with given and with drawn noise, into a buffer with guards on both sides."""
    state = arguments["x_t"]
    if state is None:
        state = arguments.pop("x_next")
    given = _spectra_like(state) if state.is_complex() else torch.randn_like(state)
    weight = _noise_weight(arguments["table"], arguments["step"], arguments["s"])
    keys = _keys(state.shape[0])
    for noise in (Noise(keys, given), Noise(keys)):
        call = {**arguments, "noise": noise}
        guarded, buffer = _guarded(state, device)
        targets = {"x_next": buffer}
        expected_targets = {"x_next": torch.empty_like(_exact(state))}
        if wants_x0:
            guarded_x0, targets["x0"] = _guarded(state, device)
            expected_targets["x0"] = torch.empty_like(_exact(state))
        result = _run(device, operation, {**call, **targets})
        expected = _oracle(operation, {**call, **expected_targets})
        assert result is buffer or result.data_ptr() == buffer.data_ptr()
        absolute = 0.0 if noise.pixels is not None else NORMAL * weight
        assert_close(result, expected, STEP, absolute)
        _guards_untouched(guarded, state.numel())
        if wants_x0:
            assert_close(targets["x0"], expected_targets["x0"], STEP)
            _guards_untouched(guarded_x0, state.numel())


def _spectra_like(state):
    return torch.randn_like(state)


GUARD = 37  # odd: the buffer inside is misaligned for vector loads


def _guarded(like, device):
    """A buffer of NaN for a result, and the larger piece of memory that it lies in."""
    memory = torch.full((like.numel() + 2 * GUARD,), 7.0, dtype=like.dtype, device=device)
    inside = memory[GUARD : GUARD + like.numel()].fill_(float("nan")).view(like.shape)
    return memory, inside


def _guards_untouched(memory, n):
    assert (memory[:GUARD] == 7).all() and (memory[GUARD + n :] == 7).all()


# pointwise_step

SHAPES = [
    (1, 1, 1, 1),
    (3, 3, 1, 137),
    (1, 2, 137, 1),
    (3, 1, 3, 3),
    (2, 3, 17, 19),
    (1, 5, 31, 16),
    (1, 1, 3, 2100),
    (0, 3, 8, 8),
]


def _pointwise(shape, **changes):
    batch = shape[0]
    arguments = {
        "x_t": _images(shape),
        "out": _images(shape),
        "u": _images(shape),
        "s": torch.rand(shape) + 0.05,
        "table": _random_table(),
        "step": STEP_1,
    }
    assert set(changes) <= set(arguments)
    return {**arguments, **changes} if batch is not None else arguments


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pointwise_step_matches_for_shapes(device, shape):
    _check_step(device, ops.pointwise_step, _pointwise(shape), wants_x0=True)


def _pick(shape, pattern):
    """``shape`` with 1 where the pattern has a dot."""
    return [1 if mark == "." else n for n, mark in zip(shape, pattern, strict=True)]


@pytest.mark.parametrize("shape", [(3, 2, 5, 41), (2, 3, 2, 1030)], ids=str)
@pytest.mark.parametrize(
    "pattern", ["BCHW", ".CHW", "B...", ".C..", "..H.", "...W", "....", "B.H."]
)
def test_pointwise_step_matches_for_singular_values(device, shape, pattern):
    """Any gain, a mask, all 0, all 1."""
    gain = torch.rand(_pick(shape, pattern)) + 0.05
    mask = (torch.rand_like(gain) > 0.5).float()
    for s in (gain, mask, torch.zeros_like(gain), torch.ones_like(gain)):
        _check_step(device, ops.pointwise_step, _pointwise(shape, s=s))


def test_pointwise_step_matches_for_changing_kinds_of_rows(device):
    """Rows of one picture where s is constant, 0, two-valued, arbitrary, or changes in mid-row."""
    s = torch.zeros(1, 1, 6, 1100)
    s[..., 0, :] = 0.7
    s[..., 2, ::3] = 0.7
    s[..., 3, :] = torch.rand(1100)
    s[..., 4, 1050:] = 0.2
    s[..., 5, 1099] = 0.9
    _check_step(device, ops.pointwise_step, _pointwise((1, 1, 6, 1100), s=s))


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0, torch.inf])
def test_pointwise_step_matches_at_the_threshold(device, threshold):
    """s = thr is the high branch; thr = inf is never reached."""
    s = torch.tensor([0.5, 1.0, 0.0, 0.25]).repeat(9).view(1, 1, 4, 9)
    table = _random_table(threshold=threshold)
    _check_step(device, ops.pointwise_step, _pointwise((1, 1, 4, 9), s=s, table=table))


def _layouts(shape, dtype=torch.float32):
    """Network outputs as networks and callers hand them over, by name."""
    batch, channels, height, width = shape

    def randn(*size):
        return torch.randn(size).to(dtype)

    return {
        "contiguous": randn(*shape),
        "six channels": randn(batch, 2 * channels, height, width),
        "last half": randn(batch, 2 * channels, height, width)[:, channels:],
        "channels last": randn(*shape).to(memory_format=torch.channels_last),
        "expanded batch": randn(1, channels, height, width).expand(shape),
        "expanded channels": randn(batch, 1, height, width).expand(shape),
        "transposed": randn(batch, channels, width, height).mT,
        "columns of a wider one": randn(batch, channels, height, width + 3)[..., 2 : 2 + width],
        "every second image": randn(2 * batch, channels, height, width)[::2],
        "misaligned": randn(batch * channels * height * width + 1)[1:].view(shape),
    }


LAYOUTS = list(_layouts((2, 3, 2, 2)))
OUTPUTS = [torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pointwise_step_matches_for_network_outputs(device, layout):
    shape = (2, 3, 5, 37)
    s = (torch.rand(1, 1, 5, 37) > 0.5).float()
    for dtype in OUTPUTS:
        arguments = _pointwise(shape, out=_layouts(shape, dtype)[layout], s=s)
        _check_step(device, ops.pointwise_step, arguments, wants_x0=True)


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
        result = _run(
            device,
            ops.pointwise_step,
            {
                "x_t": state,
                "out": values,
                "u": None,
                "s": torch.zeros(1, 1, 1, 1),
                "table": table,
                "step": STEP_1,
                "noise": Noise(_keys(1)),
            },
        )
        assert torch.equal(result.cpu(), values.float())


def _places(table):
    """Indices of the first, a middle and the last step of a run."""
    return [torch.tensor([index]) for index in (1, len(table) // 2, len(table) - 1)]


SAMPLERS = [
    DDRM(),
    DDRM(steps=5, eta=0.3, eta_b=0.6, eta_c=1.0),
    DDNM(steps=7),
    DDNMPlus(steps=10),
    DDIM(steps=6, eta=0.5),
    DDPM(steps=9),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: f"{type(s).__name__}-{s.steps}")
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("clip", [None, (-1.0, 1.0)], ids=["free", "clipped"])
def test_pointwise_step_matches_for_samplers(device, sampler, prediction, clip):
    table = _sampler_table(sampler, prediction=prediction, clip=clip)
    s = torch.rand(1, 1, 7, 33) * (torch.rand(1, 1, 7, 33) > 0.3)
    for step in _places(table):
        arguments = _pointwise((2, 3, 7, 33), s=s, table=table, step=step)
        _check_step(device, ops.pointwise_step, arguments, wants_x0=True)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: f"{type(s).__name__}-{s.steps}")
def test_pointwise_step_matches_for_the_first_state(device, sampler):
    table = _sampler_table(sampler, torch.tensor([0.0, 0.1, 2.0]))
    s = torch.rand(1, 3, 5, 21) * (torch.rand(1, 1, 5, 21) > 0.3)
    arguments = _pointwise((3, 3, 5, 21), s=s, table=table, step=torch.zeros(1, dtype=torch.int64))
    arguments.update(x_t=None, out=None, x_next=torch.empty(3, 3, 5, 21))
    _check_step(device, ops.pointwise_step, arguments, wants_x0=True)


@pytest.mark.parametrize("clip", [None, (-1.0, 1.0)], ids=["free", "clipped"])
def test_pointwise_step_matches_for_a_row_per_image(device, clip):
    """Levels 0, middle and so high that nothing reaches the threshold, in one batch."""
    table = _sampler_table(DDNMPlus(steps=10), torch.tensor([0.0, 0.3, 1e3]), clip=clip)
    arguments = _pointwise((3, 2, 4, 35), s=torch.rand(1, 1, 4, 35), table=table)
    _check_step(device, ops.pointwise_step, arguments, wants_x0=True)
    table = _random_table(3, clip=clip)
    _check_step(device, ops.pointwise_step, {**arguments, "table": table}, wants_x0=True)


def test_pointwise_step_matches_where_only_some_images_draw_noise(device):
    table = _random_table(3)
    for image, branches in ((1, (rows.NULL + 2,)), (2, range(rows.NULL + 2, rows.WIDTH))):
        table[:, image, list(branches)] = 0.0
    _check_step(device, ops.pointwise_step, _pointwise((3, 2, 4, 35), table=table))


def test_pointwise_step_matches_for_one_measurement_of_many_images(device):
    _check_step(device, ops.pointwise_step, _pointwise((3, 2, 5, 19), u=_images((1, 2, 5, 19))))


def test_pointwise_step_matches_without_a_measurement(device):
    _check_step(device, ops.pointwise_step, _pointwise((2, 2, 5, 19), u=None), wants_x0=True)


def test_pointwise_step_ignores_what_was_not_measured(device):
    """NaN in the unmeasured places of u, for s of every shape that holds zeros."""
    for pattern in ("BCHW", ".CHW", "..H.", "B...", ".C.."):
        s = torch.rand(_pick((3, 3, 6, 35), pattern)) + 0.1
        s = s * (torch.arange(s.numel()) % 2).view(s.shape)
        u = _images((3, 3, 6, 35))
        arguments = _pointwise((3, 3, 6, 35), s=s, u=torch.where(s > 0, u, torch.nan))
        _check_step(device, ops.pointwise_step, arguments)


def test_pointwise_step_passes_nan_of_the_network_on(device):
    """A broken network shows: its NaN reaches the state, clipped or not, and stays in its place."""
    for clip in (None, (-1.0, 1.0)):
        arguments = _pointwise((1, 1, 4, 40), table=_random_table(clip=clip))
        arguments["out"][0, 0, 2, 17] = torch.nan
        noise = Noise(_keys(1))
        result = _run(device, ops.pointwise_step, {**arguments, "noise": noise}).cpu()
        assert result.isnan().nonzero().tolist() == [[0, 0, 2, 17]]


def test_pointwise_step_in_place(device):
    arguments = _pointwise((2, 3, 9, 41))
    noise = Noise(_keys(2))
    expected = _run(device, ops.pointwise_step, {**arguments, "noise": noise})
    state = arguments["x_t"].to(device).clone()
    moved = {name: _move(x, device) for name, x in arguments.items()}
    moved.update(x_t=state, x_next=state, noise=_move(noise, device))
    assert ops.pointwise_step(**moved) is state
    assert torch.equal(state, expected)


def test_pointwise_step_leaves_its_inputs_alone(device):
    arguments = _pointwise((2, 3, 9, 41), out=_images((2, 3, 9, 41), 3))
    moved = {name: _move(x, device) for name, x in arguments.items()}
    ops.pointwise_step(**moved, noise=_move(Noise(_keys(2)), device))
    for name, x in arguments.items():
        assert torch.equal(moved[name].cpu(), x), name


def test_pointwise_step_matches_for_misaligned_tensors(device):
    """Contiguous tensors that begin one number after an aligned address."""
    for offset in (1, 3):
        arguments = _pointwise((2, 2, 5, 35))
        for name in ("x_t", "out", "u", "s"):
            x = arguments[name]
            arguments[name] = torch.cat((torch.zeros(offset), x.flatten()))[offset:].view(x.shape)
        _check_step(device, ops.pointwise_step, arguments, wants_x0=True)


def test_pointwise_step_accepts_views_as_measurement(device):
    u = _images((4, 2, 19, 5)).mT[::2]
    _check_step(device, ops.pointwise_step, _pointwise((2, 2, 5, 19), u=u))


def test_steps_read_given_noise_of_any_layout(device):
    """Noise as a strided or a conjugate view."""
    state, half = (2, 3, 8, 44), (2, 3, 9, 69)
    pixels = _images((4, 3, 44, 8)).mT[::2]
    spectra = _spectra((4, 3, 9, 69)).conj()[::2]
    for operation, arguments, given in (
        (ops.pointwise_step, _pointwise(state), pixels),
        (ops.block_step, _block(state, _profile(state, 4, False, "none")), pixels),
        (ops.spectral_step, _spectral(half), spectra),
        (ops.alias_step, _alias(3, half), spectra),
    ):
        assert not given.is_contiguous()
        call = {**arguments, "noise": Noise(_keys(2), given)}
        assert_close(_run(device, operation, call), _oracle(operation, call), STEP)


def test_pointwise_step_draws_by_iteration(device):
    """The noise of a step is that of its row's index, and of the image's place in the picture."""
    table = torch.zeros(9, 1, rows.WIDTH)
    table[..., rows.NULL + 2] = 1.0
    s = torch.zeros(1, 1, 1, 1)
    for step, origin in ((0, (0, 0)), (8, (1000, 1001))):
        arguments = {"x_t": None, "out": None, "u": None, "s": s, "table": table}
        arguments["step"] = torch.tensor([step])
        arguments["noise"] = Noise(_keys(2, origin))
        arguments["x_next"] = torch.empty(2, 3, 5, 40)
        z = _run(device, ops.pointwise_step, arguments)
        expected = philox.normal_field(_keys(2, origin), 3, 5, 40, step, 0)
        assert_close(z, expected, 0.0, NORMAL)


# block_step, block_measure, block_lift


@dataclasses.dataclass
class Profile:
    """What defines the groups of a block operation, made by the operator that uses it."""

    s: torch.Tensor
    weights: torch.Tensor | None
    mask: torch.Tensor | None
    factor: int
    grid: tuple[int, ...]


def _masks(shape, factor):
    """Masks of every kind by name; those of 0 and 1 have blocks that are fully masked."""
    batch, channels, height, width = shape

    def holes(*size):
        mask = (torch.rand(size) > 0.4).double()
        mask[..., :factor, -factor:] = 0.0
        return mask

    return {
        "none": None,
        "shared": holes(1, 1, height, width),
        "per channel": holes(1, channels, height, width),
        "per image": holes(batch, 1, height, width),
        "per image and channel": holes(batch, channels, height, width),
        "real": torch.randn(1, channels, height, width, dtype=torch.float64),
    }


MASKS = list(_masks((1, 1, 2, 2), 1))


def _profile(shape, factor, weighted, mask):
    batch, channels, height, width = shape
    weights = torch.rand(channels).double() + 0.2 if weighted else None
    mask = _masks(shape, factor)[mask]
    operator = SuperResolution(factor, weights, mask)
    s = operator.singulars((channels, height, width)).float()
    grid = (batch, 1 if weighted else channels, height // factor, width // factor)
    as_float = [None if x is None else x.float() for x in (weights, mask)]
    return Profile(s, *as_float, factor, grid)


def _block(shape, profile, **changes):
    arguments = {
        "x_t": _images(shape),
        "out": _images(shape),
        "u": _images(profile.grid),
        "s": profile.s,
        "weights": profile.weights,
        "mask": profile.mask,
        "factor": profile.factor,
        "table": _random_table(threshold=0.2),
        "step": STEP_1,
    }
    assert set(changes) <= set(arguments)
    return {**arguments, **changes}


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


@pytest.mark.parametrize("case", BLOCK_SHAPES, ids=_named)
@pytest.mark.parametrize("weighted", [False, True], ids=["per channel", "grey"])
def test_block_step_matches_for_shapes(device, case, weighted):
    factor, shape = case
    profile = _profile(shape, factor, weighted, "none")
    _check_step(device, ops.block_step, _block(shape, profile), wants_x0=True)


@pytest.mark.parametrize("case", [(1, (2, 3, 5, 19)), (2, (2, 3, 6, 38)), (5, (2, 3, 10, 25))])
@pytest.mark.parametrize("weighted", [False, True], ids=["per channel", "grey"])
@pytest.mark.parametrize("mask", MASKS[1:])
def test_block_step_matches_for_masks(device, case, weighted, mask):
    """NaN stands in u where a block is fully masked."""
    factor, shape = case
    profile = _profile(shape, factor, weighted, mask)
    arguments = _block(shape, profile)
    measured = (profile.s > 0).expand(profile.grid)
    assert measured.any() and (mask == "real" or not measured.all())
    arguments["u"] = torch.where(measured, arguments["u"], torch.nan)
    _check_step(device, ops.block_step, arguments, wants_x0=True)


@pytest.mark.parametrize("pattern", ["B...", ".C..", "..H.", "...W", "....", "B.H."])
def test_block_step_matches_for_singular_values(device, pattern):
    """s and the mask in every broadcast shape, whether or not an operator makes it so."""
    shape, factor = (2, 3, 6, 38), 2
    profile = _profile(shape, factor, False, "real")
    s = torch.rand(_pick(profile.grid, pattern)) + 0.1
    _check_step(device, ops.block_step, _block(shape, profile, s=s))
    _check_step(device, ops.block_step, _block(shape, profile, s=torch.zeros_like(s)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_block_step_matches_for_network_outputs(device, layout):
    shape = (2, 3, 6, 38)
    profile = _profile(shape, 2, True, "none")
    for dtype in OUTPUTS:
        arguments = _block(shape, profile, out=_layouts(shape, dtype)[layout])
        _check_step(device, ops.block_step, arguments, wants_x0=True)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: f"{type(s).__name__}-{s.steps}")
@pytest.mark.parametrize("clip", [None, (-1.0, 1.0)], ids=["free", "clipped"])
def test_block_step_matches_for_samplers(device, sampler, clip):
    shape = (2, 3, 8, 44)
    profile = _profile(shape, 4, False, "none")
    table = _sampler_table(sampler, clip=clip)
    for step in _places(table):
        arguments = _block(shape, profile, table=table, step=step)
        _check_step(device, ops.block_step, arguments, wants_x0=True)


@pytest.mark.parametrize("weighted", [False, True], ids=["per channel", "grey"])
def test_block_step_matches_for_the_first_state(device, weighted):
    shape = (3, 3, 4, 38)
    profile = _profile(shape, 2, weighted, "per image")
    for sampler in (DDRM(), DDNMPlus(steps=10)):
        table = _sampler_table(sampler, torch.tensor([0.0, 0.1, 2.0]))
        arguments = _block(shape, profile, table=table, step=torch.zeros(1, dtype=torch.int64))
        arguments.update(x_t=None, out=None, x_next=torch.empty(shape))
        _check_step(device, ops.block_step, arguments, wants_x0=True)


def test_block_step_matches_for_a_row_per_image(device):
    shape = (3, 3, 4, 38)
    profile = _profile(shape, 2, True, "shared")
    for table in (
        _sampler_table(DDRM(), torch.tensor([0.0, 0.3, 1e3]), clip=(-1.0, 1.0)),
        _random_table(3, threshold=0.2),
    ):
        _check_step(device, ops.block_step, _block(shape, profile, table=table), wants_x0=True)


def test_block_step_matches_with_one_or_no_measurement(device):
    shape = (3, 2, 6, 38)
    profile = _profile(shape, 2, False, "none")
    one = _images((1, *profile.grid[1:]))
    _check_step(device, ops.block_step, _block(shape, profile, u=one))
    _check_step(device, ops.block_step, _block(shape, profile, u=None), wants_x0=True)


def test_block_step_in_place(device):
    shape = (2, 3, 8, 44)
    for weighted in (False, True):
        arguments = _block(shape, _profile(shape, 4, weighted, "shared"))
        moved = {name: _move(x, device) for name, x in arguments.items()}
        noise = _move(Noise(_keys(2)), device)
        expected = ops.block_step(**moved, noise=noise)
        moved["x_t"] = moved["x_t"].clone()
        assert ops.block_step(**moved, noise=noise, x_next=moved["x_t"]) is moved["x_t"]
        assert torch.equal(moved["x_t"], expected)


@pytest.mark.parametrize("case", BLOCK_SHAPES, ids=_named)
@pytest.mark.parametrize("weighted", [False, True], ids=["per channel", "grey"])
def test_block_measure_matches(device, case, weighted):
    factor, shape = case
    for mask in ("none", "per image and channel", "real"):
        p = _profile(shape, factor, weighted, mask)
        call = {"x": _images(shape), "s": p.s, "weights": p.weights, "mask": p.mask}
        call["factor"] = factor
        assert_close(_run(device, ops.block_measure, call), _oracle(ops.block_measure, call), STEP)


@pytest.mark.parametrize("case", BLOCK_SHAPES, ids=_named)
@pytest.mark.parametrize("weighted", [False, True], ids=["per channel", "grey"])
def test_block_lift_matches(device, case, weighted):
    factor, shape = case
    for mask in ("none", "per image and channel", "real"):
        p = _profile(shape, factor, weighted, mask)
        call = {"c": _images(p.grid), "s": p.s, "weights": p.weights, "mask": p.mask}
        call.update(factor=factor, channels=shape[1])
        assert_close(_run(device, ops.block_lift, call), _oracle(ops.block_lift, call), STEP)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_block_measure_and_lift_match_for_layouts(device, layout):
    shape = (2, 3, 6, 38)
    x = _layouts(shape)[layout][:, :3]
    p = _profile(shape, 2, False, "real")
    call = {"x": x, "s": p.s, "weights": p.weights, "mask": p.mask, "factor": 2}
    assert_close(_run(device, ops.block_measure, call), _oracle(ops.block_measure, call), STEP)
    call = {"c": x, "s": _images((1, 3, 1, 1)).abs(), "weights": None, "mask": None, "factor": 2}
    call["channels"] = 3
    assert_close(_run(device, ops.block_lift, call), _oracle(ops.block_lift, call), STEP)


# spectral_step

SPECTRAL_SIZES = [
    (1, 1), (1, 2), (2, 1), (2, 2), (1, 7), (7, 1), (3, 3), (4, 4), (4, 5), (5, 4), (9, 35),
    (16, 66), (2, 1029), (3, 2050),
]  # fmt: skip


def _spectral(shape, **changes):
    half = (*shape[:3], shape[3] // 2 + 1)
    arguments = {
        "x_t": _spectra(shape),
        "out": _spectra(shape),
        "u": _spectra(shape),
        "s": torch.rand(half) + 0.05,
        "table": _random_table(),
        "step": STEP_1,
        "width": shape[3],
    }
    assert set(changes) <= set(arguments)
    return {**arguments, **changes}


@pytest.mark.parametrize("size", SPECTRAL_SIZES, ids=str)
def test_spectral_step_matches_for_sizes(device, size):
    _check_step(device, ops.spectral_step, _spectral((2, 3, *size)))


def test_spectral_step_matches_for_no_images(device):
    shape = (0, 3, 4, 3)
    arguments = _spectral((1, 3, 4, 4), x_t=torch.empty(shape, dtype=torch.complex64))
    arguments.update(out=arguments["x_t"].clone(), s=torch.rand(1, 1, 4, 3))
    arguments["u"] = arguments["u"][:1]
    _check_step(device, ops.spectral_step, arguments)


@pytest.mark.parametrize(
    "pattern", ["BCHW", ".CHW", "..HW", "B...", ".C..", "..H.", "...W", "...."]
)
def test_spectral_step_matches_for_singular_values(device, pattern):
    """Any, some 0, all 0. NaN stands in u where s = 0."""
    shape = (2, 3, 6, 43)
    gain = torch.rand(_pick((2, 3, 6, 22), pattern)) + 0.05
    for s in (gain, torch.where(gain > 0.5, gain, 0.0), torch.zeros_like(gain)):
        u = torch.where(s > 0, _spectra(shape), torch.nan)
        _check_step(device, ops.spectral_step, _spectral(shape, s=s, u=u))


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: f"{type(s).__name__}-{s.steps}")
def test_spectral_step_matches_for_samplers(device, sampler):
    shape = (3, 2, 6, 35)
    table = _sampler_table(sampler, torch.tensor([0.0, 0.3, 1e3]), prediction="v")
    s = torch.rand(1, 1, 6, 18) * (torch.rand(1, 1, 6, 18) > 0.3)
    for step in _places(table):
        _check_step(device, ops.spectral_step, _spectral(shape, s=s, table=table, step=step))
    start = _spectral(shape, s=s, table=table, step=torch.zeros(1, dtype=torch.int64))
    start.update(x_t=None, out=None, x_next=torch.empty(3, 2, 6, 18, dtype=torch.complex64))
    _check_step(device, ops.spectral_step, start)


def test_spectral_step_ignores_the_clip_range(device):
    """Clipping belongs to pixels: a spectrum is taken as it is."""
    free, clipped = _random_table(), None
    clipped = free.clone()
    clipped[..., rows.CLIP_LO], clipped[..., rows.CLIP_HI] = -0.1, 0.1
    arguments = _spectral((1, 2, 6, 35), table=free)
    noise = Noise(_keys(1))
    first = _run(device, ops.spectral_step, {**arguments, "noise": noise})
    second = _run(device, ops.spectral_step, {**arguments, "noise": noise, "table": clipped})
    assert torch.equal(first, second)


def test_spectral_step_matches_for_layouts(device):
    """One or no measurement; conjugate views and strided outputs are read as what they mean."""
    shape = (3, 2, 6, 35)
    _check_step(device, ops.spectral_step, _spectral(shape, u=_spectra((1, 2, 6, 35))))
    _check_step(device, ops.spectral_step, _spectral(shape, u=None))
    _check_step(device, ops.spectral_step, _spectral(shape, u=_spectra(shape).conj()))
    _check_step(device, ops.spectral_step, _spectral(shape, out=_spectra(shape).conj()))
    _check_step(device, ops.spectral_step, _spectral(shape, out=_spectra((6, 2, 6, 35))[::2]))


def test_spectral_step_in_place(device):
    moved = {name: _move(x, device) for name, x in _spectral((2, 3, 6, 35)).items()}
    noise = _move(Noise(_keys(2)), device)
    expected = ops.spectral_step(**moved, noise=noise)
    state = moved["x_t"] = moved["x_t"].clone()
    assert ops.spectral_step(**moved, noise=noise, x_next=state) is state
    assert torch.equal(state, expected)


# alias_step

ALIAS_SIZES = [
    (1, (1, 1)), (1, (5, 7)), (1, (4, 6)),
    (2, (2, 2)), (2, (6, 10)), (2, (4, 8)), (2, (6, 12)), (2, (2, 34)), (2, (10, 6)),
    (2, (6, 1030)),
    (3, (3, 3)), (3, (9, 15)), (3, (9, 6)), (3, (6, 66)),
    (4, (4, 4)), (4, (12, 20)), (4, (8, 4)), (4, (16, 16)), (4, (20, 24)),
]  # fmt: skip


def _alias(factor, shape, taps=3, **changes):
    batch, channels, height, width = shape
    kernel = torch.rand(channels, min(taps, height), min(taps, width))
    operator = BlurDecimate(kernel, factor)
    size = (channels, height, width)
    like = torch.empty(0)
    small = (batch, channels, height // factor, width // factor)
    arguments = {
        "x_t": _spectra(shape),
        "out": _spectra(shape),
        "u": _spectra(small),
        "kernel": operator._kernel(size, like),
        "s": operator._half_singulars(size, like),
        "factor": factor,
        "table": _random_table(threshold=0.3),
        "step": STEP_1,
        "width": width,
    }
    assert set(changes) <= set(arguments)
    return {**arguments, **changes}


@pytest.mark.parametrize("case", ALIAS_SIZES, ids=str)
def test_alias_step_matches_for_sizes(device, case):
    factor, size = case
    _check_step(device, ops.alias_step, _alias(factor, (2, 3, *size)))


def test_alias_step_matches_for_no_images(device):
    arguments = _alias(2, (1, 3, 4, 4), x_t=torch.empty(0, 3, 4, 3, dtype=torch.complex64))
    arguments["out"] = arguments["x_t"].clone()
    _check_step(device, ops.alias_step, arguments)


@pytest.mark.parametrize("factor", [2, 3])
def test_alias_step_matches_for_unmeasured_groups(device, factor):
    """Groups that count as not measured: s = 0, and NaN in u."""
    arguments = _alias(factor, (2, 1, 6 * factor, 5 * factor))
    s = arguments["s"] = arguments["s"].clone()
    s[..., 1:3, :] = 0.0
    s[..., 5, :] = 0.0  # the mirror of row 1; s of a real kernel is symmetric
    s[..., 4, :] = 0.0
    arguments["u"] = torch.where(s > 0, arguments["u"], torch.nan)
    _check_step(device, ops.alias_step, arguments)
    _check_step(device, ops.alias_step, {**arguments, "s": torch.zeros_like(s)})


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: f"{type(s).__name__}-{s.steps}")
def test_alias_step_matches_for_samplers(device, sampler):
    shape = (3, 2, 6, 38)
    table = _sampler_table(sampler, torch.tensor([0.0, 0.3, 1e3]))
    for step in _places(table):
        _check_step(device, ops.alias_step, _alias(2, shape, table=table, step=step))
    start = _alias(2, shape, table=table, step=torch.zeros(1, dtype=torch.int64))
    start.update(x_t=None, out=None, x_next=torch.empty(3, 2, 6, 20, dtype=torch.complex64))
    _check_step(device, ops.alias_step, start)


def test_alias_step_matches_for_broadcast_arguments(device):
    """A kernel for all channels, one or no measurement, conjugate views."""
    shape = (3, 2, 9, 15)
    shared = _alias(3, (1, 1, 9, 15))
    common = {"kernel": shared["kernel"], "s": shared["s"]}
    _check_step(device, ops.alias_step, _alias(3, shape, **common))
    _check_step(device, ops.alias_step, _alias(3, shape, u=_spectra((1, 2, 3, 5))))
    _check_step(device, ops.alias_step, _alias(3, shape, u=None))
    arguments = _alias(3, shape)
    arguments.update(kernel=arguments["kernel"].conj(), u=arguments["u"].conj())
    _check_step(device, ops.alias_step, arguments)


def test_alias_step_in_place(device):
    for factor in (1, 2, 3):
        moved = {k: _move(x, device) for k, x in _alias(factor, (2, 3, 12, 18)).items()}
        noise = _move(Noise(_keys(2)), device)
        expected = ops.alias_step(**moved, noise=noise)
        state = moved["x_t"] = moved["x_t"].clone()
        assert ops.alias_step(**moved, noise=noise, x_next=state) is state
        assert torch.equal(state, expected)


# fwht


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 1), (2, 3, 1, 2), (2, 3, 2, 1), (1, 1, 1, 8), (3, 1, 16, 2), (2, 3, 4, 4),
        (1, 2, 32, 64), (1, 1, 1, 4096), (1, 1, 8192, 1), (1, 1, 256, 512), (0, 3, 4, 4),
    ],
    ids=str,
)  # fmt: skip
def test_fwht_matches(device, shape):
    call = {"x": _images(shape)}
    expected = _oracle(ops.fwht, call)
    assert_close(_run(device, ops.fwht, call), expected, transform(shape[2] * shape[3]))


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
    result = _run(device, ops.fwht, {"x": x})
    assert_close(result, expected.view(x.shape), transform(n))
    assert_close(_run(device, ops.fwht, {"x": result}), x.double(), transform(n))


def test_fwht_out_matches(device):
    """Into a buffer, and in place."""
    x = _move(_images((2, 3, 8, 16)), device)
    expected = ops.fwht(x)
    assert torch.equal(ops.fwht(x, out=torch.zeros_like(x)), expected)
    assert torch.equal(ops.fwht(x, out=x), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fwht_matches_for_layouts(device, layout):
    call = {"x": _layouts((2, 3, 8, 16))[layout]}
    assert_close(_run(device, ops.fwht, call), _oracle(ops.fwht, call), transform(128))


def test_fwht_of_the_oracle_is_the_hadamard_matrix():
    """Against the m-fold Kronecker power, written out."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(6):
        matrix = torch.kron(matrix, torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64))
    x = torch.randn(2, 3, 4, 16, dtype=torch.float64)
    with ops.use_backend("reference"):
        assert_close(ops.fwht(x).flatten(2), x.flatten(2) @ matrix / 8, 1e-14)


# predict_x0


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("clip", [None, (-0.8, 0.9)], ids=["free", "clipped"])
def test_predict_x0_matches(device, layout, clip):
    shape = (2, 3, 5, 37)
    for dtype in OUTPUTS:
        call = {"x_t": _images(shape), "out": _layouts(shape, dtype)[layout], "step": STEP_1}
        for call["table"] in (_random_table(clip=clip), _random_table(2, clip=clip)):
            result = _run(device, ops.predict_x0, call)
            assert_close(result, _oracle(ops.predict_x0, call), STEP)
            assert clip is None or (float(result.min()), float(result.max())) == pytest.approx(clip)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_predict_x0_matches_for_samplers(device, shape, prediction):
    table = _sampler_table(DDRM(), prediction=prediction)
    for step in (1, 10, 20):
        call = {"x_t": _images(shape), "out": _images(shape), "table": table}
        call["step"] = torch.tensor([step])
        result = _run(device, ops.predict_x0, call)
        assert_close(result, _oracle(ops.predict_x0, call), STEP)


# normal


@pytest.mark.parametrize(
    "size",
    [
        (1, 1, 1), (3, 1, 137), (2, 137, 1), (1, 3, 2100), (3, 16, 16), (4, 5, 7), (1, 2, 66),
        (0, 3, 3),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("origin", [(0, 0), (7, 1), (2**31, 2**31 + 2), (5, 2**32 - 3)], ids=str)
def test_normal_matches(device, size, origin):
    channels, height, width = size
    seeds = torch.tensor([0, -1, 2**40 + 17])
    keys = ops.noise_keys(3, seeds, torch.tensor([0, 5, 2**30]), origin)
    for iteration, stream in ((0, 0), (2**24 - 1, 255), (17, 1)):
        call = {"keys": keys, "channels": channels, "height": height, "width": width}
        call.update(iteration=iteration, stream=stream)
        expected = philox.normal_field(keys, channels, height, width, iteration, stream)
        assert_close(_run(device, ops.normal, call), expected, 0.0, NORMAL)


def test_normal_matches_for_no_images(device):
    assert ops.normal(_keys(0).to(device), 3, 4, 5).shape == (0, 3, 4, 5)


# What holds for all operations


def _one_of_each(image, spectrum, block, small):
    """A call of every operation: (operation, arguments), noise drawn inside."""
    profile = _profile(block, 4, True, "real")
    noise, clip = Noise(_keys(image[0])), (-1.0, 1.0)
    aliased = _alias(3, spectrum)
    linear = {"s": profile.s, "weights": profile.weights, "mask": profile.mask, "factor": 4}
    pixels = {"x_t": _images(image), "out": _images(image), "step": STEP_1}
    return [
        (ops.pointwise_step, {**_pointwise(image), "noise": noise}),
        (ops.pointwise_step, {**_pointwise(image, table=_random_table(clip=clip)), "noise": noise}),
        (ops.block_step, {**_block(block, profile), "noise": noise}),
        (ops.spectral_step, {**_spectral(spectrum), "noise": noise}),
        (ops.alias_step, {**aliased, "noise": noise}),
        (ops.block_measure, {**linear, "x": _images(block)}),
        (ops.block_lift, {**linear, "c": _images(profile.grid), "channels": block[1]}),
        (ops.fwht, {"x": _images(small)}),
        (ops.predict_x0, {**pixels, "table": _random_table(clip=clip)}),
        (ops.normal, {"keys": _keys(2), "channels": 3, "height": image[2], "width": image[3]}),
    ]


@pytest.mark.parametrize("device", NATIVE, indirect=True)
def test_thread_counts_agree_bit_for_bit(device):
    """Pictures large enough to be shared out, with 1, 2 and 3 threads, and against the oracle."""
    calls = _one_of_each((2, 3, 90, 131), (2, 3, 90, 129), (2, 3, 92, 132), (2, 3, 128, 128))
    for operation, arguments in calls:
        torch.set_num_threads(1)
        expected = _run(device, operation, arguments)
        for threads in (2, 3):
            torch.set_num_threads(threads)
            result = _run(device, operation, arguments)
            assert torch.equal(result, expected), f"{operation.__name__} with {threads} threads"
        torch.set_num_threads(1)
        if operation is ops.normal:
            continue
        absolute = 10 * NORMAL if "noise" in arguments else 0.0
        assert_close(expected, _oracle(operation, arguments), STEP, absolute)


@pytest.mark.parametrize(
    "operation, width",
    [(ops.pointwise_step, 1024), (ops.block_step, 1024), (ops.pointwise_step, 1028)],
)
@pytest.mark.parametrize("device", NATIVE, indirect=True)
def test_large_states_do_not_depend_on_alignment(device, operation, width):
    """64 MiB: such a state may be written past the caches where its rows are aligned.

    Same numbers; the last rows of the last image are checked against the oracle.
    """
    one, shape, kept = (1, 1, 1024, width), (16, 1, 1024, width), 8
    if operation is ops.pointwise_step:
        s, rows_of_u = (torch.rand(one) > 0.5).float() * torch.rand(one), kept
        call = _pointwise(one, s=s)
    else:
        call, rows_of_u = _block(one, _profile(one, 4, False, "none")), kept // 4
    small = dict(call)
    call.update(x_t=call["x_t"].repeat(16, 1, 1, 1), out=call["out"].expand(shape))
    call["noise"] = Noise(_keys(16))
    aligned = _run(device, operation, call)
    assert aligned.data_ptr() % 64 == 0
    _, buffer = _guarded(aligned, device)
    assert buffer.data_ptr() % 64 != 0
    assert torch.equal(_run(device, operation, {**call, "x_next": buffer}), aligned)
    state = call["x_t"].to(device)
    assert torch.equal(_run(device, operation, {**call, "x_t": state, "x_next": state}), aligned)

    for name in ("x_t", "out", "s") if operation is ops.pointwise_step else ("x_t", "out"):
        small[name] = small[name][:, :, -kept:].contiguous()
    small["u"] = small["u"][:, :, -rows_of_u:]
    small["noise"] = Noise(ops.noise_keys(1, 1234, 15, (3 + 1024 - kept, 5)))
    assert_close(aligned[-1:, :, -kept:], _oracle(operation, small), STEP, 10 * NORMAL)


@pytest.mark.parametrize("device", NATIVE, indirect=True)
def test_callers_in_several_threads(device):
    """Kernels run without the interpreter's lock, and share one team of threads."""
    torch.set_num_threads(2)
    keys = [ops.noise_keys(1, seed).to(device) for seed in range(8)]
    expected = [ops.normal(k, 3, 100, 131) for k in keys]
    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        for _ in range(3):
            results = list(executor.map(lambda k: ops.normal(k, 3, 100, 131), keys))
            for result, z in zip(results, expected, strict=True):
                assert torch.equal(result, z)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_threads_of_its_own():
    """As a data loader forks: the child has none of its parent's threads, and must not wait.

    (It calls the kernel alone: torch's own OpenMP team does not survive a fork.)
    """
    cpp = importlib.import_module("ddrm_fast.ops.cpp")
    torch.set_num_threads(2)
    keys, expected, z = (
        ops.noise_keys(1, 3),
        torch.zeros(1, 3, 100, 131),
        torch.zeros(1, 3, 100, 131),
    )
    cpp.normal(expected, keys, 7, 1)
    numbers, same = z.numpy(), expected.numpy()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        cpp.normal(z, keys, 7, 1)
        os.write(writer, b"equal" if (numbers == same).all() else b"other")
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"equal"


def test_instruction_sets_agree_bit_for_bit():
    """Which processor runs a step makes no difference."""
    if ops.backends()["cpp"] is not None:
        pytest.skip(ops.backends()["cpp"])
    extension = importlib.import_module("ddrm_fast._C")
    before, sets = extension.get_isa(), extension.available_isas()
    calls = _one_of_each((2, 3, 9, 67), (2, 3, 9, 69), (2, 3, 8, 44), (2, 3, 16, 32))
    try:
        with ops.use_backend("cpp"):
            for operation, arguments in calls:
                results = []
                for isa in sets:
                    extension.set_isa(isa)
                    results.append(operation(**arguments))
                for isa, result in zip(sets, results, strict=True):
                    assert torch.equal(result, results[0]), f"{operation.__name__} on {isa}"
    finally:
        extension.set_isa(before)

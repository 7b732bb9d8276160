"""Operations called directly refuse a wrong argument by its name."""

import pytest
import torch
from small_cases import PICTURE

import ddrm_fast
from ddrm_fast import ops
from ddrm_fast.operators import Blur, Denoising
from ddrm_fast.ops import Noise, rows

pytestmark = pytest.mark.filterwarnings("error")  # nothing warns unless a test says so


def _step(**changes):
    arguments = {
        "x_t": torch.zeros(2, 3, 4, 4),
        "out": torch.zeros(2, 3, 4, 4),
        "u": torch.zeros(2, 3, 4, 4),
        "s": torch.ones(1, 1, 1, 1),
        "table": torch.zeros(2, 1, rows.WIDTH),
        "step": torch.ones(1, dtype=torch.int64),
        "noise": Noise(ops.noise_keys(2)),
    }
    return {**arguments, **changes}


def _block(**changes):
    common = {"u": torch.zeros(2, 3, 2, 2), "weights": None, "mask": None, "factor": 2}
    return _step(**{**common, **changes})


def _spectral(**changes):
    half = torch.zeros(2, 3, 4, 3, dtype=torch.complex64)
    return _step(**{"x_t": half, "out": half, "u": half, "width": 4, **changes})


def _alias(**changes):
    small = torch.zeros(2, 3, 2, 2, dtype=torch.complex64)
    kernel = torch.zeros(1, 1, 4, 3, dtype=torch.complex64)
    return _spectral(**{"u": small, "kernel": kernel, "factor": 2, **changes})


CALLS = {
    "pointwise": (ops.pointwise_step, _step),
    "block": (ops.block_step, _block),
    "spectral": (ops.spectral_step, _spectral),
    "alias": (ops.alias_step, _alias),
    "walsh-hadamard": (ops.fwht_step, _step),
}


ZEROS = torch.zeros(2, 3, 4, 4)


def _meta(make, name):
    value = make()[name]
    if isinstance(value, Noise):
        return Noise(value.keys.to("meta"))
    return value.to("meta")


@pytest.mark.parametrize("name", CALLS)
def test_good_steps_pass(name):
    """What the tests below take one argument away from."""
    operation, make = CALLS[name]
    assert operation(**make()).shape == make()["x_t"].shape


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("argument", ["out", "u", "s", "table", "step", "noise", "kernel"])
def test_steps_refuse_other_devices(name, argument):
    operation, make = CALLS[name]
    if argument not in make():
        argument = "x_t"
    message = {"noise": r"noise\.keys", "x_t": "out"}.get(argument, argument)
    with pytest.raises(ValueError, match=rf"^{message}: is on .*, the state is on"):
        operation(**make(**{argument: _meta(make, argument)}))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("argument", ["weights", "mask", "noise.pixels", "x_next"])
def test_steps_refuse_other_devices_of_optional_arguments(name, argument):
    operation, make = CALLS[name]
    state = make()["x_t"]
    if argument == "noise.pixels":
        changes = {"noise": Noise(ops.noise_keys(2), state.to("meta"))}
    elif argument == "x_next":
        changes = {"x_next": state.to("meta")}
    else:
        operation, make = CALLS["block"]
        value = {"weights": torch.ones(3), "mask": torch.ones(1, 1, 4, 4)}[argument]
        changes = {argument: value.to("meta")}
        if argument == "weights":
            changes["u"] = torch.zeros(2, 1, 2, 2)
    with pytest.raises(ValueError, match=rf"^{argument}: "):
        operation(**make(**changes))


WRONG = [
    ("x_t", ZEROS.half(), "x_t"),
    ("x_t", ZEROS.int(), "x_t"),
    ("x_t", ZEROS[0], "x_t"),
    ("x_t", ZEROS.mT, "x_t"),
    ("x_t", ZEROS.to(memory_format=torch.channels_last), "x_t"),
    ("x_t", None, "x_t, out|x_next"),
    ("out", ZEROS.double(), "out"),
    ("out", ZEROS.int(), "out"),
    ("out", ZEROS[:1], "out"),
    ("out", ZEROS[:, :2], "out"),
    ("out", ZEROS[..., :3], "out"),
    ("out", ZEROS[0], "out"),
    ("out", None, "x_t, out"),
    ("u", ZEROS.double(), "u"),
    ("u", ZEROS.half(), "u"),
    ("u", torch.zeros(3, 3, 4, 4), "u"),
    ("u", ZEROS[:, :1], "u"),
    ("u", ZEROS[..., :3], "u"),
    ("u", ZEROS[0], "u"),
    ("s", torch.ones(3, 1, 1, 1), "s"),
    ("s", torch.ones(1, 2, 1, 1), "s"),
    ("s", torch.ones(1, 1, 3, 1), "s"),
    ("s", torch.ones(1), "s"),
    ("table", torch.zeros(2, 1, 32), "table"),
    ("table", torch.zeros(2, 3, rows.WIDTH), "table"),
    ("table", torch.zeros(2, rows.WIDTH), "table"),
    ("table", torch.zeros(2, 1, rows.WIDTH).double(), "table"),
    ("table", torch.zeros(1, rows.WIDTH, 2).mT, "table"),
    ("step", torch.ones(1), "step"),
    ("step", torch.ones(1, dtype=torch.int32), "step"),
    ("step", torch.ones(2, dtype=torch.int64), "step"),
    ("noise", Noise(ops.noise_keys(3)), r"noise\.keys"),
    ("noise", Noise(ops.noise_keys(2).int()), r"noise\.keys"),
    ("noise", Noise(ops.noise_keys(2), ZEROS[:1]), r"noise\.pixels"),
    ("noise", Noise(ops.noise_keys(2), ZEROS.double()), r"noise\.pixels"),
    ("x_next", ZEROS[:1], "x_next"),
    ("x_next", ZEROS.double(), "x_next"),
    ("x_next", ZEROS.mT, "x_next"),
    ("x0", ZEROS[:1], "x0"),
    ("x0", ZEROS.half(), "x0"),
]


@pytest.mark.parametrize(
    "argument, value, named",
    [wrong for wrong in WRONG if wrong[0] != "x0"],
)
def test_fwht_step_refuses(argument, value, named):
    with pytest.raises(ValueError, match=f"^({named}): "):
        ops.fwht_step(**_step(**{argument: value}))


@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (2, 3, 3, 4), (2, 3, 0, 4)])
def test_fwht_step_refuses_other_sides(shape):
    x = torch.zeros(shape)
    with pytest.raises(ValueError, match="^x_t: sides must be powers of two"):
        ops.fwht_step(**_step(x_t=x, out=x, u=x))


@pytest.mark.parametrize("argument, value, named", WRONG)
def test_pointwise_step_refuses(argument, value, named):
    with pytest.raises(ValueError, match=f"^({named}): "):
        ops.pointwise_step(**_step(**{argument: value}))


@pytest.mark.parametrize(
    "argument, value, named",
    [
        ("factor", 0, "factor"),
        ("factor", -2, "factor"),
        ("factor", 2.0, "factor"),
        ("factor", 3, "factor"),
        ("u", ZEROS, "u"),
        ("u", torch.zeros(2, 1, 2, 2), "u"),
        ("s", torch.ones(1, 1, 4, 4), "s"),
        ("weights", torch.ones(2), "weights"),
        ("weights", torch.ones(1, 3), "weights"),
        ("mask", torch.ones(4, 4), "mask"),
        ("mask", torch.ones(1, 2, 4, 4), "mask"),
        ("mask", torch.ones(3, 1, 4, 4), "mask"),
        ("mask", torch.ones(1, 1, 2, 2), "mask"),
    ],
)
def test_block_step_refuses(argument, value, named):
    changes = {argument: value}
    if argument == "weights":
        changes["u"] = torch.zeros(2, 1, 2, 2)
    with pytest.raises(ValueError, match=f"^{named}: "):
        ops.block_step(**_block(**changes))


HALF = torch.zeros(2, 3, 4, 3, dtype=torch.complex64)


@pytest.mark.parametrize(
    "argument, value, named",
    [
        ("width", 6, "width"),
        ("width", 3, "width"),
        ("x_t", HALF.real, "x_t"),
        ("x_t", HALF.conj(), "x_t"),
        ("out", HALF.real, "out"),
        ("out", HALF.to(torch.complex128), "out"),
        ("u", HALF.real, "u"),
        ("s", torch.ones(1, 1, 4, 4), "s"),
    ],
)
def test_spectral_step_refuses(argument, value, named):
    with pytest.raises(ValueError, match=f"^{named}: "):
        ops.spectral_step(**_spectral(**{argument: value}))


@pytest.mark.parametrize(
    "argument, value, named",
    [
        ("factor", 0, "factor"),
        ("factor", 3, "factor"),
        ("factor", 2.0, "factor"),
        ("width", 6, "width"),
        ("u", HALF, "u"),
        ("kernel", HALF[:, :, :2], "kernel"),
        ("kernel", HALF[:, :2], "kernel"),
        ("kernel", HALF[0], "kernel"),
        ("kernel", HALF.real, "kernel"),
        ("kernel", torch.zeros(3, 1, 4, 3, dtype=torch.complex64), "kernel"),
        ("s", torch.ones(1, 1, 4, 3), "s"),
    ],
)
def test_alias_step_refuses(argument, value, named):
    with pytest.raises(ValueError, match=f"^{named}: "):
        ops.alias_step(**_alias(**{argument: value}))


def test_initial_state_needs_a_buffer():
    for operation, make in CALLS.values():
        if operation is ops.fwht_step:  # which is for the others alone
            continue
        with pytest.raises(ValueError, match="^x_next: has to be given"):
            operation(**make(x_t=None, out=None))


def test_first_state_of_an_operator_needs_a_buffer():
    table = ddrm_fast.operators.Rows(torch.zeros(2, 1, rows.WIDTH))
    step = torch.zeros(1, dtype=torch.int64)
    for operator in (Denoising(), Blur(torch.rand(3, 3))):
        u = operator.prepare(PICTURE)
        with pytest.raises(ValueError, match="^x_next: has to be given"):
            operator.step(None, None, u, table, step, Noise(ops.noise_keys(2)))


@pytest.mark.parametrize("index", [2, -1])
def test_rows_outside_the_table_are_refused(index):
    """A GPU's kernels read the row on the device, where nothing can be raised: they give NaN."""
    for backend in [name for name, reason in ops.backends().items() if reason is None]:
        with ops.use_backend(backend):
            if backend in ("cpp", "reference"):
                with pytest.raises((ValueError, IndexError)):
                    ops.pointwise_step(**_step(step=torch.tensor([index])))
            else:
                assert ops.pointwise_step(**_step(step=torch.tensor([index]))).isnan().all()


@pytest.mark.parametrize("x", [ZEROS.half(), ZEROS.int(), ZEROS[0], ZEROS.to(torch.complex64)])
def test_linear_operations_refuse(x):
    one = torch.ones(1, 1, 1, 1)
    table, step = torch.zeros(2, 1, rows.WIDTH), torch.ones(1, dtype=torch.int64)
    for name, call in (
        ("x", lambda: ops.fwht(x)),
        ("x", lambda: ops.block_measure(x, one, None, None, 2)),
        ("c", lambda: ops.block_lift(x, one, None, None, 2, 3)),
        ("x_t", lambda: ops.predict_x0(x, ZEROS, table, step)),
    ):
        with pytest.raises(ValueError, match=f"^{name}: expected"):
            call()


def test_block_lift_refuses_channels_that_do_not_fit():
    one = torch.ones(1, 1, 1, 1)
    with pytest.raises(ValueError, match="^c: expected 4 channels of coefficients, got 3"):
        ops.block_lift(ZEROS, one, None, None, 2, 4)
    with pytest.raises(ValueError, match="^c: expected 1 channels of coefficients, got 3"):
        ops.block_lift(ZEROS, one, torch.ones(3), None, 2, 3)
    with pytest.raises(ValueError, match="^factor: "):
        ops.block_lift(ZEROS, one, None, None, 0, 3)


@pytest.mark.parametrize(
    "argument, value, named",
    [
        ("x_t", None, "x_t: the initial state has no known pixels"),
        ("x_t", ZEROS.mT, "x_t: has to be contiguous"),
        ("out", torch.zeros(2, 3, 4, 5), "out: "),
        ("x_next", ZEROS[:1], "x_next: expected"),
        ("x_next", ZEROS.double(), "x_next: expected"),
        ("image", torch.zeros(3, 3, 4, 4), r"image: expected \(2 or 1, 3, 4, 4\), got \(3,"),
        ("image", torch.zeros(2, 1, 4, 4), "image: expected"),
        ("image", ZEROS[0], "image: expected"),
        ("image", ZEROS.double(), "image: expected torch.float32 like the state"),
        ("image", ZEROS.to("meta"), "image: is on meta"),
        ("mask", torch.ones(2, 1, 4, 5).bool(), r"mask: expected \(2 or 1, 1 or 3, 4, 4\)"),
        ("mask", torch.ones(2, 2, 4, 4).bool(), "mask: expected"),
        ("mask", torch.ones(1, 1, 4, 4), "mask: expected torch.bool, got torch.float32"),
        ("table", torch.zeros(2, 3, rows.WIDTH), "table: "),
        ("noise", Noise(ops.noise_keys(2), ZEROS[:1]), r"noise\.pixels: "),
    ],
)
def test_known_step_refuses(argument, value, named):
    call = {"x_next": ZEROS.clone(), "image": ZEROS, "mask": torch.ones(1, 1, 4, 4).bool()}
    call = {**_step(), **call}
    del call["u"], call["s"]
    ops.known_step(**call)
    with pytest.raises(ValueError, match=f"^{named}"):
        ops.known_step(**{**call, argument: value})
    with pytest.raises(ValueError, match="^x_next: is the state x_t itself"):
        ops.known_step(**{**call, "x_next": call["x_t"]})


@pytest.mark.parametrize("dtype", [torch.float64, torch.int32, torch.uint8])
def test_predict_x0_refuses_outputs(dtype):
    table, step = torch.zeros(2, 1, rows.WIDTH), torch.ones(1, dtype=torch.int64)
    with pytest.raises(ValueError, match="^out: "):
        ops.predict_x0(ZEROS, ZEROS.to(dtype), table, step)


@pytest.mark.parametrize(
    "keywords, named",
    [
        ({"iteration": -1}, "iteration"),
        ({"iteration": 2**24}, "iteration"),
        ({"stream": -1}, "stream"),
        ({"stream": 256}, "stream"),
        ({"keys": torch.zeros(1, 4)}, "keys"),
        ({"keys": torch.zeros(1, 3, dtype=torch.int64)}, "keys"),
        ({"keys": torch.zeros(4, dtype=torch.int64)}, "keys"),
        ({"channels": -1}, "channels"),
        ({"height": -1}, "height"),
    ],
)
def test_normal_refuses(keywords, named):
    arguments = {"keys": ops.noise_keys(1), "channels": 1, "height": 2, "width": 2, **keywords}
    with pytest.raises(ValueError, match=f"^{named}: expected"):
        ops.normal(**arguments)


def test_noise_keys_refuse():
    for name in ("seed", "sample"):
        with pytest.raises(ValueError, match=f"^{name}: got 3 values for a batch of 2"):
            ops.noise_keys(2, **{name: torch.zeros(3, dtype=torch.int64)})
    with pytest.raises(ValueError, match=r"^origin: expected shape \(2, 2\), got \(2,\)"):
        ops.noise_keys(2, origin=torch.zeros(2))
    with pytest.raises(ValueError, match="^origin: rows and columns start at 0"):
        ops.noise_keys(2, origin=torch.tensor([[0, 0], [0, -1]]))

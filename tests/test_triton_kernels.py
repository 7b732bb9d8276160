"""The Triton kernels beyond the matrix: bits, groups larger than a tile, strides, nothing read back."""

import importlib

import pytest
import torch
from conformance import (
    STEP_1,
    block_call,
    block_profile,
    check_in_place,
    check_step,
    fwht_call,
    in_use,
    known_call,
    known_step,
    pointwise_call,
    random_images,
    random_table,
    registered_operations,
    run_on,
    some_keys,
    spectral_call,
    variants,
)

from ddrm_fast import ops
from ddrm_fast.ops import Noise, triton_available

REASON = triton_available.unavailable()
#: operations that have no Triton kernels
OF_NETWORKS = {
    "attention_fold", "channel_norm", "channel_norm_backward", "depthwise_gram", "gated_depthwise",
    "gated_depthwise_backward",
}  # fmt: skip
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"triton: {REASON}")
TRITON = [variant for variant in variants() if variant.values[0][0] == "triton"]
on_triton = pytest.mark.parametrize("device", TRITON, indirect=True)


def _module(name):
    return importlib.import_module(f"ddrm_fast.triton_kernels.{name}")


def test_every_registered_operation_has_a_launcher():
    backend = importlib.import_module("ddrm_fast.ops.triton")
    names = {name.removesuffix("_out") for name in registered_operations()}
    # operations of networks run on the other backends; asking Triton for one by name is an error
    assert names - OF_NETWORKS == set(backend.__all__) and OF_NETWORKS <= names


def test_an_operation_that_triton_lacks_is_refused():
    with ops.use_backend("triton"), pytest.raises(ops.BackendError, match="has no channel_norm"):
        ops.channel_norm(torch.rand(1, 4, 3, 3), torch.ones(1, 4))


def _calls():
    """Operations whose numbers are added in the same order everywhere, drawn noise included."""
    image, clip = (2, 3, 5, 67), (-1.0, 1.0)
    noise = [Noise(some_keys(2, origin)) for origin in ((0, 8), (3, 5))]
    masked = torch.rand(image) * (torch.rand(image) > 0.4)
    pixels = {"x_t": random_images(image), "out": random_images(image), "step": STEP_1}
    for z in noise:
        table = random_table(clip=clip)
        yield ops.pointwise_step, {**pointwise_call(image, s=masked, table=table), "noise": z}
        yield ops.spectral_step, {**spectral_call(image), "noise": z}
        known = known_call(image, table=table)
        yield known_step, {**known, "noise": z}
        yield ops.normal, {"keys": z.keys, "channels": 3, "height": 5, "width": 67}
    yield ops.predict_x0, {**pixels, "table": random_table(clip=clip)}
    yield ops.fwht, {"x": random_images((2, 1, 64, 32))}
    for z in noise:
        table = random_table(clip=clip)
        yield ops.fwht_step, {**fwht_call((2, 3, 8, 16), table=table), "noise": z}


@on_triton
def test_bits_are_those_of_the_compiled_backend(device):
    """Same operations in the same order, roots and quotients exact, nothing contracted."""
    for operation, arguments in _calls():
        result = run_on(device, operation, arguments).cpu()
        with in_use(("cpp", None, "cpu")):
            expected = operation(**arguments)
        assert torch.equal(result, expected), operation.__name__


@on_triton
@pytest.mark.parametrize("grey", [False, True], ids=["per channel", "grey"])
def test_groups_that_outgrow_a_tile(device, grey, monkeypatch):
    """Their members are visited in parts, twice: the same numbers, in place too."""
    monkeypatch.setattr(_module("block_tiles"), "GROUP_TILE", 16)
    shape = (1, 3, 16, 16)
    profile = block_profile(shape, 8, grey, "real")
    assert _module("block_tiles").block_tile(shape, grey, 8).constants["PARTS"] == (
        12 if grey else 4
    )
    check_step(device, ops.block_step, block_call(shape, profile), wants_x0=True)
    check_in_place(device, ops.block_step, block_call(shape, profile))
    x, c = random_images(shape), random_images(profile.grid)
    with in_use(("cpp", None, "cpu")):
        measured = ops.block_measure(x, **profile.arguments)
        lifted = ops.block_lift(c, **profile.arguments, channels=3)
    given = {name: value for name, value in profile.arguments.items()}
    torch.testing.assert_close(run_on(device, ops.block_measure, {"x": x, **given}).cpu(), measured)
    call = {"c": c, **given, "channels": 3}
    torch.testing.assert_close(run_on(device, ops.block_lift, call).cpu(), lifted)


@on_triton
def test_fwht_of_many_passes(device, monkeypatch):
    """With a tile of 64 numbers a plane of 2^12 takes three passes, as one of 2^26 does with its own."""
    fwht = _module("fwht")
    monkeypatch.setattr(fwht, "TRANSFORM_TILE", 64)
    assert len(fwht.shares(12)) == 3
    shape = (2, 1, 64, 64)
    for operation, call in (
        (ops.fwht, {"x": random_images(shape)}),
        (ops.fwht_step, {**fwht_call(shape), "noise": Noise(some_keys(2, (0, 8)))}),
        (ops.fwht_step, {**fwht_call(shape), "noise": Noise(some_keys(2))}),
    ):
        result = run_on(device, operation, call).cpu()
        with in_use(("cpp", None, "cpu")):
            assert torch.equal(result, operation(**call))


def test_passes_of_the_fwht():
    """All levels, each pass in one tile: one pass to 2^13, two to 2^23, three to 2^26 and beyond."""
    shares = _module("fwht").shares
    for bits in range(34):
        plan = shares(bits)
        assert sum(plan) == bits and plan[0] <= 13 and all(0 < n <= 10 for n in plan[1:])
        assert len(plan) == (1 if bits <= 13 else 2 if bits <= 23 else 3)
    # 1024 x 1024: the second pass takes 64 neighbours, 256 bytes
    assert [(part.bits, part.inner) for part in _module("fwht").passes(2**20, 2**20)] == [
        (13, 1),
        (7, 64),
    ]


def test_passes_of_the_fwht_with_a_step():
    """A step holds more numbers for each of the transform's: smaller tiles, a second pass from 2^13 on."""
    fwht = _module("fwht")
    for bits in range(5, 30):
        plan = fwht.passes(2**bits, 2**bits, with_step=True)
        assert sum(part.bits for part in plan) == bits
        assert len(plan) == (1 if bits <= 12 else 2 if bits <= 22 else 3)
        last = plan[-1]
        assert last.last and last.numbers <= 4096 and last.inner <= 128


def _without_numbers(x):
    return x.to("meta") if isinstance(x, torch.Tensor) else x


def test_launchers_read_no_number():
    """A launcher knows shapes and strides alone: tensors without memory do, so no step waits for a GPU."""
    cases = importlib.import_module("triton_compile")
    for name, (module, arguments) in cases.cases().items():
        launches = cases.recorded_launches(module, tuple(map(_without_numbers, arguments)))
        assert launches, name

"""The CUDA sources on the processor: what the conformance matrix does not ask of them.

The matrix (``test_conformance_*.py``) runs them as the backend "cuda-host".
"""

import ctypes
import subprocess
import sys

import cuda_host
import pytest
import torch
from conformance import (
    STEP_1,
    alias_call,
    block_call,
    block_profile,
    fwht_call,
    known_call,
    known_step,
    pointwise_call,
    random_images,
    random_table,
    some_keys,
    spectral_call,
)
from tolerances import STEP, assert_close, transform

from ddrm_fast import ops
from ddrm_fast.ops import Noise, dct

pytestmark = pytest.mark.skipif(
    cuda_host.build.missing() is not None, reason=str(cuda_host.build.missing())
)


@pytest.fixture
def on_host():
    with ops.use_backend(cuda_host.NAME):
        yield


# The processor in place of a GPU: mistakes have to show


@pytest.fixture(scope="module")
def run_fault():
    library = ctypes.CDLL(str(cuda_host.build.build_faults()))

    def run(kind, distance=1):
        y = torch.zeros(128)
        seen = library.run_fault(kind, ctypes.c_void_p(y.data_ptr()), distance)
        return bool(seen), y

    return run


@pytest.mark.parametrize("distance", [1, 63])
def test_threads_meet_at_barriers(run_fault, distance):
    expected = (torch.arange(64.0) + distance) % 64
    seen, y = run_fault(0, distance)
    assert not seen and torch.equal(y, expected.repeat(2))


@pytest.mark.parametrize("distance", [1, 63])
def test_a_missing_barrier_shows(run_fault, distance):
    """Whichever way the numbers flow: blocks run their threads in both directions."""
    seen, y = run_fault(1, distance)
    assert not seen and y.isnan().any()


@pytest.mark.parametrize(
    "kind",
    [2, 3, 4, 5],
    ids=["beyond shared memory", "barrier after a return", "shuffle after a return", "empty grid"],
)
def test_mistakes_are_errors(run_fault, kind):
    assert run_fault(kind)[0]
    assert not run_fault(0)[0]  # and the next launch is well again


@pytest.mark.parametrize("distance, ends_well", [(0, True), (4, True), (1, False), (2, False)])
def test_a_misaligned_access_ends_the_process(distance, ends_well):
    """As it ends a kernel on a GPU; in a process of its own."""
    code = (
        "import ctypes, sys; y = (ctypes.c_float * 64)();"
        "start = ctypes.addressof(y) + -ctypes.addressof(y) % 16;"
        "ctypes.CDLL(sys.argv[1]).run_fault(6, ctypes.c_void_p(start), int(sys.argv[2]))"
    )
    library = str(cuda_host.build.build_faults())
    run = subprocess.run([sys.executable, "-c", code, library, str(distance)])
    assert (run.returncode == 0) is ends_well


# The same bits as the C++ kernels


def _same_bits(operation, arguments):
    results = []
    for backend in ("cpp", cuda_host.NAME):
        with ops.use_backend(backend):
            results.append(operation(**arguments))
    assert torch.equal(*results)


@pytest.mark.parametrize("origin", [(0, 0), (3, 5), (1, 2**32 - 6)], ids=str)
def test_noise_has_the_bits_of_the_cpp_backend(origin):
    keys = some_keys(2, origin)
    _same_bits(ops.normal, {"keys": keys, "channels": 3, "height": 9, "width": 70})
    noise = Noise(keys)
    _same_bits(ops.pointwise_step, {**pointwise_call((2, 3, 9, 70)), "noise": noise})
    _same_bits(ops.spectral_step, {**spectral_call((2, 3, 9, 70)), "noise": noise})


@pytest.mark.parametrize("clip", [None, (-0.5, 0.5)], ids=["free", "clipped"])
def test_pixels_have_the_bits_of_the_cpp_backend(clip):
    table, noise = random_table(clip=clip), Noise(some_keys(2))
    call = pointwise_call((2, 3, 9, 70), table=table)
    call["out"] = call["out"].bfloat16()
    for s in (torch.rand(1, 1, 9, 70), (torch.rand(1, 1, 9, 70) > 0.5).float()):
        _same_bits(ops.pointwise_step, {**call, "s": s, "noise": noise})
    pixels = {"x_t": random_images((2, 3, 9, 70)), "out": call["out"], "step": STEP_1}
    _same_bits(ops.predict_x0, {**pixels, "table": table})
    known = known_call((2, 3, 9, 70), table=table, out=call["out"])
    _same_bits(known_step, {**known, "noise": noise})


@pytest.mark.parametrize("shape", [(2, 3, 8, 4), (2, 3, 8, 16), (2, 1, 64, 256)], ids=str)
@pytest.mark.parametrize("origin", [(0, 0), (3, 5)], ids=str)
def test_walsh_hadamard_steps_have_the_bits_of_the_cpp_backend(shape, origin):
    """One pass and two; the output in place, from a wider tensor of half precision.

    (Of whole numbers: their sums are exact, in whatever order they are added.)
    """
    call = fwht_call(shape, table=random_table(clip=(-1.0, 1.0)), s=torch.rand(1, 1, *shape[2:]))
    whole = random_images(shape, shape[1]).mul(4).round()
    call["out"] = whole.half()[:, : shape[1]]
    _same_bits(ops.fwht_step, {**call, "noise": Noise(some_keys(2, origin))})


@pytest.mark.parametrize("shape", [(2, 3, 9, 70), (1, 2, 16, 5), (1, 1, 1, 8)], ids=str)
def test_cosine_transforms_have_the_bits_of_the_cpp_backend(shape):
    """The passes around the FFT, which is one and the same."""
    _same_bits(dct.forward, {"x": random_images(shape)})
    _same_bits(dct.inverse, {"c": random_images(shape)})


# What only these kernels have


def _wh_step_of_a_long_plane(bits):
    """A plane whose output is 0 but for one number: coefficients without a long transform's rounding."""
    n = 2**bits
    call = fwht_call((1, 1, 2 ** (bits // 2), 2 ** (bits - bits // 2)))
    call["out"] = torch.zeros_like(call["out"])
    call["out"].view(-1)[n - 3] = 1.0
    return {**call, "noise": Noise(some_keys(1))}


@pytest.mark.parametrize("bits", [5, 9, 10, 13, 14, 18, 21, 22])
def test_walsh_hadamard_step_in_every_kind_of_pass(on_host, bits):
    """One pass up to 2^13, two up to 2^21, then three."""
    call = _wh_step_of_a_long_plane(bits)
    result = ops.fwht_step(**call)
    with ops.use_backend("cpp"):
        assert torch.equal(result, ops.fwht_step(**call))


def test_passes_of_planes():
    """1024 x 1024 takes two passes, two copies; 2^26 takes three."""
    passes = cuda_host.build.load().fwht_passes
    expected = {0: 1, 5: 1, 13: 1, 14: 2, 20: 2, 21: 2, 22: 3, 26: 3, 29: 3, 30: 4}
    assert {bits: passes(2**bits) for bits in expected} == expected


@pytest.mark.parametrize("bits", [0, 4, 5, 9, 10, 13, 14, 17, 18, 21, 22])
def test_walsh_hadamard_transform_of_every_kind_of_pass(on_host, bits):
    """One pass up to 2^13, two up to 2^21, then three: a few numbers in long planes."""
    n = 2**bits
    x = torch.zeros(1, 1, 1, n)
    places = torch.randperm(n)[:3]
    x[..., places] = torch.tensor([1.0, -2.0, 0.75])[: len(places)]
    expected = torch.zeros(n, dtype=torch.float64)
    for place in places.tolist():
        common = torch.arange(n) & place
        for shift in (16, 8, 4, 2, 1):
            common ^= common >> shift
        expected += float(x[0, 0, 0, place]) * (1 - 2 * (common & 1)) / n**0.5
    assert_close(ops.fwht(x), expected.view(x.shape), transform(n))


@pytest.mark.parametrize("channels", [1, 3])
def test_more_planes_than_a_grid_has(on_host, channels):
    """A grid ends at 65,535 planes; the kernels go on from there."""
    shape = (70000 // channels, channels, 1, 2)
    call = pointwise_call(shape, s=torch.rand(1, channels, 1, 2))
    call["noise"] = Noise(some_keys(shape[0]))
    result = ops.pointwise_step(**call)
    with ops.use_backend("cpp"):
        assert torch.equal(ops.pointwise_step(**call), result)
    profile = block_profile(shape, 1, channels > 1, "none")
    call = {**block_call(shape, profile), "noise": Noise(some_keys(shape[0]))}
    result = ops.block_step(**call)
    with ops.use_backend("cpp"):
        assert_close(result, ops.block_step(**call).double(), STEP)


@pytest.mark.parametrize("step", [-1, 2, 2**40])
def test_a_step_outside_the_table_makes_nan(on_host, step):
    """The host cannot ask without waiting for the device; no memory outside the table is read."""
    shape, noise = (2, 3, 8, 12), Noise(some_keys(2))
    step = torch.tensor([step])
    profile = block_profile(shape, 4, True, "real")
    for operation, call in (
        (ops.pointwise_step, pointwise_call(shape)),
        (ops.block_step, block_call(shape, profile)),
        (ops.spectral_step, spectral_call(shape)),
        (ops.alias_step, alias_call(2, shape)),
        (ops.fwht_step, fwht_call((2, 3, 8, 16))),
        (ops.fwht_step, fwht_call((2, 1, 64, 256))),
    ):
        result = operation(**{**call, "step": step, "noise": noise})
        assert result.isnan().all()
    pixels = {"x_t": random_images(shape), "out": random_images(shape)}
    assert ops.predict_x0(**pixels, table=random_table(), step=step).isnan().all()
    known = known_call(shape, step=step)
    result = ops.known_step(**known, noise=noise)
    assert result[known["mask"].expand(shape)].isnan().all()

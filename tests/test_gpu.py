"""What only a GPU shows: streams, graphs, memory beyond 2^31 numbers, other devices.

The conformance matrix (``test_conformance_*.py``) runs on a GPU by itself where there is one.
"""

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
    move,
    oracle,
    pointwise_call,
    random_images,
    random_table,
    run_on,
    some_keys,
    spectral_call,
)
from tolerances import NORMAL, STEP, assert_close

from ddrm_fast import ops
from ddrm_fast.machine.overlap import Transfers
from ddrm_fast.ops import BackendError, Noise, dct, philox

if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

BACKENDS = [name for name in ("cuda", "triton") if ops.backends()[name] is None]
if not BACKENDS:
    pytest.skip(f"no GPU backend runs here: {ops.backends()}", allow_module_level=True)
GIB = 2**30


@pytest.fixture(params=BACKENDS)
def backend(request):
    with ops.use_backend(request.param):
        yield request.param


def _calls():
    """A call of every operation, its arguments on the GPU."""
    image, profile = (2, 3, 32, 48), block_profile((2, 3, 32, 48), 4, True, "real")
    noise = Noise(some_keys(2))
    pixels = {"x_t": random_images(image), "out": random_images(image), "step": STEP_1}
    lifted = {"c": random_images(profile.grid), "channels": 3}
    calls = {
        ops.pointwise_step: {**pointwise_call(image), "noise": noise},
        ops.block_step: {**block_call(image, profile), "noise": noise},
        ops.spectral_step: {**spectral_call(image), "noise": noise},
        ops.alias_step: {**alias_call(2, image), "noise": noise},
        known_step: {**known_call(image), "noise": noise},
        ops.block_measure: {**profile.arguments, "x": random_images(image)},
        ops.block_lift: {**profile.arguments, **lifted},
        ops.fwht: {"x": random_images((2, 3, 64, 128))},
        ops.fwht_step: {**fwht_call((2, 3, 64, 256)), "noise": noise},
        dct.forward: {"x": random_images((2, 3, 30, 35))},
        dct.inverse: {"c": random_images((2, 3, 30, 35))},
        ops.predict_x0: {**pixels, "table": random_table(clip=(-1.0, 1.0))},
        ops.normal: {"keys": some_keys(2), "channels": 3, "height": 31, "width": 65},
    }
    return {
        operation: {name: move(x, "cuda") for name, x in arguments.items()}
        for operation, arguments in calls.items()
    }


NAMES = [
    "pointwise_step", "block_step", "spectral_step", "alias_step", "known_step", "block_measure",
    "block_lift", "fwht", "fwht_step", "dct2", "idct2", "predict_x0", "normal",
]  # fmt: skip


@pytest.fixture(params=NAMES)
def call(request, backend):
    """An operation and its arguments; its name is that of the test, so that a red one is known by it."""
    calls = _calls()
    assert len(calls) == len(NAMES)
    return list(calls.items())[NAMES.index(request.param)]


def _real(x):
    return torch.view_as_real(x) if x.is_complex() else x


def test_operation_runs_on_the_current_stream(call):
    """Behind a long wait on a side stream; it does not wait for it, and does not run before it."""
    operation, arguments = call
    expected = operation(**arguments)
    torch.cuda.synchronize()
    stream, done = torch.cuda.Stream(), torch.cuda.Event()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(300_000_000)  # a sixth of a second, on a busy host too
        result = operation(**arguments)
        done.record()
        assert not done.query(), "it waited for the GPU"
    stream.synchronize()
    assert torch.equal(_real(result), _real(expected))


def test_operation_in_a_graph(call):
    """Captured once and replayed: the same numbers; other noise where the counter moved on."""
    operation, arguments = call
    expected = operation(**arguments).clone()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = operation(**arguments)
    _real(result).zero_()
    graph.replay()
    assert torch.equal(_real(result), _real(expected))
    if "step" in arguments and "noise" in arguments:
        arguments["step"].sub_(1)
        graph.replay()
        assert not torch.equal(_real(result), _real(expected))


def test_compiled_step_with_graphs(backend):
    """``reduce-overhead`` makes graphs of its own."""
    call = {name: move(x, "cuda") for name, x in pointwise_call((2, 3, 16, 20)).items()}
    noise = move(Noise(some_keys(2)), "cuda")

    def advance(x_t, out):
        return ops.pointwise_step(
            x_t, out, call["u"], call["s"], call["table"], call["step"], noise
        )

    compiled = torch.compile(advance, fullgraph=True, mode="reduce-overhead")
    for _ in range(4):
        x_t, out = torch.randn_like(call["x_t"]), torch.randn_like(call["out"])
        torch.compiler.cudagraph_mark_step_begin()
        assert torch.equal(compiled(x_t, out).clone(), advance(x_t, out))


def test_cuda_and_cpp_draw_the_same_bits():
    if ops.backends()["cuda"] is not None:
        pytest.skip(ops.backends()["cuda"])
    keys = some_keys(2)
    with ops.use_backend("cuda"):
        on_gpu = ops.normal(keys.cuda(), 3, 33, 70).cpu()
    with ops.use_backend("cpp"):
        assert torch.equal(on_gpu, ops.normal(keys, 3, 33, 70))


def _needs_memory(gib):
    free = torch.cuda.mem_get_info()[0]
    if free < gib * GIB:
        pytest.skip(f"needs {gib} GiB of free GPU memory, {free / GIB:.0f} GiB are free")


def test_pointwise_step_of_more_than_2_31_numbers(backend):
    """The last rows of a picture of 2^31 + 2^16 pixels, against the oracle of these rows."""
    _needs_memory(36)
    height, width, kept = 32769, 65536, 2
    table, noise = random_table().cuda(), Noise(some_keys(1).cuda())
    x_t = torch.empty(1, 1, height, width, device="cuda")
    out = torch.empty(1, 1, height, width, device="cuda", dtype=torch.float16)
    u = torch.empty_like(x_t)
    for x in (x_t, out, u):
        x.normal_()
    s = torch.rand(1, 1, 1, width, device="cuda")
    result = ops.pointwise_step(x_t, out, u, s, table, STEP_1.cuda(), noise, x_next=x_t.clone())
    small = {"table": table, "step": STEP_1, "s": s}
    small.update(x_t=x_t[:, :, -kept:].clone(), out=out[:, :, -kept:].clone())
    small.update(u=u[:, :, -kept:].clone())
    small["noise"] = Noise(ops.noise_keys(1, 1234, 0, (3 + height - kept, 5)))
    expected = oracle(ops.pointwise_step, small)
    assert_close(result[:, :, -kept:], expected, STEP, 10 * NORMAL)


def test_block_step_of_more_than_2_31_numbers(backend):
    _needs_memory(36)
    height, width, kept = 32772, 65536, 4
    table, noise = random_table().cuda(), Noise(some_keys(1).cuda())
    x_t = torch.empty(1, 1, height, width, device="cuda").normal_()
    out = torch.empty_like(x_t).normal_()
    u = torch.randn(1, 1, height // 4, width // 4, device="cuda")
    s = torch.full((1, 1, 1, 1), 0.25, device="cuda")
    tail = (None, None, 4, table, STEP_1.cuda(), noise)
    last = [x[:, :, -n:].clone() for x, n in ((x_t, kept), (out, kept), (u, 1))]
    result = ops.block_step(x_t, out, u, s, *tail, x_next=x_t)
    small = dict(zip(("x_t", "out", "u"), last, strict=True))
    small.update(s=s, weights=None, mask=None, factor=4, table=table, step=STEP_1)
    small["noise"] = Noise(ops.noise_keys(1, 1234, 0, (3 + height - kept, 5)))
    assert_close(result[:, :, -kept:], oracle(ops.block_step, small), STEP, 10 * NORMAL)


def test_noise_of_more_than_2_31_numbers(backend):
    _needs_memory(12)
    keys = some_keys(1)
    z = ops.normal(keys.cuda(), 1, 32769, 65536)
    moved = ops.noise_keys(1, 1234, 0, (3 + 32768, 5))
    assert_close(z[:, :, -1:].cpu(), philox.normal_field(moved, 1, 1, 65536, 0, 1), 0.0, NORMAL)


@pytest.mark.parametrize("bits", [23, 26])
def test_walsh_hadamard_transform_of_long_planes(backend, bits):
    """Twice is the identity, and single numbers give signs."""
    _needs_memory(4)
    x = torch.randn(1, 1, 2 ** (bits - bits // 2), 2 ** (bits // 2), device="cuda")
    y = ops.fwht(x)
    assert abs(float(y.norm() / x.norm()) - 1) < 1e-5
    assert float((ops.fwht(y) - x).norm() / x.norm()) < 1e-6 * bits
    one = torch.zeros_like(x)
    one.view(-1)[2**bits - 1] = 1.0
    signs = ops.fwht(one).view(-1) * 2 ** (bits / 2)
    index = torch.tensor([0, 1, 3, 2**bits - 1, 2 ** (bits - 1)])
    popcount = torch.tensor([bin(i).count("1") for i in index.tolist()])
    expected = (1 - 2 * (popcount % 2)).float()
    assert torch.allclose(signs[index.cuda()].cpu(), expected, atol=1e-5)


def test_walsh_hadamard_step_of_more_than_2_31_numbers(backend):
    """33 planes of 2^26: the last one has the bits that it has by itself."""
    _needs_memory(40)
    shape = (33, 1, 2**13, 2**13)
    table, noise = random_table().cuda(), Noise(some_keys(33).cuda())
    x_t = torch.empty(shape, device="cuda").normal_()
    out = torch.empty(shape, device="cuda", dtype=torch.float16).normal_()
    u, s = torch.randn(1, *shape[1:], device="cuda"), torch.rand(1, 1, 1, 2**13, device="cuda")
    last = x_t[-1:].clone(), out[-1:].clone(), u, s, table, STEP_1.cuda()
    result = ops.fwht_step(x_t, out, u, s, table, STEP_1.cuda(), noise, x_next=x_t)
    alone = ops.fwht_step(*last, Noise(noise.keys[-1:].contiguous()))
    assert torch.equal(result[-1:], alone) and alone.isfinite().all()


def test_transfers_run_beside_the_work():
    """There and back on streams of their own, from and to pinned memory: the host waits for neither."""
    transfers, x = Transfers("cuda"), torch.randn(3, 512, 512)
    arrived = transfers.send(x)
    torch.cuda._sleep(300_000_000)
    done = torch.cuda.Event()
    fetched = transfers.fetch(arrived() + 1)
    done.record()
    assert not done.query(), "the host waited for the GPU"
    result = fetched()
    assert result.is_pinned() and torch.equal(result, x + 1)


def test_errors_on_a_gpu(backend):
    """Mixed devices and dtypes that no kernel takes."""
    call = pointwise_call((1, 1, 4, 4))
    noise = Noise(some_keys(1).cuda())
    mixed = {name: move(x, "cuda") for name, x in call.items()}
    for name in ("out", "u", "s", "table", "step"):
        with pytest.raises(ValueError, match=f"^{name}: is on cpu, the state is on cuda"):
            ops.pointwise_step(**{**mixed, name: call[name], "noise": noise})
    with pytest.raises(BackendError, match=f"'{backend}' was asked for"):
        ops.fwht(torch.zeros(1, 1, 2, 2))
    with pytest.raises(BackendError, match="float32"):
        ops.fwht(torch.zeros(1, 1, 2, 2, device="cuda", dtype=torch.float64))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_the_second_device(backend):
    """Operations run where their tensors are, whatever the current device is, and leave it alone."""
    for operation, arguments in _calls().items():
        expected = operation(**arguments)
        result = run_on("cuda:1", operation, arguments)
        assert result.device.index == 1 and torch.cuda.current_device() == 0
        assert torch.equal(_real(result).cpu(), _real(expected).cpu()), operation.__name__

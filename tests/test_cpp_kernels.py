"""Inside the C++ backend: instruction sets, thread counts, threads and forks give the same bits."""

import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from conformance import sampler_table

from ddrm_fast import DDRM
from ddrm_fast.ops import philox, rows

_C = pytest.importorskip("ddrm_fast._C")
cpp = pytest.importorskip("ddrm_fast.ops.cpp")

NORMAL_TOLERANCE = 1e-6  # of the normals, against float64


@pytest.fixture(autouse=True)
def _same_isa():
    before = _C.get_isa()
    yield
    _C.set_isa(before)


def _table(clip=True, last=False):
    """Two rows with every branch in use."""
    table = torch.rand(2, 1, rows.WIDTH) + 0.1
    table[..., rows.CLIP_LO] = -0.6 if clip else -math.inf
    table[..., rows.CLIP_HI] = 0.7 if clip else math.inf
    table[..., rows.THR] = 0.5
    if last:
        table[..., rows.NULL + 2] = 0
        for branch in (rows.LOW, rows.HIGH):
            table[..., branch + 7 : branch + 10] = 0
    return table


def _keys(batch):
    return torch.tensor([[2**62 + 5, 2**33 + 1, 7, 13], [-3, 4, 0, 2**32 - 21]])[:batch]


def _singular_values(kind, shape):
    s = torch.rand(shape) + 0.05
    if kind == "one":
        return torch.full((1, 1, 1, 1), 0.8)
    return (s > 0.5).float() if kind == "mask" else torch.where(s > 0.3, s, 0.0)


def _everywhere(run):
    """Results of ``run`` on every instruction set and thread count; all have to be the same bits."""
    first = None
    for isa in _C.available_isas():
        _C.set_isa(isa)
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            result = run()
            assert not torch.view_as_real(result + 0j).isnan().any()
            first = result if first is None else first
            assert torch.equal(result, first), f"{isa}, {threads} threads"
    return first


def _nan(*shape, dtype=torch.float32):
    return torch.full(shape, math.nan, dtype=dtype)


SHAPES = [(1, 3, 1, 1), (2, 3, 17, 33), (1, 2, 3, 1100), (1, 3, 160, 128)]


@pytest.mark.parametrize("shape", SHAPES)
def test_normal(shape):
    batch, *rest = shape
    keys = _keys(batch)

    def run():
        z = _nan(*shape)
        cpp.normal(z, keys, 5, 3)
        return z

    error = _everywhere(run).double() - philox.normal_field(keys, *rest, 5, 3)
    assert error.abs().max() <= NORMAL_TOLERANCE


def test_normals_are_accurate_for_every_word():
    """All radii and all angles that many counters reach: 2^22 normals with their tails."""
    z = _nan(1, 1, 1024, 4096)
    keys = torch.tensor([[1, 0, 0, 0]])
    cpp.normal(z, keys, 0, 0)
    error = z.double() - philox.normal_field(keys, 1, 1024, 4096, 0, 0)
    assert error.abs().max() <= NORMAL_TOLERANCE
    assert z.abs().max() > 5


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["one", "mask", "any"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_pointwise_step(shape, kind, dtype):
    x_t, u = torch.randn(shape), torch.randn(shape)
    out = torch.randn(shape[0], 2 * shape[1], *shape[2:]).to(dtype)[:, : shape[1]]
    s, step = _singular_values(kind, (1, 1, *shape[2:])), torch.tensor([1])
    for table in (_table(), _table(clip=False), _table(last=True)):

        def run(table=table):
            x_next, x0 = _nan(*shape), _nan(*shape)
            cpp.pointwise_step(x_next, x0, x_t, out, u, s, table, step, _keys(shape[0]), None)
            return torch.stack((x_next, x0))

        x_next = _everywhere(run)[0]
        in_place = x_t.clone()
        cpp.pointwise_step(in_place, None, in_place, out, u, s, table, step, _keys(shape[0]), None)
        assert torch.equal(in_place, x_next)


def test_ways_to_meet_the_singular_values_agree():
    """One number, a plane of that number, and that number among others: the same bits."""
    shape = (1, 2, 8, 64)
    x_t, out, u = (torch.randn(shape) for _ in range(3))
    table, step = _table(), torch.tensor([0])

    def run(s):
        x_next = _nan(*shape)
        cpp.pointwise_step(x_next, None, x_t, out, u, s, table, step, _keys(1), None)
        return x_next

    one = run(torch.full((1, 1, 1, 1), 0.7))
    plane = torch.full((1, 1, 8, 64), 0.7)
    assert torch.equal(run(plane), one)
    plane[..., ::3] = 0
    plane[..., 1::3] = 0.2
    assert torch.equal(run(plane)[..., 2::3], one[..., 2::3])
    null = run(torch.zeros(1, 1, 1, 1))
    assert torch.equal(run(plane)[..., ::3], null[..., ::3])


@pytest.mark.parametrize("factor", [1, 3, 4, 16, 100])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_block_step_measure_and_lift(factor, grey, masked):
    grid = (3, 1500 // factor) if factor < 100 else (1, 3)
    shape = (2, 3, factor * grid[0], factor * grid[1])
    groups = 1 if grey else 3
    x_t, out = torch.randn(shape), torch.randn(shape)
    u = torch.randn(1, groups, *grid)
    weights = torch.rand(3) + 0.2 if grey else None
    mask = (torch.rand(1, 1, *shape[2:]) > 0.4).float() if masked else None
    table, step = _table(), torch.tensor([1])
    for kind in ("one", "any"):
        s = _singular_values(kind, (1, groups, *grid))

        def step_once(s=s):
            x_next, x0 = _nan(*shape), _nan(*shape)
            cpp.block_step(
                *(x_next, x0, x_t, out, u, s, weights, mask, factor),
                *(table, step, _keys(2), None),
            )
            return torch.stack((x_next, x0))

        def measure(s=s):
            c = _nan(2, groups, *grid)
            cpp.block_measure(c, x_t, s, weights, mask, factor)
            return c

        def lift(s=s):
            x = _nan(*shape)
            cpp.block_lift(x, u.expand(2, -1, -1, -1).contiguous(), s, weights, mask, factor)
            return x

        _everywhere(step_once)
        c, x = _everywhere(measure), _everywhere(lift)
        left = (c.double() * u).sum()
        right = (x_t.double() * x).sum()
        assert abs(left - right) <= 1e-6 * (c.double().norm() * u.norm() * 2 + 1)


@pytest.mark.parametrize("prediction", ["eps", "x0"])
def test_one_singular_value_gives_the_bits_of_a_plane_of_them(prediction):
    """Colours made grey have a kernel of their own where one value holds for a row."""
    shape = (2, 3, 3, 2100)
    x_t, out, u = torch.randn(shape), torch.randn(shape), torch.randn(1, 1, *shape[2:])
    weights, one = torch.rand(3) + 0.2, torch.tensor(0.7).view(1, 1, 1, 1)
    table = sampler_table(DDRM(), prediction=prediction)

    def step_once(s=one):
        x_next = _nan(*shape)
        cpp.block_step(
            *(x_next, None, x_t, out, u, s, weights, None, 1),
            *(table, torch.tensor([7]), _keys(2), None),
        )
        return x_next

    plane = one.expand(u.shape).contiguous()
    assert torch.equal(_everywhere(step_once), _everywhere(lambda: step_once(plane)))


@pytest.mark.parametrize("height, width", [(1, 1), (6, 7), (9, 2200), (128, 128)])
def test_spectral_step(height, width):
    half = width // 2 + 1
    x_t, out, u = (torch.randn(2, 2, height, half, dtype=torch.complex64) for _ in range(3))
    s, table = _singular_values("any", (1, 1, height, half)), _table(clip=False)

    def run():
        x_next = _nan(2, 2, height, half, dtype=torch.complex64)
        step = torch.tensor([1])
        cpp.spectral_step(x_next, x_t, out, u, s, table, step, _keys(2), None, width)
        return x_next

    _everywhere(run)


@pytest.mark.parametrize("factor, grid", [(1, (5, 6)), (2, (4, 7)), (3, (1, 350)), (4, (32, 32))])
def test_alias_step(factor, grid):
    height, width = factor * grid[0], factor * grid[1]
    spectra = torch.fft.rfft2(torch.randn(3, 2, 2, height, width))
    u = torch.fft.rfft2(torch.randn(2, 2, *grid))
    s, table = _singular_values("any", (1, 1, grid[0], u.shape[-1])), _table(clip=False)

    def run():
        x_next = _nan(*spectra.shape[1:], dtype=torch.complex64)
        cpp.alias_step(
            *(x_next, spectra[0], spectra[1], u, spectra[2], s, table, torch.tensor([1])),
            *(_keys(2), None, factor, width),
        )
        return x_next

    _everywhere(run)


@pytest.mark.parametrize("bits", range(22))
def test_fwht(bits):
    x = torch.randn(2, 1, 1 << bits // 2, 1 << (bits + 1) // 2)

    def run():
        y = _nan(*x.shape)
        cpp.fwht(y, x)
        return y

    y = _everywhere(run)
    again = y.clone()
    cpp.fwht(again, again)
    assert (again - x).norm() <= 1e-7 * (bits + 3) * x.norm()
    impulse = torch.zeros_like(x)
    impulse[:, :, -1, -1] = 1
    cpp.fwht(impulse, impulse)
    parity = torch.tensor([bin(i).count("1") % 2 for i in range(min(64, 1 << bits))])
    expected = (1 - 2 * parity) / math.sqrt(1 << bits)
    assert torch.allclose(impulse.flatten(1)[0, : len(parity)], expected.float(), rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_number_of_16_bits_converts_exactly(dtype):
    bits = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(1, 1, 256, 256)
    out = bits.view(dtype)
    table = torch.zeros(1, 1, rows.WIDTH)
    table[..., rows.P_OUT] = 1
    table[..., rows.CLIP_LO], table[..., rows.CLIP_HI] = -math.inf, math.inf
    for isa in _C.available_isas():
        _C.set_isa(isa)
        x0 = torch.zeros(1, 1, 256, 256)
        cpp.predict_x0(x0, torch.zeros_like(x0), out, table, torch.tensor([0]))
        assert torch.equal(x0.nan_to_num(nan=12345.0), out.float().nan_to_num(nan=12345.0) + 0)
        assert torch.equal(x0.isnan(), out.isnan())


@pytest.mark.parametrize("operation", ["pointwise", "block"])
def test_stores_past_the_caches(operation):
    """A state too large for the caches is written past them, in place it is not: the same bits."""
    shape = (1, 1, 4096, 4096)
    x_t, out, u = (torch.randn(shape) for _ in range(3))
    s, table, step = torch.full((1, 1, 1, 1), 0.6), _table(), torch.tensor([1])
    torch.set_num_threads(2)
    x_next = _nan(*shape)

    def run(to, source):
        if operation == "pointwise":
            cpp.pointwise_step(to, None, source, out, u, s, table, step, _keys(1), None)
        else:
            grid = u[..., :1024, :1024].contiguous()
            cpp.block_step(
                *(to, None, source, out, grid, s, None, None, 4, table, step, _keys(1), None)
            )

    run(x_next, x_t)
    run(x_t, x_t)
    assert torch.equal(x_next, x_t)


def test_callers_in_several_threads():
    shape = (1, 3, 256, 256)
    torch.set_num_threads(2)

    def run(seed):
        z = _nan(*shape)
        cpp.normal(z, torch.tensor([[seed, 0, 0, 0]]), 0, 0)
        return z

    expected = [run(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as callers:
        for _ in range(5):
            for result, wanted in zip(callers.map(run, range(8)), expected, strict=True):
                assert torch.equal(result, wanted)


# torch's own operations hang in such a child where they start a team, so the buffer is made before.
FORK = """
import os, torch
from ddrm_fast.ops import cpp
torch.set_num_threads(2)
keys = torch.tensor([[1, 0, 0, 0]])
expected, z = torch.zeros(1, 3, 256, 256), torch.zeros(1, 3, 256, 256)
cpp.normal(expected, keys, 0, 0)
child = os.fork()
if child == 0:
    cpp.normal(z, keys, 0, 0)
    os._exit(0 if bytes(z.numpy()) == bytes(expected.numpy()) else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_threads_of_its_own():
    subprocess.run([sys.executable, "-P", "-c", FORK], check=True, timeout=120)


def test_instruction_sets_by_name():
    names = _C.available_isas()
    assert names[0] == "portable" and _C.get_isa() in names
    _C.set_isa("portable")
    assert _C.get_isa() == "portable"
    with pytest.raises(ValueError, match="isa: expected one of portable"):
        _C.set_isa("mmx")
    environment = {**os.environ, "DDRM_FAST_ISA": "mmx"}
    failed = subprocess.run(
        [sys.executable, "-P", "-c", "import ddrm_fast._C"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert failed.returncode and "DDRM_FAST_ISA: this processor runs portable" in failed.stderr


@pytest.mark.parametrize("step", [-1, 2])
def test_a_step_outside_the_table_is_refused(step):
    x = torch.zeros(1, 1, 4, 4)
    with pytest.raises(IndexError, match="step: expected 0 <= step < 2"):
        cpp.pointwise_step(
            *(x, None, x, x, None, torch.ones(1, 1, 1, 1), _table(), torch.tensor([step])),
            *(_keys(1), None),
        )

"""What kernels are compared with: the reference as one graph, and the counts behind a roofline."""

from functools import partial

import pytest
import torch
from torch._dynamo import trace_rules

from ddrm_fast import ops
from ddrm_fast.bench import OPERATORS, TINY, Ceilings, StepInputs, flops, kernel_cases, roofline
from ddrm_fast.bench.compiled import compiled
from ddrm_fast.bench.table import Table


@pytest.fixture
def memory(monkeypatch):
    """Memory as it comes: a compiler cannot trace what poisons it.

    The compiler lists PyTorch's functions once, as they are then; here, and for what comes after, as they
    really are.
    """
    monkeypatch.undo()
    trace_rules.get_torch_obj_rule_map.cache_clear()
    trace_rules.get_torch_obj_rule_map()


def _inputs(name, shape):
    """A step in the middle of a run of plain PyTorch."""
    inputs = StepInputs.make(OPERATORS[name](shape[-1]), shape)
    with ops.use_backend("reference"):
        inputs.start()
    return inputs


@pytest.mark.parametrize("name", OPERATORS)
def test_a_whole_step_is_one_graph_and_the_same_step(memory, name):
    """Traced through the reference, transforms included: no operation of the package is left in it."""
    shape, graphs, z = (2, 3, 32, 32), [], torch.randn(2, 3, 32, 32)
    inputs = _inputs(name, shape)
    with ops.use_backend("reference"):
        expected = inputs.run(z).clone()

    def seen(graph, example_inputs):
        graphs.append(graph.graph)
        return graph.forward

    inputs = _inputs(name, shape)
    result = compiled(lambda: inputs.run(z), backend=seen)()
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)
    assert len(graphs) == 1
    called = {str(node.target) for node in graphs[0].nodes}
    assert called and not any("ddrm_fast" in target for target in called)


def test_every_kernel_has_a_compiled_reference(memory, monkeypatch):
    """As one graph each, in what every other test of this file calls a compiler; all take operations."""
    monkeypatch.setattr("ddrm_fast.bench.kernels.compiled", partial(compiled, backend="eager"))
    names = set()
    for case in kernel_cases(TINY, "cpu", ("compiled",)):
        assert case.flops > 0
        if "compiled" in case.others:
            names.add(case.operation)
            case.others["compiled"]()
    assert names >= {
        "pointwise_step", "block_step", "spectral_step", "alias_step", "fwht_step", "known_step",
        "block_measure", "block_lift", "fwht", "predict_x0",
    }  # fmt: skip


def test_a_compiler_that_fails_leaves_the_rest_of_the_row(memory, monkeypatch):
    def broken(function):
        def run():
            raise TypeError("cannot compile")

        return run

    monkeypatch.setattr("ddrm_fast.bench.table.compiled", broken)
    table = Table("cpu", rounds=1)
    table.steps(["denoising"], ["cpp"], (1, 3, 32, 32), ("compiled", "published"))
    assert set(table.rows[0]["others"]) == {"published"}
    assert table.skipped == [
        {"what": "denoising step on cpu, compiled", "why": "TypeError: cannot compile"}
    ]


# Rooflines


def test_operations_are_counted():
    """Where they can be counted by hand; noise inside: 32 operations a pair of normals."""
    shape = (2, 3, 32, 64)
    pixels, length = 2 * 3 * 32 * 64, 32 * 64
    for name, expected in (
        ("denoising", 6 + 7 + 16 / 4 + 16),
        ("gain", 6 + 7 + 16 + 16),
        ("super-resolution x4", 6 + 5 + 16 + 6 + 2 + 32 / 16),
        ("colorization", 6 + 5 + 16 + 6 + 2 + 32 / 3),
        ("Walsh-Hadamard 25 %", 33 + 2 * (11 + 1)),
    ):
        size = (2, 3, 32, 32) if name in ("gain",) else shape
        operator = OPERATORS[name](32)
        n = pixels * size[3] // 64
        assert flops.step(operator, size) == pytest.approx(n * expected), name
    half = 2 * 3 * 32 * 33 * (2 * 13 + 16 + 2 * 17)
    blur = OPERATORS["blur (FFT)"](32)
    assert flops.step(blur, shape) == pytest.approx(half + pixels * 2 * 2.5 * 11)
    assert length == 2**11


def test_the_roof_is_the_lower_of_two_ceilings():
    ceilings = Ceilings(bytes_per_second=10e9, flops_per_second=40e9)
    assert ceilings.ridge == 4.0
    assert ceilings.allowed(1.0) == 10e9 and ceilings.allowed(100.0) == 40e9
    measured = Ceilings.measure("cpu", rounds=2, small=True)
    assert measured.bytes_per_second > 0 and measured.flops_per_second > 0


def test_points_of_a_roofline(tmp_path):
    """20 operations on 10 bytes in 2 s: 2 operations a byte, 10 a second."""
    row = {"operation": "a: b", "flops": 20, "bytes": 10}
    rows = [{**row, "backends": {"cpp": {"seconds": {"p50": 2.0}}}}, {**row, "backends": {}}]
    assert roofline.points(rows) == [("a: b", "cpp", 2.0, 10.0)]
    assert not roofline.draw(tmp_path / "none.png", [], Ceilings(1.0, 1.0), "nothing")
    pytest.importorskip("matplotlib")
    assert roofline.draw(tmp_path / "roof.png", rows, Ceilings(4e9, 1e11), "two")
    assert (tmp_path / "roof.png").read_bytes().startswith(b"\x89PNG")

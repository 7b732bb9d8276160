"""What kernels are compared with: the reference as one graph, and the counts behind a roofline."""

import pytest
import torch

from ddrm_fast import ops
from ddrm_fast.bench import OPERATORS, TINY, StepInputs, kernel_cases
from ddrm_fast.bench.compiled import compiled


@pytest.fixture
def memory(monkeypatch):
    """Memory as it comes: a compiler cannot trace what poisons it."""
    monkeypatch.undo()


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

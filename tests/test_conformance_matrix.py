"""Every backend and every operation is in the matrix that the conformance tests run."""

import ast
from pathlib import Path

import pytest
import torch
from conformance import devices_of, registered_operations, variants

from ddrm_fast import ops
from ddrm_fast.ops import dispatch, library


@pytest.mark.parametrize("name", dispatch._BACKENDS)
def test_backend_is_in_the_matrix(name):
    """A backend that cannot run is skipped here, once, with its reason."""
    devices, reason = devices_of(name)
    if not devices:
        pytest.skip(f"{name}: {reason}")
    assert name in [variant.values[0][0] for variant in variants()]


def test_compiled_backend_is_built():
    """CI builds the extension: there, and here, its absence is a failure, not a skip."""
    assert ops.backends()["cpp"] is None


def test_every_registered_operation_is_in_the_matrix():
    """Each has a ``test_<operation>_matches...`` in one of these files, run on every device."""
    tested = set()
    for path in Path(__file__).parent.glob("test_conformance_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and "device" in {a.arg for a in node.args.args}:
                name, matches, _ = node.name.partition("_matches")
                tested |= {name.removeprefix("test_")} if matches else set()
    names = registered_operations()
    assert names and names <= tested


def test_results_start_as_nan():
    """The poison of conftest.py reaches what the operations return."""
    assert library._like(torch.zeros(3)).isnan().all()
    assert library._fake_lift(torch.zeros(1, 1, 2, 2), None, None, None, 2, 1).isnan().all()

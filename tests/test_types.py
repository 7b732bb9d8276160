"""What type checkers are told: that the package is typed, and what the compiled modules hold."""

import ast
import importlib
from pathlib import Path

import pytest

import ddrm_fast

PACKAGE = Path(ddrm_fast.__file__).parent


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize("name", ["_C", "_cuda"])
def test_stubs_name_what_the_compiled_modules_hold(name):
    pytest.importorskip(f"ddrm_fast.{name}", reason="this module is not built")
    module = importlib.import_module(f"ddrm_fast.{name}")
    stub = ast.parse((PACKAGE / f"{name}.pyi").read_text())
    told = {node.name for node in stub.body if isinstance(node, ast.FunctionDef)}
    told |= {node.target.id for node in stub.body if isinstance(node, ast.AnnAssign)}
    held = {found for found in vars(module) if not found.startswith("__")}
    assert told - held <= {"__getattr__"}
    assert held <= told or "__getattr__" in told

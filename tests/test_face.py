"""The package's face: every name is there when it is asked for, and nothing is loaded before."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ddrm_fast


def run(code):
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_every_name_is_there():
    for name in ddrm_fast.__all__:
        assert getattr(ddrm_fast, name) is not None
        assert name in dir(ddrm_fast)
    assert ddrm_fast.restore.__module__ == "ddrm_fast.restoration"


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(ddrm_fast.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {a.asname or a.name for node in block.body for a in node.names}
    assert seen == set(ddrm_fast.__all__) == set(ddrm_fast._HOME) | set(ddrm_fast._MODULES)


def test_nothing_is_loaded_before():
    """A fresh process; and each name by itself."""
    assert run("import ddrm_fast, sys; print('torch' in sys.modules)") == "False\n"
    code = "import ddrm_fast; print(ddrm_fast.DDRM().steps, ddrm_fast.workers.LOCAL)"
    assert run(code) == "20 local\n"


def test_unknown_names_are_errors():
    with pytest.raises(AttributeError, match="has no attribute 'magic'"):
        _ = ddrm_fast.magic

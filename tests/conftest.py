"""Shared by all tests: memory that the package allocates starts as NaN, the seed is fixed.

Helpers that tests import by name are plain modules of this folder.
"""

import os
import sys
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is imported

sys.path.insert(0, str(Path(__file__).parent))  # for helpers, with --import-mode=importlib
pytest.register_assert_rewrite("cli_cases", "conformance", "tolerances")

import interpreter  # noqa: E402
from conformance import in_use, variants  # noqa: E402

if interpreter.in_use():
    interpreter.quicken()


def pytest_collection_modifyitems(config, items):
    """A share of the matrix for Triton: all of it would take longer than all else."""
    kept, left = interpreter.chosen(items)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


def _asked_by_package() -> bool:
    name = sys._getframe(2).f_globals.get("__name__", "")
    return name == "ddrm_fast" or name.startswith("ddrm_fast.")


def _poison(x: torch.Tensor) -> torch.Tensor:
    return x.fill_(float("nan")) if x.is_floating_point() or x.is_complex() else x


def _poisoned(make):
    """``make`` with its result filled with NaN where the package is the caller.

    Under torch.compile the frame of the caller is out of reach, and what is traced must not change.
    """

    def empty(*args, **keywords):
        if torch.compiler.is_compiling():
            return make(*args, **keywords)
        result = make(*args, **keywords)
        return _poison(result) if _asked_by_package() else result

    return empty


@pytest.fixture(autouse=True)
def _poisoned_memory(monkeypatch):
    """A kernel that leaves a place unwritten leaves a NaN there."""
    monkeypatch.setattr(torch, "empty", _poisoned(torch.empty))
    monkeypatch.setattr(torch, "empty_like", _poisoned(torch.empty_like))
    monkeypatch.setattr(torch.Tensor, "new_empty", _poisoned(torch.Tensor.new_empty))


@pytest.fixture(autouse=True)
def _same_start():
    """Fixed seed, and one thread: teams that wait for each other are slow on a busy machine.

    Tests of several threads ask for them; the number is put back.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=variants())
def device(request):
    """The device of a backend that is in use for the whole test."""
    with in_use(request.param) as device:
        yield device


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, so that tests name files as people do."""
    monkeypatch.chdir(tmp_path)
    return tmp_path

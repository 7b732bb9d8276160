"""Backends that are unknown or cannot run: the error says which and why."""

import os
import subprocess
import sys

import pytest
import torch
from small_cases import PICTURE, restore_small

from ddrm_fast import ops
from ddrm_fast.ops import BackendError, dispatch

pytestmark = pytest.mark.filterwarnings("error")  # nothing warns unless a test says so


@pytest.fixture
def environment(monkeypatch):
    """Sets DDRM_FAST_BACKEND for one test (the choice is remembered, so it is forgotten here)."""

    def set_backend(name):
        monkeypatch.setenv(dispatch.ENVIRONMENT, name)
        dispatch.forget()

    yield set_backend
    monkeypatch.undo()
    dispatch.forget()


def test_unknown_backends(environment):
    with pytest.raises(ValueError, match="^backend: unknown name 'jax'; expected one of .*cpp"):
        ops.use_backend("jax")
    environment("jax")
    with pytest.raises(ValueError, match="unknown name 'jax'"):
        ops.fwht(torch.zeros(1, 1, 2, 2))


def test_the_environment_chooses(environment):
    environment("reference")
    assert dispatch.choose("cpu", torch.float32).__name__ == "ddrm_fast.ops.reference"
    with ops.use_backend("cpp"):  # the program's own word counts more
        assert dispatch.choose("cpu", torch.float32).__name__ == "ddrm_fast.ops.cpp"
    assert dispatch.choose("cpu", torch.float32).__name__ == "ddrm_fast.ops.reference"


def test_the_environment_of_a_process():
    """As a user sets it: before Python starts."""
    code = "import torch, ddrm_fast; ddrm_fast.ops.fwht(torch.zeros(1, 1, 2, 2))"
    search = os.pathsep.join(p for p in sys.path if p)
    env = {**os.environ, "DDRM_FAST_BACKEND": "jax", "PYTHONPATH": search}
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True
    )
    assert run.returncode != 0 and "unknown name 'jax'" in run.stderr


@pytest.mark.parametrize("name", ["cuda", "triton"])
def test_backends_that_cannot_run_say_why(name, environment):
    reason = ops.backends()[name]
    if reason is None:
        pytest.skip(f"{name} runs here")
    assert len(reason) > 20
    with pytest.raises(BackendError, match=f"^backend '{name}' cannot run: ") as error:
        ops.use_backend(name)
    assert reason in str(error.value)
    environment(name)
    with pytest.raises(BackendError, match=f"^backend '{name}' cannot run: "):
        ops.fwht(torch.zeros(1, 1, 2, 2))


def test_a_refused_request_changes_nothing():
    before = dispatch.choose("cpu", torch.float32)
    for name in ("jax", "cuda", "triton"):
        if ops.backends().get(name, "unknown") is not None:
            with pytest.raises((ValueError, BackendError)):
                ops.use_backend(name)
    assert dispatch.choose("cpu", torch.float32) is before


def test_explicit_cpp_does_not_fall_back_for_float64():
    with ops.use_backend("cpp"):
        with pytest.raises(BackendError, match="'cpp' was asked for, but it computes in float32"):
            ops.fwht(torch.zeros(1, 1, 2, 2, dtype=torch.float64))
        with pytest.raises(BackendError, match="'cpp' was asked for, but it computes in float32"):
            restore_small(PICTURE.double())
    assert restore_small(PICTURE.double()).mean.dtype == torch.float64


def test_blocks_that_overlap_leave_nothing_behind():
    """Two threads, one of which leaves its block inside the other's."""
    before = dispatch._requested
    first, second = ops.use_backend("reference"), ops.use_backend("cpp")
    assert dispatch._requested == "cpp"
    with first:
        pass
    assert dispatch._requested == "cpp"
    with second:
        assert dispatch._requested == "cpp"
    assert dispatch._requested == before
    with first, second:
        assert dispatch._requested == "cpp"
    assert dispatch._requested == before


def test_threads_with_blocks_of_their_own():
    import threading

    before, wrong = dispatch._requested, []

    def work(name):
        for _ in range(200):
            with ops.use_backend(name):
                module = dispatch.choose("cpu", torch.float32).__name__.rpartition(".")[2]
                if module not in ("reference", "cpp"):
                    wrong.append(module)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("reference", "cpp") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and dispatch._requested == before
    with ops.use_backend("reference"):
        assert dispatch.choose("cpu", torch.float32).__name__.endswith("reference")

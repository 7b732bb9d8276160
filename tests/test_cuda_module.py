"""The compiled CUDA module where there may be no GPU: it loads, answers, and says what is wrong."""

import os
import subprocess
import sys

import pytest
import torch

from ddrm_fast import ops
from ddrm_fast.ops import BackendError, cuda_available, rows

# where a build with CUDA kernels was asked for, their absence is a failure, not a skip
if os.environ.get("DDRM_FAST_CUDA", "").lower() != "on":
    pytest.importorskip("ddrm_fast._cuda", reason="this build has no CUDA kernels (no nvcc)")

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@pytest.fixture
def extension():
    from ddrm_fast import _cuda

    return _cuda


def test_it_says_what_it_is(extension):
    assert extension.runtime_version() >= 12000
    numbers = extension.architectures().split()
    assert numbers and all(number.isdigit() for number in numbers)


def test_it_needs_no_cuda_library():
    """The runtime is inside: a machine without CUDA loads it. (Another process: torch brings its own.)"""
    code = (
        "import importlib.util, sys; path = sys.argv[1];"
        "spec = importlib.util.spec_from_file_location('_cuda', path);"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module);"
        "maps = open('/proc/self/maps').read();"
        "assert 'libcudart' not in maps and 'libcufft' not in maps; print(module.why_not())"
    )
    from ddrm_fast import _cuda

    command = [sys.executable, "-c", code, _cuda.__file__]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_wrong_arguments_are_refused(extension):
    with pytest.raises(ValueError, match="length: expected a power of two, got 48"):
        extension.fwht(0, 0, 1, 48, 0, 0)
    with pytest.raises(ValueError, match="step: expected 18 entries"):
        extension.pointwise_step((), 0, 0)
    with pytest.raises(ValueError, match="shape: expected four dimensions"):
        extension.normal(0, (1, 2, 3), 0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="profile: expected 4 entries"):
        extension.block_lift(0, (1, 1, 1, 1), 0, 0, (1, 1, 1, 1), (), 0, 0)
    with pytest.raises(TypeError):
        extension.predict_x0("x0")


@pytest.mark.parametrize("height, width", [(16, 2), (4, 4), (3, 16), (4, 12)])
def test_walsh_hadamard_steps_of_other_planes_are_refused(extension, height, width):
    shape, one = (1, 1, height, width), (1, 1, 1, 1)
    step = (0, shape, 0, 0, 0, 0, 0, 0, None, 0, one, 0, 1, 1, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="powers of two, 4 or more columns and 32 or more"):
        extension.fwht_step(step, 0, 0, 0)


def test_walsh_hadamard_steps_need_a_state_and_scratch(extension):
    shape, one = (1, 1, 128, 128), (1, 1, 1, 1)
    step = [0, shape, 16, 16, 0, 0, 0, 0, None, 0, one, 0, 1, 1, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="x_t, scratch: have to be given"):
        extension.fwht_step(tuple(step), 0, 0, 0)
    step[2] = 0
    with pytest.raises(ValueError, match="x_t, scratch: have to be given"):
        extension.fwht_step(tuple(step), 16, 0, 0)


def test_nothing_to_do_needs_no_device(extension):
    extension.normal(0, (0, 3, 4, 5), 0, 0, 0, 0, 0)
    extension.fwht(0, 0, 0, 16, 0, 0)


@no_gpu
def test_a_launch_without_a_gpu_is_an_error(extension):
    """Not a crash, and not silence."""
    with pytest.raises(RuntimeError, match="CUDA|driver|device"):
        extension.fwht(0, 0, 1, 64, 0, 0)


@no_gpu
def test_the_backend_says_why_it_cannot_run(extension):
    reason = cuda_available.unavailable()
    assert reason and ("driver" in reason or "GPU" in reason or "PyTorch" in reason)
    with pytest.raises(BackendError, match="^backend 'cuda' cannot run: ") as error:
        ops.use_backend("cuda")
    assert reason in str(error.value)


@no_gpu
def test_the_backend_without_a_gpu_in_torch(extension, monkeypatch):
    """A GPU and a driver, but a PyTorch for the CPU: the message says which build is missing."""

    class Working:
        ROW_WIDTH = rows.WIDTH

        @staticmethod
        def why_not():
            return ""

    monkeypatch.setitem(sys.modules, "ddrm_fast._cuda", Working)
    cuda_available.unavailable.cache_clear()
    try:
        assert "install a CUDA build of PyTorch" in cuda_available.unavailable()
    finally:
        cuda_available.unavailable.cache_clear()


def test_the_backend_without_its_module(monkeypatch):
    monkeypatch.setitem(sys.modules, "ddrm_fast._cuda", None)
    cuda_available.unavailable.cache_clear()
    try:
        assert "DDRM_FAST_CUDA=on pip install" in cuda_available.unavailable()
    finally:
        cuda_available.unavailable.cache_clear()


def test_what_the_backend_refuses():
    assert cuda_available.refuses("cuda", torch.float32) is None
    assert "tensors are on cpu" in cuda_available.refuses("cpu", torch.float32)
    assert "float32" in cuda_available.refuses("cuda", torch.float64)

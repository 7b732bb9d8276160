"""Why the Triton backend cannot run, or refuses a tensor: one helpful sentence each."""

import types

import pytest
import torch

from ddrm_fast import ops
from ddrm_fast.ops import BackendError, Noise, dispatch, noise_keys, rows, triton_available


@pytest.fixture
def triton_of(monkeypatch):
    """Lets `import triton` give a module of some version, or fail; returns the reason."""

    def reason(version):
        def import_module(name):
            if version is None:
                raise ImportError(f"No module named {name!r}")
            return types.SimpleNamespace(__version__=version)

        monkeypatch.setattr(triton_available.importlib, "import_module", import_module)
        found = triton_available._installed.__wrapped__()
        monkeypatch.undo()
        return found

    return reason


def test_triton_that_is_missing_or_too_old(triton_of):
    assert "cannot be imported (No module named 'triton'); run `pip install" in triton_of(None)
    for version in ("2.3.1", "3.5.1"):
        assert triton_of(version) == f"triton {version} is too old; it needs 3.6 or later"
    for version in ("3.6.0", "3.10.1+git1234", "4.0.0"):
        assert triton_of(version) is None


def test_triton_without_a_gpu(monkeypatch):
    monkeypatch.setattr(triton_available, "_installed", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(triton_available, "interpreted", lambda: False)
    assert "PyTorch finds no GPU" in triton_available.unavailable()
    assert "TRITON_INTERPRET=1" in triton_available.unavailable()
    monkeypatch.setattr(triton_available, "interpreted", lambda: True)
    assert triton_available.unavailable() is None


def test_tensors_that_triton_refuses(monkeypatch):
    refuses = triton_available.refuses
    monkeypatch.setattr(triton_available, "interpreted", lambda: False)
    assert refuses("cuda", torch.float32) is None
    assert refuses("cpu", torch.float32) == "it runs on a GPU, and the tensors are on cpu"
    assert "in float32, and the state is torch.float64" in refuses("cuda", torch.float64)
    monkeypatch.setattr(triton_available, "interpreted", lambda: True)
    assert refuses("cpu", torch.float32) is None
    assert "interpreter works on the CPU, and the tensors are on cuda" in refuses(
        "cuda", torch.float32
    )


def test_automatic_choice_never_takes_the_interpreter():
    assert dispatch.choose("cpu", torch.float32).__name__ == "ddrm_fast.ops.cpp"


@pytest.mark.skipif(ops.backends()["triton"] is not None, reason=str(ops.backends()["triton"]))
def test_explicit_triton_does_not_fall_back():
    device = "cpu" if triton_available.interpreted() else "cuda"
    with ops.use_backend("triton"):
        with pytest.raises(
            BackendError, match="'triton' was asked for, but it computes in float32"
        ):
            ops.fwht(torch.zeros(1, 1, 2, 2, dtype=torch.float64, device=device))


def test_mixed_devices_are_named():
    """Before any backend is asked."""
    state = torch.zeros(1, 1, 2, 2)
    table, step = torch.zeros(1, 1, rows.WIDTH), torch.zeros(1, dtype=torch.int64)
    call = (state, state, None, torch.ones(1, 1, 1, 1), table, step)
    with pytest.raises(ValueError, match="^noise.keys: is on meta, the state is on cpu"):
        ops.pointwise_step(*call, Noise(noise_keys(1).to("meta")))

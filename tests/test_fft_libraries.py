"""FFTs of other libraries in the place of torch's: the same numbers, and only where they may be."""

import importlib.util

import pytest
import torch
from small_cases import GAUSSIAN, OPERATORS, measured
from tolerances import assert_close, transform

from ddrm_fast import DDRM, ops, restore
from ddrm_fast.ops import dct, fft

each_library = pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            n, marks=pytest.mark.skipif(importlib.util.find_spec(n) is None, reason=f"no {n}")
        )
        for n in ("torch", "scipy", "ducc0")
    ],
)


@each_library
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (2, 3, 5, 6), (1, 2, 8, 7), (3, 1, 1, 16), (1, 1, 37, 64)]
)
@pytest.mark.parametrize("norm", ["ortho", "backward"])
def test_transforms(name, shape, norm):
    x, width = torch.randn(shape), shape[-1]
    exact = torch.fft.rfft2(x.double(), norm=norm)
    tolerance = 4 * transform(shape[-1] * shape[-2])
    with ops.use_fft(name):
        half = fft.rfft2(x, norm)
        kept, buffer = half.clone(), torch.full(shape, torch.nan)
        again = fft.irfft2(half, width, norm)
        filled = fft.irfft2(half, width, norm, out=buffer)
    assert_close(half, exact, tolerance)
    assert_close(again, x.double(), tolerance)
    assert filled is buffer and torch.equal(buffer, again)
    assert torch.equal(half, kept), "the spectrum is the state of the next step"


@each_library
def test_views(name):
    """Columns of a wider picture, and a conjugate view."""
    wide = torch.randn(2, 3, 8, 11)[..., 2:8]
    spectrum = torch.fft.rfft2(torch.randn(1, 1, 4, 6)).conj()
    with ops.use_fft(name):
        assert_close(fft.rfft2(wide), torch.fft.rfft2(wide.double()), 1e-6)
        expected = torch.fft.irfft2(spectrum.resolve_conj().to(torch.complex128), s=(4, 6))
        assert_close(fft.irfft2(spectrum, 6), expected, 1e-6)


@each_library
@pytest.mark.parametrize("operator", ["blur", "reflecting blur", "decimation", "bicubic"])
def test_runs(name, operator):
    """Within what a float32 FFT differs by from another."""
    degradation, y = measured(operator)
    results = []
    for library in ("torch", name):
        with ops.use_fft(library):
            results.append(restore(y, degradation, 0.05, GAUSSIAN, DDRM(4), seed=3).mean)
    torch.testing.assert_close(*results, rtol=0, atol=2e-5)


@each_library
def test_what_is_differentiated_stays_with_torch(name):
    operator, shape = OPERATORS["blur"]
    x = torch.rand(1, *shape, requires_grad=True)
    with ops.use_fft(name):
        operator.H(x).sum().backward()
        double = dct.forward(torch.rand(1, 1, 4, 4, dtype=torch.float64))
    assert x.grad is not None and bool(torch.isfinite(x.grad).all())
    assert double.dtype == torch.float64


def test_the_environment_and_what_is_asked_for(monkeypatch):
    monkeypatch.delenv("DDRM_FAST_FFT", raising=False)
    assert ops.fft_library() == "torch"
    monkeypatch.setenv("DDRM_FAST_FFT", "scipy")
    assert ops.fft_library() == "scipy"
    with ops.use_fft("torch"):
        assert ops.fft_library() == "torch"
    assert ops.fft_library() == "scipy"


def test_bad_names(monkeypatch):
    with pytest.raises(
        ValueError, match="^fft: unknown library 'fftw'; expected one of torch, scipy, ducc0"
    ):
        ops.use_fft("fftw")
    monkeypatch.setenv("DDRM_FAST_FFT", "fftw")
    with pytest.raises(ValueError, match="^fft: unknown library 'fftw'"):
        fft.rfft2(torch.ones(1, 1, 2, 2))
    monkeypatch.setitem(fft.LIBRARIES, "absent", "no_such_module")
    with pytest.raises(RuntimeError, match="^fft: absent was asked for and is not installed"):
        ops.use_fft("absent")

"""The real FFTs of sampling steps: torch's own, or on a processor those of another library.

``DDRM_FAST_FFT=ducc0`` (or scipy), or :func:`use_fft`, asks for one; GPU tensors, float64 and everything that
is differentiated stay with ``torch.fft``. Results differ in their last bits, so the choice is never made
silently: all workers of a run, and what continues it, need the same one.
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

ENVIRONMENT = "DDRM_FAST_FFT"
#: libraries by name, and the module of each that has the transforms
LIBRARIES = {"torch": "torch.fft", "scipy": "scipy.fft", "ducc0": "ducc0.fft"}

_requested: str | None = None


class use_fft:
    """Ask for an FFT library by name, for good or inside a ``with`` block.

    Args:
        name:
            "torch", "scipy", "ducc0", or None: what ``DDRM_FAST_FFT`` says, else torch.

    Raises:
        ValueError: the name is unknown.
        RuntimeError: the library is not installed.
    """

    def __init__(self, name: str | None) -> None:
        global _requested
        if name is not None:
            _module(name)
        self._before = _requested
        _requested = name

    def __enter__(self) -> use_fft:
        return self

    def __exit__(self, *exc: object) -> None:
        global _requested
        _requested = self._before


def fft_library() -> str:
    """Name of the library in use for float32 tensors on a processor."""
    return _requested or os.environ.get(ENVIRONMENT) or "torch"


@cache
def _module(name: str) -> ModuleType:
    if name not in LIBRARIES:
        raise ValueError(f"fft: unknown library {name!r}; expected one of {', '.join(LIBRARIES)}")
    try:
        return importlib.import_module(LIBRARIES[name])
    except ImportError as error:
        raise RuntimeError(
            f"fft: {name} was asked for and is not installed ({error}); run `pip install {name}`"
        ) from None


def _serves(x: Tensor) -> bool:
    """Whether a library of one's choice may take this transform in the place of torch."""
    if torch.compiler.is_compiling() or fft_library() == "torch":
        return False
    differentiated = x.requires_grad and torch.is_grad_enabled()
    return (
        x.device.type == "cpu"
        and not differentiated
        and x.dtype in (torch.float32, torch.complex64)
    )


def _plain(x: Tensor) -> Tensor:
    return x.detach().resolve_conj().resolve_neg()


def rfft2(x: Tensor, norm: str = "backward") -> Tensor:
    """``torch.fft.rfft2`` of the last two dimensions, not empty, into fresh contiguous memory."""
    if not _serves(x):
        return torch.fft.rfft2(x, norm=norm)
    name, threads = fft_library(), torch.get_num_threads()
    module, numbers = _module(name), _plain(x).numpy()
    if name == "scipy":
        return torch.from_numpy(module.rfft2(numbers, norm=norm, workers=threads))
    half = torch.empty(*x.shape[:-1], x.shape[-1] // 2 + 1, dtype=torch.complex64)
    axes = (x.dim() - 2, x.dim() - 1)
    scale = 1 if norm == "ortho" else 0
    module.r2c(numbers, axes=axes, inorm=scale, out=half.numpy(), nthreads=threads)
    return half


def irfft2(c: Tensor, width: int, norm: str = "backward", out: Tensor | None = None) -> Tensor:
    """``torch.fft.irfft2`` of half spectra to ``width`` columns, into ``out`` where it is given."""
    if not _serves(c):
        return torch.fft.irfft2(c, s=(c.shape[-2], width), norm=norm, out=out)
    name, threads = fft_library(), torch.get_num_threads()
    module, numbers = _module(name), _plain(c).numpy()
    if name == "scipy":
        x = module.irfft2(numbers, s=(c.shape[-2], width), norm=norm, workers=threads)
        return torch.from_numpy(x) if out is None else out.copy_(torch.from_numpy(x))
    if out is None:
        out = torch.empty(*c.shape[:-1], width, dtype=torch.float32)
    axes = (c.dim() - 2, c.dim() - 1)
    scale = 1 if norm == "ortho" else 2
    module.c2r(
        numbers, axes=axes, lastsize=width, forward=False, inorm=scale, out=out.numpy(), nthreads=threads
    )  # fmt: skip
    return out

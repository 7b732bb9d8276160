"""Which backend runs an operation.

A backend is a module of functions with the names of :mod:`.reference`, a reason why it cannot run on
this machine (or none), and a reason why it refuses a device and dtype (or none). The same reasons
choose silently in automatic mode and explain an error after an explicit request.
"""

import importlib
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import torch

from . import cuda_available, rows, triton_available

log = logging.getLogger("ddrm_fast")

ENVIRONMENT = "DDRM_FAST_BACKEND"


class BackendError(RuntimeError):
    """A backend was asked for by name and cannot run."""


@dataclass(frozen=True)
class Backend:
    """One implementation of the fused operations.

    Args:
        name:
            What :func:`use_backend` and ``DDRM_FAST_BACKEND`` call it.
        module:
            Import path, relative to this package; loaded on first use.
        unavailable:
            Says why the backend cannot run on this machine, or None.
        refuses:
            Says why it cannot run this (device type, dtype), or None.
    """

    name: str
    module: str
    unavailable: Callable[[], str | None]
    refuses: Callable[[str, torch.dtype], str | None]

    def load(self) -> ModuleType:
        return importlib.import_module(self.module, __package__)


_BACKENDS: dict[str, Backend] = {}


def register_backend(backend: Backend) -> None:
    """Add a backend; those added first are preferred in automatic mode."""
    _BACKENDS[backend.name] = backend
    forget()


def backends() -> dict[str, str | None]:
    """Every backend by name, with the reason why it cannot run on this machine, or None."""
    return {name: backend.unavailable() for name, backend in _BACKENDS.items()}


_requested: str | None = None
_requests: list["use_backend"] = []
_changing = threading.Lock()


class use_backend:
    """Ask for a backend by name, for good or inside a ``with`` block.

    A request holds for the whole process. Where blocks of several threads overlap, the latest one that is
    still open decides; when all are left, what was asked for before them holds again.

    Args:
        name:
            "reference", "cpp", "triton", "cuda", or None (automatic choice).

    Raises:
        ValueError: the name is unknown.
        BackendError: the backend cannot run on this machine; the message says why.

    Example:
        >>> use_backend("cpp")            # from here on
        >>> with use_backend("reference"):
        ...     ...                       # only here
    """

    def __init__(self, name: str | None) -> None:
        self.name = name
        if name is not None:
            _available(name)
        with _changing:
            _requests.append(self)
            _decide()

    def __enter__(self) -> "use_backend":
        with _changing:
            if self not in _requests:  # a block of its own once more
                _requests.append(self)
                _decide()
        return self

    def __exit__(self, *exc: object) -> None:
        with _changing:
            if self in _requests:
                _requests.remove(self)
            _decide()

    def __repr__(self) -> str:
        return f"use_backend({self.name!r})"


def _decide() -> None:
    """The latest request that still holds is the one that counts."""
    global _requested
    _requested = _requests[-1].name if _requests else None


def _available(name: str) -> Backend:
    if name not in _BACKENDS:
        raise ValueError(f"backend: unknown name {name!r}; expected one of {', '.join(_BACKENDS)}")
    backend = _BACKENDS[name]
    reason = backend.unavailable()
    if reason is not None:
        raise BackendError(f"backend {name!r} cannot run: {reason}")
    return backend


def requested() -> str | None:
    """The backend that was asked for by name, or None."""
    return _requested or os.environ.get(ENVIRONMENT) or None


def choose(device_type: str, dtype: torch.dtype) -> ModuleType:
    """The backend module that runs an operation on this device type and dtype."""
    # what is kept belongs to a request: a thread that asks for another one meanwhile gets its own
    return _chosen(_requested, device_type, dtype)


@cache
def _chosen(requested: str | None, device_type: str, dtype: torch.dtype) -> ModuleType:
    name = requested or os.environ.get(ENVIRONMENT) or None
    if name is not None:
        backend = _available(name)
        reason = backend.refuses(device_type, dtype)
        if reason is not None:
            raise BackendError(f"backend {name!r} was asked for, but {reason}")
        return backend.load()
    for backend in _BACKENDS.values():
        reason = backend.unavailable() or backend.refuses(device_type, dtype)
        if reason is None:
            return backend.load()
        if backend.name == "cpp" and device_type == "cpu" and dtype == torch.float32:
            log.warning("the slow reference backend runs on the CPU: %s", reason)
        log.debug("backend %s is passed over on %s: %s", backend.name, device_type, reason)
    raise BackendError(f"no backend runs {dtype} on {device_type}")


def forget() -> None:
    """What was chosen is chosen anew: for those who change the environment."""
    _chosen.cache_clear()


@cache
def _extension_missing() -> str | None:
    try:
        extension = importlib.import_module("ddrm_fast._C")
    except ImportError as error:
        return (
            f"the compiled extension is missing ({error}); run `pip install .` with a C++ compiler"
        )
    return rows.mismatch(extension)


def _refuses_cpp(device_type: str, dtype: torch.dtype) -> str | None:
    if device_type != "cpu":
        return f"it runs on the CPU, and the tensors are on {device_type}"
    if dtype != torch.float32:
        return f"it computes in float32, and the state is {dtype}"
    return None


def _refuses_reference(device_type: str, dtype: torch.dtype) -> str | None:
    if dtype not in (torch.float32, torch.float64):
        return f"the state has to be float32 or float64, not {dtype}"
    return None


register_backend(Backend("cuda", ".cuda", cuda_available.unavailable, cuda_available.refuses))
register_backend(Backend("cpp", ".cpp", _extension_missing, _refuses_cpp))
register_backend(
    Backend("triton", ".triton", triton_available.unavailable, triton_available.refuses)
)
register_backend(Backend("reference", ".reference", lambda: None, _refuses_reference))

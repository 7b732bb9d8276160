"""Whether the Triton backend can run here, and what it refuses."""

import importlib
import os
import platform
from functools import cache

import torch

OLDEST = (3, 6)
_INTERPRET = "TRITON_INTERPRET"


@cache
def interpreted() -> bool:
    """True if Triton's interpreter runs the kernels, on the CPU: for tests, thousands of times slower.

    Triton decides at its import, so the answer stays what it was when it was first asked for.
    """
    return os.environ.get(_INTERPRET, "").lower() in ("1", "true", "yes", "on", "y")


@cache
def _installed() -> str | None:
    """Why no Triton, or none that is new enough, can be imported; or None."""
    try:
        version = importlib.import_module("triton").__version__
    except ImportError as error:
        return (
            f"triton cannot be imported ({error}); run `pip install 'triton>=3.6'` "
            f"(there are packages for Linux; this is {platform.system()})"
        )
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        return f"triton {version} is too old; it needs 3.6 or later"
    return None


def unavailable() -> str | None:
    """Why the kernels cannot run on this machine, or None."""
    reason = _installed()
    if reason is None and not interpreted() and not torch.cuda.is_available():
        reason = (
            f"PyTorch finds no GPU (torch {torch.__version__}); for tests, {_INTERPRET}=1 before "
            "Python starts runs the kernels in Triton's interpreter"
        )
    return reason


def refuses(device_type: str, dtype: torch.dtype) -> str | None:
    """Why the kernels do not take a state on this kind of device or of this dtype, or None."""
    if interpreted():
        if device_type != "cpu":
            return f"Triton's interpreter works on the CPU, and the tensors are on {device_type}"
    elif device_type != "cuda":
        return f"it runs on a GPU, and the tensors are on {device_type}"
    if dtype != torch.float32:
        return f"it computes in float32, and the state is {dtype}"
    return None

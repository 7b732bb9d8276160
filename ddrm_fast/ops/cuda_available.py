"""Whether the CUDA kernels can run: the reasons that the registry of backends shows."""

import importlib
from functools import cache

import torch

from . import rows


@cache
def unavailable() -> str | None:
    """Why no GPU tensor can be handed to the CUDA kernels of this installation, or None."""
    try:
        extension = importlib.import_module("ddrm_fast._cuda")
    except ImportError as error:
        return (
            f"this build has no CUDA kernels ({error}); install nvcc and run "
            "`DDRM_FAST_CUDA=on pip install .`"
        )
    reason = rows.mismatch(extension) or extension.why_not()
    if reason:
        return reason
    if not torch.cuda.is_available():
        return (
            f"PyTorch {torch.__version__} sees no GPU, so no tensor can be on one; "
            "install a CUDA build of PyTorch"
        )
    return None


def refuses(device_type: str, dtype: torch.dtype) -> str | None:
    """Why the CUDA kernels do not take a state of this device type and dtype, or None."""
    if device_type != "cuda":
        return f"it runs on NVIDIA GPUs, and the tensors are on {device_type}"
    if dtype != torch.float32:
        return f"it computes in float32, and the state is {dtype}"
    return None

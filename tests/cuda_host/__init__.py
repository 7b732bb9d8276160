"""The CUDA kernels on the processor: a backend for tests, in the matrix under the name "cuda-host".

It is never chosen unless it is asked for. The module is built when a test first uses it.
"""

import torch

from ddrm_fast.ops.dispatch import Backend, register_backend

from . import build

NAME = "cuda-host"


def _refuses(device_type: str, dtype: torch.dtype) -> str | None:
    if device_type != "cpu":
        return f"it runs CUDA sources on the processor, and the tensors are on {device_type}"
    return None if dtype == torch.float32 else f"it computes in float32, and the state is {dtype}"


def register() -> None:
    """Put it last in the registry, behind every backend that serves automatic choice."""
    register_backend(Backend(NAME, "cuda_host.kernels", build.missing, _refuses))

"""What is installed and what can run here: for people, and for records of measurements."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

import ddrm_fast

from ..ops import BackendError, backends
from ..ops.dispatch import ENVIRONMENT, choose
from ..priors.load import DEFAULT

#: packages of the extras of pyproject.toml, each of which some command or option needs
OPTIONAL = (
    "accelerate", "deepinv", "diffusers", "ducc0", "gradio", "matplotlib", "ray", "pillow-heif",
    "scikit-image",
    "shtab", "tensorboard", "torch-fidelity", "torchmetrics", "torchvision", "triton", "zarr",
)  # fmt: skip


def gather() -> dict[str, Any]:
    """The facts, by name."""
    asked = os.environ.get(ENVIRONMENT) or f"nothing ({ENVIRONMENT} is not set)"
    try:
        chosen = choose("cpu", torch.float32).__name__.rpartition(".")[2]
    except (BackendError, ValueError) as error:
        chosen, asked = None, f"{asked}, which cannot run ({error})"
    states = {
        name: (
            f"available{', used on the CPU' * (name == chosen)}" if why is None else f"no: {why}"
        )
        for name, why in backends().items()
    }
    return {
        "ddrm_fast": ddrm_fast.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "backends": states,
        "asked for": asked,
        "instruction set": _instruction_set(),
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} processors",
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none for this torch",
        "priors": {"default": _default_prior(), "gaussian": "images with a 1 / frequency^2 spectrum"},
        "optional packages": {name: _version(name) for name in OPTIONAL},
    }  # fmt: skip


def _instruction_set() -> str:
    try:
        from ddrm_fast import _C
    except ImportError:
        return "none: the compiled extension is missing"
    return f"{_C.get_isa()} (this processor runs {', '.join(_C.available_isas())})"


def _default_prior() -> str:
    if not DEFAULT.is_file():
        return "no: this build carries no weights; use --prior with a file of `ddrm-fast train`"
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(DEFAULT), framework="pt") as file:
            training = json.loads((file.metadata() or {}).get("training", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        return f"no: {DEFAULT} is damaged ({error})"
    size = DEFAULT.stat().st_size / 2**20
    return f"{size:.1f} MiB, trained for {training.get('step', 'unknown')} steps"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"

"""Weights files of the denoisers that `ddrm-fast train` makes: safetensors with a description, a digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .networks.denoiser import Denoiser, DenoiserConfig

FORMAT = "ddrm_fast.denoiser/1"


def weights_digest(weights: dict[str, Tensor]) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of a dictionary of tensors, as hex.

    Args:
        weights:
            Tensors by name, on the CPU.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_metadata(
    config: DenoiserConfig, weights: dict[str, Tensor], training: dict[str, Any]
) -> dict[str, str]:
    """Metadata of a weights file, as `load_denoiser` reads it.

    Args:
        config:
            Shape of the network.
        weights:
            The tensors as they are stored.
        training:
            Summary of the training, plain JSON values.
    """
    return {
        "format": FORMAT,
        "config": json.dumps(asdict(config)),
        "training": json.dumps(training),
        "sha256": weights_digest(weights),
    }


def is_denoiser(path: str | Path) -> bool:
    """Whether a file looks like one that `load_denoiser` reads; a damaged file may."""
    path = Path(path)
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return "format" in (file.metadata() or {}) and file.metadata()["format"] == FORMAT
    except (SafetensorError, OSError):
        return True


def load_denoiser(
    path: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    verify: bool = True,
) -> Denoiser:
    """Read a denoiser from the safetensors file that `ddrm_fast.training.denoiser.export` writes.

    Args:
        path:
            The weights file.
        device:
            Where the network goes.
        dtype:
            Type of the weights and of the arithmetic inside the network.
        verify:
            Compare the stored SHA-256 with the tensors that were read.

    Returns:
        The network, in evaluation mode, without gradients; `training_summary` (a dictionary) and
        `sha256` (hex) come from the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not such a weights file, or is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: {path} does not exist, expected a denoiser weights file")
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"path: {path} is not a readable safetensors file ({error})") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"path: {path} has format {metadata.get('format')!r}, expected {FORMAT!r}")
    if verify:
        found = weights_digest(weights)
        if found != metadata.get("sha256"):
            raise ValueError(
                f"path: {path} is damaged: sha256 of its tensors is {found}, "
                f"expected {metadata.get('sha256')}"
            )
    try:
        model = Denoiser(DenoiserConfig(**json.loads(metadata["config"])))
        model.load_state_dict(weights)
    except (KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        raise ValueError(f"path: {path} does not fit its own description: {error}") from error
    model.training_summary = json.loads(metadata.get("training", "{}"))
    model.sha256 = metadata.get("sha256", "")
    # (memory_format is left out of the types of Module.to)
    model = model.to(  # type: ignore[call-overload]
        device=device, dtype=dtype, memory_format=torch.channels_last
    )
    return model.eval().requires_grad_(False)

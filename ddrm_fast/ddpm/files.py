"""Trained networks in files: safetensors with a description, read without running code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..io.files import atomic_file
from ..priors.prior import Prior
from ..priors.weights import weights_digest
from ..training.checkpoints import check_numbers
from ..training.files import in_fixed_order
from .config import DDPMConfig
from .networks import build_network

FORMAT = "ddrm_fast.ddpm/1"


def as_prior(config: DDPMConfig, network: nn.Module, name: str = "ddpm") -> Prior:
    """A network in training or from a file as a prior.

    A network that predicts the posterior's mean is presented as one that predicts x0.

    Args:
        config:
            What it was trained with.
        network:
            The network.
        name:
            For messages and records.
    """
    schedule = config.make_schedule()
    prediction = config.prediction
    call: Callable[..., Tensor] = network
    if prediction == "mean":
        reverse, channels = config.make_reverse(), config.channels
        prediction = "x0"

        def clean(x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
            out = network(x_t, t) if labels is None else network(x_t, t, labels)
            x0 = reverse.x0(out[:, :channels], x_t, t.long())
            return torch.cat([x0, out[:, channels:]], dim=1)

        call = clean

    return Prior(
        call, prediction, schedule, config.channels, name, num_classes=config.num_classes,
        module=network,
    )  # fmt: skip


def save_ddpm(
    path: str | Path, config: DDPMConfig, weights: dict[str, Tensor], training: dict[str, Any]
) -> None:
    """Write a network in one indivisible replacement; equal weights give equal files.

    Args:
        path:
            The file, .safetensors.
        config:
            What it was trained with.
        weights:
            Its weights by name.
        training:
            Summary of the training, JSON values.

    Raises:
        OSError: The file cannot be written; an earlier one stays intact.
        FloatingPointError: A weight is no finite number; nothing is written.
    """
    check_numbers(weights, f"in {path}")
    # a copy each: no two names may share memory
    stored = {
        name: x.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, x in weights.items()
    }
    metadata = {
        "format": FORMAT,
        "config": config.to_json(),
        "training": json.dumps(training),
        "sha256": weights_digest(stored),
    }
    with atomic_file(Path(path)) as file:
        file.write(in_fixed_order(safetensors.torch.save(stored, metadata)))


def is_ddpm(path: str | Path) -> bool:
    """Whether a file says that :func:`save_ddpm` wrote it."""
    path = Path(path)
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False


def ddpm_config(path: str | Path) -> DDPMConfig | None:
    """What the network in a file was trained with; None where :func:`save_ddpm` did not write it."""
    if not is_ddpm(path):
        return None
    with safe_open(str(path), framework="pt", device="cpu") as file:
        return DDPMConfig.from_json(file.metadata()["config"])


def load_ddpm(path: str | Path) -> tuple[DDPMConfig, nn.Module]:
    """Read what `ddrm-fast train-ddpm` wrote: the running mean of the weights.

    Args:
        path:
            The .safetensors file.

    Returns:
        The configuration and the network, in evaluation mode, without gradients.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is of another kind, or damaged.
        ImportError: The network is one of diffusers, which is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path}: has format {metadata.get('format')!r}, expected {FORMAT!r}")
    if weights_digest(weights) != metadata.get("sha256"):
        raise ValueError(f"{path}: is damaged: its tensors do not have the stored SHA-256")
    try:
        config = DDPMConfig.from_json(metadata["config"])
        network = build_network(config.network_settings())
        network.load_state_dict(weights)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: does not fit its own description: {error}") from error
    return config, network.eval().requires_grad_(False)


def load_ddpm_prior(path: str | Path, name: str | None = None) -> Prior:
    """:func:`load_ddpm` as a prior."""
    config, network = load_ddpm(path)
    return as_prior(config, network, name or str(path))

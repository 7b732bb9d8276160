"""DiffIR networks by path: published checkpoints, and files of our own training. No code in them is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..io.files import atomic_file
from ..priors.published.load import read_weights
from ..priors.weights import weights_digest
from ..training.files import in_fixed_order
from .config import DiffIRConfig, preset
from .networks import Network, build
from .recognise import config_of, differences, own_names, prefix_of

FORMAT = "ddrm_fast.diffir/1"


def is_diffir(path: str | Path) -> bool:
    """Whether a readable file holds a DiffIR network."""
    if _metadata(Path(path)).get("format") == FORMAT:
        return True
    try:
        return prefix_of(read_weights(Path(path))) is not None
    except (ValueError, OSError):
        return False


def load(path: str | Path, name: str | None = None, device: torch.device | str = "cpu") -> Network:
    """A DiffIR network from a file, in evaluation mode.

    Reads published checkpoints (``params_ema`` before ``params``, with or without ``module.`` before the
    names, modules of stage 2 held once or twice) and what ``ddrm-fast train-diffir`` wrote.

    Args:
        path:
            A ``.pth``, ``.pt``, ``.ckpt``, ``.bin`` or ``.safetensors`` file.
        name:
            The preset that it is expected to be (:data:`PRESETS`), or None: whatever it is.
        device:
            Where the network goes.

    Returns:
        :class:`DiffIRS1` or :class:`DiffIRS2`, float32, without gradients.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged or of another kind, weights are missing or of another variant; the message
            names them.
    """
    path = Path(path)
    metadata = _metadata(path)
    weights = read_weights(path)
    if metadata.get("format") == FORMAT:
        if weights_digest(weights) != metadata.get("sha256"):
            raise ValueError(f"{path}: is damaged: its tensors do not have the stored SHA-256")
        config = DiffIRConfig.from_json(metadata["config"])
    else:
        if prefix_of(weights) is None:
            some = ", ".join(sorted(weights)[:3])
            raise ValueError(f"{path}: holds no DiffIR network, but weights such as {some}")
        weights = own_names(weights, str(path))
        config = config_of(weights, str(path))
    if name is not None:
        wanted = preset(name, config.stage)
        if config != wanted:
            raise ValueError(f"{path}: is not {name}: {'; '.join(differences(config, wanted))}")
    network = build(config)
    fill(network, weights, str(path))
    return network.eval().requires_grad_(False).to(device)


def fill(network: Network, weights: dict[str, Tensor], what: str) -> None:
    """Loads weights, each once, into a network.

    Args:
        network:
            Of the weights' configuration.
        weights:
            As :func:`single_weights` gives them; the diffusion's tables may be missing.
        what:
            Name of the file, for messages.

    Raises:
        ValueError: Weights are missing, unknown or of another shape; the message names them.
    """
    own = single_weights(network)
    tables = {name for name in own if name.startswith("diffusion.")}
    missing = sorted(set(own) - set(weights) - tables)
    unknown = sorted(set(weights) - set(own))
    shapes = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    for problem, names in (("missing", missing), ("unknown", unknown), ("shapes", shapes)):
        if names:
            rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise ValueError(
                f"{what}: the weights do not fit the network; {problem}: {', '.join(names[:5])}{rest}"
            )
    network.load_state_dict({name: x.float() for name, x in weights.items()}, strict=False)


def single_weights(network: Network) -> dict[str, Tensor]:
    """State of a network without the names that the published files hold twice."""
    doubled = ("diffusion.condition.", "diffusion.model.")
    return {k: x for k, x in network.state_dict().items() if not k.startswith(doubled)}


def save(
    path: str | Path,
    config: DiffIRConfig,
    weights: dict[str, Tensor],
    training: dict[str, Any] | None = None,
) -> None:
    """Write a network in one indivisible replacement; equal weights give equal files.

    Args:
        path:
            The file, .safetensors.
        config:
            Of the network.
        weights:
            As :func:`single_weights` gives them.
        training:
            Summary of the training, JSON values.

    Raises:
        OSError: The file cannot be written; an earlier one stays intact.
    """
    stored = {
        name: x.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, x in weights.items()
    }
    metadata = {
        "format": FORMAT,
        "config": config.to_json(),
        "training": json.dumps(training or {}),
        "sha256": weights_digest(stored),
    }
    with atomic_file(Path(path)) as file:
        file.write(in_fixed_order(safetensors.torch.save(stored, metadata)))


def _metadata(path: Path) -> dict[str, str]:
    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}

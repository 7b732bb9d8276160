"""Published checkpoints by path. Nothing is downloaded, and no code in a checkpoint is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ..adapters import wrap_diffusers
from ..networks.ddpm import DDPMUNet
from ..networks.guided import GuidedClassifier, GuidedUNet
from ..prior import Prior
from ..schedule import Schedule
from .presets import PRESETS, Preset
from .recognise import ddpm_config, family, guided_config

_WRAPPERS = (
    "params_ema", "params", "state_dict", "model_state_dict", "model", "ema", "module",
)  # fmt: skip


def load_published(path: str | Path, config: Mapping[str, Any] | None = None) -> Prior:
    """A diffusion model that others published, as a prior.

    Recognises guided-diffusion's `UNetModel`, DDPM's `Model` and diffusers' `UNet2DModel` (one file) by the
    names of their weights.

    Args:
        path:
            A ``.pt``, ``.pth``, ``.ckpt``, ``.bin`` or ``.safetensors`` file.
        config:
            What the weights do not tell: arguments of the published constructor (heads and attention
            order), the `model` section of a DDPM configuration, or diffusers' ``config.json``. For a
            published file under its own name (:data:`PRESETS`) nothing is needed. ``noise_schedule``
            ("linear" or "cosine") and ``diffusion_steps`` choose the schedule.

    Returns:
        The prior: eps, its network's raw output with the learned variances behind it if there are any.

    Raises:
        FileNotFoundError: There is no such file; for a published name the message says where it is found.
        ValueError: The file is damaged, of another kind, or something is not known or contradictory.
    """
    check_config(config)
    path = Path(path)
    config = dict(config or {})
    weights = read_weights(path)
    kind, preset = family(weights), PRESETS.get(path.name)
    if kind == "guided classifier":
        raise ValueError(f"{path}: holds a classifier; load it with load_classifier")
    if kind is None:
        raise ValueError(
            f"{path}: no network that is known here; expected guided-diffusion's UNetModel, "
            f"DDPM's Model or diffusers' UNet2DModel, found weights such as {_some_names(weights)}"
        )
    if kind == "diffusers":
        return _single_file(path, weights, config)
    schedule = _schedule(config, preset)
    network: nn.Module
    if kind == "guided":
        shape = guided_config(weights, _with_preset(config, preset), str(path))
        network, channels, classes = GuidedUNet(shape), shape.in_channels, shape.num_classes
    else:
        shape = ddpm_config(weights, config, str(path))
        network, channels, classes = DDPMUNet(shape), shape.in_channels, None
    _fill(network, weights, path)
    return Prior(network, "eps", schedule, channels, str(path), num_classes=classes)


def load_classifier(path: str | Path, config: Mapping[str, Any] | None = None) -> GuidedClassifier:
    """A classifier of noisy pictures (guided-diffusion's `EncoderUNetModel`) for classifier guidance.

    Args:
        path:
            A ``.pt``, ``.pth`` or ``.safetensors`` file.
        config:
            As for :func:`load_published`; with residual blocks that resample also ``num_res_blocks``.

    Returns:
        ``classifier(x_t, t) -> logits``; see :func:`ddrm_fast.classifier_guidance`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or holds no classifier, or something is not known or contradictory.
    """
    path = Path(path)
    check_config(config)
    weights = read_weights(path)
    if family(weights) != "guided classifier":
        raise ValueError(
            f"{path}: holds no classifier of guided-diffusion, but weights such as {_some_names(weights)}"
        )
    given = _with_preset(dict(config or {}), PRESETS.get(path.name))
    classifier = GuidedClassifier(guided_config(weights, given, str(path)))
    _fill(classifier, weights, path)
    return classifier


def check_config(config: Mapping[str, Any] | None) -> None:
    """Raises ValueError unless settings come by name."""
    if config is not None and not isinstance(config, Mapping):
        raise ValueError(
            f"config: got {config!r}, expected a dict of the published constructor's arguments"
        )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name, from the wrappings that checkpoints come in.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read, or holds no weights.
    """
    if not path.is_file():
        where = PRESETS[path.name].page if path.name in PRESETS else None
        hint = f"; the published file is found through {where}" if where else ""
        raise FileNotFoundError(f"{path}: no such file{hint}")
    try:
        if path.suffix == ".safetensors":
            content: Any = safetensors.torch.load_file(str(path))
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    except Exception as error:  # torch raises many kinds for damaged and foreign files
        raise ValueError(
            f"{path}: not a readable checkpoint: damaged, another kind of file, or one with Python "
            "objects beside its tensors (those could run code, so they are not read)"
        ) from error
    weights = _unwrap(content)
    if weights is None:
        raise ValueError(f"{path}: holds no weights by name, but a {type(content).__name__}")
    return weights


def _unwrap(content: Any) -> dict[str, Tensor] | None:
    if (
        isinstance(content, (list, tuple)) and content
    ):  # a training state: [weights, optimiser, ...]
        return _unwrap(content[0])
    if not isinstance(content, dict):
        return None
    tensors = {name: x for name, x in content.items() if isinstance(x, Tensor)}
    if tensors:
        return {str(name).removeprefix("module."): x for name, x in tensors.items()}
    for name in _WRAPPERS:
        if name in content:
            return _unwrap(content[name])
    return None


def _some_names(weights: Mapping[str, Tensor]) -> str:
    return ", ".join(sorted(weights)[:3])


def _with_preset(config: dict[str, Any], preset: Preset | None) -> dict[str, Any]:
    """What is given, on top of what the published name tells."""
    if preset is None:
        return config
    known = dict(preset.config)
    if "num_heads" in config or "num_head_channels" in config:  # one replaces the other
        known.pop("num_heads", None)
        known.pop("num_head_channels", None)
    return {**known, **config}


def _schedule(config: dict[str, Any], preset: Preset | None) -> Schedule:
    """Takes the schedule's two settings out of the configuration."""
    kind = config.pop("noise_schedule", preset.schedule if preset else "linear")
    T = config.pop("diffusion_steps", 1000)
    least = 20 if kind == "linear" else 1  # linear betas end at 20 / T
    if isinstance(T, bool) or not isinstance(T, int) or T < least:
        raise ValueError(
            f"config: diffusion_steps is {T!r}, expected a whole number of at least {least}"
        )
    if kind == "linear":
        return Schedule.linear(T, 0.1 / T, 20.0 / T)
    if kind == "cosine":
        return Schedule.cosine(T)
    raise ValueError(f"config: noise_schedule is {kind!r}, expected 'linear' or 'cosine'")


def _fill(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    try:
        network.load_state_dict({name: x.float() for name, x in weights.items()})
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit the network ({error})") from error
    network.eval().requires_grad_(False)


def _single_file(path: Path, weights: Mapping[str, Tensor], config: dict[str, Any]) -> Prior:
    from ..adapters import _read_json, unet2d

    if not config:
        beside = path.with_name("config.json")
        if not beside.exists():
            raise ValueError(
                f"{path}: holds a diffusers UNet2DModel, whose shape its weights do not tell; put its "
                "config.json beside it, or give config={...} with that file's content"
            )
        config = _read_json(beside)
    scheduler = config.pop("scheduler", None)
    model = unet2d().from_config(config)
    _fill(model, weights, path)
    return wrap_diffusers(model, scheduler, str(path))

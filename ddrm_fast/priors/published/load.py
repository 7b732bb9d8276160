"""Published checkpoints by path. Nothing is downloaded, and no code in a checkpoint is run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor

from ..diffusers_models import CONDITIONAL, single_file
from ..download import here
from ..networks.ddpm import DDPMUNet
from ..networks.guided import GuidedClassifier, GuidedConfig, GuidedUNet
from ..prior import Prior
from .config import (
    SUPER_RESOLUTION,
    Facts,
    check_config,
    check_output,
    prediction_of,
    read_facts,
    schedule_of,
    time_factor,
)
from .presets import PRESETS, Preset
from .recognise import DDPM_NAMES, ddpm_config, guided_config, network_of
from .weights import Checkpoint, Weights, read_checkpoint, read_weights

__all__ = ["check_config", "load_classifier", "load_published", "read_weights"]

_RECIPES = {
    "lucidrains": "a U-Net of denoising-diffusion-pytorch",
    "edm": "a network of EDM",
    "k-diffusion": "a network of k-diffusion",
}
_FAMILIES = {"guided": "guided-diffusion's UNetModel", "ddpm": "DDPM's Model"}


def load_published(path: str | Path, config: Mapping[str, Any] | None = None) -> Prior:
    """A diffusion model that others published, as a prior.

    Recognises guided-diffusion's `UNetModel`, DDPM's `Model` and diffusers' `UNet2DModel` (one file) by the
    names of their weights. Where a file holds weights and their running mean (EMA), the mean is taken, and
    the prior's ``notes`` say so.

    Args:
        path:
            A ``.pt``, ``.pth``, ``.ckpt``, ``.bin`` or ``.safetensors`` file.
        config:
            What the weights do not tell, by the names that people have: arguments of the published
            constructor (heads and attention order); options of the published scripts (``num_channels``,
            ``learn_sigma``, ``class_cond``, all of ``model_and_diffusion_defaults()``); the sections of a
            DDIM, DDRM or DDNM yaml file; or diffusers' ``config.json``. For a published file under its own
            name (:data:`PRESETS`) nothing is needed. ``noise_schedule`` and ``diffusion_steps``, or
            ``beta_schedule``, ``beta_start``, ``beta_end`` and ``num_diffusion_timesteps``, choose the
            schedule; ``rescale_timesteps`` and ``predict_xstart`` are honoured. ``ema`` False takes the
            weights as trained.

    Returns:
        The prior: its network's raw output with the learned variances behind it if there are any.

    Raises:
        FileNotFoundError: There is no such file; for a published name the message says where it is found.
        ValueError: The file is damaged, of another kind, or something is not known or contradictory.
    """
    check_config(config)
    path, config = here(path), dict(config or {})
    kind, weights, notes = _read(path, config)
    if kind == "guided classifier":
        raise ValueError(f"{path}: holds a classifier; load it with load_classifier")
    if kind == "diffusers conditional":
        raise ValueError(f"{path}: {CONDITIONAL}")
    if kind in _RECIPES:
        raise ValueError(
            f"{path}: holds {_RECIPES[kind]}, which its own package builds; docs/adding-a-prior.md tells how "
            "to wrap it"
        )
    if kind is None:
        raise ValueError(
            f"{path}: no network that is known here; expected guided-diffusion's UNetModel, "
            f"DDPM's Model or diffusers' UNet2DModel, found weights such as {_some_names(weights)}"
        )
    if kind == "diffusers":
        prior = single_file(path, weights, {k: v for k, v in config.items() if k != "ema"})
    else:
        prior = _guided(path, weights, config) if kind == "guided" else _ddpm(path, weights, config)
    prior.notes = notes
    return prior


def _guided(path: Path, weights: Weights, config: dict[str, Any]) -> Prior:
    preset = PRESETS.get(path.name)
    facts = _facts(path, config, "guided", (f.name for f in fields(GuidedConfig)))
    given = _with_preset(facts.network, preset)
    channels, out = weights["input_blocks.0.0.weight"].shape[1], weights["out.2.weight"].shape[0]
    if channels in (2, 6) and out in (channels // 2, channels):
        raise ValueError(f"{path}: {SUPER_RESOLUTION}")
    labels = weights.get("label_emb.weight")
    check_output(facts.process, channels, out, None if labels is None else len(labels))
    if "learn_sigma" in facts.process:  # then yaml files give the channels of eps alone
        given.pop("out_channels", None)
    shape = guided_config(weights, given, str(path))
    network = _filled(GuidedUNet(shape), weights, path)
    schedule = schedule_of(facts.process, preset.schedule if preset else "linear")
    factor = time_factor(facts.process, schedule.T, str(path))
    return Prior(
        network if factor == 1 else _Retimed(network, factor), prediction_of(facts.process), schedule,
        channels, str(path), num_classes=shape.num_classes, module=network,
    )  # fmt: skip


def _ddpm(path: Path, weights: Weights, config: dict[str, Any]) -> Prior:
    facts = _facts(path, config, "ddpm", DDPM_NAMES)
    shape = ddpm_config(weights, facts.network, str(path))
    check_output(facts.process, shape.in_channels, shape.out_ch, None)
    network = _filled(DDPMUNet(shape), weights, path)
    schedule = schedule_of(facts.process)
    factor = 1000 / schedule.T if facts.process.get("rescale_timesteps") else 1.0
    return Prior(
        network if factor == 1 else _Retimed(network, factor), prediction_of(facts.process), schedule,
        shape.in_channels, str(path), module=network,
    )  # fmt: skip


class _Retimed:
    """A network that is shown multiples of the timesteps."""

    def __init__(self, network: Callable[..., Tensor], factor: float) -> None:
        self.network, self.factor = network, factor

    def __call__(self, x_t: Tensor, t: Tensor, *labels: Tensor) -> Tensor:
        return self.network(x_t, t.float() * self.factor, *labels)


def load_classifier(path: str | Path, config: Mapping[str, Any] | None = None) -> GuidedClassifier:
    """A classifier of noisy pictures (guided-diffusion's `EncoderUNetModel`) for classifier guidance.

    Args:
        path:
            A ``.pt``, ``.pth`` or ``.safetensors`` file.
        config:
            As for :func:`load_published` (and ``classifier_width`` and its relatives); with residual blocks
            that resample also ``num_res_blocks``.

    Returns:
        ``classifier(x_t, t) -> logits``; see :func:`ddrm_fast.classifier_guidance`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or holds no classifier, or something is not known or contradictory.
    """
    check_config(config)
    path, config = here(path), dict(config or {})
    kind, weights, notes = _read(path, config)
    if kind != "guided classifier":
        raise ValueError(
            f"{path}: holds no classifier of guided-diffusion, but weights such as {_some_names(weights)}"
        )
    facts = _facts(path, config, "guided", (f.name for f in fields(GuidedConfig)))
    given = _with_preset(facts.network, PRESETS.get(path.name))
    classifier = GuidedClassifier(guided_config(weights, given, str(path)))
    for note in notes:
        warnings.warn(f"{path}: {note}", stacklevel=2)
    return _filled(classifier, weights, path)


def _read(path: Path, config: Mapping[str, Any]) -> tuple[str | None, Weights, tuple[str, ...]]:
    """The family, the weights under their published names, and what is to be said about the choice."""
    ema = said = config.get("ema")
    if ema is None and isinstance(config.get("model"), Mapping):
        ema = config["model"].get(
            "ema"
        )  # whether a training keeps a mean; a file may hold it alone
        said = None if ema is True else ema
    if ema is not None and not isinstance(ema, bool):
        raise ValueError(f"config: ema is {ema!r}, expected True or False")
    found: Checkpoint = read_checkpoint(path, said)
    try:
        kind, weights = network_of(found.chosen(said))
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith("config:") else f"{path}: {text}") from error
    chosen = (
        "takes the running mean of the weights (EMA), not the weights as trained beside it; "
        "config={'ema': False} takes those"
    )
    return kind, dict(weights), (chosen,) if found.has_both and ema is None else ()


def _facts(path: Path, config: Mapping[str, Any], kind: str, known: Any) -> Facts:
    facts = read_facts(config, known, str(path))
    if facts.kind not in (None, kind):
        raise ValueError(
            f"config: type is that of {_FAMILIES[facts.kind]}, but the weights of {path} are those of "
            f"{_FAMILIES[kind]}"
        )
    return facts


def _some_names(weights: Mapping[str, Tensor]) -> str:
    return ", ".join(sorted(weights)[:3])


def _with_preset(config: dict[str, Any], preset: Preset | None) -> dict[str, Any]:
    """What is given, on top of what the published name tells."""
    if preset is None:
        return dict(config)
    known = dict(preset.config)
    if "num_heads" in config or "num_head_channels" in config:  # one replaces the other
        known.pop("num_heads", None)
        known.pop("num_head_channels", None)
    return {**known, **config}


def _filled(network: Any, weights: Mapping[str, Tensor], path: Path) -> Any:
    try:
        network.load_state_dict({name: x.float() for name, x in weights.items()})
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit the network ({error})") from error
    return network.eval().requires_grad_(False)

"""Networks that DDPM training teaches: the package's own U-Net, or one of diffusers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..priors.diffusers_models import unet2d
from ..priors.networks.guided import GROUPS, AttentionBlock, GuidedConfig, GuidedUNet, ResBlock

KINDS = ("guided", "diffusers")


def own_network(
    size: int,
    width: int = 64,
    mult: tuple[int, ...] = (1, 2, 2),
    blocks: int = 2,
    attention: tuple[int, ...] = (16,),
    head_width: int = 32,
    dropout: float = 0.0,
) -> dict[str, Any]:
    """Settings of the package's own U-Net: that of guided-diffusion, in any size.

    Args:
        size:
            Side of the pictures, in pixels.
        width:
            Channels of the first level, a multiple of 32.
        mult:
            Channels of every level as multiples of that; each further level halves the side.
        blocks:
            Residual blocks of a level.
        attention:
            Sides, in pixels, of the levels that have attention.
        head_width:
            Channels of an attention head.
        dropout:
            Share of activations dropped in training, 0 or more, below 1.

    Raises:
        ValueError: A level of such a side does not exist.
    """
    sides = [size / 2**level for level in range(len(mult))]
    absent = [side for side in attention if side not in sides]
    if absent:
        raise ValueError(
            f"attention: got side {absent[0]}, expected some of {', '.join(f'{s:g}' for s in sides)}"
        )
    return {
        "kind": "guided",
        "model_channels": width,
        "num_res_blocks": blocks,
        "attention_resolutions": tuple(size // side for side in attention),
        "channel_mult": tuple(mult),
        "num_head_channels": head_width,
        "use_scale_shift_norm": True,
        "dropout": dropout,
    }


def network_settings(
    network: Mapping[str, Any], size: int, channels: int, out_channels: int, classes: int | None
) -> dict[str, Any]:
    """The settings of a run's network, with what the run decides filled in.

    Args:
        network:
            {"kind": "guided" or "diffusers", ...its constructor's arguments}; empty: a small one.
        size:
            Side of the pictures in pixels.
        channels:
            Of the pictures.
        out_channels:
            Of the network's output.
        classes:
            That the network embeds; None: no labels.

    Raises:
        ValueError: A setting is unknown, missing, or contradicts the run.
    """
    given = dict(network) or own_network(size, attention=())
    kind = given.setdefault("kind", "guided")
    if kind not in KINDS:
        raise ValueError(f"network: kind is {kind!r}, expected one of {', '.join(KINDS)}")
    decided: dict[str, Any] = {"in_channels": channels, "out_channels": out_channels}
    if kind == "guided":
        known = {f.name for f in fields(GuidedConfig)} - {"pool"}
        decided |= {"num_classes": classes, "image_size": size}
    else:
        known = None
        decided |= {"num_class_embeds": classes, "sample_size": size}
    unknown = sorted(set(given) - known - {"kind"}) if known is not None else []
    if unknown and known is not None:
        raise ValueError(
            f"network: unknown {', '.join(unknown)}; known: {', '.join(sorted(known))}"
        )
    for name, value in decided.items():
        if given.get(name) not in (None, value):
            raise ValueError(f"network: {name} is {given[name]}, but this run needs {value}")
    settings = {**given, **decided}
    if kind == "guided":
        _check_guided(settings, size)
    return settings


def _check_guided(settings: dict[str, Any], size: int) -> None:
    try:
        config = _guided(settings)
    except TypeError as error:
        raise ValueError(f"network: {error}") from error
    widths = [int(factor * config.model_channels) for factor in config.channel_mult]
    if not widths or config.num_res_blocks < 1:
        raise ValueError("network: expected at least one level and one residual block")
    if any(width < 1 or width % GROUPS for width in widths):
        raise ValueError(
            f"network: levels have {widths} channels, expected multiples of {GROUPS} (normalised in groups)"
        )
    if config.num_head_channels != -1 and any(w % config.num_head_channels for w in widths):
        raise ValueError(
            f"network: num_head_channels is {config.num_head_channels}, expected a divisor of {widths}"
        )
    multiple = 2 ** (len(widths) - 1)
    if size % multiple:
        raise ValueError(
            f"size: got {size}, expected a multiple of {multiple} for {len(widths)} levels"
        )
    if not 0 <= config.dropout < 1:
        raise ValueError(f"network: dropout is {config.dropout}, expected 0 or more, below 1")


def _guided(settings: Mapping[str, Any]) -> GuidedConfig:
    values = {name: value for name, value in settings.items() if name != "kind"}
    for name in ("attention_resolutions", "channel_mult"):
        values[name] = tuple(values[name]) if name in values else ()
    return GuidedConfig(**values)


class DiffusersNetwork(nn.Module):
    """A `UNet2DModel` with the arguments and the result of the package's own network."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Random weights.

        Raises:
            ImportError: diffusers is not installed.
        """
        super().__init__()
        values = {k: v for k, v in settings.items() if k != "kind" and not k.startswith("_")}
        self.model = unet2d()(**values)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """The network's output; see :class:`GuidedUNet`."""
        return self.model(x, t, class_labels=labels).sample


def build_network(settings: Mapping[str, Any], seed: int | None = None) -> nn.Module:
    """A network with random weights.

    Args:
        settings:
            From :func:`network_settings`.
        seed:
            Of the weights; None: torch's state decides.

    Returns:
        ``(x_t, t[, labels]) -> output`` as a module.

    Raises:
        ImportError: It is one of diffusers, which is not installed.
    """
    if seed is None:
        return _fresh(settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _fresh(settings)


def _fresh(settings: Mapping[str, Any]) -> nn.Module:
    if settings["kind"] == "diffusers":
        return DiffusersNetwork(settings)
    return _silent_at_first(GuidedUNet(_guided(settings)))


def _silent_at_first(network: GuidedUNet) -> GuidedUNet:
    """Zeros in the last layer of the network and of every branch, so that each starts as the identity.

    Ho et al. 2020 and Dhariwal and Nichol 2021 train from there.
    """
    last: list[nn.Module] = [network.out[-1]]
    for module in network.modules():
        if isinstance(module, ResBlock):
            last.append(module.out_layers[-1])
        elif isinstance(module, AttentionBlock):
            last.append(module.proj_out)
    for layer in last:
        nn.init.zeros_(cast(Tensor, layer.weight))
        nn.init.zeros_(cast(Tensor, layer.bias))
    return network

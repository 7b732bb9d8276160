"""The shape of a published network, read off its weights' names and shapes.

What cannot be read off them has to be given: heads and the order of attention, and for some
classifiers the number of blocks and the image size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from torch import Tensor

from ..networks.ddpm import DDPMConfig
from ..networks.guided import GuidedConfig
from .config import numbers
from .weights import within

Weights = Mapping[str, Tensor]

_ATTENTION = (".qkv.weight", ".qkv_proj.weight")


def family(weights: Weights) -> str | None:
    """ "guided", "guided classifier", "ddpm", "diffusers", "diffusers conditional"; or the name of a recipe:
    "lucidrains", "edm", "k-diffusion" (docs/adding-a-prior.md); None for anything else."""
    if "input_blocks.0.0.weight" in weights and "time_embed.0.weight" in weights:
        second_half = any(name.startswith("output_blocks.") for name in weights)
        return "guided" if second_half else "guided classifier"
    if "temb.dense.0.weight" in weights and "conv_in.weight" in weights:
        return "ddpm"
    if "conv_in.weight" in weights and any(name.startswith("down_blocks.") for name in weights):
        conditional = any(".attn2." in name for name in weights)
        return "diffusers conditional" if conditional else "diffusers"
    if "init_conv.weight" in weights and "time_mlp.1.weight" in weights:
        return "lucidrains"
    if "map_layer0.weight" in weights or "map_noise.freqs" in weights:
        return "edm"
    if "inner_model.timestep_embed.weight" in weights or "timestep_embed.weight" in weights:
        return "k-diffusion"
    return None


def network_of(weights: Weights) -> tuple[str | None, Weights]:
    """The family, and its weights under their published names: what stands before them is taken away.

    Raises:
        ValueError: They are a part of a latent diffusion model.
    """
    for part in within(dict(weights)):
        kind = family(part)
        if kind is not None:
            if any(n.startswith(("first_stage_model.", "cond_stage_model.")) for n in weights):
                raise ValueError(
                    "a latent diffusion model, whose network sees the codes of an autoencoder; expected one "
                    "that sees pixels"
                )
            return kind, part
    return None, dict(weights)


def guided_config(weights: Weights, given: Mapping[str, Any], what: str) -> GuidedConfig:
    """Shape of a guided-diffusion network.

    Args:
        weights:
            The published weights.
        given:
            What is known besides, under the published constructor's names.
        what:
            Name of the file, for messages.

    Raises:
        ValueError: Something that the weights do not tell is not given, or what is given contradicts them.
    """
    found = _guided_facts(weights)
    known = {k: v for k, v in given.items() if k not in ("channel_mult", "attention_resolutions")}
    for name, value in known.items():
        if name in found and found[name] != value:
            raise ValueError(
                f"config: {name} is {value!r}, but the weights of {what} say {found[name]!r}"
            )
    known |= found
    if "num_res_blocks" in known:
        known |= _levels(weights, known["num_res_blocks"])
    known = {name: value for name, value in known.items() if value is not None}
    if any(name.endswith(_ATTENTION) for name in weights):
        if "num_heads" not in known and "num_head_channels" not in known:
            _missing(what, "num_heads or num_head_channels")
        if "use_new_attention_order" not in known:
            _missing(what, "use_new_attention_order")
    required = [f.name for f in fields(GuidedConfig) if f.default is MISSING]
    absent = [name for name in required if name not in known]
    if absent:
        _missing(what, ", ".join(absent))
    _check_levels(given, known, what)
    config = GuidedConfig(**known)
    _check_heads(config, weights, what)
    return config


def _check_heads(config: GuidedConfig, weights: Weights, what: str) -> None:
    """Refuses heads that do not divide the width of every attention."""
    by_width = config.num_head_channels != -1
    widths: dict[str, set[int]] = {}
    for name, weight in weights.items():
        if not name.endswith(_ATTENTION):
            continue
        setting = "num_head_channels" if by_width else "num_heads"
        second_half = name.startswith("output_blocks.")
        if second_half and not by_width and config.num_heads_upsample != -1:
            setting = "num_heads_upsample"
        widths.setdefault(setting, set()).add(weight.shape[1])
    for setting, found in widths.items():
        value = getattr(config, setting)
        if isinstance(value, int) and value > 0 and not any(width % value for width in found):
            continue
        raise ValueError(
            f"config: {setting} is {value!r}, but the attentions of {what} are "
            f"{', '.join(map(str, sorted(found)))} channels wide; expected a divisor of each"
        )


def _missing(what: str, names: str) -> None:
    raise ValueError(
        f"{what}: the weights do not tell {names}; give it as config={{...}}, with the published "
        "constructor's names, or keep the published file's name if it is one"
    )


def _check_levels(given: Mapping[str, Any], known: Mapping[str, Any], what: str) -> None:
    """Compares widths and attention of the levels with what is given."""
    factors = numbers(given.get("channel_mult"), "channel_mult")
    if factors is not None and factors != known["channel_mult"]:
        raise ValueError(
            f"config: channel_mult is {factors}, but the weights of {what} say {known['channel_mult']}"
        )
    asked = numbers(given.get("attention_resolutions"), "attention_resolutions")
    if asked is None:
        return
    have, side = known["attention_resolutions"], known.get("image_size")
    as_factors = tuple(sorted(asked))
    as_sides = tuple(sorted(side // x for x in asked)) if side and all(asked) else None
    in_pixels = not isinstance(given["attention_resolutions"], (list, tuple))  # scripts have text
    if in_pixels and as_sides is None:
        return  # sides in pixels of pictures whose own is not known
    if have not in ({as_sides} if in_pixels else {as_factors, as_sides}):
        raise ValueError(
            f"config: attention_resolutions is {asked}, but the weights of {what} say {have} (factors)"
        )


def _guided_facts(weights: Weights) -> dict[str, Any]:
    """What names and shapes tell without doubt."""
    base = weights["time_embed.0.weight"].shape[1]
    block = weights["input_blocks.1.0.emb_layers.1.weight"]
    facts: dict[str, Any] = {
        "model_channels": base,
        "middle_attention": "middle_block.1.qkv.weight" in weights,
        "in_channels": weights["input_blocks.0.0.weight"].shape[1],
        "use_scale_shift_norm": block.shape[0]
        == 2 * weights["input_blocks.1.0.in_layers.2.weight"].shape[0],
    }
    count = _count(weights, "input_blocks")
    convolved = [i for i in range(count) if f"input_blocks.{i}.0.op.weight" in weights]
    silent = [i for i in range(count) if not _has(weights, f"input_blocks.{i}.")]
    if convolved or silent:
        facts |= {"resblock_updown": False, "conv_resample": bool(convolved)}
        facts["num_res_blocks"] = (convolved or silent)[0] - 1
    if _has(weights, "output_blocks."):
        facts["out_channels"] = weights["out.2.weight"].shape[0]
        labels = weights.get("label_emb.weight")
        facts["num_classes"] = None if labels is None else labels.shape[0]
        doubled = [i for i in range(count) if _ends_in_residual(weights, i)]
        if doubled:
            facts |= {"resblock_updown": True, "num_res_blocks": doubled[0]}
        elif not convolved and not silent:  # one level: nothing is resampled
            facts |= {"resblock_updown": False, "num_res_blocks": count - 1}
    elif "out.2.positional_embedding" in weights:
        facts |= {"pool": "attention", "out_channels": weights["out.2.c_proj.weight"].shape[0]}
    elif "out.0.weight" in weights and weights["out.0.weight"].dim() == 2:
        old = "out.3.weight" not in weights
        last = weights["out.2.weight" if old else "out.3.weight"]
        facts |= {"pool": "spatial" if old else "spatial_v2", "out_channels": last.shape[0]}
    elif "out.3.weight" in weights:
        facts |= {"pool": "adaptive", "out_channels": weights["out.3.weight"].shape[0]}
    return facts


def _levels(weights: Weights, num_res_blocks: int) -> dict[str, Any]:
    """Widths and attention of the levels."""
    base = weights["time_embed.0.weight"].shape[1]
    count, period = _count(weights, "input_blocks"), num_res_blocks + 1
    factors, attention = [], []
    for level, first in enumerate(range(1, count, period)):
        factor = weights[f"input_blocks.{first}.0.in_layers.2.weight"].shape[0] / base
        factors.append(int(factor) if factor == int(factor) else factor)
        if f"input_blocks.{first}.1.qkv.weight" in weights:
            attention.append(2**level)
    facts: dict[str, Any] = {
        "channel_mult": tuple(factors),
        "attention_resolutions": tuple(attention),
    }
    if "out.2.positional_embedding" in weights:
        side = round((weights["out.2.positional_embedding"].shape[1] - 1) ** 0.5)
        facts["image_size"] = side * 2 ** (len(factors) - 1)
    return facts


def _has(weights: Weights, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in weights)


def _count(weights: Weights, part: str) -> int:
    """Number of blocks, those without weights included."""
    numbers = [int(name.split(".")[1]) for name in weights if name.startswith(part + ".")]
    return max(numbers) + 1


def _ends_in_residual(weights: Weights, i: int) -> bool:
    """Whether output block i has a residual block behind its first: the one of double size."""
    return any(f"output_blocks.{i}.{k}.in_layers.0.weight" in weights for k in (1, 2))


def ddpm_config(weights: Weights, given: Mapping[str, Any], what: str) -> DDPMConfig:
    """Shape of a DDPM `Model`: everything is in its names and shapes.

    Args:
        weights:
            The published weights.
        given:
            The published `model` section; compared with the weights.
        what:
            Name of the file, for messages.

    Raises:
        ValueError: What is given contradicts the weights.
    """
    ch = weights["conv_in.weight"].shape[0]
    levels = _count(weights, "down")
    widths = [weights[f"down.{i}.block.0.conv1.weight"].shape[0] for i in range(levels)]
    blocks = {name.split(".")[3] for name in weights if name.startswith("down.0.block.")}
    attention = (i for i in range(levels) if f"down.{i}.attn.0.q.weight" in weights)
    config = DDPMConfig(
        in_channels=weights["conv_in.weight"].shape[1],
        out_ch=weights["conv_out.weight"].shape[0],
        ch=ch,
        ch_mult=tuple(width // ch for width in widths),
        num_res_blocks=len(blocks),
        attention_levels=tuple(attention),
        resamp_with_conv=levels == 1 or "down.0.downsample.conv.weight" in weights,
    )
    for name in DDPM_NAMES:
        value = given.get(name, getattr(config, name, None))
        value = tuple(value) if isinstance(value, list) else value
        if name != "attn_resolutions" and value != getattr(config, name):
            raise ValueError(
                f"config: {name} is {value!r}, but the weights of {what} say {getattr(config, name)!r}"
            )
    asked, side = (
        numbers(given.get("attn_resolutions"), "attn_resolutions"),
        given.get("image_size"),
    )
    if asked is not None and side:
        have = {side // 2**level for level in config.attention_levels}
        if set(asked) != have:
            raise ValueError(
                f"config: attn_resolutions is {sorted(asked)} for pictures of {side} pixels, but the weights "
                f"of {what} say {sorted(have)}"
            )
    return config


#: what the `model` section of a DDPM configuration says about the network
DDPM_NAMES = (
    "in_channels", "out_ch", "ch", "num_res_blocks", "ch_mult", "resamp_with_conv", "attn_resolutions",
)  # fmt: skip

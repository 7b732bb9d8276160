"""The shape of a DiffIR network, read off its weights' names and shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict

from torch import Tensor

from .config import DiffIRConfig

Weights = Mapping[str, Tensor]

_FIRST = "G.patch_embed.proj.weight"
#: names under which the second stage holds a module once more
_DOUBLED = {"diffusion.condition.": "condition.", "diffusion.model.": "denoise."}


def prefix_of(weights: Weights) -> str | None:
    """What stands before the names of a DiffIR network ("" or "generator."); None where it is none."""
    found = [name.removesuffix(_FIRST) for name in weights if name.endswith(_FIRST)]
    return found[0] if found else None


def own_names(weights: Weights, what: str) -> dict[str, Tensor]:
    """The network's weights, each once, without prefix.

    Args:
        weights:
            By name, as a checkpoint holds them.
        what:
            Name of the file, for messages.

    Raises:
        ValueError: A module that is held twice differs from itself.
    """
    prefix = prefix_of(weights) or ""
    own = {k.removeprefix(prefix): x for k, x in weights.items() if k.startswith(prefix)}
    for name in list(own):
        for doubled, single in _DOUBLED.items():
            if not name.startswith(doubled):
                continue
            twin = single + name.removeprefix(doubled)
            x = own.pop(name)
            same = twin not in own or (own[twin].shape == x.shape and bool((own[twin] == x).all()))
            if not same:
                raise ValueError(
                    f"{what}: {name} and {twin} are one tensor, but their values differ"
                )
            own.setdefault(twin, x)
    return own


def config_of(weights: Weights, what: str) -> DiffIRConfig:
    """The configuration of a network.

    Args:
        weights:
            As :func:`own_names` gives them.
        what:
            Name of the file, for messages.

    Raises:
        ValueError: A weight that tells a part of the shape is missing, or contradicts another.
    """
    facts = _Facts(weights, what)
    stage = 2 if any(name.startswith(("condition.", "denoise.")) for name in weights) else 1
    encoder = "condition.E" if stage == 2 else "E.E"
    super_resolution = any(name.startswith("G.tail.") for name in weights)
    first, out = facts.shape("G.patch_embed.proj.weight"), "G.tail.1.weight"
    out = out if super_resolution else "G.output.weight"
    out_channels = facts.shape(out)[0]
    given: dict[str, object] = {"dim": first[0], "out_channels": out_channels}
    if super_resolution:
        task = "super_resolution"
        given["scale"] = facts.one_of("scale", {3: 4, 12: 2, 48: 1}, first[1])
    else:
        seen = facts.shape(f"{encoder}.0.weight")[1]
        extra = 16 * out_channels if stage == 1 else 0
        given["inp_channels"] = first[1]
        if seen != 16 * first[1] + extra:
            raise ValueError(
                f"{what}: the encoder sees {seen} channels, the generator {first[1]}; expected "
                f"{16 * first[1] + extra}: these are weights of two variants"
            )
        task = "inpainting" if first[1] == 4 else "deblurring"
    levels = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")
    given["num_blocks"] = tuple(facts.count(f"G.{level}") for level in levels)
    given["num_refinement_blocks"] = facts.count("G.refinement", least=0)
    given["heads"] = tuple(facts.shape(f"G.{level}.0.attn.temperature")[0] for level in levels)
    given["bias"] = "G.encoder_level1.0.attn.qkv.bias" in weights
    with_bias = "G.encoder_level1.0.norm1.body.bias" in weights
    given["LayerNorm_type"] = "WithBias" if with_bias else "BiasFree"
    given["n_encoder_res"] = facts.residual_blocks(encoder)
    given["ffn_expansion_factor"] = facts.expansion(levels)
    if stage == 2:
        inner = {k.split(".")[2] for k in weights if k.startswith("denoise.resmlp.")}
        given["n_denoise_res"] = len(inner) - 1
        betas = weights.get("diffusion.betas")
        if betas is not None:
            given["timesteps"] = betas.numel()
            given["linear_start"] = float(f"{float(betas[0]):.6g}")
            given["linear_end"] = float(f"{float(betas[-1]):.6g}")
    try:
        return DiffIRConfig(task, stage, **given)  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"{what}: no DiffIR network that is known here ({error})") from error


class _Facts:
    """What a set of weights says, with errors that name the file."""

    def __init__(self, weights: Weights, what: str) -> None:
        self.weights, self.what = weights, what

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self.weights:
            raise ValueError(f"{self.what}: {name} is missing; the file is incomplete")
        return tuple(self.weights[name].shape)

    def one_of(self, name: str, known: Mapping[int, int], channels: int) -> int:
        if channels not in known:
            raise ValueError(
                f"{self.what}: the first convolution sees {channels} channels, expected one of "
                f"{sorted(known)} ({name} {sorted(known.values())})"
            )
        return known[channels]

    def count(self, part: str, least: int = 1) -> int:
        pattern = re.compile(re.escape(part) + r"\.(\d+)\.")
        found = {int(match[1]) for name in self.weights if (match := pattern.match(name))}
        if len(found) < least or found != set(range(len(found))):
            raise ValueError(
                f"{self.what}: {part} has the blocks {sorted(found)}; some are missing"
            )
        return len(found)

    def residual_blocks(self, encoder: str) -> int:
        pattern = re.compile(re.escape(encoder) + r"\.\d+\.body\.0\.weight")
        return sum(1 for name in self.weights if pattern.fullmatch(name))

    def expansion(self, levels: tuple[str, ...]) -> float:
        """The shortest factor that gives the hidden widths of all levels."""
        low, high = 0.0, math.inf
        for level in levels:
            hidden, channels = (
                self.shape(f"G.{level}.0.ffn.{layer}.weight")[0]
                for layer in ("project_in", "project_out")
            )
            low, high = (
                max(low, hidden // 2 / channels),
                min(high, (hidden // 2 + 1) / channels),
            )
        for digits in range(17):
            step = 10.0**-digits
            factor = round(math.ceil(low / step - 1e-9) * step, digits)
            if low <= factor < high:
                return int(factor) if factor == int(factor) else factor
        raise ValueError(f"{self.what}: the hidden widths of the feed-forward parts do not agree")


def differences(found: DiffIRConfig, wanted: DiffIRConfig) -> list[str]:
    """What two configurations do not have in common, in words."""
    first, second = asdict(found), asdict(wanted)
    return [f"{k} {v!r} instead of {second[k]!r}" for k, v in first.items() if v != second[k]]

"""The published constructors' arguments, and the published configurations by name."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

TASKS = ("super_resolution", "deblurring", "inpainting")
NORMS = ("WithBias", "BiasFree")
SCALES = (1, 2, 4)
#: numbers of the prior vector: fixed by the published modulation layers
PRIOR = 256


@dataclass(frozen=True)
class DiffIRConfig:
    """Shape of a DiffIR network (Xia et al., "DiffIR: Efficient Diffusion Model for Image Restoration",
    ICCV 2023), under the names of the published constructors.

    Args:
        task:
            "super_resolution", "deblurring" or "inpainting": the published folders RealSR and SRGAN,
            demotionblur, inpainting.
        stage:
            1: the encoder sees the ground truth too; 2: a diffusion makes the prior vector from the
            input alone.
        inp_channels:
            Channels of the input: 3, or 4 with a mask for inpainting. Super-resolution ignores it, as the
            published code does.
        out_channels:
            Channels of the result.
        dim:
            Width of the first level; the four levels have dim, 2 dim, 4 dim and 8 dim channels.
        num_blocks, heads:
            Transformer blocks and attention heads of each level.
        num_refinement_blocks:
            Blocks behind the decoder at full size; inpainting has none, whatever is given.
        ffn_expansion_factor:
            Hidden channels of the feed-forward parts: int(C factor).
        bias:
            Whether the convolutions of attention, feed-forward, reduction and output have a bias.
        LayerNorm_type:
            "WithBias" or "BiasFree" (which does not subtract the mean).
        n_encoder_res:
            Residual blocks of the encoder.
        scale:
            1, 2 or 4: how much super-resolution enlarges.
        n_denoise_res:
            Further layers of the denoiser (stage 2).
        linear_start, linear_end, timesteps:
            First and last beta, and steps, of the diffusion of the prior vector (stage 2).

    Raises:
        ValueError: A value is out of its range; the message names it.
    """

    task: str
    stage: int = 2
    inp_channels: int = 3
    out_channels: int = 3
    dim: int = 48
    num_blocks: tuple[int, ...] = (4, 6, 6, 8)
    num_refinement_blocks: int = 4
    heads: tuple[int, ...] = (1, 2, 4, 8)
    ffn_expansion_factor: float = 2.66
    bias: bool = False
    LayerNorm_type: str = "WithBias"
    n_encoder_res: int = 6
    scale: int = 1
    n_denoise_res: int = 1
    linear_start: float = 0.1
    linear_end: float = 0.99
    timesteps: int = 4

    def __post_init__(self) -> None:
        for name in ("num_blocks", "heads"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _expect(self.task in TASKS, "task", self.task, f"one of {', '.join(TASKS)}")
        _expect(self.stage in (1, 2), "stage", self.stage, "1 or 2")
        _expect(
            self.LayerNorm_type in NORMS, "LayerNorm_type", self.LayerNorm_type, " or ".join(NORMS)
        )
        for name in ("num_blocks", "heads"):
            value = getattr(self, name)
            good = len(value) == 4 and all(_whole(n, 1) for n in value)
            _expect(good, name, value, "four whole numbers of at least 1")
        least = {"dim": 1, "inp_channels": 1, "out_channels": 1, "timesteps": 1}
        for name in (*least, "num_refinement_blocks", "n_encoder_res", "n_denoise_res"):
            low = least.get(name, 0)
            value = getattr(self, name)
            _expect(_whole(value, low), name, value, f"a whole number of at least {low}")
        _expect(self.dim % 2 == 0, "dim", self.dim, "an even number")
        for level, count in enumerate(self.heads):
            width = self.dim * 2**level
            _expect(width % count == 0, "heads", self.heads, f"divisors: level {level} has {width}")
        _expect(
            self.dim * 2 % self.heads[0] == 0, "heads", self.heads, "a first that divides 2 dim"
        )
        factor = self.ffn_expansion_factor
        good = math.isfinite(factor) and int(self.dim * factor) >= 1
        _expect(good, "ffn_expansion_factor", factor, "at least one hidden channel")
        _expect(self.scale in SCALES, "scale", self.scale, "1, 2 or 4")
        if self.task == "inpainting":
            # the published networks have no such blocks, whatever the argument says
            object.__setattr__(self, "num_refinement_blocks", 0)
        if self.task == "super_resolution":
            object.__setattr__(self, "inp_channels", 3)  # ignored, as published
        elif self.scale != 1:
            raise ValueError(f"scale: got {self.scale}, but {self.task} keeps the size; expected 1")
        for name in ("linear_start", "linear_end"):
            _expect(0 < getattr(self, name) < 1, name, getattr(self, name), "between 0 and 1")

    @property
    def unshuffle(self) -> int:
        """How much the generator's input is folded into channels: super-resolution always enlarges by 4."""
        return 4 // self.scale if self.task == "super_resolution" else 1

    @property
    def generator_channels(self) -> int:
        """Channels that the generator's first convolution sees."""
        return self.inp_channels * self.unshuffle**2

    @property
    def encoder_unshuffle(self) -> int:
        """How much the encoder folds its input."""
        return self.unshuffle if self.task == "super_resolution" else 4

    @property
    def encoder_channels(self) -> int:
        """Channels that the encoder's first convolution sees; stage 1 adds the folded ground truth."""
        own = self.inp_channels * self.encoder_unshuffle**2
        return own + (16 * self.out_channels if self.stage == 1 else 0)

    @property
    def multiple(self) -> int:
        """What height and width of the input have to be multiples of."""
        return 8 * self.unshuffle

    def with_stage(self, stage: int) -> DiffIRConfig:
        """The same network in the other stage."""
        return replace(self, stage=stage)

    def to_json(self) -> str:
        """As text, for files."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> DiffIRConfig:
        """What :meth:`to_json` wrote.

        Raises:
            ValueError: It is no such text.
        """
        try:
            return DiffIRConfig(**json.loads(text))
        except TypeError as error:
            raise ValueError(f"not a DiffIR configuration: {error}") from error

    @staticmethod
    def published(task: str, stage: int, arguments: dict[str, Any]) -> DiffIRConfig:
        """From the arguments of a published option file, which may name some that have no effect.

        Args:
            task:
                One of :data:`TASKS`.
            stage:
                1 or 2.
            arguments:
                By their published names.

        Raises:
            ValueError: An argument is unknown, or asks for what is not built here.
        """
        given = dict(arguments)
        if given.pop("dual_pixel_task", False):
            raise ValueError("dual_pixel_task: got True, expected False (not built here)")
        if task == "super_resolution":
            given.setdefault("scale", 4)
        known = {field.name for field in fields(DiffIRConfig)} - {"task", "stage"}
        unknown = sorted(set(given) - known)
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: unknown; expected some of {sorted(known)}")
        return DiffIRConfig(task, stage, **given)


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _expect(good: bool, name: str, value: Any, expected: str) -> None:
    if not good:
        raise ValueError(f"{name}: got {value!r}, expected {expected}")


def _super_resolution(scale: int) -> DiffIRConfig:
    return DiffIRConfig(
        "super_resolution", dim=64, num_blocks=(13, 1, 1, 1), num_refinement_blocks=13,
        ffn_expansion_factor=2.2, LayerNorm_type="BiasFree", n_encoder_res=9, scale=scale,
    )  # fmt: skip


def _inpainting(latent: int, n_encoder_res: int) -> DiffIRConfig:
    return DiffIRConfig(
        "inpainting", inp_channels=4, dim=52, num_blocks=(1, 1, 1, latent),
        ffn_expansion_factor=1.8, n_encoder_res=n_encoder_res,
    )  # fmt: skip


PRESETS: dict[str, DiffIRConfig] = {
    "super-resolution-x1": _super_resolution(1),
    "super-resolution-x2": _super_resolution(2),
    "super-resolution-x4": _super_resolution(4),
    "deblurring": DiffIRConfig(
        "deblurring", num_blocks=(3, 5, 6, 6), ffn_expansion_factor=2, n_encoder_res=5
    ),
    "inpainting": _inpainting(9, 5),
    "inpainting-big": _inpainting(20, 8),
}
"""The published configurations, stage 2; :meth:`DiffIRConfig.with_stage` gives stage 1."""


def preset(name: str, stage: int = 2) -> DiffIRConfig:
    """A published configuration by name.

    Args:
        name:
            One of :data:`PRESETS`.
        stage:
            1 or 2.

    Raises:
        ValueError: There is no such preset.
    """
    if name not in PRESETS:
        raise ValueError(f"preset: got {name!r}, expected one of {', '.join(PRESETS)}")
    return PRESETS[name].with_stage(stage)

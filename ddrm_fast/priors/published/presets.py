"""The published files by name: what their weights do not tell, and where they are found.

Sources: the README of openai/guided-diffusion (flags of every model), the configurations of DDRM's
repository (CelebA-HQ, LSUN).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_GUIDED = "https://github.com/openai/guided-diffusion"
_DDRM = "https://github.com/bahjat-kawar/ddrm"


@dataclass(frozen=True)
class Preset:
    """One published file.

    Args:
        page:
            Where it is found.
        config:
            What the weights do not tell, under the published constructor's names.
        schedule:
            "linear" (betas 1e-4 to 2e-2) or "cosine"; T = 1000.
        image_size:
            Side of the pictures that it was trained on.
    """

    page: str
    image_size: int
    config: dict[str, Any] = field(default_factory=dict)
    schedule: str = "linear"


_HEADS_OF_64 = {"num_head_channels": 64, "use_new_attention_order": False}


def _diffusion(size: int, schedule: str = "linear", **config: Any) -> Preset:
    return Preset(_GUIDED, size, config or _HEADS_OF_64, schedule)


def _classifier(size: int, blocks: int) -> Preset:
    config = {**_HEADS_OF_64, "num_res_blocks": blocks, "resblock_updown": True}
    return Preset(_GUIDED, size, config)


PRESETS: dict[str, Preset] = {
    "64x64_diffusion.pt": _diffusion(
        64, "cosine", num_head_channels=64, use_new_attention_order=True
    ),
    "128x128_diffusion.pt": _diffusion(128, num_heads=4, use_new_attention_order=False),
    "256x256_diffusion.pt": _diffusion(256),
    "256x256_diffusion_uncond.pt": _diffusion(256),
    "512x512_diffusion.pt": _diffusion(512),
    "lsun_bedroom.pt": _diffusion(256),
    "lsun_cat.pt": _diffusion(256),
    "lsun_horse.pt": _diffusion(256),
    "lsun_horse_nodropout.pt": _diffusion(256),
    "64x64_classifier.pt": _classifier(64, 4),
    "128x128_classifier.pt": _classifier(128, 2),
    "256x256_classifier.pt": _classifier(256, 2),
    "512x512_classifier.pt": _classifier(512, 2),
    "celeba_hq.ckpt": Preset(_DDRM, 256),
    "bedroom.ckpt": Preset(_DDRM, 256),
    "cat.ckpt": Preset(_DDRM, 256),
    "church_outdoor.ckpt": Preset(_DDRM, 256),
}
"""Published files by name."""

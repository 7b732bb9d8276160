"""Priors by name or path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .adapters import DenoiserPrior, from_diffusers
from .denoiser import is_denoiser, load_denoiser
from .gaussian import GaussianPrior
from .prior import Prior
from .published import PRESETS, load_published
from .published.load import check_config
from .readers import reader_of

DEFAULT = Path(__file__).with_name("default.safetensors")


CHECKPOINTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


def load_prior(
    name_or_path: str | Path = "default",
    config: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
) -> Prior:
    """A prior, ready for :func:`ddrm_fast.restore`. Nothing is downloaded.

    A network from a file has ``precision = "auto"`` (see :class:`Prior`; set another on the prior), and lies
    in channels-last memory (:meth:`Prior.arrange` puts it back into planes).

    Args:
        name_or_path:
            - "default": the small denoiser that comes with the package;
            - "gaussian": images with a 1 / frequency^2 spectrum, in closed form (a baseline);
            - a ``.safetensors`` file written by ``ddrm-fast train`` or ``ddrm-fast train-ddpm``;
            - a published checkpoint: guided-diffusion (``256x256_diffusion_uncond.pt`` and relatives), DDPM
              (``celeba_hq.ckpt`` and relatives), or a diffusers ``UNet2DModel`` in one file;
            - a folder saved by diffusers that holds a ``UNet2DModel``.
        config:
            For a published checkpoint: what its weights do not tell, under the names of the published
            constructor (heads, attention order). A published file under its own name needs none.

        device:
            Where the network goes: that of the measurements it will work on.

        A callable network becomes a prior with :class:`Prior`, a plain denoiser D(x, sigma) with
        :class:`DenoiserPrior`.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the file is none of these formats, is damaged, or needs a ``config``.
    """
    check_config(config)
    if name_or_path == "gaussian":
        _needs_none(config, name_or_path)
        return GaussianPrior()
    prior = _read(name_or_path, config)
    prior.precision = "auto"
    if not isinstance(prior, DenoiserPrior):  # which arranges its memory itself
        prior.arrange(channels_last=True)
    return prior.to(device)


def _needs_none(config: Mapping[str, Any] | None, name: str | Path) -> None:
    if config is not None:
        raise ValueError(f"config: {name} describes itself, expected none")


def _read(name_or_path: str | Path, config: Mapping[str, Any] | None) -> Prior:
    path = DEFAULT if name_or_path == "default" else Path(name_or_path)
    if path.is_dir():
        _needs_none(config, path)
        return from_diffusers(path)
    if not path.exists() and path.name not in PRESETS:
        if name_or_path == "default":
            raise FileNotFoundError(
                "prior 'default': this build carries no weights; give the path of a trained prior"
            )
        raise FileNotFoundError(
            f"prior {str(name_or_path)!r}: no such file or folder; known names: default, gaussian"
            f"{_on_the_hub(str(name_or_path))}"
        )
    if path.suffix not in CHECKPOINTS:
        raise ValueError(
            f"{path}: expected a file written by `ddrm-fast train`, a published checkpoint "
            f"({', '.join(CHECKPOINTS)}), or a diffusers folder"
        )
    reader = reader_of(path)
    if reader is not None:
        _needs_none(config, path)
        return reader(path, str(name_or_path))
    if is_denoiser(path):
        network = load_denoiser(path)
        _needs_none(config, path)
        return DenoiserPrior(
            network, (-1.0, 1.0), channels=3, name=str(name_or_path), dtype=torch.float32
        )
    return load_published(path, config)


def _on_the_hub(name: str) -> str:
    """Where a name of the form owner/model is found."""
    if not re.fullmatch(r"\w[\w-]*/\w[\w.-]*", name) or Path(name).suffix in CHECKPOINTS:
        return ""
    return (
        f". Nothing is downloaded: if a network of the Hugging Face Hub is meant, fetch the folder from "
        f"https://huggingface.co/{name} and give its path"
    )

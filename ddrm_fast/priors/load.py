"""Priors by name or path."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..machine.arguments import checked
from .adapters import DenoiserPrior
from .diffusers_models import from_diffusers, from_pipeline
from .download import here
from .gaussian import GaussianPrior
from .prior import Prior
from .published import PRESETS, load_published
from .published.load import check_config
from .readers import reader_of
from .source import Source
from .weights import is_denoiser, load_denoiser

DEFAULT = Path(__file__).with_name("default.safetensors")


CHECKPOINTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


@checked
def load_prior(
    name_or_path: str | Path | Any = "default",
    config: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
) -> Prior:
    """A prior, ready for :func:`ddrm_fast.restore`. Nothing is downloaded.

    A network from a file has ``precision = "auto"`` (see :class:`Prior`; set another on the prior), and lies
    in channels-last memory (:meth:`Prior.arrange` puts it back into planes).

    A callable network becomes a prior with :class:`Prior`, a plain denoiser D(x, sigma) with
    :class:`DenoiserPrior`.

    Args:
        name_or_path:
            - "default": the small denoiser that comes with the package;
            - "gaussian": images with a 1 / frequency^2 spectrum, in closed form (a baseline);
            - a ``.safetensors`` file written by ``ddrm-fast train`` or ``ddrm-fast train-ddpm``;
            - a published checkpoint: guided-diffusion (``256x256_diffusion_uncond.pt`` and relatives), DDPM
              (``celeba_hq.ckpt`` and relatives), or a diffusers ``UNet2DModel`` in one file;
            - the name of one that `ddrm-fast download` fetched;
            - a folder saved by diffusers that holds a ``UNet2DModel``: a pipeline's, or its ``unet``;
            - a pipeline of diffusers in memory, such as a ``DDPMPipeline``.
        config:
            For a published checkpoint: what its weights do not tell (heads, attention order, betas, ...), by
            the names of the published constructors, scripts or yaml files. A published file under its own
            name needs none. {"scheduler": {...}} for a network of diffusers without one.
        device:
            Where the network goes: that of the measurements it will work on.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the file is none of these formats, is damaged, or needs a ``config``; a setting is not
            known or contradicts the weights.
        ImportError: it is a network of diffusers, which is not installed.

    Warns:
        UserWarning: the file holds weights as trained and their running mean, of which one is taken.
    """
    check_config(config)
    if isinstance(name_or_path, (str, Path)) and str(name_or_path) in ("", "."):
        raise ValueError(
            f"name_or_path: got {str(name_or_path)!r}, expected a name or a path of a prior"
        )
    if isinstance(name_or_path, str) and name_or_path == "gaussian":
        _needs_none(config, name_or_path)
        gaussian = GaussianPrior()
        gaussian.source = Source(name_or_path)
        return gaussian
    prior = _read(name_or_path, config)
    if isinstance(name_or_path, (str, Path)):
        path = DEFAULT if name_or_path == "default" else here(name_or_path)
        prior.source = Source(str(name_or_path), path, config)
    for note in prior.notes:
        warnings.warn(f"{prior.name}: {note}", stacklevel=2)
    prior.precision = "auto"
    if not isinstance(prior, DenoiserPrior):  # which arranges its memory itself
        prior.arrange(channels_last=True)
    return prior.to(device)


def _needs_none(config: Mapping[str, Any] | None, name: str | Path) -> None:
    if config is not None:
        raise ValueError(f"config: {name} describes itself, expected none")


def _read(name_or_path: str | Path | Any, config: Mapping[str, Any] | None) -> Prior:
    if not isinstance(name_or_path, (str, Path)):
        return _in_memory(name_or_path, config)
    path = DEFAULT if name_or_path == "default" else here(name_or_path)
    if path.is_dir():
        if set(config or {}) - {"scheduler"}:
            _needs_none(config, path)
        return from_diffusers(path, config=config)
    if not path.exists() and path.name not in PRESETS:
        if name_or_path == "default":
            raise FileNotFoundError(
                "prior 'default': this build carries no weights; give the path of a trained prior"
            )
        raise FileNotFoundError(
            f"prior {str(name_or_path)!r}: no such file or folder; known names: default, gaussian"
            f"{_on_the_hub(str(name_or_path))}"
        )
    if path.suffix == ".pkl":
        raise ValueError(
            f"{path}: a pickle, such as EDM publishes, runs code when it is read, so it is not read here; "
            "docs/adding-a-prior.md tells how to wrap the network"
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


def _in_memory(given: Any, config: Mapping[str, Any] | None) -> Prior:
    if not (hasattr(given, "unet") and hasattr(given, "scheduler")):
        raise ValueError(
            "name_or_path: expected a name, a path or a pipeline of diffusers, got "
            f"{type(given).__name__}; a network in memory becomes a prior with Prior, DenoiserPrior or "
            "wrap_diffusers(unet, scheduler)"
        )
    _needs_none(config, type(given).__name__)
    return from_pipeline(given)


def _on_the_hub(name: str) -> str:
    """Where a name of the form owner/model is found."""
    if not re.fullmatch(r"\w[\w-]*/\w[\w.-]*", name) or Path(name).suffix in CHECKPOINTS:
        return ""
    return (
        f". Nothing is downloaded: if a network of the Hugging Face Hub is meant, fetch the folder from "
        f"https://huggingface.co/{name} and give its path"
    )

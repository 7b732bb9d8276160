"""Priors by name or path."""

from __future__ import annotations

from pathlib import Path

import torch

from .adapters import DenoiserPrior, from_diffusers
from .gaussian import GaussianPrior
from .prior import Prior

DEFAULT = Path(__file__).with_name("default.safetensors")


def load_prior(name_or_path: str | Path = "default") -> Prior:
    """A prior, ready for :func:`ddrm_fast.restore`. Nothing is downloaded.

    Args:
        name_or_path:
            - "default": the small denoiser that comes with the package;
            - "gaussian": images with a 1 / frequency^2 spectrum, in closed form (a baseline);
            - a ``.safetensors`` file written by ``ddrm-fast train``;
            - a folder saved by diffusers that holds a ``UNet2DModel``.

        A callable network becomes a prior with :class:`Prior`, a plain denoiser D(x, sigma) with
        :class:`DenoiserPrior`.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the file is none of these formats.
    """
    if name_or_path == "gaussian":
        return GaussianPrior()
    path = DEFAULT if name_or_path == "default" else Path(name_or_path)
    if path.is_dir():
        return from_diffusers(path)
    if not path.exists():
        if name_or_path == "default":
            raise FileNotFoundError(
                "prior 'default': this build carries no weights; give the path of a trained prior"
            )
        raise FileNotFoundError(
            f"prior {str(name_or_path)!r}: no such file or folder; known names: default, gaussian"
        )
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{path}: expected a .safetensors file written by `ddrm-fast train` or a diffusers folder"
        )
    from .denoiser import load_denoiser

    network = load_denoiser(path)
    return DenoiserPrior(
        network, (-1.0, 1.0), channels=3, name=str(name_or_path), dtype=torch.float32
    )

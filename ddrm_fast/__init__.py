"""ddrm_fast: fast, correct diffusion-based image restoration (DDRM and its relatives).

>>> import ddrm_fast
>>> operator = ddrm_fast.operators.SuperResolution(4)
>>> result = ddrm_fast.restore(y, operator, sigma_y=0.05, num_samples=4)
>>> result.mean, result.std
"""

from importlib import import_module
from pathlib import Path

import torch  # noqa: F401  (first: its OpenMP runtime then serves the compiled extension too)

from . import large, operators, ops, priors, samplers
from .ops import BackendError, backends, use_backend
from .priors import (
    DenoiserPrior,
    Prior,
    Schedule,
    classifier_free,
    classifier_guidance,
    load_classifier,
    load_prior,
)
from .restoration import Restoration, degrade, restore, sample
from .samplers import DDIM, DDNM, DDPM, DDRM, ILVR, DDNMPlus, Hold, Known, RePaint, StepInfo, Travel

__version__ = "0.1.0"

__all__ = [
    "DDIM",
    "DDNM",
    "DDPM",
    "DDRM",
    "ILVR",
    "BackendError",
    "DDNMPlus",
    "DenoiserPrior",
    "Hold",
    "Known",
    "Prior",
    "RePaint",
    "Restoration",
    "Schedule",
    "StepInfo",
    "Travel",
    "backends",
    "classifier_free",
    "classifier_guidance",
    "degrade",
    "large",
    "load_classifier",
    "load_prior",
    "operators",
    "ops",
    "priors",
    "restore",
    "sample",
    "samplers",
    "use_backend",
]


def _read_ddpm(path: Path, name: str) -> Prior:
    from .ddpm.files import load_ddpm_prior  # loaded when such a file is read

    return load_ddpm_prior(path, name)


priors.register_reader("ddrm_fast.ddpm/1", _read_ddpm)

#: modules that are loaded when they are asked for
_LATER = {
    "metrics": "evaluation.metrics",
    "perceptual": "evaluation.perceptual",
    "streams": "machine.overlap",
    "workers": "machine.workers",
}


def __getattr__(name: str) -> object:
    if name in _LATER:
        return import_module(f"{__name__}.{_LATER[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

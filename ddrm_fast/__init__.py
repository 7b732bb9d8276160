"""ddrm_fast: fast, correct diffusion-based image restoration (DDRM and its relatives).

>>> import ddrm_fast
>>> operator = ddrm_fast.operators.SuperResolution(4)
>>> result = ddrm_fast.restore(y, operator, sigma_y=0.05, num_samples=4)
>>> result.mean, result.std

Names are loaded when they are asked for: `import ddrm_fast` by itself is quick and does not import
PyTorch, so that the shell's help and completion answer at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

#: module -> what it gives to the package's face
_NAMES = {
    "evaluation.error_bars": ("ErrorBars", "error_bars"),
    "ops": ("BackendError", "backends", "use_backend"),
    "priors": (
        "DenoiserPrior", "Prior", "Schedule", "classifier_free", "classifier_guidance", "load_classifier",
        "load_prior",
    ),
    "problems": ("Problem",),
    "restoration": ("Restoration", "degrade", "draw", "restore", "sample"),
    "samplers": (
        "DDIM", "DDNM", "DDNMPlus", "DDPM", "DDRM", "DPMSolver", "Drawing", "Edit", "HQS", "Heun", "Hold",
        "ILVR", "Known", "RePaint", "State", "StepInfo", "Travel",
    ),
}  # fmt: skip
#: rooms, and modules that live in one, by the name that they have here
_MODULES = {
    name: name
    for name in (
        "bench", "compat", "ddpm", "evaluation", "io", "large", "machine", "operators", "ops", "priors",
        "problems", "registry", "samplers", "testing",
    )
} | {
    "metrics": "evaluation.metrics",
    "perceptual": "evaluation.perceptual",
    "streams": "machine.overlap",
    "workers": "machine.workers",
}  # fmt: skip
_HOME = {name: module for module, names in _NAMES.items() for name in names}

if TYPE_CHECKING:  # the same, for those who read and do not run
    from . import (
        bench,
        compat,
        ddpm,
        evaluation,
        io,
        large,
        machine,
        operators,
        ops,
        priors,
        problems,
        registry,
        samplers,
        testing,
    )
    from .evaluation import metrics, perceptual
    from .evaluation.error_bars import ErrorBars, error_bars
    from .machine import overlap as streams
    from .machine import workers
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
    from .problems import Problem
    from .restoration import Restoration, degrade, draw, restore, sample
    from .samplers import (
        DDIM,
        DDNM,
        DDPM,
        DDRM,
        HQS,
        ILVR,
        DDNMPlus,
        DPMSolver,
        Drawing,
        Edit,
        Heun,
        Hold,
        Known,
        RePaint,
        State,
        StepInfo,
        Travel,
    )

__all__ = [
    "DDIM",
    "DDNM",
    "DDPM",
    "DDRM",
    "HQS",
    "ILVR",
    "BackendError",
    "DDNMPlus",
    "DPMSolver",
    "DenoiserPrior",
    "Drawing",
    "Edit",
    "ErrorBars",
    "Heun",
    "Hold",
    "Known",
    "Prior",
    "Problem",
    "RePaint",
    "Restoration",
    "Schedule",
    "State",
    "StepInfo",
    "Travel",
    "backends",
    "bench",
    "classifier_free",
    "classifier_guidance",
    "compat",
    "ddpm",
    "degrade",
    "draw",
    "error_bars",
    "evaluation",
    "io",
    "large",
    "load_classifier",
    "load_prior",
    "machine",
    "metrics",
    "operators",
    "ops",
    "perceptual",
    "priors",
    "problems",
    "registry",
    "restore",
    "sample",
    "samplers",
    "streams",
    "testing",
    "use_backend",
    "workers",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"{__name__}.{_MODULES[name]}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

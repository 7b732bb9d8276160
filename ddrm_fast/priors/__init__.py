"""Networks: what a prior is, adapters, checkpoints, the default prior."""

from .adapters import DenoiserPrior, from_diffusers, wrap_diffusers
from .gaussian import GaussianPrior
from .load import load_prior
from .prior import Prior
from .schedule import Schedule

__all__ = [
    "DenoiserPrior",
    "GaussianPrior",
    "Prior",
    "Schedule",
    "from_diffusers",
    "load_prior",
    "wrap_diffusers",
]

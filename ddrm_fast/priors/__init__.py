"""Networks: what a prior is, adapters, checkpoints, the default prior."""

from .acceleration import accelerated
from .adapters import DenoiserPrior
from .diffusers_models import from_diffusers, wrap_diffusers
from .gaussian import GaussianPrior
from .guidance import classifier_free, classifier_guidance, without_labels
from .load import load_prior
from .prior import Prior
from .published import PRESETS, load_classifier
from .readers import register_reader
from .schedule import Schedule

__all__ = [
    "PRESETS",
    "DenoiserPrior",
    "GaussianPrior",
    "Prior",
    "Schedule",
    "accelerated",
    "classifier_free",
    "classifier_guidance",
    "from_diffusers",
    "load_classifier",
    "load_prior",
    "register_reader",
    "without_labels",
    "wrap_diffusers",
]

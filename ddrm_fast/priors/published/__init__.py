"""Networks that others published, rebuilt from their weights' names and shapes."""

from .load import load_classifier, load_published
from .presets import PRESETS, Preset

__all__ = ["PRESETS", "Preset", "load_classifier", "load_published"]

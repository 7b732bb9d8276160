"""Degradations that are maps alone: not linear, or without a decomposition that is worth having."""

from .camera import Gamma, Quantised, Saturated
from .jpeg import JPEG
from .network import NetworkBlur
from .phase import PhaseRetrieval, centred_amplitude

__all__ = [
    "JPEG",
    "Gamma",
    "NetworkBlur",
    "PhaseRetrieval",
    "Quantised",
    "Saturated",
    "centred_amplitude",
]

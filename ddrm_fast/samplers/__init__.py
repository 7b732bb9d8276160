"""Samplers: weight functions, and the one loop that runs them."""

from .ddim import DDIM
from .ddnm import DDNM, DDNMPlus
from .ddpm import DDPM
from .ddrm import DDRM
from .hold import Hold
from .ilvr import ILVR
from .known import Known
from .loop import StepInfo, run
from .repaint import RePaint
from .travel import Travel
from .weights import Branch, Sampler, Weights

__all__ = [
    "DDIM",
    "DDNM",
    "DDNMPlus",
    "DDPM",
    "DDRM",
    "ILVR",
    "Branch",
    "Hold",
    "Known",
    "RePaint",
    "Sampler",
    "StepInfo",
    "Travel",
    "Weights",
    "run",
]

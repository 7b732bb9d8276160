"""Edits: what changes a run between the network and the next state."""

from .clip import Clip, ClipKeepingNoise
from .edit import PLACES, Edit, FunctionEdit
from .guidance import Guidance
from .hold import Hold
from .known import Known
from .measurement import EndOnMeasurement

__all__ = [
    "PLACES",
    "Clip",
    "ClipKeepingNoise",
    "Edit",
    "EndOnMeasurement",
    "FunctionEdit",
    "Guidance",
    "Hold",
    "Known",
]

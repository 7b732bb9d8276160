"""Pictures of any size: windows that continue each other, one loop over the whole, hierarchies."""

from ..priors.tiled import windowed
from ..samplers import Item
from .duration import Estimate, estimate
from .mask_shift import Canvas, Degraded, InMemory, Memory, Wave, mask_shift
from .on_disk import Degradation, restore_on_disk
from .restore import restore_windows, windows_for
from .waves import overlaps, pastes, waves
from .windows import Windows, windows_of

__all__ = [
    "Canvas",
    "Degradation",
    "Degraded",
    "Estimate",
    "InMemory",
    "Item",
    "Memory",
    "Wave",
    "Windows",
    "estimate",
    "mask_shift",
    "overlaps",
    "pastes",
    "restore_on_disk",
    "restore_windows",
    "waves",
    "windowed",
    "windows_for",
    "windows_of",
]

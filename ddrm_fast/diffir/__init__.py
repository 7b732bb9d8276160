"""DiffIR: a trained restorer, one pass of a transformer guided by a small diffusion.

Xia, Zhang, Wang, Wang, Wu, Tian, Yang, Van Gool, "DiffIR: Efficient Diffusion Model for Image Restoration",
ICCV 2023. One architecture for the published variants: super-resolution, motion deblurring, inpainting.

>>> network = ddrm_fast.diffir.load("Deblurring-DiffIRS2.pth")
>>> ddrm_fast.diffir.restore(network, y, num_samples=4).mean
"""

from .config import PRESETS, DiffIRConfig, preset
from .files import is_diffir, load, save
from .networks import DiffIRS1, DiffIRS2, build, start_vectors
from .restore import Restored, restore

__all__ = [
    "PRESETS",
    "DiffIRConfig",
    "DiffIRS1",
    "DiffIRS2",
    "Restored",
    "build",
    "is_diffir",
    "load",
    "preset",
    "restore",
    "save",
    "start_vectors",
]

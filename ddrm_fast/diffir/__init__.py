"""DiffIR: a trained restorer, one pass of a transformer guided by a small diffusion.

Xia, Zhang, Wang, Wang, Wu, Tian, Yang, Van Gool, "DiffIR: Efficient Diffusion Model for Image Restoration",
ICCV 2023. One architecture for the published variants: super-resolution, motion deblurring, inpainting.

>>> network = ddrm_fast.diffir.load("Deblurring-DiffIRS2.pth")
"""

from .config import PRESETS, DiffIRConfig, preset
from .files import is_diffir, load, save
from .networks import DiffIRS1, DiffIRS2, build, start_vectors

__all__ = [
    "PRESETS",
    "DiffIRConfig",
    "DiffIRS1",
    "DiffIRS2",
    "build",
    "is_diffir",
    "load",
    "preset",
    "save",
    "start_vectors",
]

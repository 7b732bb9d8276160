"""The published degradations: their vector orders around this package's own operators.

Shared by :mod:`ddrm_fast.compat.ddrm` and :mod:`ddrm_fast.compat.ddnm`, which name the methods.
"""

from .base import Functions, overridden
from .blocks import Colorization, SuperResolution
from .blockwise import BlockCS
from .flat import FlatOperator, General
from .hadamard import WalshHadamardCS
from .pixels import Denoising, Inpainting
from .separable import Deblurring, Deblurring2D, SRConv

__all__ = [
    "BlockCS",
    "Colorization",
    "Deblurring",
    "Deblurring2D",
    "Denoising",
    "FlatOperator",
    "Functions",
    "General",
    "Inpainting",
    "SRConv",
    "SuperResolution",
    "WalshHadamardCS",
    "overridden",
]

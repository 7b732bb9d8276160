"""Degradations: transform + grouping + singular values."""

from ..machine.arguments import check_made, check_methods
from .base import Carry, Forward, Measurement, Operator, Rows
from .block import Colorization, SuperResolution
from .blur import Blur, gaussian_kernel, motion_kernel
from .blur_decimate import BlurDecimate
from .compressive import LARGEST_BLOCK, BlockCS, WalshHadamardCS
from .cosine_decimate import CosineDecimation
from .general import GeneralOperator
from .nonlinear import JPEG, Gamma, NetworkBlur, PhaseRetrieval, Quantised, Saturated
from .pointwise import Denoising, Gain, Inpainting, bayer_mask
from .separable import (
    BicubicDownscaling,
    Separable,
    SeparableBlur,
    SeparableDecimation,
    bicubic_kernel,
)
from .shake import shake_kernel

__all__ = [
    "JPEG",
    "LARGEST_BLOCK",
    "BicubicDownscaling",
    "BlockCS",
    "Blur",
    "BlurDecimate",
    "Carry",
    "Colorization",
    "CosineDecimation",
    "Denoising",
    "Forward",
    "Gain",
    "Gamma",
    "GeneralOperator",
    "Inpainting",
    "Measurement",
    "NetworkBlur",
    "Operator",
    "PhaseRetrieval",
    "Quantised",
    "Rows",
    "Saturated",
    "Separable",
    "SeparableBlur",
    "SeparableDecimation",
    "SuperResolution",
    "WalshHadamardCS",
    "bayer_mask",
    "bicubic_kernel",
    "gaussian_kernel",
    "motion_kernel",
    "shake_kernel",
]

_MADE = (
    BlockCS, Blur, BlurDecimate, Colorization, CosineDecimation, Denoising, Gain, GeneralOperator,
    Inpainting, Separable, SuperResolution, WalshHadamardCS,
    JPEG, Gamma, NetworkBlur, PhaseRetrieval, Quantised, Saturated,
)  # fmt: skip
check_made(*_MADE)
check_methods(
    ("H", "Ht", "H_pinv", "V", "Vt", "U", "Ut"), *{b for made in _MADE for b in made.__mro__[:-1]}
)

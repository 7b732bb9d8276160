"""The cosine transform of a compiled module: a pass before and one behind a real FFT of ``torch.fft``."""

from types import ModuleType

import torch
from torch import Tensor

from . import fft
from .dct import inverse_twiddle, twiddle


def dct2(module: ModuleType, y: Tensor, x: Tensor, factor: int, *place: int) -> None:
    """Fill ``y`` with the orthonormal DCT-II of each plane of ``x``.

    Args:
        module:
            With ``dct_fold`` and ``dct_twist``.
        factor:
            Order of the coefficients: see :func:`ddrm_fast.ops.dct.dct2`.
        place:
            Their last arguments: a number of threads, or a device and a stream.
    """
    height, width = x.shape[-2:]
    planes = x.numel() // (height * width), height, width, factor
    folded = torch.empty_like(x)
    module.dct_fold(folded.data_ptr(), x.data_ptr(), planes, *place)
    spectrum = fft.rfft2(folded).contiguous()
    factors = [twiddle(n, x.dtype, x.device).data_ptr() for n in (height, width)]
    module.dct_twist(y.data_ptr(), spectrum.data_ptr(), *factors, planes, *place)


def idct2(module: ModuleType, x: Tensor, y: Tensor, factor: int, *place: int) -> None:
    """Inverse and adjoint of :func:`dct2`."""
    height, width = y.shape[-2:]
    planes = y.numel() // (height * width), height, width, factor
    spectrum = y.new_empty((*y.shape[:-1], width // 2 + 1), dtype=torch.complex64)
    factors = [inverse_twiddle(n, y.dtype, y.device).data_ptr() for n in (height, width)]
    module.dct_untwist(spectrum.data_ptr(), y.data_ptr(), *factors, planes, *place)
    folded = fft.irfft2(spectrum, width).contiguous()
    module.dct_unfold(x.data_ptr(), folded.data_ptr(), planes, *place)

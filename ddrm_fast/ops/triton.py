"""The Triton backend: the launchers of :mod:`ddrm_fast.triton_kernels`.

Functions and arguments are those of :mod:`.reference`; arguments are checked by the caller, outputs
are allocated. The state is float32, spectra complex64; ``out`` may be float32, float16 or bfloat16 with
any batch and channel stride. Nothing is read back by the host: rows, step and keys stay on the device.
"""

from ..triton_kernels.alias_step import alias_step
from ..triton_kernels.block_lift import block_lift
from ..triton_kernels.block_measure import block_measure
from ..triton_kernels.block_step import block_step
from ..triton_kernels.dct2 import dct2, idct2
from ..triton_kernels.fwht import fwht
from ..triton_kernels.fwht_step import fwht_step
from ..triton_kernels.known_step import known_step
from ..triton_kernels.normal import normal
from ..triton_kernels.pointwise_step import pointwise_step
from ..triton_kernels.predict_x0 import predict_x0
from ..triton_kernels.spectral_step import spectral_step

__all__ = [
    "alias_step",
    "block_lift",
    "block_measure",
    "block_step",
    "dct2",
    "fwht",
    "fwht_step",
    "idct2",
    "known_step",
    "normal",
    "pointwise_step",
    "predict_x0",
    "spectral_step",
]

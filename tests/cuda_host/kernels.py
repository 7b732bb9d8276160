"""The operations of :mod:`ddrm_fast.ops.cuda`, called the same way, on the processor."""

from ddrm_fast.ops.cuda_calls import Kernels

from .build import load

_kernels = Kernels(load(), lambda x: (0, 0))

normal = _kernels.normal
pointwise_step = _kernels.pointwise_step
block_step = _kernels.block_step
spectral_step = _kernels.spectral_step
alias_step = _kernels.alias_step
known_step = _kernels.known_step
block_measure = _kernels.block_measure
block_lift = _kernels.block_lift
fwht = _kernels.fwht
fwht_step = _kernels.fwht_step
predict_x0 = _kernels.predict_x0
dct2 = _kernels.dct2
idct2 = _kernels.idct2

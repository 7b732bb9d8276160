"""The operations of :mod:`ddrm_fast.ops.cuda`, called the same way, on the processor."""

from ddrm_fast.ops.channels_calls import ChannelKernels
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

_channels = ChannelKernels(load(), lambda x: (0, 0))

channel_norm = _channels.channel_norm
channel_norm_backward = _channels.channel_norm_backward
gated_depthwise = _channels.gated_depthwise
gated_depthwise_backward = _channels.gated_depthwise_backward
depthwise_gram = _channels.depthwise_gram
attention_fold = _channels.attention_fold

"""The CUDA backend: kernels of ``ddrm_fast._cuda`` on the device and stream of their tensors."""

import torch
from torch import Tensor

import ddrm_fast._cuda as _cuda

from .channels_calls import ChannelKernels
from .cuda_calls import Kernels


def _place(x: Tensor) -> tuple[int, int]:
    """Device index and current stream: what the caller's ``torch.cuda.stream`` blocks chose."""
    index = x.device.index
    return index, torch.cuda.current_stream(index).cuda_stream


_kernels = Kernels(_cuda, _place)

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

_channels = ChannelKernels(_cuda, _place)

channel_norm = _channels.channel_norm
channel_norm_backward = _channels.channel_norm_backward
gated_depthwise = _channels.gated_depthwise
gated_depthwise_backward = _channels.gated_depthwise_backward
depthwise_gram = _channels.depthwise_gram
attention_fold = _channels.attention_fold

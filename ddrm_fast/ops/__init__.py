"""Fused operations on tensors, one function each; kernels hold no sampler's formula.

Every function checks its arguments, allocates results that were not given, and calls the registered
operation ``torch.ops.ddrm_fast.<name>``, which runs on the backend that :mod:`.dispatch` chooses.
"""

from .channels import attention_fold, channel_norm, depthwise_gram, gated_depthwise
from .dispatch import BackendError, backends, register_backend, use_backend
from .fft import fft_library, use_fft
from .functions import (
    alias_step,
    block_lift,
    block_measure,
    block_step,
    fwht,
    fwht_step,
    known_step,
    normal,
    pointwise_step,
    predict_x0,
    spectral_step,
)
from .noise import Noise, Stream, noise_keys

__all__ = [
    "BackendError",
    "Noise",
    "Stream",
    "alias_step",
    "attention_fold",
    "backends",
    "block_lift",
    "block_measure",
    "block_step",
    "channel_norm",
    "depthwise_gram",
    "fft_library",
    "fwht",
    "fwht_step",
    "gated_depthwise",
    "known_step",
    "noise_keys",
    "normal",
    "pointwise_step",
    "predict_x0",
    "register_backend",
    "spectral_step",
    "use_backend",
    "use_fft",
]

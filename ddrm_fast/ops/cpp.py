"""The C++ backend: hands addresses, shapes and the thread count to ``ddrm_fast._C``.

Functions and arguments are those of :mod:`.reference`; arguments are checked by the caller, outputs
are allocated. The state is float32, spectra complex64; ``out`` may be float32, float16 or bfloat16 with
any batch and channel stride.
"""

import torch
from torch import Tensor

from .. import _C
from . import dct_passes
from .addresses import output, profile, step_fields
from .channels_calls import ChannelKernels


def normal(z: Tensor, keys: Tensor, iteration: int, stream: int) -> None:
    """Fill ``z`` (B, C, H, W) with white noise."""
    _C.normal(
        z.data_ptr(), tuple(z.shape), keys.data_ptr(), iteration, stream, torch.get_num_threads()
    )


def pointwise_step(
    x_next: Tensor,
    x0: Tensor | None,
    x_t: Tensor | None,
    out: Tensor | None,
    u: Tensor | None,
    s: Tensor,
    table: Tensor,
    step: Tensor,
    keys: Tensor,
    noise: Tensor | None,
) -> None:
    """One affine step where every coefficient is a group of its own."""
    fields = step_fields(x_next, x0, x_t, out, u, s, table, step, keys, noise)
    _C.pointwise_step(fields, torch.get_num_threads())


def block_step(
    x_next: Tensor,
    x0: Tensor | None,
    x_t: Tensor | None,
    out: Tensor | None,
    u: Tensor | None,
    s: Tensor,
    weights: Tensor | None,
    mask: Tensor | None,
    factor: int,
    table: Tensor,
    step: Tensor,
    keys: Tensor,
    noise: Tensor | None,
) -> None:
    """One affine step where r x r pixels (and, with weights, all channels) form a group."""
    fields = step_fields(x_next, x0, x_t, out, u, s, table, step, keys, noise)
    _C.block_step(fields, profile(weights, mask, factor), torch.get_num_threads())


def spectral_step(
    x_next: Tensor,
    x_t: Tensor | None,
    out: Tensor | None,
    u: Tensor | None,
    s: Tensor,
    table: Tensor,
    step: Tensor,
    keys: Tensor,
    noise: Tensor | None,
    width: int,
) -> None:
    """One affine step on half spectra of ``rfft2(norm="ortho")``, with Hermitian noise."""
    fields = step_fields(x_next, None, x_t, out, u, s, table, step, keys, noise)
    _C.spectral_step(fields, width, torch.get_num_threads())


def alias_step(
    x_next: Tensor,
    x_t: Tensor | None,
    out: Tensor | None,
    u: Tensor | None,
    kernel: Tensor,
    s: Tensor,
    table: Tensor,
    step: Tensor,
    keys: Tensor,
    noise: Tensor | None,
    factor: int,
    width: int,
) -> None:
    """One affine step for a blur followed by decimation, on half spectra."""
    fields = step_fields(x_next, None, x_t, out, u, s, table, step, keys, noise)
    _C.alias_step(
        fields, kernel.data_ptr(), tuple(kernel.shape), factor, width, torch.get_num_threads()
    )


def known_step(
    x_next: Tensor,
    x_t: Tensor,
    out: Tensor,
    image: Tensor,
    mask: Tensor,
    table: Tensor,
    step: Tensor,
    keys: Tensor,
    noise: Tensor | None,
) -> None:
    """Known pixels of a new state, in place."""
    fields = step_fields(x_next, None, x_t, out, image, None, table, step, keys, noise)
    _C.known_step(fields, mask.data_ptr(), tuple(mask.shape), torch.get_num_threads())


def block_measure(
    c: Tensor, x: Tensor, s: Tensor, weights: Tensor | None, mask: Tensor | None, factor: int
) -> None:
    """Measured coefficient of every block: (B, G, H / r, W / r)."""
    _C.block_measure(
        c.data_ptr(),
        x.data_ptr(),
        tuple(x.shape),
        s.data_ptr(),
        tuple(s.shape),
        profile(weights, mask, factor),
        torch.get_num_threads(),
    )


def block_lift(
    x: Tensor, c: Tensor, s: Tensor, weights: Tensor | None, mask: Tensor | None, factor: int
) -> None:
    """Adjoint of :func:`block_measure`: (B, C, H, W)."""
    _C.block_lift(
        x.data_ptr(),
        tuple(x.shape),
        c.data_ptr(),
        s.data_ptr(),
        tuple(s.shape),
        profile(weights, mask, factor),
        torch.get_num_threads(),
    )


def fwht(y: Tensor, x: Tensor) -> None:
    """Orthonormal Walsh-Hadamard transform (natural order) of each plane, flattened row by row."""
    length = x.shape[-2] * x.shape[-1]
    _C.fwht(y.data_ptr(), x.data_ptr(), x.numel() // length, length, torch.get_num_threads())


def dct2(y: Tensor, x: Tensor, factor: int) -> None:
    """Orthonormal DCT-II of each plane: two passes around one real FFT of the same size."""
    dct_passes.dct2(_C, y, x, factor, torch.get_num_threads())


def idct2(x: Tensor, y: Tensor, factor: int) -> None:
    """Inverse and adjoint of :func:`dct2`."""
    dct_passes.idct2(_C, x, y, factor, torch.get_num_threads())


def predict_x0(x0: Tensor, x_t: Tensor, out: Tensor, table: Tensor, step: Tensor) -> None:
    """The (clipped) clean-image prediction of a step, (B, C, H, W)."""
    steps, row_batch = table.shape[:2]
    _C.predict_x0(
        x0.data_ptr(),
        tuple(x0.shape),
        x_t.data_ptr(),
        *output(out),
        table.data_ptr(),
        steps,
        row_batch,
        step.data_ptr(),
        torch.get_num_threads(),
    )


_channels = ChannelKernels(_C, lambda x: (torch.get_num_threads(),))

attention_fold = _channels.attention_fold
channel_norm = _channels.channel_norm
channel_norm_backward = _channels.channel_norm_backward
depthwise_gram = _channels.depthwise_gram
gated_depthwise = _channels.gated_depthwise
gated_depthwise_backward = _channels.gated_depthwise_backward

"""Fused operations of networks: normalisation over channels, gated depthwise convolutions, channel attention.

They are registered as ``torch.ops.ddrm_fast.*`` with fakes and gradients, and run on the backend that
:mod:`.dispatch` chooses. Numbers may be float32, float16 or bfloat16 (float64: reference backend);
arithmetic and sums are float32, and so are weights. Formulas: Zamir et al., "Restormer", CVPR 2022,
section 3, with the modulation of Xia et al., "DiffIR", ICCV 2023.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import channels_reference, dispatch
from .library import plane_contiguous

_library = torch.library.Library("ddrm_fast", "FRAGMENT")
_HALF = (torch.float16, torch.bfloat16)
_registered = torch.ops.ddrm_fast


def _kernel(name: str, x: Tensor) -> Callable[..., Any]:
    """Half precision is a matter of memory: arithmetic is float32.

    Raises:
        BackendError: the backend that was asked for lacks the operation; the one that was chosen by itself
            gives way to the reference.
    """
    backend = dispatch.choose(x.device.type, torch.float32 if x.dtype in _HALF else x.dtype)
    kernel = getattr(backend, name, None)
    if kernel is None and dispatch.requested() not in (None, "reference"):
        raise dispatch.BackendError(
            f"backend {dispatch.requested()!r} was asked for, but it has no {name}; reference, cpp and cuda "
            "have"
        )
    return kernel or getattr(channels_reference, name)


def _weights(x: Tensor | None, like: Tensor) -> Tensor | None:
    """Contiguous, in the precision of the arithmetic."""
    if x is None:
        return None
    return x.detach().to(torch.float32 if like.dtype in _HALF else like.dtype).contiguous()


def _define(
    name: str, schema: str, implementation: Callable[..., Any], fake: Callable[..., Any]
) -> None:
    _library.define(f"{name}{schema}")
    _library.impl(name, implementation, "CompositeExplicitAutograd")
    torch.library.register_fake(f"ddrm_fast::{name}", fake, lib=_library)


def _new(x: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
    return torch.empty(shape, dtype=dtype or x.dtype, device=x.device)


def _sum_type(x: Tensor) -> torch.dtype:
    return torch.float32 if x.dtype in _HALF else x.dtype


# normalisation over the channels of a pixel


def _norm_out(
    y: Tensor, x: Tensor, gain: Tensor, offset: Tensor | None, centred: bool, eps: float
) -> None:
    if x.numel():
        rows = _weights(gain, x), _weights(offset, x)
        _kernel("channel_norm", x)(y, plane_contiguous(x), *rows, centred, eps)


def _norm(x: Tensor, gain: Tensor, offset: Tensor | None, centred: bool, eps: float) -> Tensor:
    y = _new(x, *x.shape)
    _norm_out(y, x, gain, offset, centred, eps)
    return y


def _norm_backward(
    x: Tensor, grad: Tensor, gain: Tensor, centred: bool, eps: float
) -> tuple[Tensor, ...]:
    dx = _new(x, *x.shape)
    if not x.numel():
        zero = torch.zeros(x.shape[:2], dtype=_sum_type(x), device=x.device)
        return dx, zero, zero.clone()
    x, grad = plane_contiguous(x), plane_contiguous(grad.to(x.dtype))
    sums = _kernel("channel_norm_backward", x)(dx, x, grad, _weights(gain, x), centred, eps)
    return dx, *(s.contiguous() for s in sums)


_NORM = "Tensor x, Tensor gain, Tensor? offset, bool centred, float eps"
_define("channel_norm", f"({_NORM}) -> Tensor", _norm, lambda x, *_: _new(x, *x.shape))
_define("channel_norm_out", f"(Tensor(a!) y, {_NORM}) -> ()", _norm_out, lambda *_: None)
_define(
    "channel_norm_backward",
    "(Tensor x, Tensor grad, Tensor gain, bool centred, float eps) -> (Tensor, Tensor, Tensor)",
    _norm_backward,
    lambda x, *_: (
        _new(x, *x.shape),
        *(_new(x, *x.shape[:2], dtype=_sum_type(x)) for _ in range(2)),
    ),
)


def _save_norm(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, gain, offset, ctx.centred, ctx.eps = inputs
    ctx.save_for_backward(x, gain)
    ctx.offset = None if offset is None else (offset.shape[0], offset.dtype)


def _norm_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, gain = ctx.saved_tensors
    dx, for_gain, for_offset = _registered.channel_norm_backward(
        x, grad, gain, ctx.centred, ctx.eps
    )

    def of_rows(sums: Tensor, rows: int, dtype: torch.dtype) -> Tensor:
        return (sums.sum(dim=0, keepdim=True) if rows == 1 else sums).to(dtype)

    for_gain = of_rows(for_gain, gain.shape[0], gain.dtype)
    for_offset = None if ctx.offset is None else of_rows(for_offset, *ctx.offset)
    return dx, for_gain, for_offset, None, None


torch.library.register_autograd(
    "ddrm_fast::channel_norm", _norm_gradient, setup_context=_save_norm, lib=_library
)


def channel_norm(
    x: Tensor, gain: Tensor, offset: Tensor | None = None, centred: bool = True, eps: float = 1e-5
) -> Tensor:
    """n gain + offset, n = (x - mean) / sqrt(var + eps) over the channels of every pixel. Differentiable.

    Args:
        x:
            (B, C, H, W).
        gain, offset:
            (B or 1, C); no offset: 0.
        centred:
            False: n = x / sqrt(var + eps), with the variance still around the mean.
        eps:
            Added to the variance.

    Returns:
        (B, C, H, W), of x's dtype, contiguous.

    Raises:
        ValueError: A shape or dtype does not fit; the message names the argument.
    """
    _check_picture("x", x)
    for name, rows in (("gain", gain), ("offset", offset)):
        if rows is None:
            continue
        if rows.dim() != 2 or rows.shape[0] not in (1, x.shape[0]) or rows.shape[1] != x.shape[1]:
            expected = f"({x.shape[0]} or 1, {x.shape[1]})"
            raise ValueError(f"{name}: expected {expected}, got {tuple(rows.shape)}")
    return _registered.channel_norm(x, gain, offset, centred, eps)


# gelu of one half of a depthwise convolution times the other


def _gated_out(
    y: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, top: int, bottom: int
) -> None:
    if y.numel():
        stencil = _weights(weight, x), _weights(bias, x)
        _kernel("gated_depthwise", x)(y, plane_contiguous(x), *stencil, top, bottom)


def _gated_shape(x: Tensor) -> Tensor:
    return _new(x, x.shape[0], x.shape[1] // 2, *x.shape[2:])


def _gated(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y = _gated_shape(x)
    _gated_out(y, x, weight, bias, 1, 1)
    return y


def _gated_backward(
    x: Tensor, grad: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    dx, channels = _new(x, *x.shape), x.shape[1]
    if not x.numel():
        zeros = torch.zeros(channels, 10, dtype=_sum_type(x), device=x.device)
        return dx, zeros[:, :9].reshape(weight.shape), zeros[:, 9].clone()
    x, grad = plane_contiguous(x), plane_contiguous(grad.to(x.dtype))
    for_weight, for_bias = _kernel("gated_depthwise_backward", x)(
        dx, x, grad, _weights(weight, x), _weights(bias, x)
    )
    return dx, for_weight.reshape(weight.shape).contiguous(), for_bias.contiguous()


_GATED = "Tensor x, Tensor weight, Tensor? bias"
_define("gated_depthwise", f"({_GATED}) -> Tensor", _gated, lambda x, *_: _gated_shape(x))
_define(
    "gated_depthwise_out",
    f"(Tensor(a!) y, {_GATED}, int top, int bottom) -> ()",
    _gated_out,
    lambda *_: None,
)
_define(
    "gated_depthwise_backward",
    "(Tensor x, Tensor grad, Tensor weight, Tensor? bias) -> (Tensor, Tensor, Tensor)",
    _gated_backward,
    lambda x, grad, weight, bias: (
        _new(x, *x.shape),
        _new(x, *weight.shape, dtype=_sum_type(x)),
        _new(x, x.shape[1], dtype=_sum_type(x)),
    ),
)


def _save_gated(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _gated_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, bias = ctx.saved_tensors
    dx, for_weight, for_bias = _registered.gated_depthwise_backward(x, grad, weight, bias)
    return dx, for_weight.to(weight.dtype), None if bias is None else for_bias.to(bias.dtype)


torch.library.register_autograd(
    "ddrm_fast::gated_depthwise", _gated_gradient, setup_context=_save_gated, lib=_library
)


def gated_depthwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """gelu(a) b with (a | b) the depthwise 3 x 3 convolution of x, zeros around it. Differentiable.

    Args:
        x:
            (B, 2 C, H, W).
        weight:
            (2 C, 1, 3, 3) or (2 C, 3, 3).
        bias:
            (2 C), or None.

    Returns:
        (B, C, H, W), of x's dtype, contiguous.

    Raises:
        ValueError: A shape or dtype does not fit; the message names the argument.
    """
    _check_picture("x", x)
    _check_depthwise(x, weight, bias, 2)
    return _registered.gated_depthwise(x, weight, bias)


# depthwise convolution of q, k, v with the products of channels


def _gram_out(
    v: Tensor | None,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    heads: int,
    top: int,
    bottom: int,
) -> tuple[Tensor, ...]:
    channels, each = x.shape[1] // 3, x.shape[1] // 3 // heads
    if not x.numel():
        gram = torch.zeros(x.shape[0], heads, each, each, dtype=_sum_type(x), device=x.device)
        return gram, gram.new_zeros(x.shape[0], 2, channels)
    stencil = _weights(weight, x), _weights(bias, x)
    sums = _kernel("depthwise_gram", x)(v, plane_contiguous(x), *stencil, heads, top, bottom)
    return tuple(s.contiguous() for s in sums)


def _gram(x: Tensor, weight: Tensor, bias: Tensor | None, heads: int) -> tuple[Tensor, ...]:
    v = _new(x, x.shape[0], x.shape[1] // 3, *x.shape[2:])
    return v, *_gram_out(v, x, weight, bias, heads, 1, 1)


def _fake_sums(x: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    channels = x.shape[1] // 3
    each, dtype = channels // heads, _sum_type(x)
    return (
        _new(x, x.shape[0], heads, each, each, dtype=dtype),
        _new(x, x.shape[0], 2, channels, dtype=dtype),
    )


_GRAM = "Tensor x, Tensor weight, Tensor? bias, int heads"
_define(
    "depthwise_gram",
    f"({_GRAM}) -> (Tensor, Tensor, Tensor)",
    _gram,
    lambda x, weight, bias, heads: (
        _new(x, x.shape[0], x.shape[1] // 3, *x.shape[2:]),
        *_fake_sums(x, heads),
    ),
)
_define(
    "depthwise_gram_out",
    f"(Tensor(a!)? v, {_GRAM}, int top, int bottom) -> (Tensor, Tensor)",
    _gram_out,
    lambda v, x, weight, bias, heads, top, bottom: _fake_sums(x, heads),
)


def _save_gram(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, weight, bias, ctx.heads = inputs
    ctx.save_for_backward(x, weight, bias)


def _gram_gradient(
    ctx: Any, for_v: Tensor, for_gram: Tensor, for_squares: Tensor
) -> tuple[Tensor | None, ...]:
    """q and k are convolved anew, so that only the input is kept."""
    x, weight, bias = ctx.saved_tensors
    kind = _sum_type(x)
    stencil = weight.to(kind).view(-1, 1, 3, 3)
    wide_bias = None if bias is None else bias.to(kind)
    qkv = channels_reference.depthwise(x, stencil, wide_bias, 1, 1)
    q, k, _ = qkv.flatten(2).unflatten(1, (3, ctx.heads, -1)).unbind(1)
    twice = 2 * for_squares.unflatten(2, (ctx.heads, -1))[..., None]
    for_q = for_gram @ k + twice[:, 0] * q
    for_k = for_gram.mT @ q + twice[:, 1] * k
    size = (x.shape[0], -1, *x.shape[2:])
    grad = torch.cat([for_q.reshape(size), for_k.reshape(size), for_v.to(kind)], dim=1)
    dx, for_weight, for_bias = torch.ops.aten.convolution_backward(
        grad, x.to(kind), stencil, [x.shape[1]], [1, 1], [1, 1], [1, 1], False, [0, 0], x.shape[1],
        [True, True, bias is not None],
    )  # fmt: skip
    for_weight = for_weight.view(weight.shape).to(weight.dtype)
    return dx.to(x.dtype), for_weight, None if bias is None else for_bias.to(bias.dtype), None


torch.library.register_autograd(
    "ddrm_fast::depthwise_gram", _gram_gradient, setup_context=_save_gram, lib=_library
)


def depthwise_gram(
    x: Tensor, weight: Tensor, bias: Tensor | None, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(q | k | v) = depthwise 3 x 3 of x: v, and the products of q and k over all pixels. Differentiable.

    Args:
        x:
            (B, 3 C, H, W).
        weight:
            (3 C, 1, 3, 3) or (3 C, 3, 3).
        bias:
            (3 C), or None.
        heads:
            Groups of channels that attend to each other; divides C.

    Returns:
        v (B, C, H, W); q k^T (B, heads, C / heads, C / heads); sums of squares of q and k (B, 2, C). The last
        two are float32, added in an order that does not depend on threads.

    Raises:
        ValueError: A shape or dtype does not fit; the message names the argument.
    """
    _check_picture("x", x)
    _check_depthwise(x, weight, bias, 3)
    if heads < 1 or x.shape[1] // 3 % heads:
        raise ValueError(f"heads: got {heads}, expected a divisor of {x.shape[1] // 3} channels")
    return _registered.depthwise_gram(x, weight, bias, heads)


# the attention matrix, folded into the weights of the 1 x 1 convolution behind it


def _fold(gram: Tensor, squares: Tensor, temperature: Tensor, projection: Tensor) -> Tensor:
    folded = _new(gram, gram.shape[0], *projection.shape[:2])
    if folded.numel():
        rest = [_weights(x, gram) for x in (squares, temperature, projection)]
        _kernel("attention_fold", gram)(folded, gram.contiguous(), *rest)
    return folded


_define(
    "attention_fold",
    "(Tensor gram, Tensor squares, Tensor temperature, Tensor projection) -> Tensor",
    _fold,
    lambda gram, squares, temperature, projection: _new(gram, gram.shape[0], *projection.shape[:2]),
)


def attention_fold(
    gram: Tensor, squares: Tensor, temperature: Tensor, projection: Tensor
) -> Tensor:
    """W[b] = P S[b]: attention and the 1 x 1 convolution behind it cost one product W[b] v. Differentiable.

    S[b] is block-diagonal, a block for each head: softmax over k of temperature q k^T / (|q| |k|), with norms
    of at least 1e-12.

    Args:
        gram:
            q k^T, (B, heads, C / heads, C / heads).
        squares:
            Sums of squares of q and k, (B, 2, C).
        temperature:
            heads numbers, of any shape.
        projection:
            P, (C, C) or (C, C, 1, 1).

    Returns:
        (B, C, C) of gram's dtype.

    Raises:
        ValueError: A shape does not fit; the message names the argument.
    """
    if gram.dim() != 4 or gram.shape[2] != gram.shape[3]:
        raise ValueError(f"gram: expected (B, heads, c, c), got {tuple(gram.shape)}")
    batch, heads, each, _ = gram.shape
    channels = heads * each
    if tuple(squares.shape) != (batch, 2, channels):
        raise ValueError(f"squares: expected ({batch}, 2, {channels}), got {tuple(squares.shape)}")
    if temperature.numel() != heads:
        raise ValueError(f"temperature: expected {heads} numbers, got {tuple(temperature.shape)}")
    if projection.shape[:2] != (channels, channels) or projection.numel() != channels**2:
        raise ValueError(
            f"projection: expected ({channels}, {channels}), got {tuple(projection.shape)}"
        )
    projection = projection.reshape(channels, channels)
    learns = any(x.requires_grad for x in (gram, squares, temperature, projection))
    if torch.is_grad_enabled() and learns:  # matrices as small as these need no kernel to learn
        temperature, projection = temperature.to(gram.dtype), projection.to(gram.dtype)
        return channels_reference.fold(gram, squares, temperature, projection)
    return _registered.attention_fold(gram, squares, temperature, projection)


def _check_picture(name: str, x: Tensor) -> None:
    if x.dim() != 4:
        raise ValueError(f"{name}: expected (B, C, H, W), got shape {tuple(x.shape)}")
    allowed = (torch.float32, torch.float64, *_HALF)
    if x.dtype not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(map(str, allowed))}, got {x.dtype}")


def _check_depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, parts: int) -> None:
    channels = x.shape[1]
    if channels % parts:
        raise ValueError(f"x: expected a multiple of {parts} channels, got {channels}")
    if weight.shape[0] != channels or weight.numel() != 9 * channels:
        raise ValueError(f"weight: expected ({channels}, 1, 3, 3), got {tuple(weight.shape)}")
    if bias is not None and tuple(bias.shape) != (channels,):
        raise ValueError(f"bias: expected ({channels},), got {tuple(bias.shape)}")
    for name, other in (("weight", weight), ("bias", bias)):
        if other is not None and other.device != x.device:
            raise ValueError(f"{name}: is on {other.device}, x is on {x.device}")

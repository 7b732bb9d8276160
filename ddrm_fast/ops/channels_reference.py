"""Operations of networks in plain PyTorch: what the kernels are held against, and what runs where none does.

Half precision is widened first and rounded at the end, as the kernels do.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_HALF = (torch.float16, torch.bfloat16)
#: least norm of q and k, as `torch.nn.functional.normalize` has it
LEAST_NORM = 1e-12


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in _HALF else x


def _normal(x: Tensor, centred: bool, eps: float) -> Tensor:
    mean = x.mean(dim=1, keepdim=True)
    difference = x - mean
    scale = (difference.square().mean(dim=1, keepdim=True) + eps).rsqrt()
    return (difference if centred else x) * scale


def channel_norm(
    y: Tensor, x: Tensor, gain: Tensor, offset: Tensor | None, centred: bool, eps: float
) -> None:
    """y = n gain + offset with n = (x - mean) / sqrt(var + eps), or x / sqrt(var + eps) if not centred."""
    result = _normal(_wide(x), centred, eps) * gain[:, :, None, None]
    y.copy_(result if offset is None else result + offset[:, :, None, None])


def channel_norm_backward(
    dx: Tensor, x: Tensor, grad: Tensor, gain: Tensor, centred: bool, eps: float
) -> tuple[Tensor, Tensor]:
    """Gradients of x (into dx), and of gain and offset for each picture, (B, C)."""
    x, grad = _wide(x), _wide(grad)
    mean = x.mean(dim=1, keepdim=True)
    scale = ((x - mean).square().mean(dim=1, keepdim=True) + eps).rsqrt()
    normal = (x - mean) * scale
    seen = normal if centred else x * scale
    u = grad * gain[:, :, None, None]
    change = u - normal * (u * seen).mean(dim=1, keepdim=True)
    if centred:
        change = change - u.mean(dim=1, keepdim=True)
    dx.copy_(change * scale)
    return (grad * seen).sum(dim=(2, 3)), grad.sum(dim=(2, 3))


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, top: int, bottom: int) -> Tensor:
    """3 x 3 for each channel; rows of zeros above and below, columns of zeros on both sides."""
    padded = F.pad(_wide(x), (1, 1, top, bottom))
    return F.conv2d(padded, weight.view(-1, 1, 3, 3), bias, groups=x.shape[1])


def gated_depthwise(
    y: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, top: int, bottom: int
) -> None:
    """y = gelu(a) b with (a | b) = depthwise(x)."""
    a, b = depthwise(x, weight, bias, top, bottom).chunk(2, dim=1)
    # not torch's GELU, whose 1 + erf loses the digits of its tail
    y.copy_(0.5 * a * torch.erfc(-(0.5**0.5) * a) * b)


def gated_depthwise_backward(
    dx: Tensor, x: Tensor, grad: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Gradients of x (into dx), and of weight (C, 3, 3) and bias (C)."""
    x, grad = _wide(x), _wide(grad)
    a, b = depthwise(x, weight, bias, 1, 1).chunk(2, dim=1)
    cumulative = 0.5 * (1 + torch.erf(a * 0.5**0.5))
    density = torch.exp(-0.5 * a * a) / (2 * torch.pi) ** 0.5
    d = torch.cat([grad * b * (cumulative + a * density), grad * a * cumulative], dim=1)
    gradients = torch.ops.aten.convolution_backward(
        d, x, weight.view(-1, 1, 3, 3), [weight.shape[0]], [1, 1], [1, 1], [1, 1], False, [0, 0],
        x.shape[1], [True, True, True],
    )  # fmt: skip
    dx.copy_(gradients[0])
    return gradients[1].view(-1, 3, 3), gradients[2]


def depthwise_gram(
    v: Tensor | None,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    heads: int,
    top: int,
    bottom: int,
) -> tuple[Tensor, Tensor]:
    """(q | k | v) = depthwise(x): q k^T (B, heads, C/heads, C/heads), sums of squares (B, 2, C)."""
    q, k, values = depthwise(x, weight, bias, top, bottom).chunk(3, dim=1)
    if v is not None:
        v.copy_(values)
    squares = torch.stack([q.square().sum(dim=(2, 3)), k.square().sum(dim=(2, 3))], dim=1)
    q, k = (part.flatten(2).unflatten(1, (heads, -1)) for part in (q, k))
    return q @ k.mT, squares


def attention_fold(
    folded: Tensor, gram: Tensor, squares: Tensor, temperature: Tensor, projection: Tensor
) -> None:
    """W[b] = P S[b], S the softmax over k of temperature q k^T / (|q| |k|), head by head."""
    folded.copy_(fold(gram, squares, temperature, projection))


def fold(gram: Tensor, squares: Tensor, temperature: Tensor, projection: Tensor) -> Tensor:
    """:func:`attention_fold` as a function that autograd sees through."""
    batch, heads, width, _ = gram.shape
    norms = squares.clamp_min(LEAST_NORM**2).sqrt().view(batch, 2, heads, width)
    scale = temperature.view(1, heads, 1, 1) / (norms[:, 0, :, :, None] * norms[:, 1, :, None, :])
    share = (gram * scale).softmax(dim=-1)
    parts = projection.view(1, -1, heads, width).transpose(1, 2) @ share
    return parts.transpose(1, 2).flatten(2)

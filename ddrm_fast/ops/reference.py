"""The reference backend: every fused operation in plain PyTorch, written to be read.

It is the oracle of the conformance tests (run it in float64) and works on any torch device. Each
function fills buffers that its caller allocated, and has the same name and arguments in every
backend; ``docs/adding-a-backend.md`` describes them.
"""

import math

import torch
from torch import Tensor

from . import philox, rows
from .channels_reference import (  # noqa: F401  (operations of networks)
    attention_fold,
    channel_norm,
    channel_norm_backward,
    depthwise_gram,
    gated_depthwise,
    gated_depthwise_backward,
)
from .groups import fold_groups, group_sum, spread_groups


def normal(z: Tensor, keys: Tensor, iteration: int, stream: int) -> None:
    """Fill ``z`` (B, C, H, W) with white noise; see :func:`philox.normal_field`."""
    channels, height, width = z.shape[1:]
    z.copy_(philox.normal_field(keys, channels, height, width, iteration, stream))


def _row(table: Tensor, step: Tensor, dtype: torch.dtype) -> Tensor:
    """The row of this step, (B or 1, 1, 1, 1, WIDTH): ``row[..., k]`` broadcasts over images."""
    row = table.index_select(0, step)[0].to(dtype)
    return row.view(row.shape[0], 1, 1, 1, rows.WIDTH)


def _predict(
    row: Tensor, x_t: Tensor | None, out: Tensor | None, like: Tensor
) -> tuple[Tensor, Tensor]:
    """(x0, eps) from the state and the network's output; zeros for the initial state."""
    if x_t is None or out is None:
        zero = torch.zeros((), dtype=like.dtype, device=like.device)
        return zero, zero
    out = out.to(x_t.dtype)
    x0 = row[..., rows.P_X] * x_t + row[..., rows.P_OUT] * out
    eps = row[..., rows.Q_X] * x_t + row[..., rows.Q_OUT] * out
    if x_t.is_complex():
        return x0, eps
    clipped = torch.minimum(torch.maximum(x0, row[..., rows.CLIP_LO]), row[..., rows.CLIP_HI])
    edited = row[..., rows.R_X] * x_t + row[..., rows.R_X0] * clipped
    return clipped, torch.where(clipped == x0, eps, edited)


def _weights(row: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights a, b, c, d at the singular values ``s``: three branches of one rational form."""
    null = s <= 0
    high = s >= row[..., rows.THR]
    inverse = torch.where(null, 0.0, 1.0 / torch.where(null, 1.0, s))

    def branch(index: int) -> Tensor:
        return torch.where(high, row[..., rows.HIGH + index], row[..., rows.LOW + index])

    a0, a1, a2, b0, c0, c1, c2, d0, d1, d2 = (branch(i) for i in range(10))
    a = a0 + s * (a1 + s * a2)
    b = b0
    c = c0 + c1 * inverse + c2 * s
    variance = d0 + d1 * (inverse * inverse) + d2 * (s * s)
    rational = row[..., rows.RATIONAL] != 0
    # (what is compiled cannot branch on a value)
    if torch.compiler.is_compiling() or rational.any():
        b = torch.where(rational, b + branch(rows.B2) * (s * s), b)
        factor = 1.0 / (branch(rows.P) + branch(rows.Q) * (s * s))
        over = [rational & (branch(rows.OVER + i) != 0) for i in range(4)]
        a, b, c, variance = (
            torch.where(stands, weight * factor, weight)
            for stands, weight in zip(over, (a, b, c, variance), strict=True)
        )
    d = torch.sqrt(torch.clamp(variance, min=0.0))
    a = torch.where(null, row[..., rows.NULL], a)
    b = torch.where(null, row[..., rows.NULL + 1], b)
    d = torch.where(null, row[..., rows.NULL + 2], d)
    return a, b, torch.where(null, 0.0, c), d


def _draws_noise(row: Tensor) -> bool:
    """False where no branch of the row has any noise weight (the last step of a run)."""
    spread = [rows.NULL + 2, *range(rows.LOW + 7, rows.LOW + 10)]
    spread += range(rows.HIGH + 7, rows.HIGH + 10)
    return bool((row[..., spread] != 0).any())


def _step_noise(
    row: Tensor, step: Tensor, keys: Tensor, noise: Tensor | None, x_next: Tensor
) -> Tensor:
    if noise is not None:
        return noise
    if not _draws_noise(row):
        return torch.zeros((), dtype=x_next.dtype, device=x_next.device)
    channels, height, width = x_next.shape[1:]
    field = philox.normal_field(keys, channels, height, width, int(step), 0)
    return field.to(x_next.dtype)


def _measured(u: Tensor | None, s: Tensor) -> Tensor:
    """u where something was measured; what stands in unmeasured places never matters, not even NaN."""
    if u is None:
        return torch.zeros((), dtype=s.dtype, device=s.device)
    return torch.where(s > 0, u, torch.zeros((), dtype=u.dtype, device=u.device))


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
    """One affine step where every coefficient is a group of its own.

    x_next = a(s) x0 + b(s) eps + c(s) u + d(s) z, with x0 and eps predicted from (x_t, out).

    Args:
        x_next:
            Result, (B, C, H, W). May be ``x_t`` itself.
        x0:
            Receives the (clipped) clean-image prediction, or None.
        x_t, out:
            State and network output, (B, C, H, W). None and None: the initial state, x0 = eps = 0.
        u:
            Measurement U^T y, (B or 1, C, H, W), or None where nothing is measured.
        s:
            Singular values, each dimension full or 1.
        table, step:
            Row table and the int64 [1] index of this step's row.
        keys, noise:
            int64 [B, 4] noise keys; or the noise itself, (B, C, H, W).
    """
    row = _row(table, step, x_next.dtype)
    clean, eps = _predict(row, x_t, out, x_next)
    s = s.to(x_next.dtype) if u is not None else torch.zeros_like(s, dtype=x_next.dtype)
    a, b, c, d = _weights(row, s)
    z = _step_noise(row, step, keys, noise, x_next)
    result = a * clean + b * eps + c * _measured(u, s) + d * z
    if x0 is not None:
        x0.copy_(clean)
    x_next.copy_(result)


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
    """One affine step on half spectra of ``rfft2(norm="ortho")``, with Hermitian noise.

    Shapes: x_next, x_t, out complex (B, C, H, width // 2 + 1); u the same or batch 1; s real,
    each dimension full or 1. The phases of the degradation's spectrum are already in u.
    """
    real = x_next.real.dtype
    row = _row(table, step, real)
    clean, eps = _predict(row, x_t, out, x_next)
    s = s.to(real) if u is not None else torch.zeros_like(s, dtype=real)
    a, b, c, d = _weights(row, s)
    z = _spectral_noise(row, step, keys, noise, x_next, width)
    x_next.copy_(a * clean + b * eps + c * _measured(u, s) + d * z)


def _spectral_noise(
    row: Tensor, step: Tensor, keys: Tensor, noise: Tensor | None, x_next: Tensor, width: int
) -> Tensor:
    if noise is not None:
        return noise
    if not _draws_noise(row):
        return torch.zeros((), dtype=x_next.dtype, device=x_next.device)
    channels, height = x_next.shape[1:3]
    field = philox.hermitian_field(keys, channels, height, width, int(step), 0)
    return field.to(x_next.dtype)


def block_direction(
    s: Tensor, weights: Tensor | None, mask: Tensor | None, factor: int, shape: tuple[int, ...]
) -> Tensor:
    """Unit measured direction of every block, spread over the image: weights mask / (s r^2)."""
    channels, height, width = shape[-3:]
    h, w = height // factor, width // factor
    s = s.expand(s.shape[0], s.shape[1], h, w)
    scale = torch.where(s > 0, 1.0 / torch.where(s > 0, s, 1.0), 0.0) / factor**2
    direction = spread_groups(scale, factor, channels)
    if weights is not None:
        direction = direction * weights.to(s.dtype).view(1, -1, 1, 1)
    return direction if mask is None else direction * mask.to(s.dtype)


def block_measure(
    c: Tensor, x: Tensor, s: Tensor, weights: Tensor | None, mask: Tensor | None, factor: int
) -> None:
    """Measured coefficient of every block, V_1^T x = sum_j w_j x_j: (B, G, h, w)."""
    direction = block_direction(s.to(x.dtype), weights, mask, factor, x.shape)
    c.copy_(group_sum(direction * x, factor, weights is not None))


def block_lift(
    x: Tensor, c: Tensor, s: Tensor, weights: Tensor | None, mask: Tensor | None, factor: int
) -> None:
    """Adjoint of :func:`block_measure`: V_1 c, (B, C, H, W)."""
    direction = block_direction(s.to(x.dtype), weights, mask, factor, x.shape)
    x.copy_(direction * spread_groups(c, factor, x.shape[1]))


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
    """One affine step where r x r pixels (and, with weights, all channels) form a group.

    A group has one measured direction w; the rest of it is null space:

        n_j = a_null x0_j + b_null eps_j + d_null z_j
        x_next_j = n_j + w_j ((a - a_null) <w, x0> + (b - b_null) <w, eps> + c u + (d - d_null) <w, z>).

    Args:
        u:
            (B or 1, G, h, w) with G = 1 where weights are given, else C, and h = H / r.
        s:
            Singular values, (B or 1, G or 1, h or 1, w or 1).
        weights:
            [C]: the channels of a pixel belong to one group with these weights. None: no.
        mask:
            (B or 1, C or 1, H, W), or None.
        factor:
            r, at least 1.

    The other arguments are those of :func:`pointwise_step`.
    """
    dtype = x_next.dtype
    row = _row(table, step, dtype)
    clean, eps = _predict(row, x_t, out, x_next)
    z = _step_noise(row, step, keys, noise, x_next)
    s = s.to(dtype) if u is not None else torch.zeros_like(s, dtype=dtype)
    a_null, b_null, d_null = (row[..., rows.NULL + i] for i in range(3))
    result = (a_null * clean + b_null * eps + d_null * z).expand(x_next.shape)
    if u is not None:
        direction = block_direction(s, weights, mask, factor, x_next.shape)
        rho_x0, rho_eps, rho_z = (
            group_sum((direction * v).expand(x_next.shape), factor, weights is not None)
            for v in (clean, eps, z)
        )
        a, b, c, d = _weights(row, s)
        change = (a - a_null) * rho_x0 + (b - b_null) * rho_eps
        change = change + c * _measured(u, s) + (d - d_null) * rho_z
        change = torch.where(s > 0, change, 0.0)
        result = result + direction * spread_groups(change, factor, x_next.shape[1])
    if x0 is not None:
        x0.copy_(clean)
    x_next.copy_(result)


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
    """One affine step for a blur followed by decimation: the r^2 frequencies that alias form a group.

    As :func:`block_step` on half spectra, with w_j = kernel_j / (s r) and rho = sum_j w_j V_j; the
    null part of V_j is V_j - conj(w_j) rho.

    Args:
        kernel:
            Spectrum of the blur, complex (1 or B, 1 or C, H, width // 2 + 1).
        s:
            norm / r on the measured half grid, (1 or B, 1 or C, H / r, (width / r) // 2 + 1).
        u:
            Unitary half spectrum of y on the measured half grid.
    """
    real = x_next.real.dtype
    row = _row(table, step, real)
    clean, eps = _predict(row, x_t, out, x_next)
    z = _spectral_noise(row, step, keys, noise, x_next, width)
    a_null, b_null, d_null = (row[..., rows.NULL + i] for i in range(3))
    result = (a_null * clean + b_null * eps + d_null * z).expand(x_next.shape)
    if u is not None:
        s = s.to(real)
        groups = fold_groups(kernel, s, factor, width)
        rho_x0, rho_eps, rho_z = (groups.measure(v.expand(x_next.shape)) for v in (clean, eps, z))
        a, b, c, d = _weights(row, s)
        change = (a - a_null) * rho_x0 + (b - b_null) * rho_eps
        change = change + c * _measured(u, s) + (d - d_null) * rho_z
        result = result + groups.lift(torch.where(s > 0, change, 0.0))
    x_next.copy_(result)


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
    """Where ``mask`` is True: x_next = a image + b eps + d z with the null branch's weights, in place.

    Args:
        x_next:
            The state after the operator's step, (B, C, H, W).
        x_t, out:
            State before it and network output; eps is that of the network, before any clip.
        image, mask:
            Clean pixels (B or 1, C, H, W); bool (B or 1, 1 or C, H, W).
        keys, noise:
            Noise keys; or the noise itself, in pixels.
    """
    row = _row(table, step, x_next.dtype)
    eps = row[..., rows.Q_X] * x_t + row[..., rows.Q_OUT] * out.to(x_t.dtype)
    a, b, d = (row[..., rows.NULL + i] for i in range(3))
    z = _step_noise(row, step, keys, noise, x_next)
    x_next.copy_(torch.where(mask, a * image + b * eps + d * z, x_next))


def fwht(y: Tensor, x: Tensor) -> None:
    """Orthonormal Walsh-Hadamard transform (natural order) of each plane, flattened row by row.

    The matrix of a plane of H W = 2^m pixels is the m-fold Kronecker power of [[1, 1], [1, -1]],
    divided by sqrt(H W); it is its own inverse.
    """
    planes = x.reshape(-1, x.shape[-2] * x.shape[-1])
    length = planes.shape[1]
    span = 1
    while span < length:
        pairs = planes.view(-1, length // (2 * span), 2, span)
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        planes = torch.stack((first + second, first - second), dim=2).view(-1, length)
        span *= 2
    y.copy_((planes / math.sqrt(length)).view(x.shape))


def predict_x0(x0: Tensor, x_t: Tensor, out: Tensor, table: Tensor, step: Tensor) -> None:
    """The (clipped) clean-image prediction of a step, (B, C, H, W)."""
    x0.copy_(_predict(_row(table, step, x_t.dtype), x_t, out, x_t)[0])

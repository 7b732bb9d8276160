"""The operations as their callers see them: arguments checked, results allocated."""

import torch
from torch import Tensor

from . import guard, library  # noqa: F401  (library registers the operations)
from .noise import Noise, Stream
from .rows import WIDTH

_registered = torch.ops.ddrm_fast


def _result(x_next: Tensor | None, like: Tensor, name: str = "x_next") -> Tensor:
    if x_next is None:
        return torch.empty(like.shape, dtype=like.dtype, device=like.device)
    guard.same(name, x_next, like)
    return x_next


def _prepare(
    x_next: Tensor | None,
    x_t: Tensor | None,
    out: Tensor | None,
    table: Tensor,
    step: Tensor,
    noise: Noise,
    complex_state: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Checks shared by all steps; returns what the result is like, and the network output in a
    readable layout."""
    like = guard.state(x_next if x_t is None else x_t, complex_state)
    if (x_t is None) != (out is None):
        raise ValueError("x_t, out: give both, or neither for the initial state")
    if x_t is not None and out is not None:
        out = guard.network_output(out, like)
        guard.not_differentiable(x_t, out)
    guard.table(table, step, like, WIDTH)
    guard.keys(noise, like)
    return like, out


def pointwise_step(
    x_t: Tensor | None,
    out: Tensor | None,
    u: Tensor | None,
    s: Tensor,
    table: Tensor,
    step: Tensor,
    noise: Noise,
    *,
    x_next: Tensor | None = None,
    x0: Tensor | None = None,
) -> Tensor:
    """One sampling step where each coefficient is its own group (pixels; DCT, Walsh-Hadamard).

    x_next = a(s) x0 + b(s) eps + c(s) u + d(s) z. Not differentiable.

    Args:
        x_t:
            State, (B, C, H, W), float32 (float64: reference backend), contiguous. None together with
            ``out``: the initial state, where x0 = eps = 0; then ``x_next`` has to be given.
        out:
            Network output, (B, C or more, H, W), float32, float16 or bfloat16; further channels
            (variances) are not read.
        u:
            Measurement U^T y in the place of the coefficients, (B or 1, C, H, W); None: unconditional.
        s:
            Singular values >= 0, four dimensions, each full or 1.
        table, step:
            Row table float32 [rows, B or 1, 48] (:mod:`.rows`), and the row's index, int64 [1].
        noise:
            :class:`Noise`, with ``pixels`` in the coefficients' own space here.
        x_next, x0:
            Buffers for the result and for the clean-image prediction.

    Returns:
        ``x_next``.

    Raises:
        ValueError: a shape, dtype or device does not fit; the message names the argument.
    """
    like, out = _prepare(x_next, x_t, out, table, step, noise)
    x_next = _result(x_next, like)
    if x0 is not None:
        guard.same("x0", x0, like)
    u, s = guard.measurement(u, like, like.shape), guard.broadcastable("s", s, like.shape, like)
    given = guard.given_noise(noise, like)
    _registered.pointwise_step(x_next, x0, x_t, out, u, s, table, step, noise.keys, given)
    return x_next


def block_step(
    x_t: Tensor | None,
    out: Tensor | None,
    u: Tensor | None,
    s: Tensor,
    weights: Tensor | None,
    mask: Tensor | None,
    factor: int,
    table: Tensor,
    step: Tensor,
    noise: Noise,
    *,
    x_next: Tensor | None = None,
    x0: Tensor | None = None,
) -> Tensor:
    """One sampling step where r x r pixels (with weights: of all channels) form a group.

    A group has one measured direction, w_j = weight_j mask_j / (s r^2); all else is null space.
    See :func:`ddrm_fast.ops.reference.block_step` for the formula. Not differentiable.

    Args:
        u:
            Measured coefficients, (B or 1, G, H/r, W/r); G = 1 with weights, else C.
        s:
            Singular values, (B or 1, G or 1, H/r or 1, W/r or 1).
        weights:
            [C] or None: a group per channel.
        mask:
            (B or 1, C or 1, H, W) or None.
        factor:
            Side r of a block, >= 1; divides H and W.

    The other arguments, results and errors are those of :func:`pointwise_step`.
    """
    like, out = _prepare(x_next, x_t, out, table, step, noise)
    x_next = _result(x_next, like)
    if x0 is not None:
        guard.same("x0", x0, like)
    grid = guard.block_grid(like.shape, weights, factor)
    u, s = guard.measurement(u, like, grid), guard.broadcastable("s", s, grid, like)
    weights, mask = guard.block_profile(weights, mask, like)
    given = guard.given_noise(noise, like)
    _registered.block_step(
        x_next, x0, x_t, out, u, s, weights, mask, factor, table, step, noise.keys, given
    )
    return x_next


def spectral_step(
    x_t: Tensor | None,
    out: Tensor | None,
    u: Tensor | None,
    s: Tensor,
    table: Tensor,
    step: Tensor,
    noise: Noise,
    width: int,
    *,
    x_next: Tensor | None = None,
) -> Tensor:
    """One sampling step on half spectra (``torch.fft.rfft2(norm="ortho")`` of real images).

    Args:
        x_t, out:
            Spectra of state and network output, complex (B, C, H, width // 2 + 1).
        u:
            conj(phase) of the blur times the spectrum of y, same shape or batch 1.
        s:
            abs of the blur's spectrum, four dimensions, each full or 1.
        noise:
            ``pixels`` is here the half spectrum of the noise.
        width:
            Width of the image (its parity cannot be read from the half spectrum).

    The other arguments, results and errors are those of :func:`pointwise_step`; no clipping.
    """
    like, out = _prepare(x_next, x_t, out, table, step, noise, complex_state=True)
    x_next = _result(x_next, like)
    guard.half_width(like, width)
    u, s = guard.measurement(u, like, like.shape), guard.broadcastable("s", s, like.shape, like)
    given = guard.given_noise(noise, like)
    _registered.spectral_step(x_next, x_t, out, u, s, table, step, noise.keys, given, width)
    return x_next


def alias_step(
    x_t: Tensor | None,
    out: Tensor | None,
    u: Tensor | None,
    kernel: Tensor,
    s: Tensor,
    table: Tensor,
    step: Tensor,
    noise: Noise,
    factor: int,
    width: int,
    *,
    x_next: Tensor | None = None,
) -> Tensor:
    """One sampling step where the r^2 frequencies that alias under decimation form a group.

    Args:
        u:
            Unitary half spectrum of y, (B or 1, C, H/r, (W/r) // 2 + 1).
        kernel:
            Half spectrum of the blur, (B or 1, C or 1, H, W // 2 + 1), complex.
        s:
            sqrt(sum |K_j|^2) / r of each group, (B or 1, C or 1, H/r, (W/r) // 2 + 1).
        factor:
            Decimation r; divides H and width.

    The other arguments, results and errors are those of :func:`spectral_step`.
    """
    like, out = _prepare(x_next, x_t, out, table, step, noise, complex_state=True)
    x_next = _result(x_next, like)
    guard.half_width(like, width)
    grid = guard.alias_grid(like.shape, factor, width)
    u, s = guard.measurement(u, like, grid), guard.broadcastable("s", s, grid, like)
    kernel = guard.spectrum(kernel, like)
    given = guard.given_noise(noise, like)
    _registered.alias_step(
        x_next, x_t, out, u, kernel, s, table, step, noise.keys, given, factor, width
    )
    return x_next


def known_step(
    x_next: Tensor,
    x_t: Tensor,
    out: Tensor,
    image: Tensor,
    mask: Tensor,
    table: Tensor,
    step: Tensor,
    noise: Noise,
) -> Tensor:
    """Known pixels of a new state: where the mask is True, x_next = a image + b eps + d z, in place.

    a, b, d are the weights of the row's null branch, eps is the network's own (of no clipped x0) and z the
    white noise of the step's pixels, whatever the operator of the step works on. Pixels elsewhere keep
    their bits. Not differentiable.

    Args:
        x_next:
            The state after the operator's step, (B, C, H, W), contiguous; changed in place.
        x_t, out:
            State before that step and network output, as in :func:`pointwise_step`.
        image:
            Clean pixels, (B or 1, C, H, W), of the state's dtype; read where they are known alone.
        mask:
            True where a pixel is known, bool (B or 1, 1 or C, H, W).
        noise:
            :class:`Noise`, with ``pixels`` in pixel space.

    Returns:
        ``x_next``.

    Raises:
        ValueError: a shape, dtype or device does not fit; the message names the argument.
    """
    if x_t is None:
        raise ValueError("x_t: the initial state has no known pixels, got None")
    _, readable = _prepare(None, x_t, out, table, step, noise)
    guard.same("x_next", x_next, x_t)
    if x_next is x_t:
        raise ValueError("x_next: is the state x_t itself, which is still needed")
    image, mask = guard.known_region(image, mask, x_t)
    given = guard.given_noise(noise, x_t)
    _registered.known_step(x_next, x_t, readable, image, mask, table, step, noise.keys, given)
    return x_next


def fwht_step(
    x_t: Tensor,
    out: Tensor,
    u: Tensor | None,
    s: Tensor,
    table: Tensor,
    step: Tensor,
    noise: Noise,
    *,
    x_next: Tensor | None = None,
) -> Tensor:
    """One sampling step on Walsh-Hadamard coefficients, from a network output in pixels.

    The numbers of ``pointwise_step(x_t, fwht(out), u, ...)``: the GPU backends take the step in the last
    pass of the transform, and read the output in place.

    Args:
        x_t:
            Coefficients of the state, (B, C, H, W), H and W powers of two.
        out:
            Network output in pixels, (B, C or more, H, W), float32, float16 or bfloat16.
        noise:
            ``pixels`` are coefficients here.

    The other arguments, results and errors are those of :func:`pointwise_step`.
    """
    if x_t is None or out is None:
        raise ValueError("x_t, out: have to be given; the initial state is a pointwise_step")
    _, readable = _prepare(None, x_t, out, table, step, noise)
    _powers_of_two("x_t", x_t)
    x_next = _result(x_next, x_t)
    u, s = guard.measurement(u, x_t, x_t.shape), guard.broadcastable("s", s, x_t.shape, x_t)
    given = guard.given_noise(noise, x_t)
    _registered.fwht_step(x_next, x_t, readable, u, s, table, step, noise.keys, given)
    return x_next


def _powers_of_two(name: str, x: Tensor) -> None:
    for side in x.shape[-2:]:
        if side < 1 or side & (side - 1):
            raise ValueError(f"{name}: sides must be powers of two, got {tuple(x.shape[-2:])}")


def fwht(x: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Orthonormal Walsh-Hadamard transform, natural order, of planes flattened row by row.

    Args:
        x:
            (B, C, H, W), H and W powers of two.
        out:
            Buffer for the result, contiguous; may be ``x``. With it, nothing is differentiable.

    Returns:
        The transform, of the same shape. It is its own inverse and its own adjoint.

    Raises:
        ValueError: a side is not a power of two, or the buffer does not fit.
    """
    guard.state(x, contiguous=False, name="x")
    _powers_of_two("x", x)
    if out is None:
        return _registered.fwht(x)
    guard.same("out", out, x)
    guard.not_differentiable(x, out)
    _registered.fwht_out(out, x)
    return out


def block_measure(
    x: Tensor, s: Tensor, weights: Tensor | None, mask: Tensor | None, factor: int
) -> Tensor:
    """Coefficient along each block's measured direction, V_1^T x: (B, G, H/r, W/r).

    Arguments as in :func:`block_step`. Linear in x; :func:`block_lift` is its adjoint.
    """
    guard.state(x, contiguous=False, name="x")
    s = guard.broadcastable("s", s, guard.block_grid(x.shape, weights, factor), x)
    weights, mask = guard.block_profile(weights, mask, x)
    return _registered.block_measure(x, s, weights, mask, factor)


def block_lift(
    c: Tensor, s: Tensor, weights: Tensor | None, mask: Tensor | None, factor: int, channels: int
) -> Tensor:
    """Image with coefficient c along each block's measured direction, V_1 c: (B, C, H, W).

    Arguments as in :func:`block_step`; ``channels`` is C. Adjoint of :func:`block_measure`.
    """
    guard.state(c, contiguous=False, name="c")
    s = guard.broadcastable("s", s, c.shape, c)
    shape = (c.shape[0], channels, c.shape[2] * factor, c.shape[3] * factor)
    grid = guard.block_grid(shape, weights, factor)
    if c.shape[1] != grid[1]:
        raise ValueError(f"c: expected {grid[1]} channels of coefficients, got {c.shape[1]}")
    weights, mask = guard.block_profile(weights, mask, c, shape)
    return _registered.block_lift(c, s, weights, mask, factor, channels)


def predict_x0(x_t: Tensor, out: Tensor, table: Tensor, step: Tensor) -> Tensor:
    """Clean-image prediction of a step from state and network output, clipped as the row says.

    Differentiable in ``x_t`` and ``out``. Shapes as in :func:`pointwise_step`.
    """
    guard.state(x_t, contiguous=False)
    guard.table(table, step, x_t, WIDTH)
    return _registered.predict_x0(x_t, guard.network_output(out, x_t), table, step)


def normal(
    keys: Tensor,
    channels: int,
    height: int,
    width: int,
    *,
    iteration: int = 0,
    stream: int = Stream.FREE,
) -> Tensor:
    """White noise (B, channels, height, width) in float32, a function of keys, iteration and stream.

    Args:
        keys:
            int64 [B, 4] from :func:`noise_keys`.
        iteration:
            0 to 2^24 - 1.
        stream:
            0 to 255; :class:`~ddrm_fast.ops.Stream` names those that the package draws from.
    """
    if not 0 <= iteration < 2**24:
        raise ValueError(f"iteration: expected 0 to 2^24 - 1, got {iteration}")
    if not 0 <= stream < 256:
        raise ValueError(f"stream: expected 0 to 255, got {stream}")
    if keys.dtype != torch.int64 or keys.dim() != 2 or keys.shape[1] != 4:
        raise ValueError(
            f"keys: expected int64 [B, 4], got {keys.dtype} with shape {tuple(keys.shape)}"
        )
    for name, size in (("channels", channels), ("height", height), ("width", width)):
        if size < 0:
            raise ValueError(f"{name}: expected >= 0, got {size}")
    return _registered.normal(keys.contiguous(), channels, height, width, iteration, stream)

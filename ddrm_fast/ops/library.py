"""The fused operations as ``torch.ops.ddrm_fast.*``: schemas, fake implementations, adjoints.

Steps write into buffers that they are given and say that they are not differentiable; linear
operations return new tensors and carry their adjoint as the backward. Only ``torch.autograd`` is
supported (``torch.func.jvp`` through a registered operation silently returns zeros in torch 2.13).
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from . import dispatch, rows

_library = torch.library.Library("ddrm_fast", "DEF")

_STEP_TAIL = "Tensor table, Tensor step, Tensor keys, Tensor? noise"
_STEPS = {
    "pointwise_step": (
        "Tensor(a!) x_next, Tensor(b!)? x0, Tensor? x_t, Tensor? out, Tensor? u, Tensor s, "
        + _STEP_TAIL
    ),
    "block_step": (
        "Tensor(a!) x_next, Tensor(b!)? x0, Tensor? x_t, Tensor? out, Tensor? u, Tensor s, "
        "Tensor? weights, Tensor? mask, int factor, " + _STEP_TAIL
    ),
    "spectral_step": (
        "Tensor(a!) x_next, Tensor? x_t, Tensor? out, Tensor? u, Tensor s, "
        + _STEP_TAIL
        + ", int width"
    ),
    "alias_step": (
        "Tensor(a!) x_next, Tensor? x_t, Tensor? out, Tensor? u, Tensor kernel, Tensor s, "
        + _STEP_TAIL
        + ", int factor, int width"
    ),
    "known_step": (
        "Tensor(a!) x_next, Tensor x_t, Tensor out, Tensor image, Tensor mask, " + _STEP_TAIL
    ),
    "fwht_step": "Tensor(a!) x_next, Tensor x_t, Tensor out, Tensor? u, Tensor s, " + _STEP_TAIL,
}


def _real(dtype: torch.dtype) -> torch.dtype:
    return dtype.to_real() if dtype.is_complex else dtype


# a plane has to have so many numbers and columns, for a thread to hold four neighbours of a row
_FEWEST, _NARROWEST = 32, 4


def _fwht_step(
    backend: ModuleType,
    x_next: Tensor,
    x_t: Tensor,
    out: Tensor,
    u: Tensor | None,
    *args: Any,
) -> None:
    """In one with the transform where the backend has that, else the transform and then the step."""
    height, width = x_next.shape[-2:]
    fused = getattr(backend, "fwht_step", None)
    if fused is not None and width >= _NARROWEST and height * width >= _FEWEST:
        return fused(x_next, x_t, out, u, *args)
    coefficients = torch.empty(x_next.shape, dtype=x_next.dtype, device=x_next.device)
    backend.fwht(coefficients, _dense(out.to(x_next.dtype)))
    backend.pointwise_step(x_next, None, x_t, coefficients, u, *args)


def _define_step(name: str, arguments: str) -> None:
    def implementation(x_next: Tensor, *args: Any) -> None:
        if x_next.numel():
            backend = dispatch.choose(x_next.device.type, _real(x_next.dtype))
            if name == "fwht_step":
                return _fwht_step(backend, x_next, *args)
            getattr(backend, name)(x_next, *args)

    def fake(*args: Any) -> None:
        return None

    _library.define(f"{name}({arguments}) -> ()")
    _library.impl(name, implementation, "CompositeExplicitAutograd")
    torch.library.register_fake(f"ddrm_fast::{name}", fake, lib=_library)


for _name, _arguments in _STEPS.items():
    _define_step(_name, _arguments)


def _define(
    name: str, schema: str, implementation: Callable[..., Tensor], fake: Callable[..., Tensor]
) -> None:
    _library.define(f"{name}({schema}) -> Tensor")
    _library.impl(name, implementation, "CompositeExplicitAutograd")
    torch.library.register_fake(f"ddrm_fast::{name}", fake, lib=_library)


def _like(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


def _dense(x: Tensor) -> Tensor:
    return x.resolve_conj().resolve_neg().contiguous()


def _fwht(x: Tensor) -> Tensor:
    y = _like(x)
    if x.numel():
        dispatch.choose(x.device.type, x.dtype).fwht(y, _dense(x))
    return y


_define("fwht", "Tensor x", _fwht, _like)


def _fwht_out(y: Tensor, x: Tensor) -> None:
    if x.numel():
        dispatch.choose(x.device.type, x.dtype).fwht(y, _dense(x))


_library.define("fwht_out(Tensor(a!) y, Tensor x) -> ()")
_library.impl("fwht_out", _fwht_out, "CompositeExplicitAutograd")
torch.library.register_fake("ddrm_fast::fwht_out", lambda y, x: None, lib=_library)
torch.library.register_autograd(
    "ddrm_fast::fwht",
    lambda ctx, grad: torch.ops.ddrm_fast.fwht(grad),
    setup_context=lambda ctx, inputs, output: None,
    lib=_library,
)


def _measured_shape(x: Tensor, weights: Tensor | None, factor: int) -> tuple[int, ...]:
    groups = x.shape[1] if weights is None else 1
    return x.shape[0], groups, x.shape[2] // factor, x.shape[3] // factor


def _fake_measure(
    x: Tensor, s: Tensor, weights: Tensor | None, mask: Tensor | None, factor: int
) -> Tensor:
    return x.new_empty(_measured_shape(x, weights, factor))


def _block_measure(
    x: Tensor, s: Tensor, weights: Tensor | None, mask: Tensor | None, factor: int
) -> Tensor:
    c = _fake_measure(x, s, weights, mask, factor)
    if x.numel():
        backend = dispatch.choose(x.device.type, x.dtype)
        backend.block_measure(c, _dense(x), s, weights, mask, factor)
    return c


def _fake_lift(
    c: Tensor, s: Tensor, weights: Tensor | None, mask: Tensor | None, factor: int, channels: int
) -> Tensor:
    return c.new_empty((c.shape[0], channels, c.shape[2] * factor, c.shape[3] * factor))


def _block_lift(
    c: Tensor, s: Tensor, weights: Tensor | None, mask: Tensor | None, factor: int, channels: int
) -> Tensor:
    x = _fake_lift(c, s, weights, mask, factor, channels)
    if x.numel():
        backend = dispatch.choose(c.device.type, c.dtype)
        backend.block_lift(x, _dense(c), s, weights, mask, factor)
    return x


_BLOCK = "Tensor s, Tensor? weights, Tensor? mask, int factor"
_define("block_measure", f"Tensor x, {_BLOCK}", _block_measure, _fake_measure)
_define("block_lift", f"Tensor c, {_BLOCK}, int channels", _block_lift, _fake_lift)


def _save_block(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, s, weights, mask, factor = inputs[:5]
    ctx.save_for_backward(s, weights, mask)
    ctx.factor, ctx.channels = factor, x.shape[1]


def _measure_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    s, weights, mask = ctx.saved_tensors
    lifted = torch.ops.ddrm_fast.block_lift(grad, s, weights, mask, ctx.factor, ctx.channels)
    return lifted, None, None, None, None


def _lift_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    s, weights, mask = ctx.saved_tensors
    measured = torch.ops.ddrm_fast.block_measure(grad, s, weights, mask, ctx.factor)
    return measured, None, None, None, None, None


torch.library.register_autograd(
    "ddrm_fast::block_measure", _measure_backward, setup_context=_save_block, lib=_library
)
torch.library.register_autograd(
    "ddrm_fast::block_lift", _lift_backward, setup_context=_save_block, lib=_library
)


def _predict_x0(x_t: Tensor, out: Tensor, table: Tensor, step: Tensor) -> Tensor:
    x0 = _like(x_t)
    if x0.numel():
        backend = dispatch.choose(x_t.device.type, x_t.dtype)
        backend.predict_x0(x0, _dense(x_t), plane_contiguous(out), table, step)
    return x0


_define(
    "predict_x0",
    "Tensor x_t, Tensor out, Tensor table, Tensor step",
    _predict_x0,
    lambda x_t, out, table, step: _like(x_t),
)


def _predict_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """x0 is linear in (x_t, out) inside the clipping range and constant outside it."""
    x_t, out, table, step = ctx.saved_tensors
    row = table.index_select(0, step)[0].to(grad.dtype).view(-1, 1, 1, 1, rows.WIDTH)
    x0 = row[..., rows.P_X] * x_t + row[..., rows.P_OUT] * out.to(x_t.dtype)
    inside = (x0 >= row[..., rows.CLIP_LO]) & (x0 <= row[..., rows.CLIP_HI])
    grad = torch.where(inside, grad, 0.0)
    grad_out = (grad * row[..., rows.P_OUT]).to(out.dtype)
    return grad * row[..., rows.P_X], grad_out, None, None


torch.library.register_autograd(
    "ddrm_fast::predict_x0",
    _predict_backward,
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
    lib=_library,
)


def _fake_normal(
    keys: Tensor, channels: int, height: int, width: int, iteration: int, stream: int
) -> Tensor:
    return torch.empty((keys.shape[0], channels, height, width), device=keys.device)


def _normal(
    keys: Tensor, channels: int, height: int, width: int, iteration: int, stream: int
) -> Tensor:
    z = _fake_normal(keys, channels, height, width, iteration, stream)
    if z.numel():
        dispatch.choose(z.device.type, z.dtype).normal(z, keys, iteration, stream)
    return z


_define(
    "normal",
    "Tensor keys, int channels, int height, int width, int iteration, int stream",
    _normal,
    _fake_normal,
)


def plane_contiguous(x: Tensor) -> Tensor:
    """``x`` itself if each (H, W) plane is contiguous (batch and channel strides are free), or a copy.

    A conjugate or negated view calls itself contiguous and shares its pointer: it is resolved first.
    """
    x = x.resolve_conj().resolve_neg()
    height, width = x.shape[-2:]
    stride_h, stride_w = x.stride()[-2:]
    if (width == 1 or stride_w == 1) and (height == 1 or stride_h == width):
        return x
    return x.contiguous()

"""One guard for the arguments of all operations: device, dtype, shape, layout.

A message names the argument, what came and what was expected.
"""

import torch
from torch import Tensor

from .library import plane_contiguous
from .noise import Noise

_REAL = (torch.float32, torch.float64)
_COMPLEX = (torch.complex64, torch.complex128)
_OUTPUT = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def state(
    x: Tensor | None, complex_state: bool = False, contiguous: bool = True, name: str = "x_t"
) -> Tensor:
    """The state, which is a contiguous (B, C, H, W) of float32 or float64 (spectra: complex)."""
    if x is None:
        raise ValueError("x_next: has to be given where x_t and out are None")
    expected = _COMPLEX if complex_state else _REAL
    if x.dtype not in expected:
        raise ValueError(f"{name}: expected {expected[0]} or {expected[1]}, got {x.dtype}")
    if x.dim() != 4:
        raise ValueError(f"{name}: expected (B, C, H, W), got shape {tuple(x.shape)}")
    if contiguous and not (x.is_contiguous() and not _is_lazy(x)):
        raise ValueError(f"{name}: has to be contiguous, got strides {x.stride()}")
    return x


def _is_lazy(x: Tensor) -> bool:
    """A conjugate or negated view, whose numbers are not those in memory. Compiled graphs cannot ask
    (and make no such state themselves)."""
    return not torch.compiler.is_compiling() and (x.is_conj() or x.is_neg())


def same(name: str, x: Tensor, like: Tensor) -> None:
    """A buffer has shape, dtype and device of the state."""
    if x.shape != like.shape or x.dtype != like.dtype or x.device != like.device:
        raise ValueError(f"{name}: expected {_describe(like)}, got {_describe(x)}")
    if not x.is_contiguous():
        raise ValueError(f"{name}: has to be contiguous, got strides {x.stride()}")


def _describe(x: Tensor) -> str:
    return f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')} on {x.device}"


def _on(name: str, x: Tensor, like: Tensor) -> None:
    if x.device != like.device:
        raise ValueError(f"{name}: is on {x.device}, the state is on {like.device}")


def first_channels(out: Tensor, like: Tensor) -> Tensor:
    """The channels of a network output that predict; variances behind them are left out."""
    if (
        out.dim() != 4
        or out.shape[0] != like.shape[0]
        or out.shape[1] < like.shape[1]
        or out.shape[2:] != like.shape[2:]
    ):
        raise ValueError(
            f"out: expected shape {tuple(like.shape)} (or more channels), got {tuple(out.shape)}"
        )
    _on("out", out, like)
    return out if out.shape[1] == like.shape[1] else out[:, : like.shape[1]]


def network_output(out: Tensor, like: Tensor) -> Tensor:
    """A network output that a kernel can read: planes contiguous, other strides free."""
    allowed = _COMPLEX if like.is_complex() else _OUTPUT
    if out.dtype not in allowed:
        raise ValueError(f"out: expected one of {', '.join(map(str, allowed))}, got {out.dtype}")
    if out.dtype == torch.float64 and like.dtype != torch.float64:
        raise ValueError("out: is float64 and the state float32; convert one of them")
    if like.is_complex() and out.dtype != like.dtype:
        raise ValueError(f"out: expected {like.dtype} like the state, got {out.dtype}")
    out = plane_contiguous(first_channels(out, like))
    return out.contiguous() if like.is_complex() else out


def not_differentiable(x_t: Tensor, out: Tensor) -> None:
    if torch.is_grad_enabled() and (x_t.requires_grad or out.requires_grad):
        raise RuntimeError(
            "a sampling step is not differentiable; wrap it in torch.no_grad(), or use "
            "ops.predict_x0 and the operator's H, which are"
        )


def table(rows: Tensor, step: Tensor, like: Tensor, width: int) -> None:
    """The row table is float32 [rows, B or 1, width], the step int64 [1]."""
    if rows.dim() != 3 or rows.shape[1] not in (1, like.shape[0]) or rows.shape[2] != width:
        raise ValueError(
            f"table: expected [rows, {like.shape[0]} or 1, {width}], got {tuple(rows.shape)}"
        )
    if rows.dtype != torch.float32 or not rows.is_contiguous():
        raise ValueError(f"table: expected contiguous float32, got {rows.dtype}")
    if step.dtype != torch.int64 or step.numel() != 1:
        raise ValueError(f"step: expected int64 [1], got {step.dtype} {tuple(step.shape)}")
    _on("table", rows, like)
    _on("step", step, like)


def keys(noise: Noise, like: Tensor) -> None:
    k = noise.keys
    if k.dtype != torch.int64 or k.shape != (like.shape[0], 4) or not k.is_contiguous():
        raise ValueError(
            f"noise.keys: expected contiguous int64 [{like.shape[0]}, 4], got {_describe(k)}"
        )
    _on("noise.keys", k, like)


def given_noise(noise: Noise, like: Tensor) -> Tensor | None:
    """Noise that the caller gives: of the state's shape and dtype."""
    z = noise.pixels
    if z is None:
        return None
    if z.shape != like.shape or z.dtype != like.dtype:
        raise ValueError(f"noise.pixels: expected {_describe(like)}, got {_describe(z)}")
    _on("noise.pixels", z, like)
    return z.resolve_conj().resolve_neg().contiguous()


def measurement(u: Tensor | None, like: Tensor, grid: tuple[int, ...]) -> Tensor | None:
    """u has the shape of the measured coefficients; a batch of 1 serves all images."""
    if u is None:
        return None
    if u.dim() != 4 or u.shape[0] not in (1, grid[0]) or u.shape[1:] != tuple(grid[1:]):
        raise ValueError(f"u: expected ({grid[0]} or 1, {grid[1:]}), got {tuple(u.shape)}")
    if u.dtype != like.dtype:
        raise ValueError(f"u: expected {like.dtype} like the state, got {u.dtype}")
    _on("u", u, like)
    return u.resolve_conj().resolve_neg().contiguous()


def broadcastable(name: str, x: Tensor, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Four dimensions, each full or 1; real, in the state's precision."""
    if x.dim() != 4 or any(n not in (1, m) for n, m in zip(x.shape, shape, strict=True)):
        raise ValueError(
            f"{name}: expected each dimension of {tuple(shape)} or 1, got {tuple(x.shape)}"
        )
    _on(name, x, like)
    return x.to(like.real.dtype if like.is_complex() else like.dtype).contiguous()


def spectrum(kernel: Tensor, like: Tensor) -> Tensor:
    shape = kernel.shape
    fits = kernel.dim() == 4 and shape[2:] == like.shape[2:]
    if not fits or shape[0] not in (1, like.shape[0]) or shape[1] not in (1, like.shape[1]):
        raise ValueError(f"kernel: does not fit {tuple(like.shape)}, got {tuple(shape)}")
    if kernel.dtype != like.dtype:
        raise ValueError(f"kernel: expected {like.dtype} like the state, got {kernel.dtype}")
    _on("kernel", kernel, like)
    return kernel.resolve_conj().resolve_neg().contiguous()


def _factor(shape: tuple[int, ...], factor: int, height: int, width: int) -> None:
    if not isinstance(factor, int) or factor < 1:
        raise ValueError(f"factor: expected an integer >= 1, got {factor!r}")
    if height % factor or width % factor:
        raise ValueError(f"factor: {factor} does not divide the image size {height} x {width}")


def block_grid(shape: tuple[int, ...], weights: Tensor | None, factor: int) -> tuple[int, ...]:
    """Shape of the measured coefficients of a block grouping."""
    batch, channels, height, width = shape
    _factor(shape, factor, height, width)
    return batch, channels if weights is None else 1, height // factor, width // factor


def alias_grid(shape: tuple[int, ...], factor: int, width: int) -> tuple[int, ...]:
    """Shape of the measured half spectrum of an aliasing grouping."""
    batch, channels, height, _ = shape
    _factor(shape, factor, height, width)
    return batch, channels, height // factor, (width // factor) // 2 + 1


def block_profile(
    weights: Tensor | None, mask: Tensor | None, like: Tensor, shape: tuple[int, ...] | None = None
) -> tuple[Tensor | None, Tensor | None]:
    """Channel weights [C] and mask (B or 1, C or 1, H, W) of a block grouping."""
    shape = tuple(like.shape) if shape is None else shape
    if weights is not None:
        if weights.shape != (shape[1],):
            raise ValueError(f"weights: expected [{shape[1]}], got {tuple(weights.shape)}")
        _on("weights", weights, like)
        weights = weights.to(like.dtype).contiguous()
    if mask is not None:
        if (
            mask.dim() != 4
            or mask.shape[2:] != tuple(shape[2:])
            or mask.shape[0] not in (1, shape[0])
            or mask.shape[1] not in (1, shape[1])
        ):
            raise ValueError(f"mask: does not fit {shape}, got {tuple(mask.shape)}")
        _on("mask", mask, like)
        mask = mask.to(like.dtype).contiguous()
    return weights, mask


def known_region(
    image: Tensor,
    mask: Tensor,
    like: Tensor,
    shape: tuple[int, ...] | None = None,
    prefix: str = "",
) -> tuple[Tensor, Tensor]:
    """Known pixels (B or 1, C, H, W) and where they are, bool (B or 1, 1 or C, H, W)."""
    batch, channels, *size = like.shape if shape is None else shape
    for name, x, planes in (("image", image, (channels,)), ("mask", mask, (1, channels))):
        fits = x.dim() == 4 and x.shape[0] in (1, batch) and x.shape[1] in planes
        if not fits or list(x.shape[2:]) != size:
            expected = " or ".join(map(str, planes))
            raise ValueError(
                f"{prefix}{name}: expected ({batch} or 1, {expected}, {size[0]}, {size[1]}), "
                f"got {tuple(x.shape)}"
            )
        _on(prefix + name, x, like)
    if image.dtype != like.dtype:
        raise ValueError(f"{prefix}image: expected {like.dtype} like the state, got {image.dtype}")
    if mask.dtype != torch.bool:
        raise ValueError(f"{prefix}mask: expected torch.bool, got {mask.dtype}")
    return image.resolve_neg().contiguous(), mask.contiguous()


def half_width(like: Tensor, width: int) -> None:
    if like.shape[-1] != width // 2 + 1:
        raise ValueError(
            f"width: a half spectrum of {like.shape[-1]} columns does not belong to width {width}"
        )

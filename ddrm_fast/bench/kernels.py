"""Every fused operation, and what it is compared with.

A case says how many bytes it has to move, so that its speed can be held against a copy, and makes
what it is compared with: the reference in eager PyTorch and under ``torch.compile``, or the bare
transforms that a step contains.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .. import operators, ops
from ..ops import Noise, dct, reference
from . import flops
from .compiled import compiled
from .steps import OPERATORS, rows, step_function
from .timing import Run

Shape = tuple[int, ...]
Device = str | torch.device


@dataclass
class Case:
    """One timed call.

    Args:
        operation:
            Name of the fused operation, as its conformance tests have it.
        name:
            What distinguishes the case.
        run:
            The call; a backend is chosen around it.
        bytes:
            What it has to read and write at least.
        flops:
            Floating-point operations, see :mod:`.flops`.
        others:
            What it is compared with, by name.
        target:
            The bound that the project set itself, in words, or None.
    """

    operation: str
    name: str
    run: Run
    bytes: int
    flops: float
    others: dict[str, Run] = field(default_factory=dict)
    target: str | None = None


@dataclass(frozen=True)
class Sizes:
    """Pictures of a run: large ones for the GPU, tiny ones to rehearse the script."""

    batch: int
    side: int
    long_bits: int
    whole_side: int


LARGE = Sizes(batch=22, side=1024, long_bits=26, whole_side=8192)
TINY = Sizes(batch=1, side=32, long_bits=10, whole_side=64)


@dataclass
class Inputs:
    """Fields of a step on random numbers; results go into ``x_next``."""

    x_t: Tensor
    out: Tensor
    z: Tensor
    x_next: Tensor
    table: Tensor
    step: Tensor
    keys: Tensor

    @classmethod
    def make(
        cls, shape: tuple[int, ...], device: Device, dtype: torch.dtype = torch.float32
    ) -> "Inputs":
        def randn(dtype: torch.dtype) -> Tensor:
            return torch.empty(shape, device=device, dtype=dtype).normal_()

        def field_of(spectral: bool) -> Tensor:
            field = randn(torch.float32)
            return torch.fft.rfft2(field, norm="ortho") if spectral else field

        spectral = dtype is torch.complex64
        x_t, out, z = (field_of(spectral) for _ in range(3))
        out = out if spectral else out.to(dtype)
        table, step = rows().table.to(device), torch.full((1,), 10, device=device)
        keys = ops.noise_keys(shape[0], 1, device=device)
        return cls(x_t, out, z, torch.empty_like(x_t), table, step, keys)

    def noise(self, given: bool) -> Noise:
        return Noise(self.keys, self.z if given else None)


def _size(*tensors: Tensor | None) -> int:
    return sum(x.numel() * x.element_size() for x in tensors if x is not None)


def _against_reference(
    step: Callable[[Tensor], None], z: Tensor, given: bool, compare: Collection[str]
) -> dict[str, Run]:
    """The reference in eager PyTorch and compiled; the noise ``z`` given, or made by ``torch.randn``."""

    return _against(lambda: step(z if given else torch.randn_like(z)), compare)


def _against(run: Run, compare: Collection[str]) -> dict[str, Run]:
    """A call of the reference in eager PyTorch and compiled."""
    others: dict[str, Run] = {}
    if "eager" in compare:
        others["eager"] = run
    if "compiled" in compare:
        others["compiled"] = compiled(run)
    return others


def _pointwise(shape: Shape, device: Device, compare: Collection[str]) -> Iterator[Case]:
    height, width = shape[2:]
    mask = (torch.rand(1, 1, height, width, device=device) > 0.5).float()
    kinds = {
        "denoising": torch.ones(1, 1, 1, 1, device=device),
        "inpainting": mask,
        "gain": mask * torch.rand_like(mask) + 0.1,
    }
    for dtype in (torch.float32, torch.float16):
        for kind, s in kinds.items():
            if dtype != torch.float32 and kind != "denoising":
                continue
            i = Inputs.make(shape, device, dtype)
            u = torch.randn_like(i.x_t)

            def eager(z: Tensor, i: Inputs = i, u: Tensor = u, s: Tensor = s) -> None:
                reference.pointwise_step(
                    i.x_next, None, i.x_t, i.out, u, s, i.table, i.step, i.keys, z
                )

            for given in (True, False):
                tag, noise = "noise given" if given else "noise inside", i.noise(given)

                def run(
                    i: Inputs = i, u: Tensor = u, s: Tensor = s, noise: Noise = noise
                ) -> object:
                    return ops.pointwise_step(
                        i.x_t, i.out, u, s, i.table, i.step, noise, x_next=i.x_next
                    )

                moved = _size(i.x_t, i.out, u, s, i.x_next, i.z if given else None)
                others = _against_reference(eager, i.z, given, compare)
                name = f"{kind}, {str(dtype).removeprefix('torch.')} output, {tag}"
                count = i.x_t.numel() * flops.pointwise(kind != "gain", noise=not given)
                yield Case("pointwise_step", name, run, moved, count, others, "85 % of copy")


def _blocks(shape: Shape, device: Device, compare: Collection[str]) -> Iterator[Case]:
    channels, height, width = shape[1:]
    weights = torch.tensor([0.3, 0.5, 0.2], device=device)
    mask = (torch.rand(1, 1, height, width, device=device) > 0.5).float()
    kinds = {
        "colorization": (1, weights, None),
        "super-resolution x2": (2, None, None),
        "super-resolution x4": (4, None, None),
        "super-resolution x8": (8, None, None),
        "super-resolution x16": (16, None, None),
        "old photo x4": (4, weights, mask),
        "super-resolution x3": (3, None, None),
    }
    for kind, (r, w, m) in kinds.items():
        size = (*shape[:2], height - height % r, width - width % r)
        i = Inputs.make(size, device)
        grid = (size[0], 1 if w is not None else channels, size[2] // r, size[3] // r)
        u = torch.randn(grid, device=device)
        norm = 1.0 if w is None else float(w.norm())
        s = torch.full((1, 1, 1, 1), norm / r, device=device)
        m = None if m is None else m[..., : size[2], : size[3]].contiguous()

        def eager(
            z: Tensor,
            i: Inputs = i,
            u: Tensor = u,
            s: Tensor = s,
            w: Tensor | None = w,
            m: Tensor | None = m,
            r: int = r,
        ) -> None:
            reference.block_step(
                i.x_next, None, i.x_t, i.out, u, s, w, m, r, i.table, i.step, i.keys, z
            )

        def run(
            i: Inputs = i,
            u: Tensor = u,
            s: Tensor = s,
            w: Tensor | None = w,
            m: Tensor | None = m,
            r: int = r,
        ) -> object:
            return ops.block_step(
                i.x_t, i.out, u, s, w, m, r, i.table, i.step, i.noise(False), x_next=i.x_next
            )

        others = _against_reference(eager, i.z, False, compare)
        moved = _size(i.x_t, i.out, u, m, i.x_next)
        count = i.x_t.numel() * flops.block(r * r * (1 if w is None else channels))
        target = "85 % of copy" if r in (1, 2, 4, 8, 16) else None
        yield Case("block_step", f"{kind}, noise inside", run, moved, count, others, target)

        if m is None and r in (1, 4):
            x = i.x_t

            def measure(x: Tensor = x, s: Tensor = s, w: Tensor | None = w, r: int = r) -> object:
                return ops.block_measure(x, s, w, None, r)

            def lift(u: Tensor = u, s: Tensor = s, w: Tensor | None = w, r: int = r) -> object:
                return ops.block_lift(u, s, w, None, r, channels)

            c, spread = torch.empty_like(u), i.x_next

            def eager_measure(
                c: Tensor = c, x: Tensor = x, s: Tensor = s, w: Tensor | None = w, r: int = r
            ) -> None:
                reference.block_measure(c, x, s, w, None, r)

            def eager_lift(
                spread: Tensor = spread,
                u: Tensor = u,
                s: Tensor = s,
                w: Tensor | None = w,
                r: int = r,
            ) -> None:
                reference.block_lift(spread, u, s, w, None, r)

            for operation, call, plain, count in (
                ("block_measure", measure, eager_measure, 2 * x.numel()),
                ("block_lift", lift, eager_lift, x.numel()),
            ):
                others = _against(plain, compare)
                yield Case(operation, kind, call, _size(x, u), count, others)


def _spectra(shape: Shape, device: Device, compare: Collection[str]) -> Iterator[Case]:
    height, width = shape[2:]
    i = Inputs.make(shape, device, torch.complex64)
    u = torch.randn_like(i.x_t)
    s = torch.rand(1, 1, height, width // 2 + 1, device=device)

    def eager(z: Tensor) -> None:
        reference.spectral_step(i.x_next, i.x_t, i.out, u, s, i.table, i.step, i.keys, z, width)

    for given in (True, False):
        noise = i.noise(given)

        def run(noise: Noise = noise) -> object:
            return ops.spectral_step(
                i.x_t, i.out, u, s, i.table, i.step, noise, width, x_next=i.x_next
            )

        others = _against_reference(eager, i.z, given, compare)
        moved = _size(i.x_t, i.out, u, s, i.x_next, i.z if given else None)
        count = i.x_t.numel() * flops.spectral(noise=not given)
        tag = "noise given" if given else "noise inside"
        yield Case("spectral_step", tag, run, moved, count, others, "85 % of copy")

    r = 4
    blur = operators.BlurDecimate(operators.gaussian_kernel(2.0), r)
    y = blur.H(torch.rand(shape, device=device))
    measured = blur.prepare(y)
    kernel = measured.kernel
    if kernel is None:
        raise AssertionError("a blur with decimation has a kernel")

    def alias() -> object:
        return ops.alias_step(
            i.x_t, i.out, measured.u, kernel, measured.s, i.table, i.step,
            i.noise(False), r, width, x_next=i.x_next,
        )  # fmt: skip

    def eager_alias(z: Tensor) -> None:
        reference.alias_step(
            i.x_next, i.x_t, i.out, measured.u, kernel, measured.s, i.table, i.step,
            i.keys, z, r, width,
        )  # fmt: skip

    moved = _size(i.x_t, i.out, measured.u, kernel, measured.s, i.x_next)
    count = i.x_t.numel() * flops.alias(r * r)
    others = _against_reference(eager_alias, i.z, False, compare)
    name = f"blur + decimation x{r}, noise inside"
    yield Case("alias_step", name, alias, moved, count, others, "85 % of copy")


def _transforms(
    sizes: Sizes, shape: Shape, device: Device, compare: Collection[str]
) -> Iterator[Case]:
    x = torch.empty(shape, device=device).normal_()
    y = torch.empty_like(x)
    name = f"{shape[2]} x {shape[3]}"
    length = shape[2] * shape[3]
    count = x.numel() * flops.fwht(length)
    target = "2.2 copies at 1024 x 1024"
    others = _against(lambda: reference.fwht(y, x), compare)
    yield Case("fwht", name, lambda: ops.fwht(x, out=y), _size(x, y), count, others, target)

    i = Inputs.make(shape, device)
    u = torch.randn_like(i.x_t)
    s = (torch.rand(1, 1, *shape[2:], device=device) > 0.75).float()

    def fused() -> object:
        return ops.fwht_step(i.x_t, i.out, u, s, i.table, i.step, i.noise(False), x_next=i.x_next)

    def apart() -> object:
        ops.fwht(i.out, out=y)
        return ops.pointwise_step(i.x_t, y, u, s, i.table, i.step, i.noise(False), x_next=i.x_next)

    moved = _size(i.x_t, i.out, u, s, i.x_next)
    count += x.numel() * flops.pointwise(shared_s=True)

    def eager(z: Tensor) -> None:
        reference.fwht(y, i.out)
        reference.pointwise_step(i.x_next, None, i.x_t, y, u, s, i.table, i.step, i.keys, z)

    others = {"two operations": apart, **_against_reference(eager, i.z, False, compare)}
    yield Case("fwht_step", f"{name}, noise inside", fused, moved, count, others)

    def fourier() -> object:
        return torch.fft.irfft2(torch.fft.rfft2(x), s=shape[2:])

    others = {"rfft2 + irfft2": fourier}
    yield Case(
        "dct2",
        f"there and back, {name}",
        lambda: dct.inverse(dct.forward(x)),
        12 * _size(x),
        2 * x.numel() * flops.cosine(length),
        others,
    )
    side = 2 ** (sizes.long_bits // 2)
    plane = torch.empty(1, 1, side, 2**sizes.long_bits // side, device=device).normal_()
    result = torch.empty_like(plane)
    moved, count = _size(plane, result), plane.numel() * flops.fwht(2**sizes.long_bits)
    yield Case("fwht", f"2^{sizes.long_bits}", lambda: ops.fwht(plane, out=result), moved, count)


def _others(shape: Shape, device: Device, compare: Collection[str]) -> Iterator[Case]:
    i = Inputs.make(shape, device)
    channels, height, width = shape[1:]

    def eager_x0() -> None:
        reference.predict_x0(i.x_next, i.x_t, i.out, i.table, i.step)

    yield Case(
        "predict_x0",
        "free",
        lambda: ops.predict_x0(i.x_t, i.out, i.table, i.step),
        _size(i.x_t, i.out, i.x_next),
        3 * i.x_t.numel(),
        _against(eager_x0, compare),
    )
    known = torch.ones(1, 1, height, width, dtype=torch.bool, device=device)

    def eager_known(z: Tensor) -> None:
        reference.known_step(
            i.x_next, i.x_t, i.out, i.z, known, i.table, i.step, i.keys, z
        )  # fmt: skip

    yield Case(
        "known_step",
        "all known",
        lambda: ops.known_step(i.x_next, i.x_t, i.out, i.z, known, i.table, i.step, i.noise(False)),
        _size(i.x_t, i.out, i.z, i.x_next, i.x_next),
        flops.known() * i.x_t.numel(),
        _against_reference(eager_known, i.z, False, compare),
    )
    yield Case(
        "normal",
        "float32",
        lambda: ops.normal(i.keys, channels, height, width),
        _size(i.x_t),
        flops.NORMAL * i.x_t.numel(),
        {"torch.randn": lambda: torch.randn(shape, device=device)},
    )


def kernel_cases(sizes: Sizes, device: str, compare: Collection[str]) -> Iterator[Case]:
    """Every fused operation; memory is that of one group of cases at a time.

    Args:
        compare:
            "eager" and "compiled": how the reference is timed beside the steps (compiling takes longer
            than everything else).
    """
    shape = (sizes.batch, 3, sizes.side, sizes.side)
    yield from _pointwise(shape, device, compare)
    yield from _blocks(shape, device, compare)
    yield from _spectra(shape, device, compare)
    yield from _transforms(sizes, shape, device, compare)
    yield from _others(shape, device, compare)


def blur_case(sizes: Sizes, device: str) -> Case:
    """The step of an FFT blur against the two transforms that it contains."""
    shape = (sizes.batch, 3, sizes.side, sizes.side)
    run = step_function(OPERATORS["blur (FFT)"](sizes.side), shape, device)
    x = torch.empty(shape, device=device).normal_()

    def transforms() -> object:
        return torch.fft.irfft2(torch.fft.rfft2(x, norm="ortho"), s=shape[2:], norm="ortho")

    spectrum = 8 * sizes.batch * 3 * sizes.side * (sizes.side // 2 + 1)
    others: dict[str, Run] = {"rfft2 + irfft2": transforms}
    count = flops.step(OPERATORS["blur (FFT)"](sizes.side), shape)
    return Case(
        "spectral_step", "whole FFT blur step", run, 4 * spectrum, count, others, "1.7 transforms"
    )

"""What is timed: one sampling step of every operator, and transforms, at sizes that matter.

A case makes a function to time and the floor that it is held against: copies of the bytes that it has to
move, or the bare transforms that it contains. Cases do not depend on how they are timed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import ddrm_fast
from ddrm_fast import DDRM, Schedule, operators, ops
from ddrm_fast.operators import Carry
from ddrm_fast.priors.schedule import pairs
from ddrm_fast.samplers.table import build_rows

SIGMA_Y = 0.1


@dataclass
class Case:
    """One timed thing.

    Args:
        run:
            What is timed.
        floor:
            What it is held against, timed in alternation with it.
        floor_name, limit:
            Name of the floor, and the ratio that the project promises (None: reported only).
        streams:
            Floors per ``floor`` call (1.5 copies are three streams).
    """

    run: Callable[[], object]
    floor: Callable[[], object]
    floor_name: str
    limit: float | None
    streams: float = 1.0


def picture(batch: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(
        batch, channels, height, width, generator=torch.Generator().manual_seed(seed)
    )


def copy_floor(x: Tensor) -> Callable[[], object]:
    """A copy into a warm buffer: two streams."""
    source, target = x.clone(), x.clone()
    return lambda: target.copy_(source)


def _rows(steps: int = 20):
    schedule = Schedule.linear()
    visited = pairs(schedule.steps(steps))
    levels = torch.tensor([SIGMA_Y], dtype=torch.float64)
    return build_rows(DDRM(steps), schedule, visited, levels)


def step_function(
    operator: operators.Operator, x: Tensor, start: bool = True
) -> Callable[[], Tensor]:
    """A DDRM step in the middle of a run, with its noise; buffers warm if ``start``."""
    y = operator.H(x)
    u, rows = operator.prepare(y), _rows()
    step = torch.tensor([10])
    noise = ops.Noise(ops.noise_keys(x.shape[0], 1))
    out, x_next = picture(*x.shape, seed=3).to(x.dtype), torch.empty_like(x)
    carry = Carry()
    if start:
        operator.step(None, None, u, rows, torch.tensor([0]), noise, x_next=x_next, carry=carry)
    else:
        x_next.zero_()

    def run() -> Tensor:
        return operator.step(x, out, u, rows, step, noise, x_next=x_next, carry=carry)

    return run


def random_mask(height: int, width: int) -> Tensor:
    return torch.rand(height, width, generator=torch.Generator().manual_seed(2)) > 0.5


POINTWISE = {
    "denoising": lambda n: operators.Denoising(),
    "inpainting": lambda n: operators.Inpainting(random_mask(n, n)),
    "colorization": lambda n: operators.Colorization(),
    "super-resolution x4": lambda n: operators.SuperResolution(4),
}
OTHERS = {
    "gain": lambda n: operators.Gain(0.2 + torch.rand(n, n)),
    "old photo x2": lambda n: operators.SuperResolution(
        2, weights=(0.3, 0.5, 0.2), mask=random_mask(n, n)
    ),
    "Walsh-Hadamard 25 %": lambda n: operators.WalshHadamardCS((n, n), 4),
    "blur, reflecting (DCT)": lambda n: operators.Blur(
        operators.gaussian_kernel(2.0), boundary="reflect"
    ),
    "blur + decimation x4": lambda n: operators.BlurDecimate(operators.gaussian_kernel(2.0), 4),
    "bicubic x4": lambda n: operators.BicubicDownscaling(4, (n, n)),
}


def operator(name: str, n: int) -> operators.Operator:
    """An operator of the registry, for n x n pixels."""
    if name == "blur (FFT)":
        return operators.Blur(operators.gaussian_kernel(2.0))
    return {**POINTWISE, **OTHERS}[name](n)


def pointwise_step(name: str, n: int) -> Case:
    """An identity-transform step against three streams: state and output read, state written."""
    x = picture(1, 3, n, n)
    limit = {1024: 3.0, 4096: 1.8}.get(n)
    return Case(step_function(POINTWISE[name](n), x), copy_floor(x), "three streams", limit, 1.5)


def other_step(name: str, n: int) -> Case:
    x = picture(1, 3, n, n)
    run = step_function(OTHERS[name](n), x)
    return Case(run, copy_floor(x), "three streams", None, 1.5)


def blur_step(n: int) -> Case:
    """An FFT blur step against the two transforms that it contains."""
    x = picture(1, 3, n, n)
    run = step_function(operator("blur (FFT)", n), x)

    def transforms() -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(x, norm="ortho"), s=(n, n), norm="ortho")

    return Case(run, transforms, "rfft2 + irfft2", 1.4)


def walsh_hadamard(n: int) -> Case:
    x = picture(1, 3, n, n)
    y = torch.empty_like(x)
    return Case(lambda: ops.fwht(x, out=y), copy_floor(x), "copy", 4.0)


def cases() -> dict[str, Callable[[], Case]]:
    """Every case by name; made when it is timed, so that memory is that of one case."""
    table: dict[str, Callable[[], Case]] = {}
    for n in (256, 1024, 4096):
        for name in POINTWISE:
            table[f"{name} step, {n}"] = lambda name=name, n=n: pointwise_step(name, n)
    for name in OTHERS:
        table[f"{name} step, 1024"] = lambda name=name: other_step(name, 1024)
    table["blur (FFT) step, 1024"] = lambda: blur_step(1024)
    table["Walsh-Hadamard transform, 1024"] = lambda: walsh_hadamard(1024)
    return table


def disagreement(operator: operators.Operator, size: int = 64) -> float:
    """Relative distance of a step from the float64 reference: no speed is reported where it is wrong."""
    x = picture(1, 3, size, size)
    fast = step_function(operator, x)().double()
    with ddrm_fast.use_backend("reference"):
        exact = step_function(operator, x.double())()
    return float((fast - exact).norm() / exact.norm())


def eager_denoising(n: int) -> Callable[[], Tensor]:
    """The denoising step in eager PyTorch with torch.randn, for comparison."""
    x, out, y = (picture(1, 3, n, n, seed) for seed in range(3))

    def run() -> Tensor:
        x0 = (x - 0.6 * out) / 0.8
        z = torch.randn_like(x)
        return 0.9 * (0.2 * x0 + 0.8 * y + 0.3 * z)

    return run

"""What is timed: one sampling step of every operator, and transforms, at sizes that matter.

A case makes a function to time and the floor that it is held against: copies of the bytes that it has to
move, or the bare transforms that it contains. Cases do not depend on how they are timed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ddrm_fast import ops
from ddrm_fast.bench import OPERATORS, step_function


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


#: those with a promise, and the others
POINTWISE = ("denoising", "inpainting", "colorization", "super-resolution x4")
OTHERS = tuple(name for name in OPERATORS if name not in (*POINTWISE, "blur (FFT)"))


def pointwise_step(name: str, n: int) -> Case:
    """An identity-transform step against three streams: state and output read, state written."""
    x = picture(1, 3, n, n)
    limit = {1024: 3.0, 4096: 1.8}.get(n)
    return Case(
        step_function(OPERATORS[name](n), x.shape), copy_floor(x), "three streams", limit, 1.5
    )


def other_step(name: str, n: int) -> Case:
    x = picture(1, 3, n, n)
    run = step_function(OPERATORS[name](n), x.shape)
    return Case(run, copy_floor(x), "three streams", None, 1.5)


def blur_step(n: int) -> Case:
    """An FFT blur step against the two transforms that it contains."""
    x = picture(1, 3, n, n)
    run = step_function(OPERATORS["blur (FFT)"](n), x.shape)

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


def eager_denoising(n: int) -> Callable[[], Tensor]:
    """The denoising step in eager PyTorch with torch.randn, for comparison."""
    x, out, y = (picture(1, 3, n, n, seed) for seed in range(3))

    def run() -> Tensor:
        x0 = (x - 0.6 * out) / 0.8
        z = torch.randn_like(x)
        return 0.9 * (0.2 * x0 + 0.8 * y + 0.3 * z)

    return run

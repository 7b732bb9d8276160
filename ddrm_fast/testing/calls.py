"""Calls of every operation with random, good arguments, and the oracle that they are held against.

Tests take a call, change an argument or more, and give it to :func:`check` or :func:`check_step`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import ops
from ..operators import BlurDecimate, SuperResolution
from ..ops import Noise, reference, rows
from ..priors.schedule import Schedule, pairs
from ..samplers import DDIM, DDNM, DDPM, DDRM, DDNMPlus
from ..samplers.table import Rows, build_rows
from .tolerances import NORMAL, STEP, assert_close, must

Shape = tuple[int, ...]
Device = str | torch.device
#: of an operation, by name
Arguments = dict[str, Any]


def registered_operations() -> set[str]:
    """Names of the package's operations, as PyTorch knows them."""
    prefix = "ddrm_fast::"
    return {n.removeprefix(prefix) for n in torch._C._dispatch_get_all_op_names() if prefix in n}


# Running a call and checking it


def exact(x: Any) -> Any:
    """The same numbers in double precision (integers and the float32 row table stay)."""
    if not isinstance(x, torch.Tensor) or not (x.is_floating_point() or x.is_complex()):
        return x
    return x.cpu().to(torch.complex128 if x.is_complex() else torch.float64)


def move(x: Any, device: Device) -> Any:
    if isinstance(x, Noise):
        return Noise(x.keys.to(device), None if x.pixels is None else x.pixels.to(device))
    return x.to(device) if isinstance(x, torch.Tensor) else x


def run_on(device: Device, operation: Callable[..., Any], arguments: Arguments) -> Any:
    return operation(**{name: move(x, device) for name, x in arguments.items()})


def oracle(operation: Callable[..., Any], arguments: dict[str, Any]) -> Tensor:
    """The reference backend in double precision."""
    call = {}
    for name, x in arguments.items():
        if name in ("table", "step"):
            call[name] = x.cpu()
        elif isinstance(x, Noise):
            call[name] = Noise(x.keys.cpu(), None if x.pixels is None else exact(x.pixels))
        elif name == "out" and x is not None and not x.is_complex():
            call[name] = x.cpu()
        else:
            call[name] = exact(x)
    with ops.use_backend("reference"):
        return operation(**call)


def check(
    device: Device, operation: Callable[..., Any], arguments: Arguments, rel: float = STEP
) -> Tensor:
    """Runs a call and compares it to the oracle; returns the result."""
    result = run_on(device, operation, arguments)
    assert_close(result, oracle(operation, arguments), rel)
    return result


GUARD = 37  # odd: the buffer inside is misaligned for vector loads


def guarded_buffer(like: Tensor, device: Device) -> tuple[Tensor, Tensor]:
    """A buffer of NaN for a result, and the larger piece of memory that it lies in."""
    memory = torch.full((like.numel() + 2 * GUARD,), 7.0, dtype=like.dtype, device=device)
    inside = memory[GUARD : GUARD + like.numel()].fill_(float("nan")).view(like.shape)
    return memory, inside


def guards_untouched(memory: Tensor, n: int) -> None:
    whole = bool((memory[:GUARD] == 7).all() and (memory[GUARD + n :] == 7).all())
    must(whole, "it wrote outside its buffer")


def _noise_weight(table: Tensor, step: Tensor, s: Tensor) -> float:
    """The largest weight that noise has in a row: what an error of the noise is multiplied by."""
    row = reference._row(table, step, torch.float64)
    return max(float(reference._weights(row, s.cpu().double())[3].max()), 0.0) if s.numel() else 0.0


def check_step(
    device: Device, operation: Callable[..., Any], arguments: Arguments, *, wants_x0: bool = False
) -> None:
    """Runs a step with given and with drawn noise, into a buffer with guards on both sides."""
    state = arguments["x_t"]
    if state is None:
        state = arguments.pop("x_next")
    given = torch.randn_like(state)
    weight = _noise_weight(arguments["table"], arguments["step"], arguments["s"])
    keys = some_keys(state.shape[0])
    for noise in (Noise(keys, given), Noise(keys)):
        call = {**arguments, "noise": noise}
        guarded, buffer = guarded_buffer(state, device)
        targets = {"x_next": buffer}
        expected_targets = {"x_next": torch.empty_like(exact(state))}
        if wants_x0:
            guarded_x0, targets["x0"] = guarded_buffer(state, device)
            expected_targets["x0"] = torch.empty_like(exact(state))
        result = run_on(device, operation, {**call, **targets})
        expected = oracle(operation, {**call, **expected_targets})
        must(result.data_ptr() == buffer.data_ptr(), "the result is not the buffer that was given")
        absolute = 0.0 if noise.pixels is not None else NORMAL * weight
        assert_close(result, expected, STEP, absolute)
        guards_untouched(guarded, state.numel())
        if wants_x0:
            assert_close(targets["x0"], expected_targets["x0"], STEP)
            guards_untouched(guarded_x0, state.numel())


def check_in_place(device: Device, operation: Callable[..., Any], arguments: Arguments) -> None:
    """A step whose state is its own buffer: the same tensor, the same bits as in fresh memory."""
    moved = {name: move(x, device) for name, x in arguments.items()}
    noise = move(Noise(some_keys(len(arguments["x_t"]))), device)
    expected = operation(**moved, noise=noise)
    state = moved["x_t"] = moved["x_t"].clone()
    must(operation(**moved, noise=noise, x_next=state) is state, "the result is not the state")
    must(torch.equal(state, expected), "in place it gives other bits than in fresh memory")


# Inputs

STEP_0 = torch.zeros(1, dtype=torch.int64)
STEP_1 = torch.ones(1, dtype=torch.int64)
SCHEDULE = Schedule.linear()
SAMPLERS: list[Any] = [
    DDRM(),
    DDRM(steps=5, eta=0.3, eta_b=0.6, eta_c=1.0),
    DDNM(steps=7),
    DDNMPlus(steps=10),
    DDIM(steps=6, eta=0.5),
    DDPM(steps=9),
]


def some_keys(batch: int, origin: tuple[int, int] = (3, 5)) -> Tensor:
    return ops.noise_keys(batch, 1234, origin=origin)


def random_images(shape: Shape, extra_channels: int = 0) -> Tensor:
    batch, channels, height, width = shape
    return torch.randn(batch, channels + extra_channels, height, width)


def random_spectra(shape: Shape) -> Tensor:
    return torch.fft.rfft2(torch.randn(shape), norm="ortho")


def random_table(
    batch: int = 1, steps: int = 2, threshold: float = 0.4, clip: tuple[float, float] | None = None
) -> Tensor:
    """Rows of arbitrary numbers: every entry matters, also those that no sampler of ours uses.

    But for what a rational row alone has; it is arbitrary too, and may not be read.
    """
    table = torch.randn(steps, batch, rows.WIDTH)
    table[..., rows.RATIONAL] = 0.0
    table[..., rows.CLIP_LO] = -torch.inf if clip is None else clip[0]
    table[..., rows.CLIP_HI] = torch.inf if clip is None else clip[1]
    table[..., rows.THR] = threshold
    table[..., rows.NULL + 2].abs_()
    for branch in (rows.LOW, rows.HIGH):
        table[..., branch + 5] *= 0.1
        table[..., branch + 7].abs_()
        table[..., branch + 8] *= 0.05
    return table


def rational_table(
    batch: int = 1,
    steps: int = 2,
    threshold: float = 0.4,
    clip: tuple[float, float] | None = None,
    flags: int | None = None,
) -> Tensor:
    """Rows of arbitrary numbers with denominators; ``flags``: which weights stand over theirs, in both
    branches, or None for a choice of its own for each row and branch."""
    table = random_table(batch, steps, threshold, clip)
    table[..., rows.RATIONAL] = 1.0
    for branch in (rows.LOW, rows.HIGH):
        table[..., branch + rows.P] = torch.rand(steps, batch) + 0.1
        table[..., branch + rows.Q] = torch.rand(steps, batch) + 0.1
        over = torch.rand(steps, batch, 4) > 0.5 if flags is None else torch.tensor(flags)
        table[..., branch + rows.OVER : branch + rows.OVER + 4] = over.float()
    return table


def sampler_rows(
    sampler: Any,
    sigma_y: float = 0.3,
    prediction: str = "eps",
    clip: tuple[float, float] | None = None,
) -> Rows:
    """The rows of a whole run."""
    visited = SCHEDULE.steps(sampler.steps)
    level = torch.as_tensor(sigma_y, dtype=torch.float64).reshape(-1)
    return build_rows(sampler, SCHEDULE, pairs(visited), level, prediction, clip)


def sampler_table(*arguments: Any, **keywords: Any) -> Tensor:
    return sampler_rows(*arguments, **keywords).table


def places(table: Tensor) -> list[Tensor]:
    """Indices of the first, a middle and the last step of a run."""
    return [torch.tensor([index]) for index in (1, len(table) // 2, len(table) - 1)]


def broadcastable(shape: Shape, pattern: str) -> list[int]:
    """``shape`` with 1 where the pattern has a dot."""
    return [1 if mark == "." else n for n, mark in zip(shape, pattern, strict=True)]


def layouts(shape: Shape, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Network outputs as networks and callers hand them over, by name."""
    batch, channels, height, width = shape

    def randn(*size: int) -> Tensor:
        return torch.randn(size).to(dtype)

    return {
        "contiguous": randn(*shape),
        "six channels": randn(batch, 2 * channels, height, width),
        "last half": randn(batch, 2 * channels, height, width)[:, channels:],
        "channels last": randn(*shape).to(memory_format=torch.channels_last),
        "expanded batch": randn(1, channels, height, width).expand(shape),
        "expanded channels": randn(batch, 1, height, width).expand(shape),
        "transposed": randn(batch, channels, width, height).mT,
        "columns of a wider one": randn(batch, channels, height, width + 3)[..., 2 : 2 + width],
        "every second image": randn(2 * batch, channels, height, width)[::2],
        "misaligned": randn(batch * channels * height * width + 1)[1:].view(shape),
    }


LAYOUTS = list(layouts((2, 3, 2, 2)))
OUTPUTS = [torch.float32, torch.float16, torch.bfloat16]

# shapes of pictures, odd ones and none
SHAPES = [
    (1, 1, 1, 1),
    (3, 3, 1, 137),
    (1, 2, 137, 1),
    (3, 1, 3, 3),
    (2, 3, 17, 19),
    (1, 5, 31, 16),
    (1, 1, 3, 2100),
    (0, 3, 8, 8),
]

# A call of every step, random and good; tests change one argument or more


def _fields(
    make: Callable[[Shape], Tensor], shape: Shape, measured: Shape, threshold: float = 0.4
) -> Arguments:
    """What every step is given: the state, the network's output, the measurement, a row."""
    return {
        "x_t": make(shape),
        "out": make(shape),
        "u": make(measured),
        "table": random_table(threshold=threshold),
        "step": STEP_1,
    }


def _changed(arguments: Arguments, changes: Any) -> Arguments:
    must(set(changes) <= set(arguments), f"no such argument: {set(changes) - set(arguments)}")
    return {**arguments, **changes}


def pointwise_call(shape: Shape, **changes: Any) -> Arguments:
    s = torch.rand(shape) + 0.05
    return _changed({**_fields(random_images, shape, shape), "s": s}, changes)


def fwht_call(shape: Shape, **changes: Any) -> Arguments:
    """Coefficients of the state; the network's output is in pixels."""
    return pointwise_call(shape, **changes)


def known_call(shape: Shape, **changes: Any) -> Arguments:
    """Of the operation that fixes known pixels; ``x_next`` is changed in place."""
    names = ("x_t", "out", "image", "x_next")
    fields = {name: random_images(shape) for name in names}
    mask = torch.rand(1, 1, *shape[2:]) > 0.4
    return _changed({**fields, "mask": mask, "table": random_table(), "step": STEP_1}, changes)


def known_step(x_next: Tensor, **arguments: Any) -> Tensor:
    """The operation in fresh memory, for tests that call it more than once."""
    return ops.known_step(x_next.clone(), **arguments)


@dataclasses.dataclass
class Profile:
    """What defines the groups of a block operation, made by the operator that uses it."""

    s: torch.Tensor
    weights: torch.Tensor | None
    mask: torch.Tensor | None
    factor: int
    grid: tuple[int, ...]

    @property
    def arguments(self) -> Arguments:
        return {"s": self.s, "weights": self.weights, "mask": self.mask, "factor": self.factor}


def _masks(shape: Shape, factor: int) -> dict[str, Tensor | None]:
    """Masks of every kind by name; those of 0 and 1 have blocks that are fully masked."""
    batch, channels, height, width = shape

    def holes(*size: int) -> Tensor:
        mask = (torch.rand(size) > 0.4).double()
        mask[..., :factor, -factor:] = 0.0
        return mask

    return {
        "none": None,
        "shared": holes(1, 1, height, width),
        "per channel": holes(1, channels, height, width),
        "per image": holes(batch, 1, height, width),
        "per image and channel": holes(batch, channels, height, width),
        "real": torch.randn(1, channels, height, width, dtype=torch.float64),
    }


MASKS = list(_masks((1, 1, 2, 2), 1))


def block_profile(shape: Shape, factor: int, weighted: bool, mask: str) -> Profile:
    batch, channels, height, width = shape
    weights = torch.rand(channels).double() + 0.2 if weighted else None
    covered = _masks(shape, factor)[mask]
    operator = SuperResolution(factor, weights, covered)
    s = operator.singulars((channels, height, width)).float()
    grid = (batch, 1 if weighted else channels, height // factor, width // factor)
    as_float = [None if x is None else x.float() for x in (weights, covered)]
    return Profile(s, as_float[0], as_float[1], factor, grid)


def block_call(shape: Shape, profile: Profile, **changes: Any) -> Arguments:
    fields = _fields(random_images, shape, profile.grid, threshold=0.2)
    return _changed({**fields, **profile.arguments}, changes)


def spectral_call(shape: Shape, **changes: Any) -> Arguments:
    s = torch.rand(*shape[:3], shape[3] // 2 + 1) + 0.05
    fields = _fields(random_spectra, shape, shape)
    return _changed({**fields, "s": s, "width": shape[3]}, changes)


def alias_call(factor: int, shape: Shape, taps: int = 3, **changes: Any) -> Arguments:
    batch, channels, height, width = shape
    kernel = torch.rand(channels, min(taps, height), min(taps, width))
    operator = BlurDecimate(kernel, factor)
    size = (channels, height, width)
    like = torch.empty(0)
    small = (batch, channels, height // factor, width // factor)
    arguments = {
        **_fields(random_spectra, shape, small, threshold=0.3),
        "kernel": operator._kernel(size, like),
        "s": operator._half_singulars(size, like),
        "factor": factor,
        "width": width,
    }
    return _changed(arguments, changes)

"""The conformance matrix of a backend: every operation at odd shapes, masks, layouts, against the oracle.

>>> from ddrm_fast import testing
>>> testing.check_backend("mine")  # registered with ddrm_fast.ops.dispatch.register_backend

The oracle is the reference backend in double precision; a step runs with given and with drawn noise, into a
buffer whose surroundings must stay as they were, and in place.
"""

from __future__ import annotations

import contextlib
import importlib
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import ops
from ..ops import Noise, dct, dispatch
from . import calls
from .calls import Arguments, Shape, check, check_in_place, check_step
from .tolerances import NORMAL, STEP, assert_close, must, transform

Operation = Callable[..., Any]
#: the arguments of a call
Make = Callable[[], Arguments]
#: what is run on a device
Check = Callable[[str], Any]


class Variant(NamedTuple):
    """A backend on a device; the compiled one with one of its instruction sets.

    Attributes:
        backend:
            Its name in the registry.
        isa:
            Name of the instruction set, or None.
        device:
            "cpu" or "cuda".
    """

    backend: str
    isa: str | None
    device: str

    def __str__(self) -> str:
        parts = (self.backend, self.isa, self.device if self.device != "cpu" else None)
        return "-".join(filter(None, parts))


def devices_of(name: str) -> tuple[list[str], str | None]:
    """Devices of this machine where a backend takes float32, and why there is none.

    Args:
        name:
            Of a registered backend.
    """
    backend = dispatch._BACKENDS[name]
    reason, devices = backend.unavailable(), []
    for device in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        if reason is None and backend.refuses(device, torch.float32) is None:
            devices.append(device)
    return devices, reason or backend.refuses("cpu", torch.float32)


def variants_of(name: str) -> list[Variant]:
    """A backend on every device that it runs on, once for each of its instruction sets."""
    sets: list[str | None] = [None]
    if name == "cpp" and ops.backends().get("cpp", "not registered") is None:
        sets = importlib.import_module("ddrm_fast._C").available_isas()
    return [Variant(name, isa, device) for device in devices_of(name)[0] for isa in sets]


@contextlib.contextmanager
def in_use(variant: Variant) -> Iterator[str]:
    """A variant chosen for all operations of a ``with`` block, which is given its device."""
    name, isa, device = variant
    with contextlib.ExitStack() as stack:
        stack.enter_context(ops.use_backend(name))
        if isa is not None:
            extension = importlib.import_module("ddrm_fast._C")
            stack.callback(extension.set_isa, extension.get_isa())
            extension.set_isa(isa)
        yield device


class Conformance(NamedTuple):
    """One case of the matrix.

    Attributes:
        name:
            "operation, what is special".
        run:
            Takes a device; raises AssertionError where the backend in use gives something else.
    """

    name: str
    run: Callable[[str], None]


def cases() -> Iterator[Conformance]:
    """Every case; its numbers are drawn when it runs, from a seed that its name gives."""
    for name, run in [
        *_pointwise(), *_block(), *_spectral(), *_alias(), *_known(), *_transforms(), *_others(),
    ]:  # fmt: skip
        yield Conformance(name, _seeded(name, run))


def check_backend(name: str, only: str = "") -> list[str]:
    """Runs the matrix on a backend, on every device that it runs on.

    Args:
        name:
            Of a registered backend.
        only:
            Cases whose name holds this.

    Returns:
        Names of the cases that were run.

    Raises:
        AssertionError: It departs from the oracle; the message names variant and cases.
        ValueError: It cannot run here, or no case is left.
    """
    variants = variants_of(name)
    if not variants:
        raise ValueError(f"name: {name} runs on no device here: {devices_of(name)[1]}")
    chosen = [case for case in cases() if only in case.name]
    if not chosen:
        raise ValueError(f"only: got {only!r}, which no case's name holds")
    wrong = []
    for variant in variants:
        with in_use(variant) as device:
            for case in chosen:
                try:
                    case.run(device)
                except AssertionError as error:
                    wrong.append(f"{variant}: {case.name}: {error}")
    must(not wrong, f"{len(wrong)} of {len(chosen) * len(variants)} differ:\n" + "\n".join(wrong))
    return [case.name for case in chosen]


def _seeded(name: str, run: Callable[[str], None]) -> Callable[[str], None]:
    def seeded(device: str) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(zlib.crc32(name.encode()))
            run(device)

    return seeded


def _step_case(operation: Operation, make: Make, wants_x0: bool = False) -> Check:
    return lambda device: check_step(device, operation, make(), wants_x0=wants_x0)


def _in_place(operation: Operation, make: Make) -> Check:
    return lambda device: check_in_place(device, operation, make())


def _plain(operation: Operation, make: Make, rel: float = STEP) -> Check:
    return lambda device: check(device, operation, make(), rel)


_PATTERNS = ("BCHW", ".CHW", "B...", ".C..", "..H.", "...W", "....")


def _of_samplers(
    operation: Operation, make: Callable[..., Arguments]
) -> Iterator[tuple[str, Check]]:
    """Rows of every sampler, first, middle and last, and the first state."""
    for sampler in calls.SAMPLERS:
        table = calls.sampler_table(sampler)
        for step in calls.places(table):
            label = f"row {int(step)} of {type(sampler).__name__} {sampler.steps}"
            yield label, _step_case(operation, partial(make, table=table, step=step))

        def start(table: Tensor = table) -> Arguments:
            first = make(table=table, step=calls.STEP_0)
            state = torch.empty_like(first["x_t"])
            return {**first, "x_t": None, "out": None, "x_next": state}

        label = f"first state of {type(sampler).__name__} {sampler.steps}"
        yield label, _step_case(operation, start)


def _pointwise() -> Iterator[tuple[str, Check]]:
    step, call = ops.pointwise_step, calls.pointwise_call
    for shape in calls.SHAPES:
        yield f"pointwise_step, {shape}", _step_case(step, partial(call, shape), True)
    for pattern in _PATTERNS:

        def broken(pattern: str = pattern) -> Arguments:
            s = torch.rand(calls.broadcastable((2, 3, 5, 37), pattern)) + 0.05
            return call((2, 3, 5, 37), s=torch.where(s > 0.4, s, 0.0))

        yield f"pointwise_step, s {pattern}", _step_case(step, broken)
    for layout in calls.LAYOUTS:
        for dtype in calls.OUTPUTS:

            def laid(layout: str = layout, dtype: torch.dtype = dtype) -> Arguments:
                return call((2, 3, 5, 37), out=calls.layouts((2, 3, 5, 37), dtype)[layout])

            yield f"pointwise_step, output {layout} {dtype}", _step_case(step, laid, True)

    def row_per_image() -> Arguments:
        return call((3, 2, 4, 35), table=calls.random_table(3, clip=(-1.0, 1.0)))

    yield "pointwise_step, a row per image, clipped", _step_case(step, row_per_image, True)
    yield "pointwise_step, nothing measured", _step_case(step, lambda: call((2, 2, 5, 19), u=None))
    yield "pointwise_step, in place", _in_place(step, lambda: call((2, 3, 9, 41)))
    for label, run in _of_samplers(step, lambda **k: call((2, 3, 7, 33), **k)):
        yield f"pointwise_step, {label}", run


def _block() -> Iterator[tuple[str, Check]]:
    shapes = [(1, (2, 3, 5, 37)), (2, (3, 3, 6, 26)), (3, (1, 3, 9, 33)), (4, (1, 3, 8, 1100)),
              (7, (2, 3, 7, 7)), (16, (2, 3, 32, 48)), (2, (0, 3, 4, 4))]  # fmt: skip
    for factor, shape in shapes:
        for weighted in (False, True):
            for mask in calls.MASKS:
                label = f"{factor} of {shape}, {'grey' if weighted else 'colours'}, mask {mask}"

                def profile(
                    factor: int = factor,
                    shape: Shape = shape,
                    weighted: bool = weighted,
                    mask: str = mask,
                ) -> calls.Profile:
                    return calls.block_profile(shape, factor, weighted, mask)

                def step(
                    shape: Shape = shape, profile: Callable[[], calls.Profile] = profile
                ) -> Arguments:
                    return calls.block_call(shape, profile())

                def pixels(
                    shape: Shape = shape, profile: Callable[[], calls.Profile] = profile
                ) -> Arguments:
                    return {"x": calls.random_images(shape), **profile().arguments}

                def lifted(
                    shape: Shape = shape, profile: Callable[[], calls.Profile] = profile
                ) -> Arguments:
                    made = profile()
                    c = calls.random_images(made.grid)
                    return {"c": c, "channels": shape[1], **made.arguments}

                yield f"block_step, {label}", _step_case(ops.block_step, step, True)
                yield f"block_measure, {label}", _plain(ops.block_measure, pixels)
                yield f"block_lift, {label}", _plain(ops.block_lift, lifted)

    def small(**changes: Any) -> Arguments:
        shape = (2, 3, 8, 44)
        return calls.block_call(shape, calls.block_profile(shape, 4, True, "shared"), **changes)

    yield "block_step, in place", _in_place(ops.block_step, small)
    for label, run in _of_samplers(ops.block_step, small):
        yield f"block_step, {label}", run


def _spectral() -> Iterator[tuple[str, Check]]:
    for size in ((1, 1), (1, 2), (2, 1), (7, 1), (4, 5), (5, 4), (9, 35), (2, 1029)):
        shape = (2, 3, *size)
        case = _step_case(ops.spectral_step, partial(calls.spectral_call, shape))
        yield f"spectral_step, {shape}", case
    shape = (2, 3, 6, 35)
    yield (
        "spectral_step, in place",
        _in_place(ops.spectral_step, lambda: calls.spectral_call(shape)),
    )
    for label, run in _of_samplers(ops.spectral_step, lambda **k: calls.spectral_call(shape, **k)):
        yield f"spectral_step, {label}", run


def _alias() -> Iterator[tuple[str, Check]]:
    for factor, size in ((1, (5, 7)), (2, (2, 2)), (2, (6, 10)), (3, (9, 6)), (4, (12, 20))):
        shape = (2, 3, *size)
        case = _step_case(ops.alias_step, partial(calls.alias_call, factor, shape))
        yield f"alias_step, {factor} of {shape}", case
    case = _in_place(ops.alias_step, lambda: calls.alias_call(3, (2, 3, 12, 18)))
    yield "alias_step, in place", case
    shape = (3, 2, 6, 38)
    for label, run in _of_samplers(ops.alias_step, lambda **k: calls.alias_call(2, shape, **k)):
        yield f"alias_step, {label}", run


def _known() -> Iterator[tuple[str, Check]]:
    for shape in calls.SHAPES:

        def run(device: str, shape: Shape = shape) -> None:
            call = calls.known_call(shape)
            state = call["x_next"]
            noise = Noise(calls.some_keys(shape[0]), torch.randn_like(state))
            moved = {n: calls.move(x, device) for n, x in {**call, "noise": noise}.items()}
            result = calls.known_step(**moved)
            exact = {**call, "x_next": calls.exact(state).clone(), "noise": noise}
            assert_close(result, calls.oracle(ops.known_step, exact), STEP)
            left = ~call["mask"].expand(state.shape)
            must(torch.equal(result.cpu()[left], state[left]), "it changed pixels that are unknown")

        yield f"known_step, {shape}", run


def _images(name: str, shape: Shape) -> Arguments:
    return {name: calls.random_images(shape)}


def _transforms() -> Iterator[tuple[str, Check]]:
    for shape in ((1, 1, 1, 1), (2, 3, 1, 8), (1, 2, 16, 4), (2, 3, 32, 64), (1, 1, 4, 2048)):
        rel = transform(shape[2] * shape[3])
        case = _plain(ops.fwht, partial(_images, "x", shape), rel)
        yield f"fwht, {shape}", case
        step = _step_case(ops.fwht_step, partial(calls.fwht_call, shape), False)
        yield f"fwht_step, {shape}", step
    for shape in ((1, 1, 1, 1), (2, 3, 5, 7), (1, 2, 16, 24), (1, 1, 64, 36)):
        rel = transform(64 * shape[2] * shape[3])  # an FFT, and the twiddles of two axes
        for name, operation, key in (("dct2", dct.forward, "x"), ("idct2", dct.inverse, "c")):
            case = _plain(operation, partial(_images, key, shape), rel)
            yield f"{name}, {shape}", case


def _others() -> Iterator[tuple[str, Check]]:
    for clip in (None, (-0.5, 0.5)):

        def clean(clip: tuple[float, float] | None = clip) -> Arguments:
            x = calls.random_images((2, 3, 9, 37))
            table = calls.random_table(clip=clip)
            return {"x_t": x, "out": calls.random_images((2, 3, 9, 37)), "table": table,
                    "step": calls.STEP_1}  # fmt: skip

        yield f"predict_x0, clip {clip}", _plain(ops.predict_x0, clean)
    for shape in ((1, 1, 1), (3, 5, 7), (2, 9, 130)):

        def drawn(device: str, shape: Shape = shape) -> None:
            keys = calls.some_keys(2)
            channels, height, width = shape
            z = ops.normal(keys.to(device), channels, height, width)
            with ops.use_backend("reference"):
                expected = ops.normal(keys, channels, height, width)
            assert_close(z, expected.double(), 0.0, 2 * NORMAL)

        yield f"normal, {shape}", drawn

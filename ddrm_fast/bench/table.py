"""Runs the registry on a device and keeps what came out, and what was left out and why."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from .. import ops
from ..ops import dispatch, triton_available
from ..priors.schedule import Schedule, pairs
from . import flops
from .compiled import compiled
from .kernels import Case, Sizes, kernel_cases
from .published import PublishedStep
from .steps import MIDDLE, OPERATORS, SIGMA_Y, STEPS, StepInputs, disagreement, moved_bytes
from .timing import Clock, Run, against_copy, quantiles

#: a step further from the float64 reference than this, relatively, is wrong and has no speed
TOLERANCE = 1e-5


@dataclass
class Table:
    """What was timed on one device.

    Args:
        device:
            "cpu" or "cuda".
        rounds:
            Times of each call.
        rows:
            One for each case: operation, shape, dtype, bytes, flops, ``backends`` with the times of each,
            and ``others`` with those of what it is compared with.
        skipped:
            What was left out, and why.
    """

    device: str
    rounds: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = Clock(self.device)

    def skip(self, what: str, why: str) -> None:
        self.skipped.append({"what": what, "why": why})

    def backends(self, asked: str | None = None) -> list[str]:
        """Names of the backends to time; the others are noted as skipped.

        Args:
            asked:
                This one alone.
        """
        found = []
        for name, backend in dispatch._BACKENDS.items():
            why = backend.unavailable() or backend.refuses(self.device, torch.float32)
            if asked is not None and name != asked:
                continue
            if why is None and name == "triton" and triton_available.interpreted():
                why = "its interpreter runs, for tests; its times mean nothing"
            if why is None and name == "reference" and asked is None:
                why = "it is what the others are compared with"
            if why is None:
                found.append(name)
            else:
                self.skip(f"backend {name} on {self.device}", why)
        return found

    def steps(
        self,
        names: Iterable[str],
        backends: Collection[str],
        shape: tuple[int, ...],
        compare: Collection[str] = ("eager", "published"),
    ) -> None:
        """A DDRM step of each operator on every backend.

        Args:
            compare:
                "eager" and "compiled": the reference; "published": the sequence of operations of the
                published program.
        """
        for name in names:
            try:
                self._step(name, backends, shape, compare)
            except (RuntimeError, ValueError, MemoryError) as error:
                self.skip(f"{name} on {self.device}", f"{type(error).__name__}: {error}"[:300])

    def _step(
        self, name: str, backends: Collection[str], shape: tuple[int, ...], compare: Collection[str]
    ) -> None:
        row: dict[str, Any] = {
            "operation": f"{name} step", "shape": list(shape), "dtype": "float32",
        }  # fmt: skip
        row.update(backends={}, others={})
        inputs = StepInputs.make(OPERATORS[name](shape[-1]), shape, self.device)
        row["bytes"], row["flops"] = moved_bytes(inputs), flops.step(inputs.operator, shape)
        copy, copied = _copy(inputs.x_t)
        for backend in backends:
            with ops.use_backend(backend):
                error = disagreement(OPERATORS[name](64), device=self.device)
                if not error <= TOLERANCE:
                    self.skip(
                        f"{name} on {backend}", f"it is wrong: {error:.1e} from the reference"
                    )
                    continue
                inputs.start()
                row["backends"][backend] = against_copy(
                    self.clock, inputs.run, row["bytes"], copy, copied, self.rounds
                )
        if row["backends"]:
            self.rows.append(row)
            self._compare(row, step_comparisons(inputs, shape, compare))

    def _compare(self, row: dict[str, Any], others: dict[str, Run]) -> None:
        """Times what a row is compared with; what cannot run is noted and the rest stays."""
        for other, run in others.items():
            try:
                row["others"][other] = self._seconds(run)
            except Exception as error:  # a compiler's errors are of any kind
                why = f"{type(error).__name__}: {error}"[:300]
                self.skip(f"{row['operation']} on {self.device}, {other}", why)

    def _seconds(self, run: Run) -> dict[str, float]:
        run()
        return quantiles([self.clock.time(run) for _ in range(min(5, self.rounds))])

    def kernels(self, sizes: Sizes, backends: Collection[str], compare: Collection[str]) -> None:
        """Every fused operation, and the reference beside some of them."""
        shape = [sizes.batch, 3, sizes.side, sizes.side]
        copy, copied = _copy(torch.randn(shape, device=self.device))
        for case in kernel_cases(sizes, self.device, compare):
            try:
                self._kernel(case, shape, backends, copy, copied)
            except (RuntimeError, ValueError, MemoryError) as error:
                what = f"{case.operation}: {case.name} on {self.device}"
                self.skip(what, f"{type(error).__name__}: {error}"[:300])

    def _kernel(
        self, case: Case, shape: list[int], backends: Collection[str], copy: Run, copied: int
    ) -> None:
        halves = [name for name in ("float16", "bfloat16") if name in case.name]
        row: dict[str, Any] = {"operation": f"{case.operation}: {case.name}", "shape": shape}
        row.update(dtype=halves[0] if halves else "float32", bytes=case.bytes)
        row.update(flops=case.flops, backends={}, others={})
        for backend in backends:
            with ops.use_backend(backend):
                row["backends"][backend] = against_copy(
                    self.clock, case.run, case.bytes, copy, copied, self.rounds
                )
        self.rows.append(row)
        self._compare(row, case.others)


def _copy(x: torch.Tensor) -> tuple[Run, int]:
    """A copy into a warm buffer, and its bytes."""
    source, target = x.clone(), x.clone()
    return lambda: target.copy_(source), 2 * x.numel() * x.element_size()


def step_comparisons(
    inputs: StepInputs, shape: tuple[int, ...], compare: Collection[str]
) -> dict[str, Run]:
    """What a step is compared with, by name; noise by ``torch.randn`` in all of them."""

    def step() -> None:
        inputs.run(torch.randn_like(inputs.x_t))

    def eager() -> None:
        with ops.use_backend("reference"):
            step()

    others: dict[str, Run] = {}
    if "eager" in compare:
        others["eager"] = eager
    if "compiled" in compare:
        inputs.start()
        others["compiled"] = compiled(step)
    if "published" in compare:
        others["published"] = _published(inputs, shape)
    return others


def _published(inputs: StepInputs, shape: tuple[int, ...]) -> Run:
    schedule = Schedule.linear()
    t, t_next = pairs(schedule.steps(STEPS))[MIDDLE - 1]
    published = PublishedStep(
        inputs.operator,
        inputs.operator.H(inputs.x_t),
        (shape[1], shape[2], shape[3]),
        SIGMA_Y,
        schedule.abar(t),
        schedule.abar(t_next),
    )
    return lambda: published(inputs.x_t, inputs.out)


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table as people read it; speed-ups are how many times longer the others take."""
    heads = ("operation", "shape", "dtype", "backend", "time", "GB/s", "of copy", "flop/byte")
    others = list(dict.fromkeys(other for row in rows for other in row["others"]))
    lines = [" | ".join(("", *heads, *(f"x {other}" for other in others), "")).strip()]
    lines.append("|---|---|---|---" + "|---:" * (4 + len(others)) + "|")
    for row in rows:
        shape = " x ".join(map(str, row["shape"]))
        for backend, figures in row["backends"].items():
            seconds = figures["seconds"]["p50"]
            cells = [row["operation"], shape, row["dtype"], backend, f"{1e3 * seconds:.3f} ms"]
            cells += [f"{figures['gigabytes_per_second']:.1f}"]
            cells += [f"{100 * figures['part_of_copy']['p50']:.0f} %"]
            cells += [f"{row['flops'] / row['bytes']:.1f}"]
            for other in others:
                times = row["others"].get(other)
                cells.append("" if times is None else f"{times['p50'] / seconds:.1f}")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)

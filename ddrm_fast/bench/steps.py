"""A DDRM step of every operator, in the middle of a run, on any device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .. import ops
from ..operators import Carry, Operator, Rows
from ..operators.base import Measurement
from ..ops import Noise
from ..priors.schedule import Schedule, pairs
from ..problems import degradation
from ..registry import TASKS
from ..samplers import DDRM
from ..samplers.table import build_rows

SIGMA_Y, STEPS, MIDDLE = 0.1, 20, 10


def random_mask(height: int, width: int) -> Tensor:
    """Half of the pixels."""
    return torch.rand(height, width, generator=torch.Generator().manual_seed(2)) > 0.5


def _example(task: str, options: Mapping[str, str], n: int) -> Operator:
    operator = degradation(task, (3, n, n), options, seed=2).operator()
    assert isinstance(operator, Operator), task  # a step of the singular basis is timed
    return operator


#: every example of every task by name, for n x n pixels, n a power of two
OPERATORS: dict[str, Callable[[int], Operator]] = {
    label: partial(_example, task.name, options)
    for task in TASKS.values()
    for label, options in task.examples.items()
}


def rows(steps: int = STEPS) -> Rows:
    """The rows of a DDRM run."""
    schedule = Schedule.linear()
    levels = torch.tensor([SIGMA_Y], dtype=torch.float64)
    return build_rows(DDRM(steps), schedule, pairs(schedule.steps(steps)), levels)


@dataclass
class StepInputs:
    """What a step in the middle of a run reads and writes, random numbers on one device."""

    operator: Operator
    x_t: Tensor
    out: Tensor
    x_next: Tensor
    u: Measurement
    rows: Rows
    step: Tensor
    keys: Tensor
    carry: Carry

    @classmethod
    def make(
        cls,
        operator: Operator,
        shape: tuple[int, ...],
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> StepInputs:
        """For pictures (B, C, H, W), one of them B times; the same numbers in every dtype."""
        generator = torch.Generator().manual_seed(0)
        x_t, out = (
            torch.randn(shape[1:], generator=generator)
            .to(device=device, dtype=dtype)
            .expand(shape)
            .contiguous()
            for _ in range(2)
        )
        y = operator.H(x_t)
        step = torch.full((1,), MIDDLE, device=device)
        keys = ops.noise_keys(shape[0], 1, device=device)
        u, table = operator.prepare(y), rows().to(torch.device(device))
        return cls(operator, x_t, out, torch.zeros_like(x_t), u, table, step, keys, Carry())

    def start(self) -> None:
        """Makes the initial state: transform operators then have its coefficients."""
        first = torch.zeros_like(self.step)
        self.operator.step(
            None, None, self.u, self.rows, first, Noise(self.keys), x_next=self.x_next,
            carry=self.carry,
        )  # fmt: skip

    def run(self, z: Tensor | None = None) -> Tensor:
        """The step; noise as pixels may be given, else it is made inside."""
        return self.operator.step(
            self.x_t, self.out, self.u, self.rows, self.step, Noise(self.keys, z),
            x_next=self.x_next, carry=self.carry,
        )  # fmt: skip


def step_function(
    operator: Operator, shape: tuple[int, ...], device: str = "cpu", start: bool = True
) -> Callable[[], Tensor]:
    """A step, noise inside; buffers warm and coefficients there if ``start``."""
    inputs = StepInputs.make(operator, shape, device)
    if start:
        inputs.start()
    return inputs.run


def moved_bytes(inputs: StepInputs) -> int:
    """What a step reads and writes at least: state, output, measurement, what defines the groups.

    A transform operator reads the coefficients of the state in the place of the state; passes of its
    transforms are not counted, so its share of a copy shows what they cost.
    """
    u = inputs.u
    fields = (inputs.x_t, inputs.out, inputs.x_next, u.u, u.s, u.mask, u.kernel)
    return sum(x.numel() * x.element_size() for x in fields if x is not None)


def disagreement(operator: Operator, size: int = 64, device: str = "cpu") -> float:
    """Relative distance of a step from the float64 reference: what is wrong has no speed."""
    shape = (1, 3, size, size)
    fast = StepInputs.make(operator, shape, device)
    with ops.use_backend("reference"):
        exact = StepInputs.make(operator, shape, dtype=torch.float64)
        exact.start()
        expected = exact.run()
    fast.start()
    return float((fast.run().cpu().double() - expected).norm() / expected.norm())

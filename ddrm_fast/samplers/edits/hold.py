"""Further measurements that the clean image of every step is held to, before the actual one is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ...operators import Operator
from ...operators.cuts import Cuts
from ...problems import Problem
from ...problems.problem import in_network_range
from ..state import State
from .edit import Edit


@dataclass(frozen=True, eq=False)
class Hold(Edit):
    """x0 <- x0 + A_pinv (m - A x0): the range of A comes from m, the null space from the network.

    With a downscaling operator and a small restored picture m it holds low frequencies, as hierarchical
    restoration does (Wang et al. 2023, "Unlimited-Size Diffusion Restoration").

    Args:
        operator:
            A; a degradation of its own, not part of the measurement's.
        measurement:
            m in the layout of A, batch B or 1, without noise. In :func:`ddrm_fast.restore` that of a
            [0, 1] picture, in :func:`ddrm_fast.samplers.run` that of a [-1, 1] picture.
    """

    operator: Operator
    measurement: Tensor

    capturable = True
    title = "hold"

    def clean(self, problem: Problem, state: State) -> Tensor:
        return self(state.x0)

    def __call__(self, x0: Tensor) -> Tensor:
        """The clean image (B, C, H, W) with this measurement."""
        missing = self.measurement - self.operator.H(x0)
        return x0 + self.operator.H_pinv(missing)

    def check(self, name: str, problem: Problem) -> None:
        self.check_fits(name, (problem.batch, *problem.shape), problem.y)

    def prepared(self, problem: Problem, shape: tuple[int, ...]) -> Hold:
        self.check_fits("hold", shape, problem.y)
        return self

    def check_fits(self, name: str, shape: tuple[int, ...], like: Tensor) -> None:
        """Raises ValueError unless it fits a state of this shape (B, C, H, W), dtype and device."""
        m = self.measurement
        if not isinstance(self.operator, Operator):
            given = type(self.operator).__name__
            raise ValueError(f"{name}.operator: expected an Operator, got {given}")
        if not isinstance(m, Tensor) or m.dtype != like.dtype or m.device != like.device:
            given = f"{m.dtype} on {m.device}" if isinstance(m, Tensor) else type(m).__name__
            raise ValueError(
                f"{name}.measurement: expected {like.dtype} on {like.device} like y, got {given}"
            )
        if self.operator.batch not in (1, shape[0]):
            raise ValueError(
                f"{name}.operator: is for a batch of {self.operator.batch}, got {shape[0]}"
            )
        try:
            image = self.operator.image_shape(m)
        except ValueError as error:
            raise ValueError(f"{name}.measurement: does not fit its operator; {error}") from error
        if image != tuple(shape[1:]) or m.shape[0] not in (1, shape[0]):
            raise ValueError(
                f"{name}.measurement: expected one of images {tuple(shape[1:])}, batch {shape[0]} or "
                f"1, got one of {image}, batch {m.shape[0]}"
            )
        if not m.isfinite().all():
            raise ValueError(f"{name}.measurement: has NaN or infinite entries")

    def select(self, rows: Tensor) -> Self:
        m = self.measurement
        m = m if m.shape[0] == 1 else m.index_select(0, rows)
        return replace(self, operator=self.operator.select(rows), measurement=m)

    def windows(self, cuts: Cuts, samples: Sequence[int]) -> Self:
        whole = Problem(self.operator, self.measurement).windows(cuts)
        return replace(self, operator=whole.decomposed, measurement=whole.y)

    def to(self, device: torch.device | str) -> Self:
        return replace(self, measurement=self.measurement.to(device))

    def in_network_range(self) -> Self:
        return replace(self, measurement=in_network_range(self.operator, self.measurement))

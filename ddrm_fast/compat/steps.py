"""The steps of a run: each one fused update, or taken apart where no row describes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .. import ops
from ..operators.base import Carry, Measurement, Operator
from ..operators.spectral import TransformOperator
from ..ops import Noise
from ..priors.schedule import Schedule
from ..samplers.table import build_rows
from ..samplers.weights import Sampler
from .loop import Randomness
from .weights import RenoiseWeights


class Travel:
    """Back in time: what all runs share.

    Args:
        abar, pairs:
            abar_t, and (t, t_next) of every iteration.
    """

    def __init__(
        self, abar: Tensor, pairs: Sequence[tuple[int, int]], device: torch.device
    ) -> None:
        self.schedule, self.pairs = Schedule(abar), list(pairs)
        self.index = torch.zeros(1, dtype=torch.int64, device=device)
        self.carry = Carry()
        self._rows: Tensor | None = None

    def renoise(self, k: int, x0: Tensor, noise: Randomness, x_next: Tensor) -> None:
        """Time travel: the clean image with noise of the level of t_next."""
        if self._rows is None:
            level = torch.zeros(1, dtype=torch.float64)
            rows = build_rows(RenoiseWeights(), self.schedule, self.pairs, level, "x0")
            self._rows = rows.table.to(x0.device)
        self.carry = Carry()  # the coefficients of the state before are of no use
        one = torch.ones(1, 1, 1, 1, dtype=x0.dtype, device=x0.device)
        ops.pointwise_step(
            x0, x0, None, one, self._rows, self.index.fill_(k + 1), noise.step(k), x_next=x_next
        )


class FusedSteps(Travel):
    """Every step of a run as one fused update.

    Args:
        operator, u:
            The degradation and its measurement.
        sampler, abar, pairs, sigma:
            The weight function, abar_t, (t, t_next) of every iteration, the noise of y.
    """

    def __init__(
        self,
        operator: Operator,
        u: Measurement,
        sampler: Sampler,
        abar: Tensor,
        pairs: Sequence[tuple[int, int]],
        sigma: float,
    ) -> None:
        super().__init__(abar, pairs, u.u.device)
        self.operator, self.u = operator, u
        level = torch.tensor([sigma], dtype=torch.float64)
        self.rows = build_rows(sampler, self.schedule, pairs, level).to(u.u.device)
        tie = getattr(sampler, "tie", None)
        self.ties = {} if tie is None else self._ties(tie, sigma)

    def _ties(
        self, tie: Callable[[float, float], tuple[float, float]], sigma: float
    ) -> dict[int, Tensor]:
        """Steps with singular values exactly on the boundary of two branches, and which those are."""
        s = self.u.s
        top = float(s.max()) if s.numel() else 0.0
        ties: dict[int, Tensor] = {}
        bounds = {
            k: tie(self.schedule.abar(t_next), sigma)
            for k, (t, t_next) in enumerate(self.pairs)
            if t_next < t
        }
        bounds = {k: (low, high) for k, (low, high) in bounds.items() if low < high and low <= top}
        if not bounds:
            return ties
        levels = s[s > 0].unique().double().cpu()
        for k, (low, high) in bounds.items():
            if bool(((levels >= low) & (levels < high)).any()):
                ties[k] = (s.double() >= low) & (s.double() < high)
        return ties

    def start(self, z: Tensor, x_next: Tensor) -> Tensor:
        """The initial state, from white noise in pixel space."""
        keys = ops.noise_keys(z.shape[0], device=z.device)
        return self.operator.step(
            None, None, self.u, self.rows, self.index.fill_(0), Noise(keys, z.contiguous()),
            x_next=x_next, carry=self.carry,
        )  # fmt: skip

    def step(
        self, k: int, x_t: Tensor, out: Tensor, noise: Randomness, x_next: Tensor, clean: bool
    ) -> Tensor | None:
        """Fills ``x_next`` with the state after iteration k; returns its x0 in fresh memory if asked."""
        u, step = self.u, self.index.fill_(k + 1)
        if k in self.ties:
            u = replace(u, s=torch.where(self.ties[k], 0.0, u.s))
        x0 = None
        if clean and not isinstance(self.operator, TransformOperator):
            x0 = torch.empty(x_t.shape, dtype=x_t.dtype, device=x_t.device)
        self.operator.step(
            x_t, out, u, self.rows, step, noise.step(k), x_next=x_next, x0=x0, carry=self.carry
        )
        if clean and x0 is None:
            x0 = ops.predict_x0(x_t, out, self.rows.table, step)
        return x0


class PartSteps(Travel):
    """Every step by formulas in plain torch: x0, then whatever ``update`` makes of it.

    Args:
        update:
            ``(x0, out, z, abar_next) -> x_next``, all (B, C, H, W).
    """

    def __init__(
        self,
        update: Callable[[Tensor, Tensor, Tensor, float], Tensor],
        abar: Tensor,
        pairs: Sequence[tuple[int, int]],
        device: torch.device,
    ) -> None:
        super().__init__(abar, pairs, device)
        self.update = update

    def step(
        self, k: int, x_t: Tensor, out: Tensor, noise: Randomness, x_next: Tensor, clean: bool
    ) -> Tensor:
        t, t_next = self.pairs[k]
        abar = self.schedule.abar(t)
        out = out[:, : x_t.shape[1]].to(x_t.dtype)
        x0 = (x_t - (1 - abar) ** 0.5 * out) / abar**0.5
        x_next.copy_(self.update(x0, out, noise.pixels(k), self.schedule.abar(t_next)))
        return x0


class MixedSteps:
    """Fused steps, but for those that no row describes: steps with a tie (see :mod:`.weights`)."""

    def __init__(self, fused: FusedSteps, parts: PartSteps) -> None:
        self.fused, self.parts = fused, parts
        self.renoise = fused.renoise

    def step(
        self, k: int, x_t: Tensor, out: Tensor, noise: Randomness, x_next: Tensor, clean: bool
    ) -> Tensor | None:
        if k not in self.fused.ties:
            return self.fused.step(k, x_t, out, noise, x_next, clean)
        self.fused.carry = Carry()  # the next fused step transforms the state anew
        return self.parts.step(k, x_t, out, noise, x_next, clean)

"""The loop behind the published solvers: the network, the fused step, the lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from .. import ops
from ..operators.base import Carry, Measurement, Operator
from ..operators.spectral import TransformOperator
from ..ops import Noise
from ..priors.schedule import Schedule
from ..samplers.table import build_rows
from ..samplers.weights import Sampler
from .weights import RenoiseWeights

Model = Callable[..., Tensor]
GivenNoise = Callable[[int], Tensor]


class Randomness:
    """Noise of each step: the caller's, or the kernels' own with a seed from torch's global generator.

    Args:
        noise:
            ``step -> white noise (B, C, H, W)``, or None.
        like:
            The state.
    """

    def __init__(self, noise: GivenNoise | None, like: Tensor) -> None:
        self.given, self.like = noise, like
        seed = 0 if noise is not None else int(torch.randint(2**62, ()))
        self.keys = ops.noise_keys(like.shape[0], seed, device=like.device)

    def step(self, k: int) -> Noise:
        """For a fused step."""
        return Noise(self.keys, None if self.given is None else self._checked(k))

    def pixels(self, k: int) -> Tensor:
        """The same noise as pixels (of an operator that works on pixels)."""
        if self.given is not None:
            return self._checked(k)
        z = ops.normal(self.keys, *self.like.shape[1:], iteration=k + 1, stream=0)
        return z.to(self.like.dtype)

    def _checked(self, k: int) -> Tensor:
        z = self.given(k)
        if not isinstance(z, Tensor) or z.shape != self.like.shape:
            got = tuple(z.shape) if isinstance(z, Tensor) else type(z).__name__
            raise ValueError(f"noise: expected {tuple(self.like.shape)} for step {k}, got {got}")
        return z.to(self.like)


class Network:
    """The network as the published solvers call it: ``model(x, t)`` or ``model(x, t, classes)``.

    Guidance is evaluated at the initial state in every step, as published.
    """

    def __init__(
        self, model: Model, cls_fn: Model | None, classes: Tensor | None, initial: Tensor
    ) -> None:
        self.model, self.cls_fn, self.classes, self.initial = model, cls_fn, classes, initial

    def __call__(self, x_t: Tensor, t: Tensor, abar: float) -> Tensor:
        if self.cls_fn is None:
            return self._checked(self.model(x_t, t), x_t)
        out = self._checked(self.model(x_t, t, self.classes), x_t)[:, : x_t.shape[1]]
        gradient = self.cls_fn(self.initial, t, self.classes)
        if not isinstance(gradient, Tensor) or gradient.shape != x_t.shape:
            raise ValueError(
                f"cls_fn: expected a gradient {tuple(x_t.shape)}, got {_described(gradient)}"
            )
        return out - float(torch.tensor(1 - abar).sqrt()) * gradient

    @staticmethod
    def _checked(out: Tensor, x_t: Tensor) -> Tensor:
        shape = tuple(x_t.shape)
        channels = shape[1]
        fits = isinstance(out, Tensor) and out.dim() == 4 and out.shape[0] == shape[0]
        if not (
            fits and out.shape[2:] == x_t.shape[2:] and out.shape[1] in (channels, 2 * channels)
        ):
            raise ValueError(
                f"model: expected {shape} (or {2 * channels} channels: noise and variances), "
                f"got {_described(out)}"
            )
        return out


def _described(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


class FusedSteps:
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
        self.operator, self.u, self.carry = operator, u, Carry()
        level = torch.tensor([sigma], dtype=torch.float64)
        self.schedule, self.pairs = Schedule(abar), list(pairs)
        self.rows = build_rows(sampler, self.schedule, pairs, level).to(u.u.device)
        self.index = torch.zeros(1, dtype=torch.int64, device=u.u.device)
        self.ties = self._ties(sampler, sigma) if hasattr(sampler, "tie") else {}
        self._travel: Tensor | None = None

    def _ties(self, sampler: Sampler, sigma: float) -> dict[int, Tensor]:
        """Steps with singular values exactly on the boundary of two branches, and which those are."""
        s = self.u.s
        top, ties = float(s.max()) if s.numel() else 0.0, {}
        bounds = {
            k: sampler.tie(self.schedule.abar(t_next), sigma)
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

    def renoise(self, k: int, x0: Tensor, noise: Randomness, x_next: Tensor) -> None:
        """Time travel: the clean image with noise of the level of t_next."""
        if self._travel is None:
            level = torch.zeros(1, dtype=torch.float64)
            rows = build_rows(RenoiseWeights(), self.schedule, self.pairs, level, "x0")
            self._travel = rows.table.to(x0.device)
        self.carry = Carry()  # the coefficients of the state before are of no use
        one = torch.ones(1, 1, 1, 1, dtype=x0.dtype, device=x0.device)
        ops.pointwise_step(
            x0, x0, None, one, self._travel, self.index.fill_(k + 1), noise.step(k), x_next=x_next
        )


class Steps(Protocol):
    """What :func:`sample` needs of a run."""

    def step(
        self, k: int, x_t: Tensor, out: Tensor, noise: Randomness, x_next: Tensor, clean: bool
    ) -> Tensor | None: ...

    def renoise(self, k: int, x0: Tensor, noise: Randomness, x_next: Tensor) -> None: ...


def sample(
    steps: Steps,
    network: Network,
    noise: Randomness,
    abar: Tensor,
    pairs: Sequence[tuple[int, int]],
    x: Tensor,
    keep: bool,
) -> tuple[list[Tensor], list[Tensor]]:
    """Runs the iterations from the state ``x``.

    Args:
        pairs:
            (t, t_next) of every iteration; t_next > t travels back in time, -1 is the clean image.
        keep:
            Whether to return every state and clean image (on the CPU, as published), or the last.

    Returns:
        The states, the first of them ``x``, and the x0 of every iteration towards smaller t; or one of each.
    """
    times = torch.tensor([t for t, _ in pairs], dtype=torch.float32, device=x.device)
    times = times[:, None].expand(-1, x.shape[0])
    levels = abar.tolist()
    fresh = keep and x.device.type == "cpu"  # states that are kept are written in their place
    spare = [] if fresh else [torch.empty_like(x) for _ in range(2)]
    x_t, x0, xs, clean_images = x, None, [x], []
    for k, (t, t_next) in enumerate(pairs):
        x_next = torch.empty_like(x) if fresh else spare[k % 2]
        if t_next < t:
            out = network(x_t, times[k].clone(), levels[t])
            upward_next = k + 1 < len(pairs) and pairs[k + 1][1] > pairs[k + 1][0]
            clean = keep or upward_next or k + 1 == len(pairs)
            x0 = steps.step(k, x_t, out, noise, x_next, clean)
            if keep:
                clean_images.append(x0.cpu())
        else:
            steps.renoise(k, x0, noise, x_next)
        x_t = x_next
        if keep:
            xs.append(x_t.cpu())
    return (xs, clean_images) if keep else ([x_t.cpu()], [x0.cpu()])


def check_state(x: Tensor) -> None:
    """The first argument of a solver: (B, C, H, W), float32 or float64."""
    if not isinstance(x, Tensor) or x.dim() != 4:
        raise ValueError(f"x: expected a tensor (B, C, H, W), got {_described(x)}")
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x: expected float32 or float64, got {x.dtype}")


def check_level(name: str, value: float) -> float:
    """Noise of the measurement, in the unit of [-1, 1] pictures."""
    value = float(value)
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name}: expected a finite number >= 0, got {value}")
    return value

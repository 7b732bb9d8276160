"""The loop behind the published solvers: the network, the fused step, the lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from .. import ops
from ..ops import Noise

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
        return Noise(self.keys, None if self.given is None else self._checked(self.given, k))

    def pixels(self, k: int) -> Tensor:
        """The same noise as pixels (of an operator that works on pixels)."""
        if self.given is not None:
            return self._checked(self.given, k)
        shape = self.like.shape[1:]
        z = ops.normal(self.keys, *shape, iteration=k + 1, stream=ops.Stream.SAMPLING)
        return z.to(self.like.dtype)

    def _checked(self, given: GivenNoise, k: int) -> Tensor:
        z = given(k)
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
    x_t, xs = x, [x]
    x0: Tensor | None = None
    clean_images: list[Tensor] = []
    for k, (t, t_next) in enumerate(pairs):
        x_next = torch.empty_like(x) if fresh else spare[k % 2]
        if t_next < t:
            out = network(x_t, times[k].clone(), levels[t])
            upward_next = k + 1 < len(pairs) and pairs[k + 1][1] > pairs[k + 1][0]
            clean = keep or upward_next or k + 1 == len(pairs)
            x0 = steps.step(k, x_t, out, noise, x_next, clean)
            if keep and x0 is not None:
                clean_images.append(x0.cpu())
        elif x0 is not None:
            steps.renoise(k, x0, noise, x_next)
        x_t = x_next
        if keep:
            xs.append(x_t.cpu())
    if not keep:
        xs, clean_images = [x_t.cpu()], [] if x0 is None else [x0.cpu()]
    return xs, clean_images


def check_state(x: Tensor) -> Tensor:
    """The first argument of a solver, (B, C, H, W) in float32 or float64, with its rows in memory order."""
    if not isinstance(x, Tensor) or x.dim() != 4:
        raise ValueError(f"x: expected a tensor (B, C, H, W), got {_described(x)}")
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x: expected float32 or float64, got {x.dtype}")
    return x.resolve_conj().resolve_neg().contiguous()


def check_batch(name: str, y: Tensor, x: Tensor) -> Tensor:
    """The measurements of the pictures x, or one for all, on the device and in the precision of x."""
    if not isinstance(y, Tensor) or y.dim() < 2 or y.shape[0] not in (x.shape[0], 1):
        raise ValueError(
            f"{name}: expected measurements of a batch of {x.shape[0]} (or 1), got {_described(y)}"
        )
    return y.to(x)


def check_level(name: str, value: float) -> float:
    """Noise of the measurement, in the unit of [-1, 1] pictures."""
    value = float(value)
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name}: expected a finite number >= 0, got {value}")
    return value

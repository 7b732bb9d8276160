"""Where the time of a network goes: number formats, layouts, kinds of operation, and the rest of a run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from ..operators import Denoising
from ..priors import Prior, accelerated
from ..restoration import restore
from .timing import Clock

# Kinds of operation by parts of their names in torch, the first that fits.
KINDS = {
    "convolutions": ("convolution", "conv2d"),
    "matrix products and attention": ("mm", "linear", "attention"),
    "normalisation": ("norm",),
    "copies and layouts": ("copy_", "cat", "shuffle", "pad", "clone", "contiguous", "upsample"),
}
REST = "pointwise and others"


@dataclass(frozen=True)
class Variant:
    """One way to call a network.

    Attributes:
        name:
            Number format, layout, pictures at a time.
        seconds:
            Median time for each picture, or None where it cannot run.
        error:
            Distance of the output from that of float32, relative; None: it is that.
        why:
            Why it cannot run.
    """

    name: str
    seconds: float | None
    error: float | None = None
    why: str = ""


class NetworkProfile:
    """Times one prior on pictures of one size."""

    def __init__(self, prior: Prior, side: int, device: str, repeats: int = 5) -> None:
        """
        Args:
            prior:
                The prior, on ``device``.
            side:
                Height and width of the pictures.
            device:
                "cpu" or "cuda".
            repeats:
                Calls of each variant.
        """
        self.prior, self.side, self.device, self.repeats = prior, side, device, repeats
        self.clock = Clock(device)
        self.exact = copy(prior)
        self.exact.precision = "float32"

    def _inputs(self, batch: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(0)
        channels = self.prior.channels or 3
        noise = torch.randn(batch, channels, self.side, self.side, generator=generator)
        t = torch.full((batch,), 0.3 * self.prior.schedule.T).floor()
        across = torch.linspace(-1, 1, self.side)
        abar = self.prior.schedule.abar(int(t[0]))
        x = math.sqrt(abar) * across[:, None] * across + math.sqrt(1 - abar) * noise
        inputs = (x.to(self.device), t.to(self.device))
        if self.prior.num_classes is None:
            return inputs
        return *inputs, torch.zeros(batch, dtype=torch.int64, device=self.device)

    @torch.no_grad()
    def flops(self) -> int:
        """Floating-point operations of one picture, as torch counts them."""
        with FlopCounterMode(display=False) as counter:
            self.exact(*self._inputs(1))
        return counter.get_total_flops()

    @torch.no_grad()
    def variants(self, batches: tuple[int, ...] = (1, 4), compiled: bool = False) -> list[Variant]:
        """Number formats, channels-last memory, and ``torch.compile`` where it is asked for."""
        made: dict[str, Callable[[], Prior]] = {
            "float32": lambda: self.exact,
            "bfloat16": lambda: accelerated(self.exact, autocast=torch.bfloat16),
        }
        if self.device == "cuda":
            made["float16"] = lambda: accelerated(self.exact, autocast=torch.float16)
        fastest = self.prior.precision_on(self.device)
        made[f"{fastest}, in planes"] = lambda: self._in(fastest, channels_last=False)
        made[f"{fastest}, channels-last"] = lambda: self._in(fastest, channels_last=True)
        if compiled:
            made[f"{fastest}, compiled"] = lambda: self._in(fastest, compile=True)
        rows = [
            self._variant(name, prior, batch) for batch in batches for name, prior in made.items()
        ]
        return rows

    def _in(self, precision: str, **options: Any) -> Prior:
        faster = accelerated(self.exact, **options)
        faster.precision = precision
        return faster

    def _variant(self, name: str, make: Callable[[], Prior], batch: int) -> Variant:
        name = f"{name}, {batch} at a time" if batch > 1 else name
        inputs = self._inputs(batch)
        try:
            prior = make()
            out = prior(*inputs)
            seconds = statistics.median(
                self.clock.time(lambda: prior(*inputs)) for _ in range(self.repeats)
            )
        except (ValueError, RuntimeError, torch.OutOfMemoryError) as error:
            return Variant(name, None, why=str(error).splitlines()[0])
        exact = self.exact(*inputs)
        moved = float((out.float() - exact.float()).norm() / exact.float().norm())
        return Variant(name, seconds / batch, moved if moved else None)

    @torch.no_grad()
    def kinds(self) -> dict[str, float]:
        """Shares of a call's time by kind of operation, in the prior's own number format."""
        inputs = self._inputs(1)
        self.prior(*inputs)
        activities = [ProfilerActivity.CPU]
        if self.device == "cuda":
            activities.append(ProfilerActivity.CUDA)
        with profile(activities=activities) as seen:
            for _ in range(self.repeats):
                self.prior(*inputs)
        shares = dict.fromkeys((*KINDS, REST), 0.0)
        which = "self_device_time_total" if self.device == "cuda" else "self_cpu_time_total"
        for event in seen.key_averages():
            name = event.key.lower()
            kind = next((k for k, parts in KINDS.items() if any(p in name for p in parts)), REST)
            shares[kind] += getattr(event, which)
        total = sum(shares.values())
        return {kind: share / total for kind, share in shares.items()} if total else shares

    def of_a_restoration(self) -> tuple[float, float]:
        """Seconds of 20 steps of DDRM on one noisy picture, and the network's share."""
        watched, spent = copy(self.prior), []

        def network(*arguments: Tensor) -> Tensor:
            made: list[Tensor] = []
            spent.append(self.clock.time(lambda: made.append(self.prior.network(*arguments))))
            return made[0]

        watched.network = network
        x, _, *labels = self._inputs(1)
        y = (0.5 + 0.1 * x).clamp(0, 1)
        classes = labels[0] if labels else None
        watched.precision_on(self.device)
        seconds, shares = [], []
        for _ in range(3):
            spent.clear()
            total = self.clock.time(lambda: restore(y, Denoising(), 0.1, watched, labels=classes))
            seconds.append(total)
            shares.append(sum(spent) / total)
        return statistics.median(seconds), statistics.median(shares)


def report(profile: NetworkProfile, compiled: bool = False) -> tuple[str, dict[str, Any]]:
    """All of it, as text to print and as a record."""
    prior, flops = profile.prior, profile.flops()
    variants, kinds = profile.variants(compiled=compiled), profile.kinds()
    seconds, share = profile.of_a_restoration()
    lines = [
        f"{prior.name}: {flops / 1e9:.1f} Gflop for {profile.side} x {profile.side} pixels; "
        f"computes in {prior.precision_on(profile.device)} here\n",
        "| a call of the network | time a picture | Gflop/s | differs from float32 |",
        "|---|---:|---:|---:|",
    ]
    for row in variants:
        if row.seconds is None:
            lines.append(f"| {row.name} | not possible: {row.why} | | |")
            continue
        error = "" if row.error is None else f"{row.error:.1e}"
        speed = f"{flops / row.seconds / 1e9:.0f}"
        lines.append(f"| {row.name} | {1e3 * row.seconds:.2f} ms | {speed} | {error} |")
    parts = ", ".join(f"{kind} {100 * part:.0f} %" for kind, part in kinds.items() if part >= 0.005)
    lines.append(f"\nIn a call: {parts}.")
    lines.append(
        f"20 steps of DDRM: {seconds:.2f} s, of them {100 * share:.1f} % in the network, "
        f"{100 * (1 - share):.1f} % in steps, noise and the loop."
    )
    record = {
        "prior": prior.name,
        "side": profile.side,
        "flops": flops,
        "precision": prior.precision_on(profile.device),
        "variants": [vars(row) for row in variants],
        "kinds": kinds,
        "restoration": {"seconds": seconds, "network": share},
    }
    return "\n".join(lines), record

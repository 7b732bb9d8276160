"""Rooflines: how fast each operation computes, under what memory and arithmetic allow.

Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for multicore
architectures", Communications of the ACM 52(4), 2009. Both ceilings are measured in the run itself.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from ..io import write_atomically
from .timing import Clock

#: side of the matrices whose product measures the arithmetic
PRODUCT = {"cpu": 1024, "cuda": 8192}
#: numbers of the copy that measures the memory, beyond the caches
COPIED = {"cpu": 2**25, "cuda": 2**28}


@dataclass(frozen=True)
class Ceilings:
    """What a device reaches.

    Args:
        bytes_per_second:
            Of a copy into a warm buffer, read and written.
        flops_per_second:
            Of a matrix product in float32, without lower precision inside.
    """

    bytes_per_second: float
    flops_per_second: float

    @classmethod
    def measure(cls, device: str, rounds: int = 7, small: bool = False) -> Ceilings:
        """
        Args:
            small:
                Sizes of a rehearsal, whose figures mean nothing.
        """
        clock, side, numbers = Clock(device), PRODUCT[device], COPIED[device]
        if small:
            side, numbers = 64, 2**12
        source = torch.randn(numbers, device=device)
        target = torch.empty_like(source).copy_(source)
        a, b = (torch.randn(side, side, device=device) for _ in range(2))
        product = torch.empty_like(a)
        allowed = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = False
        try:
            copying = [clock.time(lambda: target.copy_(source)) for _ in range(rounds + 2)]
            multiplying = [clock.time(lambda: torch.mm(a, b, out=product)) for _ in range(rounds)]
        finally:
            torch.backends.cuda.matmul.allow_tf32 = allowed
        return cls(
            8 * numbers / statistics.median(copying[2:]),
            2 * side**3 / statistics.median(multiplying),
        )

    def allowed(self, intensity: float) -> float:
        """Operations a second that an operation of so many operations a byte can reach."""
        return min(self.flops_per_second, self.bytes_per_second * intensity)

    @property
    def ridge(self) -> float:
        """Operations a byte from which on arithmetic is the limit."""
        return self.flops_per_second / self.bytes_per_second


def points(rows: list[dict[str, Any]]) -> list[tuple[str, str, float, float]]:
    """Operation, backend, operations a byte and operations a second of every row that has figures."""
    return [
        (row["operation"], backend, row["flops"] / row["bytes"],
         row["flops"] / figures["seconds"]["p50"])
        for row in rows
        for backend, figures in row["backends"].items()
    ]  # fmt: skip


def draw(path: Path, rows: list[dict[str, Any]], ceilings: Ceilings, title: str) -> bool:
    """Writes the plot; False where matplotlib is not installed or nothing was measured.

    Args:
        rows:
            With ``operation``, ``flops``, ``bytes`` and, for each of ``backends``, ``seconds``.
    """
    found = points(rows)
    try:
        import matplotlib
    except ImportError:
        return False
    if not found:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 6), layout="constrained")
    xs = [x for _, _, x, _ in found]
    left, right = min(xs) / 2, max(2 * max(xs), 4 * ceilings.ridge)
    roof = sorted({left, ceilings.ridge, right})
    axes.plot(roof, [ceilings.allowed(x) / 1e9 for x in roof], color="#cc3311", zorder=1)
    kinds = list(dict.fromkeys(_kind(operation) for operation, *_ in found))
    backends = list(dict.fromkeys(backend for _, backend, *_ in found))
    colours = pyplot.get_cmap("turbo")
    for kind_index, kind in enumerate(kinds):
        for marker, backend in zip("osD^v", backends, strict=False):
            places = [(x, y / 1e9) for o, b, x, y in found if _kind(o) == kind and b == backend]
            if places:
                label = f"{kind} ({backend})" if len(backends) > 1 else kind
                colour = colours(kind_index / len(kinds))
                axes.scatter(*zip(*places, strict=True), marker=marker, color=colour, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("floating-point operations per byte that has to move")
    axes.set_ylabel("GFLOP/s")
    axes.set_title(
        f"{title}: copy {ceilings.bytes_per_second / 1e9:.1f} GB/s, float32 products "
        f"{ceilings.flops_per_second / 1e9:.0f} GFLOP/s",
        fontsize=9,
    )
    axes.legend(fontsize=6, ncols=2, loc="lower right")
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    pyplot.close(figure)
    write_atomically(path, buffer.getvalue())
    return True


def _kind(operation: str) -> str:
    """What shares a colour: the operation, whatever the case."""
    return operation.partition(":")[0]

"""The times of a table as bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def bars(path: Path, table: list[dict[str, Any]], size: int) -> bool:
    """Bars of the times; False where matplotlib is not installed or nothing was measured."""
    if not table:
        return False
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from io import BytesIO

    from matplotlib import pyplot

    from ..io import write_atomically

    found = [
        (
            f"{row['operation']} ({backend})",
            figures["seconds"]["p50"],
            figures["part_of_copy"]["p50"],
        )
        for row in table
        for backend, figures in row["backends"].items()
    ][::-1]
    names, seconds, parts = zip(*found, strict=True)
    figure, axes = pyplot.subplots(figsize=(8, 0.4 * len(found) + 1.2), layout="constrained")
    drawn = axes.barh(names, [1e3 * value for value in seconds], color="#4477aa")
    axes.bar_label(drawn, [f" {100 * part:.0f} % of a copy" for part in parts])
    axes.set_xscale("log")
    axes.set_xlim(right=6e3 * max(seconds))
    axes.set_xlabel(f"milliseconds per step, {size} x {size} x 3")
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    pyplot.close(figure)
    write_atomically(path, buffer.getvalue())
    return True

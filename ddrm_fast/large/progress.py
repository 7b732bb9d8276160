"""Progress in megapixels per second."""

from __future__ import annotations

from tqdm import tqdm

_FORMAT = "{percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} MP [{elapsed}<{remaining}, {rate_fmt}]"


class megapixels(tqdm):
    """A bar that is updated by pixels and shows megapixels, their rate and the time left.

    Args:
        pixels:
            Of the whole run.
        progress:
            Show it; None: only on a terminal.
    """

    def __init__(self, pixels: int, progress: bool | None) -> None:
        disable = None if progress is None else not progress
        super().__init__(
            total=pixels / 1e6, unit="MP", disable=disable, leave=False, bar_format=_FORMAT
        )

    def update(self, pixels: float) -> None:
        """Adds finished pixels."""
        super().update(pixels / 1e6)

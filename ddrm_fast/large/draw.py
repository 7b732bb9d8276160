"""Drawing windows of pictures in this process or in a worker's, for a batch that may mix pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..priors import Prior
from ..samplers import Batch, Drawing, State, run_batch
from ..samplers.checks import check_result
from ..samplers.fallback import FallingBack, fits_black


def drawer_of_worker(drawing: Drawing) -> Callable[[Batch], Tensor]:
    """What a worker draws with: on its GPU where it has one, from and to the machine's memory."""
    drawer = Drawer(drawing, "cuda" if torch.cuda.is_available() else None)
    return lambda batch: drawer(batch).cpu()


class Drawer:
    """Draws batches in this process; falls back where memory or half precision does not suffice.

    Args:
        drawing:
            How; the edits are those of the batches.
        device:
            Where network and windows go; None: they stay where they are.
    """

    def __init__(self, drawing: Drawing, device: torch.device | str | None = None) -> None:
        self.drawing, self.device = drawing.in_precision(), device
        if device is not None:
            drawing.prior.to(device)
        self._falling_back: FallingBack | None = None

    def __call__(self, batch: Batch, callback: Callable[[State], None] | None = None) -> Tensor:
        """Draws windows.

        Args:
            batch:
                The windows, of pictures in [0, 1]; the place of each gives its noise.
            callback:
                Called after every step.

        Returns:
            (len(batch.items), C, H, W), pictures in [0, 1], not clamped.

        Raises:
            FloatingPointError: the network made NaN or infinite pixels.
            torch.OutOfMemoryError: one window, with the network in tiles, does not fit.
        """
        if self.device is not None:
            batch = batch.to(self.device)
        if self._falling_back is None:
            box = batch.items[0].box
            self._falling_back = FallingBack(
                self.drawing.prior, (box.height, box.width), black=0.0, pulls=self.drawing.pulls
            )

        def draw(rows: Sequence[int], prior: Prior) -> Tensor:
            part = batch.select(rows).in_network_range()
            return (run_batch(part, replace(self.drawing, prior=prior), callback=callback) + 1) / 2

        black = fits_black(batch.problem)
        x = self._falling_back(list(range(len(batch.items))), draw, black)
        check_result(x, self.drawing.prior)
        return x

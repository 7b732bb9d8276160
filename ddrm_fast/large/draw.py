"""Drawing windows of pictures: units, noise keys and the run, for a batch that may mix pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from .. import ops
from ..arguments import check_result, of_white
from ..fallback import FallingBack, fits_black
from ..operators import Operator
from ..operators.cuts import Box, Cuts
from ..priors import Prior
from ..samplers import Hold, Known, Sampler, StepInfo, Travel, run
from ..samplers.loop import planned
from ..samplers.travel import network_calls


class Item(NamedTuple):
    """One window of one sample of one picture."""

    box: Box
    picture: int
    sample: int


def cuts_of(items: Sequence[Item]) -> Cuts:
    """Where the windows of some items lie, and in which pictures."""
    return Cuts(tuple(item.box for item in items), tuple(item.picture for item in items))


@dataclass(frozen=True)
class Draw:
    """How windows are drawn; everything but the measurement. See :func:`ddrm_fast.restore`.

    Args:
        prior, sampler:
            Network and weight function.
        sigma_y:
            Noise of the measurement, float64 [B or 1] on the CPU.
        seeds:
            int64 [B].
        labels:
            [B] or None.
        travel, clip_x0, end_on_measurement, guidance, capture:
            As in :func:`ddrm_fast.restore`.
        first_sample:
            Sample id of sample 0: runs with other ids draw other noise.
        gradient:
            Of :class:`~ddrm_fast.samplers.Known`, for pictures in [0, 1].
    """

    prior: Prior
    sampler: Sampler
    sigma_y: Tensor
    seeds: Tensor
    labels: Tensor | None = None
    travel: Travel | None = None
    clip_x0: bool = False
    end_on_measurement: bool = False
    guidance: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None
    capture: bool = False
    first_sample: int = 0
    gradient: float | None = None

    @property
    def steps(self) -> int:
        """Network calls of a run."""
        return network_calls(planned(self.prior, self.sampler, self.travel))

    def __call__(
        self,
        items: Sequence[Item],
        operator: Operator,
        y: Tensor,
        known: Known | None = None,
        holds: Sequence[Hold] = (),
        callback: Callable[[StepInfo], None] | None = None,
    ) -> Tensor:
        """Draws windows.

        Args:
            items:
                What each row of the batch is: its place gives the noise.
            operator, y:
                Of the windows; pictures in [0, 1].
            known, holds:
                What they are constrained to, in the same unit.

        Returns:
            (len(items), C, H, W), pictures in [0, 1], not clamped.
        """
        pictures = torch.tensor([item.picture for item in items])
        keys = ops.noise_keys(
            len(items),
            self.seeds[pictures],
            torch.tensor([self.first_sample + item.sample for item in items]),
            torch.tensor([[item.box.top, item.box.left] for item in items]),
            y.device,
        )
        if known is not None:
            known = replace(known, gradient=self.gradient).in_network_unit()
        x = run(
            operator,
            self.prior,
            self.sampler,
            network_unit(operator, y),
            2 * (self.sigma_y if len(self.sigma_y) == 1 else self.sigma_y[pictures]),
            keys,
            labels=None if self.labels is None else self.labels[pictures].to(y.device),
            guidance=self.guidance,
            clip=(-1.0, 1.0) if self.clip_x0 else None,
            end_on_measurement=self.end_on_measurement,
            callback=callback,
            capture=self.capture,
            known=known,
            travel=self.travel,
            holds=[
                Hold(hold.operator, network_unit(hold.operator, hold.measurement)) for hold in holds
            ],
        )
        return (x + 1) / 2


@dataclass(frozen=True)
class Batch:
    """Windows that are drawn together, and all that has to be known of them.

    Args:
        items:
            What each row is.
        operator, y:
            Of the windows; pictures in [0, 1].
        known, holds:
            What they are constrained to, in the same unit.
    """

    items: Sequence[Item]
    operator: Operator
    y: Tensor
    known: Known | None = None
    holds: Sequence[Hold] = ()

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device."""
        known = self.known
        if known is not None:
            known = replace(known, mask=known.mask.to(device), image=known.image.to(device))
        holds = [Hold(hold.operator, hold.measurement.to(device)) for hold in self.holds]
        return Batch(self.items, self.operator, self.y.to(device), known, holds)

    def select(self, rows: Sequence[int]) -> Batch:
        """Some of the windows."""
        if list(rows) == list(range(len(self.items))):
            return self
        index = torch.tensor(rows, device=self.y.device)
        return Batch(
            [self.items[row] for row in rows],
            self.operator.select(index),
            self.y.index_select(0, index),
            None if self.known is None else self.known.select(index),
            [hold.select(index) for hold in self.holds],
        )


def drawer_of_worker(draw: Draw) -> Callable[[Batch], Tensor]:
    """What a worker draws with: on its GPU where it has one, from and to the machine's memory."""
    drawer = Drawer(draw, "cuda" if torch.cuda.is_available() else None)
    return lambda batch: drawer(batch).cpu()


class Drawer:
    """Draws batches in this process; falls back where memory or half precision does not suffice.

    Args:
        draw: How.
        device: Where network and windows go; None: they stay where they are.
    """

    def __init__(self, draw: Draw, device: torch.device | str | None = None) -> None:
        self.draw, self.device = draw, device
        if device is not None:
            draw.prior.to(device)
        self._falling_back: FallingBack | None = None

    def __call__(self, batch: Batch, callback: Callable[[StepInfo], None] | None = None) -> Tensor:
        """(len(batch.items), C, H, W), pictures in [0, 1], not clamped.

        Raises:
            FloatingPointError: the network made NaN or infinite pixels.
            torch.OutOfMemoryError: one window, with the network in tiles, does not fit.
        """
        if self.device is not None:
            batch = batch.to(self.device)
        if self._falling_back is None:
            box = batch.items[0].box
            self._falling_back = FallingBack(self.draw.prior, (box.height, box.width), black=0.0)

        def draw(rows: Sequence[int], prior: Prior) -> Tensor:
            part = batch.select(rows)
            return replace(self.draw, prior=prior)(
                part.items, part.operator, part.y, part.known, part.holds, callback
            )

        sigma_y = self.draw.sigma_y
        if len(sigma_y) > 1:
            sigma_y = sigma_y[[item.picture for item in batch.items]]
        black = fits_black(batch.y, sigma_y)
        x = self._falling_back(list(range(len(batch.items))), draw, black)
        check_result(x, self.draw.prior)
        return x


def network_unit(operator: Operator, y: Tensor) -> Tensor:
    """The measurement of 2 x - 1 out of that of x: 2 y - H(1)."""
    return 2 * y - of_white(operator, operator.image_shape(y), y)

"""Where memory or a number format does not suffice: less at a time, or float32; with a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor

from ..priors import Prior
from ..priors.acceleration import accelerated
from ..priors.checkpointing import blocks_of
from ..priors.tiled import windowed
from ..problems import Problem
from ..problems.checks import all_finite

_SMALLEST_TILE = 64

Work = TypeVar("Work")


class FallingBack:
    """Draws batches; with less at a time where memory runs out, again where half precision fails.

    What did not fit is not tried again in later batches.

    Args:
        prior:
            The network. Where it computes in half precision, pictures that come out with NaN, infinite or
            black are drawn again in float32.
        size:
            (H, W) of the pictures: where not even one fits, the network sees tiles of half of that, a
            quarter and so on (:func:`ddrm_fast.large.windowed`).
        black:
            The darkest value of a picture.
        pulls:
            Whether gradients go through the network: its blocks are then computed twice first
            (:mod:`~ddrm_fast.priors.checkpointing`), before there is less at a time.
    """

    def __init__(
        self, prior: Prior, size: Sequence[int], black: float = -1.0, pulls: bool = False
    ) -> None:
        self.prior, self.black = prior, black
        self._may_checkpoint = pulls and not prior.checkpointing and prior.module is not None
        self._checkpointing = False
        self._tile, self._tiled = max(size), False
        self._most: int | None = None

    def __call__(
        self,
        work: Sequence[Work],
        draw: Callable[[Sequence[Work], Prior], Tensor],
        may_be_black: Sequence[bool],
    ) -> Tensor:
        """Draw pictures.

        Args:
            work:
                What each row of the batch is.
            draw:
                ``(part of the work, prior) -> (len(part), C, H, W)``. May be called again for
                the same work, and has to draw the same then.
            may_be_black:
                For each row whether a black picture fits its measurement; see :func:`fits_black`.

        Returns:
            (len(work), C, H, W); NaN and infinite pixels are left where nothing could be done.

        Raises:
            torch.OutOfMemoryError: one picture, with the network in the smallest tiles, does not fit.
        """
        x = self._fitting(work, self.prior, draw)
        exact = self.prior.in_float32(x.device)
        if exact is None:
            return x
        rows = [
            row
            for row, (picture, black) in enumerate(zip(x, may_be_black, strict=True))
            if not all_finite(picture) or not (black or bool(picture.amax() > self.black))
        ]
        if rows:
            warnings.warn(
                f"prior: half precision made NaN, infinite or black pictures of {len(rows)} of "
                f"{len(work)} with {self.prior.name}; they are drawn again in float32",
                stacklevel=3,
            )
            again = self._fitting([work[row] for row in rows], exact, draw)
            x[torch.tensor(rows, device=x.device)] = again
        return x

    def _fitting(
        self, work: Sequence[Work], prior: Prior, draw: Callable[[Sequence[Work], Prior], Tensor]
    ) -> Tensor:
        """``draw`` of all the work, as much at a time as fits."""
        drawn: list[Tensor] = []
        while work:
            part, reason = work[: self._most or len(work)], ""
            try:
                seen = accelerated(prior, checkpointing=True) if self._checkpointing else prior
                tiled = self._in_tiles(seen) if self._tiled else None
                drawn.append(draw(part, seen if tiled is None else tiled))
                work = work[len(part) :]
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                reason = str(error) or "out of memory"
            if reason:  # outside the handler: the traceback holds what was allocated
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                self._shrink(len(part), prior, reason)
        return drawn[0] if len(drawn) == 1 else torch.cat(drawn)

    def _shrink(self, count: int, prior: Prior, reason: str) -> None:
        """Less at a time from here on.

        Raises:
            torch.OutOfMemoryError: It is as little as can be.
        """
        if self._may_checkpoint and blocks_of(cast("torch.nn.Module", prior.module)):
            self._may_checkpoint, self._checkpointing = False, True
            _say("gradients through the whole network; going on with its blocks computed twice")
            return
        if count > 1:
            self._most = count // 2
            _say(f"{count} pictures at a time; going on with {self._most}")
            return
        self._tile, self._tiled = self._tile // 2, True
        if self._tile < _SMALLEST_TILE or self._in_tiles(prior) is None:
            raise torch.OutOfMemoryError(
                "memory is not enough for one picture, not even with the network in tiles; a network in "
                f"half precision needs less (priors.accelerated), and so do windows. {reason}"
            )
        _say(
            f"one picture; going on with the network in tiles of {self._tile} pixels (the same to "
            "rounding where they have room for its receptive field, else nearly)"
        )

    def _in_tiles(self, prior: Prior) -> Prior | None:
        """The prior with its network in tiles; None where the network takes none so small."""
        side = self._tile - self._tile % _SMALLEST_TILE
        for overlap in (None, side // 4):
            try:
                return windowed(prior, side, overlap)
            except ValueError:
                continue
        return None


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, of a GPU or of the machine."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        "DefaultCPUAllocator: can't allocate memory" in str(error)
    )


def fits_black(problem: Problem) -> list[bool]:
    """Whether measurements of [0, 1] pictures are no more than their noise and a level of 8 bits.

    Then a black picture is right.
    """
    values = problem.y.detach().flatten(1)
    size = torch.linalg.vector_norm(values, dim=1).double().cpu() / values.shape[1] ** 0.5
    return (size <= 2 * problem.sigma_y + 1 / 255).tolist()


def _say(what: str) -> None:
    warnings.warn(f"memory is not enough for {what}", stacklevel=6)

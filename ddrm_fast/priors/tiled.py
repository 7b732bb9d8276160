"""One sampling loop over the whole picture, with a network that sees it in tiles.

The operator, the sampler and the noise act on the whole picture; only the network's evaluation is cut
into overlapping tiles, whose outputs are blended in every step. So there are no seams by construction,
and operators that couple the whole picture (blurs, compressed sensing) stay exact.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Self

import torch
from torch import Tensor

from .networks.denoiser import Denoiser
from .prior import Prior


def pair(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    """A number for both sides, or (rows, columns)."""
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in pair):
        raise ValueError(f"{name}: expected an integer >= 1 or (rows, columns), got {value!r}")
    return pair


@dataclass(frozen=True)
class Tile:
    """A tile along one axis.

    Args:
        start, stop:
            What the network sees.
        weight:
            Share of the tile's output in the result, float64 [stop - start]; the shares of all tiles sum to
            1 everywhere.
    """

    start: int
    stop: int
    weight: Tensor

    @cached_property
    def support(self) -> tuple[int, int]:
        """First place with a weight, and the one after the last, within the tile."""
        places = self.weight.nonzero()
        return int(places[0]), int(places[-1]) + 1

    def on(self, like: Tensor) -> Tensor:
        """The weights of the support, on the device and in the precision of a picture."""
        first, last = self.support
        return self.weight[first:last].to(like.device, like.dtype)


def tiles(length: int, size: int, overlap: int, halo: int = 0, multiple: int = 1) -> list[Tile]:
    """Overlapping tiles of an axis.

    Args:
        length:
            Of the axis. A tile is never longer.
        size, overlap:
            Of a tile, and what two neighbours share.
        halo:
            Outermost places of a tile, at its ends inside the axis, that count nothing. Over the rest of
            the overlap the shares change smoothly (a squared sine), or at once where nothing is left.
        multiple:
            Tiles start at multiples of this; the last one is longer by up to ``multiple - 1`` then.
    """
    stride = size - overlap
    last = max(0, length - size) // multiple * multiple
    starts = [*range(0, last, stride), last]
    ramp = overlap - 2 * halo

    def rise(distance: Tensor) -> Tensor:
        """0 within the halo, 1 beyond the overlap, by the distance from the tile's end."""
        inside = distance - halo
        share = (inside / ramp).clamp(0, 1) if ramp else (inside > 0).double()
        return torch.sin(torch.pi / 2 * share).square()

    found = []
    total = torch.zeros(length, dtype=torch.float64)
    for start in starts:
        stop = length if start == last else start + size
        place = torch.arange(stop - start, dtype=torch.float64) + 0.5
        weight = torch.ones_like(place)
        if start > 0:
            weight = weight * rise(place)
        if stop < length:
            weight = weight * rise(stop - start - place)
        total[start:stop] += weight
        found.append((start, stop, weight))
    return [Tile(start, stop, weight / total[start:stop]) for start, stop, weight in found]


def windowed(
    prior: Prior,
    size: int | tuple[int, int] = 1024,
    overlap: int | None = None,
    *,
    halo: int | None = None,
    multiple: int | None = None,
    batch: int = 1,
) -> Prior:
    """A prior that shows its network tiles of a picture and blends what comes out.

    For :func:`ddrm_fast.restore` on pictures for which the network was not made, or has no memory: the
    measurement, the sampler and the noise are those of the whole picture.

    A network that is convolutional alone, such as the default prior's, gives with tiles of enough halo what
    it gives for the whole picture: `DenoiserConfig.reach` pixels, the
    reach of its receptive field (192). That is the default here for such a network.

    Args:
        prior:
            Any prior.
        size:
            Side of a tile, or (rows, columns); smaller pictures are evaluated whole. For a network made
            for one size: that size.
        overlap:
            What neighbouring tiles share; default twice the halo, or a quarter of the tile where there
            is none.
        halo:
            Outermost pixels of a tile whose output is not used; default the network's reach where it is
            known and the overlap has room for it, else 0.
        multiple:
            Tiles start at multiples of this, for networks that pool; default: that of the network where
            it is known, else 1.
        batch:
            Tiles that run together.

    Returns:
        A prior for pictures of any size.

    Raises:
        ValueError: an argument is no such number, or the overlap does not fit the tile.
    """
    if not isinstance(prior, Prior):
        raise ValueError(f"prior: expected a Prior, got {type(prior).__name__}")
    size = pair("size", size)
    network = prior.module
    reach, known_multiple = 0, 1
    if isinstance(network, Denoiser):
        reach, known_multiple = network.config.reach, network.config.multiple
    multiple = known_multiple if multiple is None else multiple
    reaching = reach > 0 and overlap is None and halo is None
    if overlap is None:
        edge = reach if halo is None else halo
        overlap = 2 * edge if edge else min(size) // 4
        overlap += -overlap % max(1, multiple)
    if halo is None:
        halo = reach if 2 * reach <= overlap else 0
    for name, value, least in (
        ("overlap", overlap, 0), ("halo", halo, 0), ("multiple", multiple, 1), ("batch", batch, 1)
    ):  # fmt: skip
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}: expected an integer >= {least}, got {value!r}")
    if 2 * halo > overlap:
        raise ValueError(f"halo: twice {halo} does not fit into an overlap of {overlap}")
    if overlap >= min(size) and reaching:
        raise ValueError(
            f"size: tiles of {size[0]} x {size[1]} leave nothing where {reach} pixels, the reach of this "
            f"network, are thrown away at each edge; expected more than {overlap} (1024 or more, where most "
            "is kept), or a smaller halo (in the shell --margin), whose tiles give nearly the same"
        )
    if overlap >= min(size):
        raise ValueError(
            f"overlap: {overlap} leaves nothing of a tile of {size[0]} x {size[1]}; expected less, "
            "or larger tiles"
        )
    for name, value in (("size", size[0]), ("size", size[1]), ("overlap", overlap)):
        if value % multiple:
            raise ValueError(f"{name}: expected a multiple of {multiple}, got {value}")
    return _Windowed(prior, _Tiling(size, overlap, halo, multiple, batch))


@dataclass(frozen=True)
class _Tiling:
    """How a picture is cut, see :func:`windowed`."""

    size: tuple[int, int]
    overlap: int
    halo: int
    multiple: int
    batch: int
    plans: dict[tuple[Hashable, ...], list[list[_Cell]]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def blend(self, x: Tensor, evaluate: Callable[[Tensor, int], Tensor]) -> Tensor:
        """``evaluate(tiles of x, number of tiles)``, blended; the batch of tiles is tile-major."""
        groups = self._plan(x)
        if not groups:
            return evaluate(x, 1)
        out = x.new_zeros(0)
        for number, group in enumerate(groups):
            part = torch.cat([x[:, :, *cell.seen] for cell in group])
            result = evaluate(part, len(group))
            if number == 0:
                out = x.new_zeros(x.shape[0], result.shape[1], *x.shape[2:])
            for cell, tile in zip(group, result.chunk(len(group)), strict=True):
                weight = cell.down[:, None] * cell.right
                out[:, :, *cell.written].addcmul_(tile[:, :, *cell.used].to(out.dtype), weight)
        return out

    def _plan(self, x: Tensor) -> list[list[_Cell]]:
        """Tiles of one shape, so many at a time; the last of a row or column may be larger.

        Made once for a size and device: nothing is copied to the device in the loop. Empty where one
        tile is the picture.
        """
        key = (*x.shape[2:], x.device, x.dtype)
        if key not in self.plans:
            rows, columns = (
                tiles(n, size, self.overlap, self.halo, self.multiple)
                for n, size in zip(x.shape[2:], self.size, strict=True)
            )
            shapes: dict[tuple[int, int], list[_Cell]] = {}
            down, right = [tile.on(x) for tile in rows], [tile.on(x) for tile in columns]
            for i, j in product(range(len(rows)), range(len(columns))):
                shape = (rows[i].stop - rows[i].start, columns[j].stop - columns[j].start)
                cell = _Cell.of(rows[i], columns[j], down[i], right[j])
                shapes.setdefault(shape, []).append(cell)
            self.plans[key] = [
                same[first : first + self.batch]
                for same in (shapes.values() if len(rows) * len(columns) > 1 else ())
                for first in range(0, len(same), self.batch)
            ]
        return self.plans[key]


@dataclass(frozen=True, eq=False)
class _Cell:
    """A tile of a picture: what the network sees, what of that is used, where it is written."""

    seen: tuple[slice, slice]
    used: tuple[slice, slice]
    written: tuple[slice, slice]
    down: Tensor
    right: Tensor

    @classmethod
    def of(cls, row: Tile, column: Tile, down: Tensor, right: Tensor) -> _Cell:
        return cls(
            (slice(row.start, row.stop), slice(column.start, column.stop)),
            (slice(*row.support), slice(*column.support)),
            (_written(row), _written(column)),
            down,
            right,
        )


def _written(tile: Tile) -> slice:
    first, last = tile.support
    return slice(tile.start + first, tile.start + last)


class _Windowed(Prior):
    """See :func:`windowed`."""

    def __init__(self, prior: Prior, tiling: _Tiling) -> None:
        self.whole, self.tiling = prior, tiling
        super().__init__(
            self._tiled, prior.prediction, prior.schedule, prior.channels, prior.name,
            num_classes=prior.num_classes, precision=prior.precision, module=prior.module,
            fractional=prior.fractional, sigma_min=prior.sigma_min,
        )  # fmt: skip

    def __copy__(self) -> Self:
        """One whose network asks it for the precision, and not the first one."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.network = other._tiled
        return other

    def _inner(self) -> Prior:
        """The prior that sees the tiles, in the precision of this one."""
        if self.whole.precision != self.precision:
            self.whole = copy(self.whole)
            self.whole.precision = self.precision
        return self.whole

    def _cast(self, function: Callable[..., Tensor], x: Tensor, *others: Tensor) -> Tensor:
        return function(x, *others)  # the inner prior's calls are cast, not the blending

    def _tiled(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        inner = self._inner()

        def evaluate(part: Tensor, count: int) -> Tensor:
            chosen = None if labels is None else labels.repeat(count)
            return inner.at(part, t.repeat(count), chosen)

        return self.tiling.blend(x_t, evaluate)

    def in_float32(self, device: torch.device | str = "cpu") -> Prior | None:
        exact = self._inner().in_float32(device)
        return None if exact is None else _Windowed(exact, self.tiling)

    def _denoised(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None) -> Tensor:
        """See :meth:`Prior.denoise`."""
        levels = torch.as_tensor(sigma, dtype=torch.float32).reshape(-1)
        if len(levels) not in (1, len(x)):
            raise ValueError(f"sigma: expected one number or [{len(x)}], got {len(levels)} numbers")
        levels, inner = levels.expand(len(x)), self._inner()

        def evaluate(part: Tensor, count: int) -> Tensor:
            chosen = None if labels is None else labels.repeat(count)
            return inner._denoised(part, levels.repeat(count), chosen)

        return self.tiling.blend(x, evaluate)

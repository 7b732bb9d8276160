"""Options for large pictures: windows, levels, or one loop with the network in tiles."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .. import restoration
from ..io.files import in_words
from ..large import restore_windows, windowed
from ..large.restore import GPU_BATCH
from ..large.windows import ORDERS
from ..operators import Operator
from ..priors import Prior
from ..priors.networks.denoiser import Denoiser
from ..priors.tiled import pair
from . import specs

METHODS = ("mask-shift", "joint")
WINDOW, FACTOR = 256, 4
Sides = int | tuple[int, int]
#: pixels from which on a picture that runs whole gets a hint
LARGE = 4_000_000
#: bytes a pixel of a network that goes over a picture stage by stage, of the loop around it, and of each
#: further sample (docs/any-size.md); from how many in all on there is a hint
STAGED, LOOP, SAMPLE, MUCH = {"float32": 150, "bfloat16": 80}, 40, 12, 2**31


@dataclass(frozen=True)
class Large:
    """How a large picture is restored.

    Attributes:
        method: A name of ``METHODS``.
        window, stride: Pixels, or (rows, columns); None: 256 (joint: the whole picture) and the method's own.
        levels: Smaller pictures that are restored first.
        more: Margin, order, batch and factor where they were given; see :func:`restore_windows`.
    """

    method: str
    window: Sides | None
    stride: Sides | None
    levels: int
    more: dict = field(default_factory=dict)

    def settings(self) -> dict:
        """What the pictures depend on, as JSON values."""
        own = {name: getattr(self, name) for name in ("method", "window", "stride", "levels")}
        return own | self.more

    def cutting(self) -> dict:
        """What says how windows are cut and run, as keywords of mask-shift restoration."""
        return {name: value for name, value in self.more.items() if name != "factor"}

    def prior(self, prior: Prior) -> Prior:
        """The prior, its network in tiles where that was asked for.

        Raises:
            ValueError: The tiles do not fit the network.
        """
        if self.method != "joint" or self.window is None:
            return prior
        overlap = None
        if self.stride is not None:
            rows, columns = pair("--window", self.window), pair("--stride", self.stride)
            shared = {size - stride for size, stride in zip(rows, columns, strict=True)}
            if len(shared) > 1:
                raise ValueError(
                    f"--stride: tiles share as many rows as columns where --large is joint, got "
                    f"{rows[0] - columns[0]} rows and {rows[1] - columns[1]} columns"
                )
            (overlap,) = shared
        try:
            return windowed(
                prior, self.window, overlap, halo=self.more.get("margin"), batch=self.more.get("batch", 1)
            )  # fmt: skip
        except ValueError as error:
            raise ValueError(f"--large joint: {error}") from error

    def restore(
        self, y: Tensor, operator: Operator, sigma_y: float, prior: Prior, **keywords
    ) -> restoration.Restoration:
        """Restored pictures; ``prior`` is that of :meth:`prior`."""
        if self.method == "joint" and not self.levels:
            return restoration.restore(y, operator, sigma_y, prior, **keywords)
        keywords |= {"levels": self.levels, "factor": self.more.get("factor", FACTOR)}
        if self.method == "joint":
            return restore_windows(y, operator, sigma_y, prior, window=None, **keywords)
        return restore_windows(
            y, operator, sigma_y, prior, window=self.window or WINDOW, stride=self.stride,
            **self.cutting(), **keywords,
        )  # fmt: skip


def add_large_options(parser: argparse.ArgumentParser) -> None:
    """Add windows and levels."""
    group = parser.add_argument_group("large pictures")
    group.add_argument(
        "--large", choices=METHODS,
        help="mask-shift: window by window, each continuing its neighbours; joint: one run over the whole "
        "picture, whose network sees tiles (mask-shift, where another option of these is given)",
    )  # fmt: skip
    group.add_argument(
        "--window", metavar="N",
        help=f"side of a window, or ROWSxCOLUMNS: the size that the network was made for ({WINDOW}); joint: "
        "of a tile (whole picture)",
    )  # fmt: skip
    group.add_argument(
        "--stride", metavar="N",
        help="from window to window, or ROWSxCOLUMNS (half a window; joint: as the network's reach needs)",
    )  # fmt: skip
    group.add_argument(
        "--margin", metavar="N",
        help="outermost pixels of a window that are left to its neighbours (half of what two windows share; "
        "joint: the network's reach)",
    )  # fmt: skip
    group.add_argument(
        "--order", metavar="ORDER",
        help=f"of the windows: {', '.join(ORDERS)}, or their numbers, such as 0,2,1,3 (rows)",
    )  # fmt: skip
    group.add_argument(
        "--batch", metavar="N",
        help=f"windows that run together at most (1 on a processor, {GPU_BATCH} on a GPU); joint: tiles (1)",
    )  # fmt: skip
    group.add_argument(
        "--levels", metavar="N",
        help="smaller pictures that are restored first, for holes larger than a window, high factors and "
        "colour (0)",
    )  # fmt: skip
    group.add_argument(
        "--level-factor", metavar="N", help=f"between the sides of two levels ({FACTOR})"
    )


def read_large(arguments: argparse.Namespace) -> Large | None:
    """What was asked for; None where nothing was.

    Raises:
        ValueError: A number is none, or an option has no meaning beside the others.
    """
    names = ("large", "window", "stride", "margin", "order", "batch", "levels", "level_factor")
    given = {name: getattr(arguments, name) for name in names}
    if all(value is None for value in given.values()):
        return None
    method = arguments.large or METHODS[0]
    window, stride = (
        None if given[name] is None else specs.sides(f"--{name}", given[name])
        for name in ("window", "stride")
    )
    levels = specs.whole("--levels", arguments.levels or 0, 0)
    if method == "joint":
        if arguments.order is not None:
            raise ValueError("--order: is for mask-shift; where --large is joint all tiles are one")
        for name in ("stride", "margin", "batch"):
            if window is None and given[name] is not None:
                raise ValueError(f"--{name}: needs --window where --large is joint")
    if stride is not None:
        sides = zip(pair("--stride", stride), pair("--window", window or WINDOW), strict=True)
        if any(step > side for step, side in sides):
            raise ValueError(
                f"--stride: {arguments.stride} is larger than the window of {arguments.window or WINDOW}"
            )
    if arguments.level_factor is not None and not levels:
        raise ValueError("--level-factor: needs --levels")
    more = {
        "margin": _whole("--margin", arguments.margin, 0),
        "order": None if arguments.order is None else _order(arguments.order),
        "batch": _whole("--batch", arguments.batch),
        "factor": _whole("--level-factor", arguments.level_factor, 2),
    }
    more = {name: value for name, value in more.items() if value is not None}
    return Large(method, window, stride, levels, more)


def _whole(option: str, text: str | None, least: int = 1) -> int | None:
    return None if text is None else specs.whole(option, text, least)


def _order(text: str) -> str | tuple[int, ...]:
    """A name of ``ORDERS``, or the numbers of the windows."""
    if text in ORDERS:
        return text
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ValueError(
            f"--order: got {text!r}, expected {', '.join(ORDERS)}, or the numbers of all windows as rows "
            "have them, such as 0,2,1,3"
        ) from None


def hint(
    image_shape: tuple[int, int, int], prior: Prior, samples: int, device: str = "cpu"
) -> str | None:
    """What to say of a picture that is restored whole, or None."""
    pixels = image_shape[1] * image_shape[2]
    said = f"{pixels / 1e6:.1f} megapixels are restored at once"
    if isinstance(prior.module, Denoiser) and torch.device(device).type == "cpu":
        network = STAGED.get(prior.precision_on(device), STAGED["float32"])
        taken = pixels * (network + LOOP + SAMPLE * (samples - 1))
        if taken < MUCH:
            return None
        return (
            f"{said}, the quickest way, which takes some {in_words(taken)}; where they are not there, "
            "--window 1024 goes window by window, --large joint --window 2048 shows the network tiles"
        )
    if pixels <= LARGE:
        return None
    return (
        f"{said}; --window {WINDOW} goes window by window, --large joint --window 1024 shows the network "
        "tiles: less memory"
    )

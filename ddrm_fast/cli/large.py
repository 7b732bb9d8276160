"""Options for large pictures: windows, levels, or one loop with the network in tiles."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass

from torch import Tensor

from .. import restoration
from ..large import restore_windows, windowed
from ..operators import Operator
from ..priors import Prior
from . import specs

METHODS = ("mask-shift", "joint")
WINDOW = 256
#: pixels from which on a picture that runs whole gets a hint
LARGE = 4_000_000


@dataclass(frozen=True)
class Large:
    """How a large picture is restored.

    Attributes:
        method: A name of ``METHODS``.
        window, stride: Pixels; None: 256 (joint: the whole picture) and the method's own.
        levels: Smaller pictures that are restored first.
    """

    method: str
    window: int | None
    stride: int | None
    levels: int

    def settings(self) -> dict:
        """What the pictures depend on, as JSON values."""
        return asdict(self)

    def prior(self, prior: Prior) -> Prior:
        """The prior, its network in tiles where that was asked for."""
        if self.method != "joint" or self.window is None:
            return prior
        overlap = None if self.stride is None else self.window - self.stride
        return windowed(prior, self.window, overlap)

    def restore(
        self, y: Tensor, operator: Operator, sigma_y: float, prior: Prior, **keywords
    ) -> restoration.Restoration:
        """Restored pictures; ``prior`` is that of :meth:`prior`."""
        if self.method == "joint":
            if not self.levels:
                return restoration.restore(y, operator, sigma_y, prior, **keywords)
            return restore_windows(
                y, operator, sigma_y, prior, window=None, levels=self.levels, **keywords
            )
        return restore_windows(
            y, operator, sigma_y, prior, window=self.window or WINDOW, stride=self.stride,
            levels=self.levels, **keywords,
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
        help=f"side of a window, the size that the network was made for ({WINDOW}); joint: of a tile "
        "(whole picture)",
    )  # fmt: skip
    group.add_argument(
        "--stride", metavar="N",
        help="from window to window (half a window; joint: as the network's reach needs)",
    )  # fmt: skip
    group.add_argument(
        "--levels", metavar="N",
        help="smaller pictures, each by 4, that are restored first, for holes larger than a window, high "
        "factors and colour (0)",
    )  # fmt: skip


def read_large(arguments: argparse.Namespace) -> Large | None:
    """What was asked for; None where nothing was.

    Raises:
        ValueError: A number is none.
    """
    given = (arguments.large, arguments.window, arguments.stride, arguments.levels)
    if all(value is None for value in given):
        return None

    def whole(option: str, text: str | None) -> int | None:
        return None if text is None else specs.whole(option, text)

    method = arguments.large or METHODS[0]
    window, stride = whole("--window", arguments.window), whole("--stride", arguments.stride)
    levels = specs.whole("--levels", arguments.levels or 0, 0)
    if method == "joint" and window is None and stride is not None:
        raise ValueError("--stride: needs --window where --large is joint")
    if stride is not None and stride > (window or WINDOW):
        raise ValueError(f"--stride: {stride} is larger than the window of {window or WINDOW}")
    return Large(method, window, stride, levels)


def hint(image_shape: tuple[int, int, int]) -> str | None:
    """What to say of a picture that is restored whole, or None."""
    pixels = image_shape[1] * image_shape[2]
    if pixels <= LARGE:
        return None
    return (
        f"{pixels / 1e6:.1f} megapixels are restored at once; --window {WINDOW} goes window by window, "
        "--large joint --window 1024 shows the network tiles: less memory"
    )

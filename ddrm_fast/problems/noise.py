"""How much noise a picture has: as it shows it, as its file was compressed, and as its rounding makes it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..io.picture import JpegGrid
from ..machine.arguments import checked
from .jpeg_noise import hidden_below, jpeg_noise

_ROWS = 128  # of a picture that are looked at together
_WINDOW = 8  # side of the windows whose variances are compared
_ENOUGH = 24  # windows
#: of the picture itself and of means of 2 x 2 pixels: which share of the windows is smoother than the one
#: that counts, and what its variance is for white noise of variance 1 (65,000 windows drawn)
_SHARES = ((0.25, 0.767), (0.1, 0.629))
_KEPT = 2**18  # single differences that are kept where there are too few windows
#: fewer exactly even windows than this share are painted borders, more make a drawing or a screenshot
_EVEN = 0.5

COARSE = (
    "its noise is coarser than a pixel, as in enlarged or smoothed pictures, or it is texture: the level is "
    "uncertain"
)


@dataclass(frozen=True)
class NoiseEstimate:
    """A noise level that was estimated.

    Attributes:
        level:
            Standard deviation, for pictures in [0, 1].
        doubt:
            Why it may be wrong, or None.
    """

    level: float
    doubt: str | None = None


def noise_floor(bits: int) -> float:
    """Standard deviation of the rounding to so many bits, for pictures in [0, 1].

    Args:
        bits:
            Per channel, such as 8 or 16.
    """
    return 1 / ((2**bits - 1) * math.sqrt(12))


def noise_of_file(
    pixels: Tensor, bits: int, known: Tensor | None = None, jpeg: JpegGrid | None = None
) -> float:
    """:func:`estimate_noise`, never below the rounding of the file, and with what compression left.

    Args:
        pixels:
            (C, H, W) in [0, 1].
        bits:
            Of the file that they are from.
        known:
            (H, W) or (C, H, W), True where a pixel is known; default everywhere.
        jpeg:
            Of a JPEG file: how it was quantised, see :func:`jpeg_noise`.

    Raises:
        ValueError: Too little is known to estimate it.
    """
    return judge_noise(pixels, bits, known, jpeg).level


def judge_noise(
    pixels: Tensor, bits: int, known: Tensor | None = None, jpeg: JpegGrid | None = None
) -> NoiseEstimate:
    """:func:`noise_of_file`, and why it may be wrong."""
    found = _estimate(pixels, known)
    kept = None
    if jpeg is not None and pixels.shape[0] in (1, 3):
        kept = jpeg_noise(pixels, jpeg, known)
    if jpeg is not None and kept is not None and (kept >= found.level or found.doubt != COARSE):
        # fine differences are what compression takes away first; only coarse noise shows better in them
        found = NoiseEstimate(kept, hidden_below(jpeg, kept))
    return NoiseEstimate(max(noise_floor(bits), found.level), found.doubt)


@checked
def estimate_noise(picture: Tensor, known: Tensor | None = None) -> float:
    """Standard deviation of the noise in a picture in [0, 1].

    Second differences along both axes (Immerkaer 1996) remove smooth parts; their variance is compared over
    windows of 8 x 8, and that counts which a quarter of the windows stay below: noise is everywhere, texture
    and edges are not. The same of means of 2 x 2 pixels (a tenth of the windows), times 2, finds noise that
    is coarser than a pixel, as that of an enlarged or smoothed picture; the larger of both is taken. Windows
    with a clipped pixel (0 or 1) are left out where enough others remain. Where noise is so strong that much
    of it was clipped, the result is about the deviation that is left (0.28 for 0.39), which is also what
    restores such a picture best.

    Memory: some 40 bytes a pixel of 128 rows at a time.

    Args:
        picture:
            (C, H, W); sides of at least 3.
        known:
            (H, W) or (C, H, W), True where a pixel is known; default everywhere.

    Returns:
        Root mean square over channels. Texture that is everywhere counts as noise: photographs without
        noise give 0.002 to 0.01. A picture that is exactly even for the most part, such as a screenshot,
        has none.

    Raises:
        ValueError: fewer than 64 places of 3 x 3 known pixels.
    """
    return _estimate(picture, known).level


@dataclass
class _Seen:
    """What the rows of a channel showed at one scale."""

    windows: list[Tensor] = field(default_factory=list)
    single: list[Tensor] = field(default_factory=list)
    places: int = 0

    def add(self, difference: Tensor, usable: Tensor, kept: int) -> None:
        square = (difference * difference * usable)[None, None]
        pool = torch.nn.functional.avg_pool2d
        if min(difference.shape) >= _WINDOW:
            share = pool(usable.float()[None, None], _WINDOW)
            window = pool(square, _WINDOW) / share.clamp(min=1e-9)
            self.windows.append(window[share >= 0.5])
        values = difference[usable].abs()
        self.places += len(values)
        step = max(1, len(values) // max(1, kept))
        self.single.append(values[::step].clone())  # a view would keep them all

    def variance(self, share: float, of_white: float) -> tuple[float, float]:
        """Of white noise that would show this, and the share of exactly even windows."""
        windows = torch.cat(self.windows) if self.windows else torch.zeros(0)
        if len(windows) >= _ENOUGH:
            uneven = windows[windows > 1e-12]
            even = 1 - len(uneven) / len(windows)
            if even > _EVEN or not len(uneven):
                return 0.0, even
            place = max(1, round(share * len(uneven)))
            return float(uneven.kthvalue(place).values) / of_white, even
        values = torch.cat(self.single)
        values = values[values > 1e-6]
        # the median of their size (Donoho and Johnstone 1994)
        return ((float(values.median()) / 0.6745) ** 2 if len(values) else 0.0), 0.0


def _estimate(picture: Tensor, known: Tensor | None) -> NoiseEstimate:
    if picture.dim() != 3 or min(picture.shape[1:]) < 3:
        raise ValueError(
            f"picture: expected (C, H, W) of at least 3 x 3, got {tuple(picture.shape)}"
        )
    channels = picture.shape[0]
    known = None if known is None else (known > 0).expand_as(picture)
    scales = len(_SHARES) if min(picture.shape[1:]) >= 64 else 1
    # (scale, channel) of all that is known, and of what is not clipped
    every, inner = ({(s, c): _Seen() for s in range(scales) for c in range(channels)} for _ in "12")
    strips = -(-picture.shape[1] // _ROWS)
    for top in range(0, picture.shape[1], _ROWS):
        rows = slice(max(0, top - 2), top + _ROWS)
        _look(picture[:, rows], None if known is None else known[:, rows], every, inner,
              _KEPT // (strips * channels))  # fmt: skip
    places = sum(every[0, c].places for c in range(channels))
    if places < 64:
        raise ValueError("picture: too few places with 3 x 3 known pixels to estimate the noise")
    unclipped = sum(inner[0, c].places for c in range(channels))
    seen = inner if unclipped > 0.1 * places else every
    variances, even = [], 0.0
    for scale in range(scales):
        found = [seen[scale, c].variance(*_SHARES[scale]) for c in range(channels)]
        variances.append(4.0**scale * sum(variance for variance, _ in found) / channels)
        if scale == 0:
            even = min(share for _, share in found)
            if even > _EVEN:
                break
    return NoiseEstimate(math.sqrt(max(variances)), _doubt(variances, even))


def _doubt(variances: list[float], even: float) -> str | None:
    if even > _EVEN:
        return f"{even:.0%} of it are exactly even, as in a drawing or screenshot: it counts as free of noise"
    if len(variances) > 1 and variances[1] > 9 * variances[0] and variances[1] > 0.02**2:
        return COARSE
    return None


_Sums = dict[tuple[int, int], _Seen]  # by scale and channel


def _look(picture: Tensor, known: Tensor | None, every: _Sums, inner: _Sums, kept: int) -> None:
    """Adds second differences of some rows at all scales."""
    scales = 1 + max(scale for scale, _ in every)
    for c in range(picture.shape[0]):
        x = picture[c][None, None].float()
        whole = torch.ones_like(x, dtype=torch.bool) if known is None else known[c][None, None]
        inside = whole & (x > 0) & (x < 1)
        for scale in range(scales):
            if scale:
                x = torch.nn.functional.avg_pool2d(x, 2)
                whole, inside = (_all(mask, 2, 2) for mask in (whole, inside))
            if min(x.shape[2:]) < 3:
                break
            found = _second_differences(x[0, 0])
            every[scale, c].add(found, _all(whole, 3, 1)[0, 0], kept)
            inner[scale, c].add(found, _all(inside, 3, 1)[0, 0], kept)


def _second_differences(x: Tensor) -> Tensor:
    """Along both axes, by a filter of unit norm: exactly 0 where a picture is exactly even."""
    x = x[:-2] - 2 * x[1:-1] + x[2:]
    return (x[:, :-2] - 2 * x[:, 1:-1] + x[:, 2:]) / 6


def _all(mask: Tensor, side: int, stride: int) -> Tensor:
    """Where all of side x side places are True."""
    return -torch.nn.functional.max_pool2d(-mask.float(), side, stride=stride) > 0

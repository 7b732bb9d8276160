"""What can be seen of a picture before anybody says anything: noise, JPEG tables, lost sharpness, grey."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..io import Picture
from ..problems.noise import judge_noise

#: noise of a picture without any counts as this much at most, of 255: fine texture looks the same
_TEXTURE = 3.0
#: JPEG qualities below this leave blocks that one sees
_BLOCKS = 60
#: widths of a Gaussian blur from which on a picture looks soft, and from which on it surely is
_SOFT, _SURELY = 1.0, 1.5
#: sharp photographs look as soft as this: the median of 30, whose 95 % stay below 0.77
_SHARP = 0.52
_SIDE = 512


@dataclass(frozen=True)
class Finding:
    """Something that a picture shows.

    Args:
        wrong:
            A name of :data:`.wrongs.WRONGS`.
        text:
            One sentence, with how sure it is.
        proposed:
            Whether the page takes it for wrong by itself.
        value:
            How much: noise of 255, quality, pixels of blur.
    """

    wrong: str
    text: str
    proposed: bool
    value: float = 0.0


def look(picture: Picture) -> list[Finding]:
    """What a picture shows, surest first."""
    found = []
    if picture.jpeg is not None and picture.jpeg.tables:
        quality = jpeg_quality(picture.jpeg.tables[0])
        poor = quality < _BLOCKS
        seen = "blocks and ringing are likely" if poor else "blocks are hardly seen at that"
        found.append(
            Finding(
                "jpeg",
                f"saved as JPEG of quality {quality}: {seen} (sure, the file says so)",
                poor,
                quality,
            )
        )
    found += _noise(picture)
    width = softness(picture.pixels)
    if width is not None and width >= _SOFT:
        sure = "fairly sure" if width >= _SURELY else "a guess"
        text = (
            f"little is finer than {2 * width:.0f} pixels: not sharp by a blur of {width:.1f}, shaken, or "
            f"enlarged before ({sure}); say which"
        )
        found.append(Finding("blur", text, False, width))
    if is_grey(picture.pixels):
        found.append(
            Finding("grey", "black and white (sure); say so where colours are to be guessed", False)
        )
    return found


def _noise(picture: Picture) -> list[Finding]:
    try:
        judged = judge_noise(picture.pixels, picture.bits, None, picture.jpeg)
    except ValueError:
        return []  # too small a picture to tell
    level = 255 * judged.level
    if level < _TEXTURE:
        return [
            Finding(
                "noise", f"hardly any grain: {level:.1f} of 255, nothing to take out", False, level
            )
        ]
    sure = judged.doubt or "fairly sure, though fine texture counts as grain"
    return [
        Finding("noise", f"grain of about {level:.1f} of 255 ({sure})", judged.doubt is None, level)
    ]


def jpeg_quality(table: tuple[int, ...]) -> int:
    """The quality of the usual encoder that gives a luminance table about as coarse, 1 to 100."""
    usual = 57.6  # mean of the table of quality 50, ITU T.81 annex K
    scale = 100 * (sum(table) / len(table)) / usual
    quality = (200 - scale) / 2 if scale <= 100 else 5000 / scale
    return min(100, max(1, round(quality)))


def is_grey(pixels: Tensor) -> bool:
    """Whether a picture has no colour."""
    if pixels.shape[0] == 1:
        return True
    return float((pixels - pixels.mean(0, keepdim=True)).abs().mean()) < 1 / 255


def softness(pixels: Tensor) -> float | None:
    """Width of the Gaussian blur that a picture's spectrum looks like, in pixels; None: too small to tell.

    Photographs have power 1 / f^2; a Gaussian of standard deviation s multiplies it by exp(-4 pi^2 s^2 f^2).
    The slope against f^2 is fitted where the spectrum stands above its own floor. Photographs blurred by 1,
    1.5 and 2.5 pixels gave 0.99, 1.5 and 2.6 (medians of 30, nine of ten within 0.3).
    """
    grey = pixels.mean(0)
    side = min(_SIDE, *grey.shape)
    if side < 64:
        return None
    top, left = ((n - side) // 2 for n in grey.shape)
    x = grey[top : top + side, left : left + side].double()
    window = torch.hann_window(side, dtype=torch.float64)
    x = (x - x.mean()) * window[:, None] * window
    power = torch.fft.rfft2(x).abs().square()
    rows, columns = torch.fft.fftfreq(side).double(), torch.fft.rfftfreq(side).double()
    f = (rows[:, None].square() + columns.square()).sqrt()
    rings = torch.linspace(0.03, 0.5, 25, dtype=torch.float64)
    place = torch.bucketize(f, rings)
    middle, mean = [], []
    for k in range(1, len(rings)):
        inside = power[place == k]
        if len(inside):
            middle.append(float((rings[k - 1] + rings[k]) / 2))
            mean.append(
                float(inside.median()) / math.log(2)
            )  # lines of a drawing are not the slope
    floor = min(mean)
    kept = [(r, p) for r, p in zip(middle, mean, strict=True) if p > 4 * floor]
    if len(kept) < 4:
        return None
    square = torch.tensor([r * r for r, _ in kept], dtype=torch.float64)
    level = torch.tensor([math.log(p) + 2 * math.log(r) for r, p in kept], dtype=torch.float64)
    design = torch.stack([torch.ones_like(square), square], dim=1)
    slope = float(torch.linalg.lstsq(design, level[:, None]).solution[1])
    return math.sqrt(max(0.0, -slope / (4 * math.pi**2) - _SHARP**2))

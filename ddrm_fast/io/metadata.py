"""What a picture file says beside its pixels: profile, EXIF, XMP, resolution; kept for its restoration."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from PIL import Image

from .colour import fitting

T = TypeVar("T")

ORIENTATION = 0x0112
#: tags that hold lists of their own: of the camera, and of the place
EXIF_LISTS = (0x8769, 0x8825)
#: what a camera and its owner wrote (EXIF 2.32): description, maker, model, program, time, artist, copyright
_KEPT = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
#: pixels of the picture, and offsets within the old file
_DROPPED_OF_EXIF = (0xA002, 0xA003, 0xA005)
_TURNED = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>))\s*[2-8]\s*(?=[\"'<])")


@dataclass(frozen=True)
class Metadata:
    """What a picture file says beside its pixels.

    Attributes:
        icc:
            Colour profile, or None.
        exif:
            As EXIF has it, begun with ``Exif\\0\\0``, for an upright picture; or None.
        xmp:
            XMP packet, for an upright picture, or None.
        dpi:
            Dots per inch, (x, y), or None.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None

    def for_channels(self, channels: int) -> Metadata:
        """Without a profile of other colours than a picture of so many channels has."""
        return replace(self, icc=fitting(self.icc, channels))


def upright_exif(exif: Image.Exif) -> bytes | None:
    """What a camera and its owner wrote, of a picture that is upright now; None where that is nothing.

    What describes the old file (offsets, sizes, its small copy) and the orientation are left out.
    """
    kept = Image.Exif()
    for tag in _KEPT:
        if tag in exif:
            kept[tag] = exif[tag]
    for name in EXIF_LISTS:
        inside = {t: v for t, v in exif.get_ifd(name).items() if t not in _DROPPED_OF_EXIF}
        if inside:
            kept[name] = inside
    if not len(kept):
        return None
    content = kept.tobytes()
    return content if content.startswith(b"Exif") else b"Exif\0\0" + content


def exif_tags(content: bytes | None) -> Image.Exif:
    """EXIF as :class:`Metadata` holds it, by tags; empty where it is None or damaged."""
    exif = Image.Exif()
    if content is not None:
        _unless_damaged(lambda: exif.load(content))
    return exif


def upright_xmp(xmp: object) -> bytes | None:
    """An XMP packet that calls its picture upright, or None."""
    if isinstance(xmp, str):
        xmp = xmp.encode()
    return _TURNED.sub(rb"\g<1>1", xmp) if isinstance(xmp, bytes) and xmp else None


def metadata_of(image: Image.Image) -> Metadata:
    """What Pillow found; what of it is damaged is left out: no picture fails for what stands beside it."""
    info = image.info
    return Metadata(
        icc=info.get("icc_profile") or None,
        exif=_unless_damaged(lambda: upright_exif(image.getexif())),
        xmp=_unless_damaged(lambda: upright_xmp(info.get("xmp") or info.get("XML:com.adobe.xmp"))),
        dpi=_unless_damaged(lambda: dpi_of(info.get("dpi"))),
    )


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it is damaged."""
    found = _unless_damaged(lambda: image.getexif().get(ORIENTATION, 1))
    return found if isinstance(found, int) else 1


def dpi_of(value: Iterable[Any] | None) -> tuple[float, float] | None:
    """Two finite numbers above 0, or None."""
    if value is None:
        return None
    x, y = (float(v) for v in value)
    return (x, y) if 0 < x < 1e6 and 0 < y < 1e6 else None


def _unless_damaged(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, SyntaxError, OSError,
            AttributeError, EOFError, ZeroDivisionError, struct.error):  # fmt: skip
        return None

"""Pictures of 16 bits per channel, which Pillow cuts to 8 (all but grey) and does not write."""

from __future__ import annotations

import struct
import sys
import zlib
from io import BytesIO

import numpy as np
from PIL import Image

_PNG_KIND = {1: 0, 2: 4, 3: 2, 4: 6}


def read_16bit(content: bytes) -> np.ndarray | None:
    """A PNG or TIFF file of 16 bits and several channels, uint16 (H, W, 2, 3 or 4).

    Pillow unpacks such files to the high byte of each number; told the other byte order, it unpacks the
    low byte. Two readings make the whole.

    Returns:
        The pixels, or None where the file is of another kind.
    """
    high = _unpack(content, swap=False)
    if high is None:
        return None
    if high[1] == "grey and alpha":
        bytes_ = high[0].astype(np.uint16)  # grey high, grey low, alpha high, alpha low
        return np.stack(
            (bytes_[..., 0] << 8 | bytes_[..., 1], bytes_[..., 2] << 8 | bytes_[..., 3]), -1
        )
    low = _unpack(content, swap=True)
    return None if low is None else high[0].astype(np.uint16) << 8 | low[0]


def _unpack(content: bytes, swap: bool) -> tuple[np.ndarray, str] | None:
    """One byte of each number, and what kind of file it is."""
    with Image.open(BytesIO(content)) as image:
        tiles, kind = [], "colour"
        for codec, extents, offset, arguments in image.tile:
            several = isinstance(arguments, tuple)
            name = arguments[0] if several else arguments
            if name == "LA;16B":
                name, kind = "RGBA", "grey and alpha"
            elif isinstance(name, str) and name[:-1] in ("RGB;16", "RGBA;16"):
                name = name[:-1] + _order(name[-1], swap)
            else:
                return None
            tiles.append((codec, extents, offset, (name, *arguments[1:]) if several else name))
        if not tiles:
            return None
        image.tile = [type(old)(*new) if hasattr(old, "_fields") else new
                      for old, new in zip(image.tile, tiles, strict=True)]  # fmt: skip
        try:
            return np.array(image), kind
        except ValueError:  # this Pillow does not know the swapped order: 8 bits then
            return None


def _order(letter: str, swap: bool) -> str:
    """Byte order B or L; N is that of this machine."""
    if letter == "N":
        letter = "L" if sys.byteorder == "little" else "B"
    return {"B": "L", "L": "B"}[letter] if swap else letter


def png_16bit(pixels: np.ndarray, icc: bytes | None = None) -> bytes:
    """A PNG file (ISO 15948) of uint16 pixels (H, W, 1 to 4)."""
    height, width, channels = pixels.shape
    rows = np.frombuffer(pixels.astype(">u2").tobytes(), np.uint8).reshape(height, -1)
    up = rows.copy()
    up[1:] -= rows[:-1]  # filter 2: difference from the row above
    body = np.concatenate((np.full((height, 1), 2, np.uint8), up), axis=1)
    header = struct.pack(">IIBBBBB", width, height, 16, _PNG_KIND[channels], 0, 0, 0)
    chunks = [_chunk(b"IHDR", header)]
    if icc is not None:
        chunks.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
    chunks += [_chunk(b"IDAT", zlib.compress(body.tobytes(), 6)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

"""PNG files of 16 bits per channel, which Pillow does not write."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from .metadata import Metadata

_KIND = {1: 0, 2: 4, 3: 2, 4: 6}


def png_16bit(pixels: np.ndarray, meta: Metadata | None = None) -> bytes:
    """A PNG file (ISO 15948) of uint16 pixels (H, W, 1 to 4), and what stands beside them."""
    height, width, channels = pixels.shape
    rows = np.frombuffer(pixels.astype(">u2").tobytes(), np.uint8).reshape(height, -1)
    up = rows.copy()
    up[1:] -= rows[:-1]  # filter 2: difference from the row above
    body = np.concatenate((np.full((height, 1), 2, np.uint8), up), axis=1)
    header = struct.pack(">IIBBBBB", width, height, 16, _KIND[channels], 0, 0, 0)
    chunks = [_chunk(b"IHDR", header), *_beside(meta or Metadata())]
    chunks += [_chunk(b"IDAT", zlib.compress(body.tobytes(), 6)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _beside(meta: Metadata) -> list[bytes]:
    """Chunks of profile, resolution (dots per metre), EXIF and XMP."""
    chunks = []
    if meta.icc is not None:
        chunks.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(meta.icc)))
    if meta.dpi is not None:
        x, y = (round(dots / 0.0254) for dots in meta.dpi)
        chunks.append(_chunk(b"pHYs", struct.pack(">IIB", x, y, 1)))
    if meta.exif is not None:
        chunks.append(_chunk(b"eXIf", meta.exif.removeprefix(b"Exif\0\0")))
    if meta.xmp is not None:
        chunks.append(_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + meta.xmp))
    return chunks


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

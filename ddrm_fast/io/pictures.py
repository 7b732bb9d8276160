"""Pictures as people keep them: read as [0, 1] tensors, written back as they came."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .decode import SUFFIXES, Decoded, decode
from .encode import encode
from .files import digest, read_bytes, write_atomically
from .foreign import foreign
from .picture import Picture

__all__ = ["SUFFIXES", "Picture", "read_picture", "write_picture"]

log = logging.getLogger(__name__)


def read_picture(path: str | Path) -> Picture:
    """Read a picture file, upright as it says, with the depth that it has.

    Formats: PNG, JPEG, TIFF, WebP, AVIF, JPEG 2000, GIF, BMP, Netpbm, TGA, PCX, SGI, QOI, PSD; HEIF with
    the extra ``heif``. Grey stays grey; palettes, inks (through their profile) and L*a*b* become RGB.
    What is left out, such as further pages, is logged as a warning.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: A package for its format is not installed.
        ValueError: The file is empty, truncated, larger than the memory that there is, or not a picture
            that is read; the message names it.
    """
    content = read_bytes(path)
    with foreign(path, "not readable as a picture"):
        decoded = decode(content, path)
        pixels, alpha = _planes(decoded)
    for note in decoded.notes:
        log.warning("%s: %s", path, note)
    meta = decoded.meta.for_channels(pixels.shape[0])
    return Picture(
        pixels, alpha, decoded.bits, meta.icc, digest(content), meta.exif, meta.xmp, meta.dpi,
        decoded.jpeg, tuple(decoded.notes),
    )  # fmt: skip


def _planes(decoded: Decoded) -> tuple[Tensor, Tensor | None]:
    """Values as float32 (C, H, W) in [0, 1], and their alpha."""
    height, width, channels = decoded.values.shape
    if not height * width:
        raise ValueError("it has no pixels")
    planes = np.empty((channels, height, width), dtype=np.float32)
    for k in range(channels):
        np.divide(
            decoded.values[..., k], np.float32(decoded.white), out=planes[k], casting="unsafe"
        )
    x = torch.from_numpy(planes)
    return (x[:-1], x[-1]) if decoded.alpha else (x, None)


def write_picture(path: str | Path, picture: Picture, quality: int | None = None) -> None:
    """Write a picture in the format of the suffix, with its alpha, profile and words; atomically.

    Args:
        path:
            With a suffix of ``ddrm_fast.io.encode.FORMATS``.
        picture:
            What is written; as deep as it says where the format can.
        quality:
            Of formats with loss, 1 to 100; default theirs, see :mod:`ddrm_fast.io.encode`.

    Raises:
        ValueError: The suffix is unknown, or the picture is larger than the format allows.
        OutputError: The file cannot be written.
    """
    write_atomically(path, encode(picture, Path(path).suffix, quality))

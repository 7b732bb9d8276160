"""Pictures as people keep them: read as [0, 1] tensors, written back as they came."""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .files import digest, read_bytes, write_atomically
from .png16 import png_16bit, read_16bit

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".jp2", ".gif"}
)
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Picture:
    """A picture and what has to survive its restoration.

    Attributes:
        pixels: float32 (1 or 3, H, W) in [0, 1], as encoded in the file (not linear light).
        alpha: Opacity, float32 (H, W) in [0, 1], or None.
        bits: Per channel in the file: 8 or 16.
        icc: Colour profile, or None.
        sha256: Digest of the file, hex.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    bits: int = 8
    icc: bytes | None = None
    sha256: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return tuple(self.pixels.shape[1:])

    def with_pixels(self, pixels: Tensor) -> Picture:
        """Other pixels with this alpha, depth and profile.

        Alpha is resized where the size differs; the profile is dropped where the channels do.
        """
        alpha = self.alpha
        if alpha is not None and alpha.shape != pixels.shape[1:]:
            alpha = torch.nn.functional.interpolate(
                alpha[None, None], size=tuple(pixels.shape[1:]), mode="bicubic", antialias=True
            )[0, 0].clamp(0, 1)
        icc = self.icc if pixels.shape[0] == self.pixels.shape[0] else None
        return replace(self, pixels=pixels, alpha=alpha, icc=icc)


def read_picture(path: str | Path) -> Picture:
    """Read a picture file: any format of Pillow, upright as its EXIF orientation says.

    Grey stays grey. Palettes, CMYK and the like become RGB. Of an animation the first frame is taken.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is empty, truncated, or not a picture; the message names it.
    """
    content = read_bytes(path)
    try:
        pixels, alpha, bits, icc = _decode(content)
    except Exception as error:  # decoders of foreign bytes raise anything
        what = (
            "is not a picture" if type(error).__name__ == "UnidentifiedImageError" else str(error)
        )
        raise ValueError(f"{path}: not readable as a picture ({what})") from error
    return Picture(pixels, alpha, bits, icc, digest(content))


def _decode(content: bytes) -> tuple[Tensor, Tensor | None, int, bytes | None]:
    deep = read_16bit(content)
    with Image.open(BytesIO(content)) as image:
        icc = image.info.get("icc_profile") or None
        turn = image.getexif().get(_EXIF_ORIENTATION, 1)
        if deep is not None:
            values, bits = deep / np.float32(65535), 16
        elif image.mode == "F":
            values, bits = np.array(image, dtype=np.float32)[..., None], 16
            if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
                raise ValueError("floating-point pixels outside [0, 1]")
        elif image.mode.startswith("I"):
            values, bits = np.array(image).astype(np.float32)[..., None] / 65535, 16
            if values.min() < 0 or values.max() > 1:
                raise ValueError("32-bit pixels outside 0 to 65535")
        else:
            values, bits = np.array(_plain(image)) / np.float32(255), 8
    if values.ndim == 2:
        values = values[..., None]
    values = _upright(values, turn)
    planes = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1), dtype=np.float32))
    if planes.shape[0] in (2, 4):
        return planes[:-1].contiguous(), planes[-1].contiguous(), bits, icc
    return planes, None, bits, icc


def _plain(image: Image.Image) -> Image.Image:
    """The picture in one of the modes L, LA, RGB, RGBA."""
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        return image.convert(image.mode + "A") if "transparency" in image.info else image
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("La", "PA", "RGBa") or "transparency" in image.info:
        return image.convert("LA" if image.mode == "La" else "RGBA")
    return image.convert("RGB")


_TURNS = {
    2: lambda v: v[:, ::-1],
    3: lambda v: v[::-1, ::-1],
    4: lambda v: v[::-1],
    5: lambda v: v.swapaxes(0, 1),
    6: lambda v: np.rot90(v, -1),
    7: lambda v: v[::-1, ::-1].swapaxes(0, 1),
    8: lambda v: np.rot90(v),
}


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (H, W, C) stored with this EXIF orientation, turned so that up is up."""
    return _TURNS.get(orientation, lambda v: v)(values)


def write_picture(path: str | Path, picture: Picture) -> None:
    """Write a PNG of the picture's depth, with its alpha and colour profile; atomically.

    Raises:
        OutputError: The file cannot be written.
    """
    planes = picture.pixels.detach().float().clamp(0, 1)
    if picture.alpha is not None:
        planes = torch.cat((planes, picture.alpha[None].clamp(0, 1)))
    values = planes.permute(1, 2, 0).contiguous().numpy()
    if picture.bits == 16:
        content = png_16bit(np.rint(values * 65535).astype(np.uint16), picture.icc)
    else:
        bytes_ = np.rint(values * 255).astype(np.uint8)
        image = Image.fromarray(bytes_[..., 0] if bytes_.shape[2] == 1 else bytes_)
        buffer = BytesIO()
        image.save(buffer, "PNG", icc_profile=picture.icc)
        content = buffer.getvalue()
    write_atomically(path, content)

"""Picture files as bytes: PNG, TIFF, JPEG, WebP, AVIF, with alpha, profile, EXIF, XMP and resolution."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
from PIL import Image, PngImagePlugin

from .picture import Picture
from .png16 import png_16bit
from .tiff import put_exif, tiff_words

#: suffix -> format, and its quality where it has one
FORMATS = {
    ".png": ("PNG", None), ".tif": ("TIFF", None), ".tiff": ("TIFF", None), ".jpg": ("JPEG", 95),
    ".jpeg": ("JPEG", 95), ".webp": ("WEBP", 90), ".avif": ("AVIF", 85),
}  # fmt: skip


def encode(picture: Picture, suffix: str, quality: int | None = None) -> bytes:
    """A picture file.

    PNG and TIFF keep 16 bits and alpha; the others have 8 bits, and JPEG no alpha, which is left out.

    Args:
        picture:
            Clipped to [0, 1].
        suffix:
            A key of ``FORMATS``, in any case.
        quality:
            Of formats with loss, 1 to 100.

    Raises:
        ValueError: The suffix is unknown, the quality has no meaning, or the picture is larger than the
            format allows.
    """
    name, usual = FORMATS.get(suffix.lower(), (None, None))
    if name is None:
        raise ValueError(f"format: got {suffix!r}, expected one of {', '.join(FORMATS)}")
    if quality is not None and usual is None:
        raise ValueError(f"quality: got {quality} for {name}, which has no loss")
    planes = picture.pixels.detach().float().clamp(0, 1)
    if picture.alpha is not None and name != "JPEG":
        planes = torch.cat((planes, picture.alpha[None].clamp(0, 1)))
    values = planes.permute(1, 2, 0).contiguous().numpy()
    deep = picture.bits == 16 and name in ("PNG", "TIFF")
    white, dtype = (65535, np.uint16) if deep else (255, np.uint8)
    values = np.rint(values * white).astype(dtype)
    if name == "TIFF":
        return _tiff(values, picture)
    if deep:
        return png_16bit(values, picture.meta)
    return _by_pillow(values, picture, name, quality or usual)


def _by_pillow(values: np.ndarray, picture: Picture, name: str, quality: int | None) -> bytes:
    image = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
    meta = picture.meta
    options: dict[str, object] = {}
    if quality is not None:
        options["quality"] = quality
    if meta.icc is not None:
        options["icc_profile"] = meta.icc
    if meta.exif is not None:
        options["exif"] = meta.exif
    if meta.dpi is not None and name in ("PNG", "JPEG"):
        options["dpi"] = meta.dpi
    if meta.xmp is not None and name == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", meta.xmp.decode("utf-8", "replace"))
        options["pnginfo"] = text
    elif meta.xmp is not None:
        options["xmp"] = meta.xmp
    if name == "JPEG":
        options["subsampling"] = 0 if quality and quality >= 90 else 2
        if meta.xmp is not None and len(meta.xmp) > 65000:  # a marker holds no more
            del options["xmp"]
    if image.mode == "LA" and name in ("WEBP", "AVIF"):
        image = image.convert("RGBA")
    buffer = BytesIO()
    try:
        image.save(buffer, name, **options)
    except (OSError, ValueError, OverflowError) as error:
        raise ValueError(
            f"format: {image.height} x {image.width} pixels cannot be written as {name} ({error})"
        ) from error
    return buffer.getvalue()


def _tiff(values: np.ndarray, picture: Picture) -> bytes:
    import tifffile

    channels, more = picture.pixels.shape[0], tiff_words(picture.meta)
    if values.shape[2] > channels:
        more["extrasamples"] = ["UNASSALPHA"]
    buffer = BytesIO()
    tifffile.imwrite(
        buffer,
        values if values.shape[2] > 1 else values[..., 0],
        photometric="rgb" if channels == 3 else "minisblack",
        planarconfig="contig" if values.shape[2] > 1 else None,
        compression="zlib",
        predictor=True,
        metadata=None,
        **more,
    )
    put_exif(buffer, picture.meta)
    return buffer.getvalue()

"""From the bytes of a picture file to upright pixels of its own depth, and what stands beside them."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, JpegImagePlugin

from . import tiff
from .colour import Inks
from .foreign import ask_for_memory
from .metadata import Metadata, metadata_of, orientation_of, upright_exif, upright_xmp
from .picture import JpegGrid
from .turns import Turn, turn_of

#: what is asked of Pillow; formats that start other programs (EPS) or are no pictures are not
FORMATS = (
    "PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "GIF", "AVIF", "TGA", "PCX", "SGI",
    "QOI", "PSD",
)  # fmt: skip
#: their suffixes, and those of HEIF
SUFFIXES = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .webp .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .pfm .jp2 .j2k .jpf "
    ".jpx .gif .avif .tga .pcx .sgi .qoi .psd .heic .heif".split()
)
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_DEEP_PNM = re.compile(
    rb"P([56])(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s"
)
_TILES = (
    "cut it into tiles, or save it as tiled .tif and restore it from disk to disk with --memory"
)


@dataclass(frozen=True)
class Decoded:
    """A picture file's content.

    Attributes:
        values:
            (H, W, 1 to 4), upright: grey or RGB, then alpha where ``alpha``.
        white:
            The value of white, and of full opacity.
        alpha:
            Whether the last channel is opacity.
        bits:
            Depth that a result needs, 8 or 16.
        meta:
            What stands beside the pixels.
        jpeg:
            How a JPEG file of grey or colours was quantised; else None.
        notes:
            What was left out or converted, to be said.
    """

    values: np.ndarray
    white: float
    alpha: bool
    bits: int
    meta: Metadata = field(default_factory=Metadata)
    jpeg: JpegGrid | None = None
    notes: tuple[str, ...] = ()


def decode(content: bytes, path: str | Path) -> Decoded:
    """Decode a file by its content, whatever its name says.

    Args:
        content:
            Of the file.
        path:
            For messages.

    Raises:
        ImportError: It is HEIF, and pillow-heif is not installed.
        TooLarge: It takes more memory than there is.
        Exception: It is damaged, or no picture: whatever the decoders raise.
    """
    if content[:4] in tiff.MAGIC:
        return _tiff(content, path)
    if content[4:8] == b"ftyp" and content[8:12] in _HEIF and b"avif" not in content[8:64]:
        return _heif(content, path)
    pnm = _DEEP_PNM.match(content)
    if pnm and int(pnm[4]) > 255:
        return _deep_pnm(content, pnm, path)
    with opened(content) as image:
        bands = len(image.getbands())
        _ask(path, image.size[::-1], bands, 4 if image.mode in ("I", "F") else 2)
        meta, turn = metadata_of(image), turn_of(orientation_of(image))
        notes = []
        if getattr(image, "is_animated", False) and image.format != "MPO":
            notes.append("is animated, the first picture is taken")
        found = _deep(content, image, path) or _of_pillow(image, meta)
    return replace(
        found,
        values=turn.upright(found.values),
        meta=meta,
        jpeg=_grid(image, turn),
        notes=(*notes, *found.notes),
    )


_LOCK = threading.Lock()


@contextmanager
def opened(source: bytes | Path) -> Iterator[Image.Image]:
    """A picture of Pillow's, of ``FORMATS`` alone.

    Pillow's limit of pixels is not asked (the limit here is memory, see :func:`ask_for_memory`), and what
    it warns of is not shown: what matters of it is said in this package's words. Both are settings of
    the whole process, so one file is decoded at a time.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            Image.init()
            known = [name for name in FORMATS if name in Image.OPEN]  # as it was built
            file = BytesIO(source) if isinstance(source, bytes) else source
            with Image.open(file, formats=known) as image:
                yield image
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _ask(path: str | Path, size: tuple[int, int], bands: int, each: int) -> None:
    """Ask for what decoding takes: the values, and float32 of them."""
    ask_for_memory(path, size[0] * size[1] * bands * (each + 4),
                   f"reading its {size[0]} x {size[1]} pixels", _TILES)  # fmt: skip


def _grid(image: Image.Image, turn: Turn) -> JpegGrid | None:
    tables = getattr(image, "quantization", None)
    if not tables or image.mode not in ("L", "RGB"):
        return None
    found = tuple(tuple(tables[key]) for key in sorted(tables))
    if turn.exchange:
        found = tuple(tuple(t[8 * (k % 8) + k // 8] for k in range(64)) for t in found)
    height, width = turn.size(image.height, image.width)
    # blocks begin at the stored corner: where rows run backwards, what is left over comes first
    before = (height % 16 if turn.rows else 0, width % 16 if turn.columns else 0)
    kind = JpegImagePlugin.get_sampling(image) if hasattr(image, "layer") else -1
    subsampling = {0: "4:4:4", 1: "4:4:0" if turn.exchange else "4:2:2", 2: "4:2:0"}.get(kind)
    return JpegGrid(found, before[0] % 8, before[1] % 8, subsampling, before)


def _of_pillow(image: Image.Image, meta: Metadata) -> Decoded:
    """What Pillow decodes as it is: 8 bits, or one channel of more."""
    if image.mode == "F":
        values = np.array(image, dtype=np.float32)[..., None]
        check_unit(values)
        return Decoded(values, 1.0, False, 16)
    if image.mode.startswith("I"):
        values = np.array(image)[..., None]
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("32-bit pixels outside 0 to 65535")
        return Decoded(values.astype(np.uint16), 65535.0, False, 16)
    if image.mode == "CMYK":
        inks = Inks(meta.icc)
        notes = () if inks.note is None else (inks.note,)
        return Decoded(inks.rgb(np.asarray(image)), 255.0, False, 8, notes=notes)
    values = np.array(_plain(image))
    values = values[..., None] if values.ndim == 2 else values
    return Decoded(values, 255.0, values.shape[2] in (2, 4), 8)


def check_unit(values: np.ndarray) -> None:
    """Raises ValueError unless floating-point pixels are in [0, 1]."""
    if not (values.size and np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise ValueError("floating-point pixels outside [0, 1]")


def _plain(image: Image.Image) -> Image.Image:
    """The picture in one of the modes L, LA, RGB, RGBA."""
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        return image.convert(image.mode + "A") if "transparency" in image.info else image
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("La", "PA", "RGBa") or "transparency" in image.info:
        return image.convert("LA" if image.mode == "La" else "RGBA")
    return image.convert("RGB")


def _deep(content: bytes, image: Image.Image, path: str | Path) -> Decoded | None:
    """Colours (or alpha) of more than 8 bits, which Pillow cuts to 8: PNG, JPEG 2000, AVIF; else None."""
    if image.format == "PNG" and content[24] == 16:
        import imagecodecs

        bands = {0: 1, 2: 3, 4: 2, 6: 4}[content[25]] + ("transparency" in image.info)
        _ask(path, image.size[::-1], bands, 2)
        values = imagecodecs.png_decode(content)
        values = values[..., None] if values.ndim == 2 else values
        return Decoded(values, 65535.0, values.shape[2] in (2, 4), 16)
    if image.format == "JPEG2000" and len(image.getbands()) > 1:
        start = content.index(b"\xff\x4f\xff\x51")
        depth = content[start + 42]  # ISO 15444-1, A.5.1: bits of the first component, less 1; sign
        if 8 <= depth < 16:
            import imagecodecs

            _ask(path, image.size[::-1], len(image.getbands()), 2)
            values = imagecodecs.jpeg2k_decode(content)
            return Decoded(values, 2.0 ** (depth + 1) - 1, values.shape[2] in (2, 4), 16)
    if image.format == "AVIF" and (depth := _avif_bits(content)) > 8:
        import imagecodecs

        _ask(path, image.size[::-1], len(image.getbands()), 2)
        values = imagecodecs.avif_decode(content)
        values = values[..., None] if values.ndim == 2 else values
        return Decoded(values, 2.0**depth - 1, values.shape[2] in (2, 4), 16)
    return None


def _avif_bits(content: bytes) -> int:
    """Bits of a value, of the box that configures the codec (AV1-ISOBMFF 1.2, 2.3.3)."""
    place = content.find(b"av1C", 0, 2**16)
    if place < 0 or place + 7 > len(content):
        return 8
    flags = content[place + 6]
    return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10


def _deep_pnm(content: bytes, head: re.Match[bytes], path: str | Path) -> Decoded:
    """Grey or colours of 16 bits of Netpbm (P5, P6), which Pillow cuts to 8."""
    bands = 1 if head[1] == b"5" else 3
    width, height, white = (int(head[k]) for k in (2, 3, 4))
    if white > 65535 or not width * height:
        raise ValueError(f"{height} x {width} pixels up to {white}")
    _ask(path, (height, width), bands, 2)
    values = np.frombuffer(content, ">u2", height * width * bands, head.end())
    values = values.reshape(height, width, bands).astype(np.uint16)
    if int(values.max()) > white:
        raise ValueError(f"pixels above its white of {white}")
    return Decoded(values, float(white), False, 16)


def _tiff(content: bytes, path: str | Path) -> Decoded:
    picture = tiff.TiffPicture(content)
    try:
        bands = picture.channels + picture.alpha
        _ask(path, picture.size, bands, 2 * np.dtype(picture.dtype).itemsize)
        values = picture.whole()
    finally:
        picture.close()
    white = {"uint8": 255.0, "uint16": 65535.0}.get(picture.dtype, 1.0)
    if white == 1:
        check_unit(values)
    meta = Metadata(picture.icc, exif_of_tiff(content), upright_xmp(picture.xmp), picture.dpi)
    bits = 8 if picture.dtype == "uint8" else 16
    return Decoded(values, white, picture.alpha, bits, meta, notes=tuple(picture.notes))


def exif_of_tiff(source: bytes | Path) -> bytes | None:
    """EXIF of a TIFF file or its content; None where there is none, or Pillow cannot read its tags."""
    try:
        with opened(source) as image:
            return metadata_of(image).exif
    except Exception:  # a kind that Pillow does not know, or tags that are damaged
        return None


def _heif(content: bytes, path: str | Path) -> Decoded:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImportError(
            f"{path}: HEIF pictures need pillow-heif: pip install 'ddrm-fast[heif]'"
        ) from error
    file = pillow_heif.open_heif(BytesIO(content), convert_hdr_to_8bit=False)
    deep = file.mode.endswith(";16")
    bands = len(file.mode.removesuffix(";16"))
    _ask(path, file.size[::-1], bands, 1 + deep)
    values = np.asarray(file)
    values = values[..., None] if values.ndim == 2 else values
    depth = file.info.get("bit_depth", 8)
    exif = Image.Exif()
    if file.info.get("exif"):
        exif.load(file.info["exif"])
    meta = Metadata(
        file.info.get("icc_profile"), upright_exif(exif), upright_xmp(file.info.get("xmp"))
    )
    # pixels are upright already: what EXIF says of orientation counts for nothing in HEIF (ISO 23008-12)
    white = float((2**depth - 1) << (16 - depth)) if deep else 255.0
    return Decoded(values, white, values.shape[2] in (2, 4), 16 if deep else 8, meta)

"""TIFF files, read by what their tags say, as a whole and by blocks alike (tifffile decodes)."""

from __future__ import annotations

import logging
import struct
import weakref
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import TiffImagePlugin

from .colour import Inks, rgb_of_lab
from .metadata import EXIF_LISTS, Metadata, exif_tags
from .turns import turn_of

# what is wrong with a file is said in an error, not in lines of its reader on the way
logging.getLogger("tifffile").addHandler(logging.NullHandler())

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_PHOTOMETRIC = {  # tag 262: name, samples of a colour
    0: ("WhiteIsZero", 1), 1: ("BlackIsZero", 1), 2: ("RGB", 3), 3: ("palette", 1), 5: ("separated", 4),
    6: ("YCbCr", 3), 8: ("CIELab", 3), 9: ("ICCLab", 3), 4: ("mask", 0), 10: ("ITULab", 0),
    32803: ("colour filter array", 0), 34892: ("linear raw", 0), 32844: ("LogL", 0), 32845: ("LogLuv", 0),
}  # fmt: skip
_FORMATS = {1: "whole numbers", 2: "signed whole numbers", 3: "floating-point numbers", 4: "undefined",
            5: "complex whole numbers", 6: "complex numbers"}  # fmt: skip
_JPEG = (6, 7, 33007, 34892)  # compressions (tag 259) whose decoder makes RGB of YCbCr
_ASSOCIATED, _UNASSOCIATED = 1, 2  # kinds of alpha (tag 338)


class TiffPicture:
    """The first picture of a TIFF file: what its tags say, and its pixels by block.

    Pixels are upright and of one meaning: grey or RGB, 0 is black, alpha (where there is one) last and
    not multiplied into the colours. What cannot be brought to that is refused with the name of its tag.

    Args:
        source:
            Path of a file, or its content.

    Attributes:
        size:
            (H, W), upright.
        channels, alpha:
            1 or 3, and whether opacity follows them.
        dtype:
            "uint8", "uint16" or "float32" in [0, 1].
        block:
            Rows and columns of a block, upright.
        icc, xmp, dpi:
            Colour profile, XMP packet, dots per inch (x, y), or None.
        notes:
            What is left out or converted, to be said.

    Raises:
        ValueError: A tag has a value that is not read; the message names tag and value.
        Exception: It is no TIFF file, or a damaged one: whatever tifffile raises.
    """

    def __init__(self, source: str | Path | bytes) -> None:
        import tifffile

        self._file = tifffile.TiffFile(BytesIO(source) if isinstance(source, bytes) else source)
        weakref.finalize(self, self._file.close)  # blocks are read as long as somebody holds it
        try:
            self.notes: list[str] = []
            self._page = page = self._first_page()
            self._turn = turn_of(_tag(page, 274))
            self._check_samples()
            self.icc, self.xmp, self.dpi = page.iccprofile, _bytes(_tag(page, 700)), _dpi(page)
            self._stored = (int(page.imagelength), int(page.imagewidth))
            self._check_segments()
            self.size = self._turn.size(*self._stored)
            self.block = self._turn.size(*self._segment)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _first_page(self) -> Any:
        """The first page that is no small copy of another one."""
        pages = [page for page in self._file.pages if not int(_tag(page, 254) or 0) & 5]
        images = len(pages)
        if self._file.is_imagej and images == 1:
            images = int((self._file.imagej_metadata or {}).get("images", 1))
        if images > 1:
            self.notes.append(f"has {images} pages, the first is taken")
        return (pages[0] if pages else self._file.pages.first).aspage()

    def _check_samples(self) -> None:
        """What a sample means, or a refusal by the tag's name."""
        page = self._page
        photometric = 1 if page.photometric is None else int(page.photometric)
        name, colours = _PHOTOMETRIC.get(photometric, ("unknown", 0))
        if not colours:
            raise ValueError(
                f"PhotometricInterpretation (tag 262) {photometric}, {name}, is not read"
            )
        if photometric == 6 and int(page.compression) not in _JPEG:
            raise ValueError("PhotometricInterpretation (tag 262) 6, YCbCr, is read with JPEG only")
        if photometric == 5 and int(_tag(page, 332) or 1) != 1:
            raise ValueError(f"InkSet (tag 332) {_tag(page, 332)} is not read, expected 1, CMYK")
        if page.imagedepth != 1:
            raise ValueError(f"ImageDepth (tag 32997) {page.imagedepth} is not read, expected 1")
        samples = int(page.samplesperpixel)
        if samples < colours:
            raise ValueError(f"SamplesPerPixel (tag 277) {samples}, expected {colours} for {name}")
        bits, kind = page.bitspersample, int(page.sampleformat or 1)
        kind = 1 if kind == 4 else kind
        if not isinstance(bits, int):
            raise ValueError(
                f"BitsPerSample (tag 258) {bits}: samples of several sizes are not read"
            )
        if kind not in (1, 2, 3):
            raise ValueError(f"SampleFormat (tag 339) {kind}, {_FORMATS.get(kind)}, is not read")
        if bits > 16 and kind != 3:
            raise ValueError(
                f"BitsPerSample (tag 258) {bits} of {_FORMATS[kind]} is not read: which of them is white "
                "is not said; expected at most 16, or floating-point numbers in [0, 1]"
            )
        if kind != 1 and photometric in (3, 5, 8, 9):
            raise ValueError(
                f"SampleFormat (tag 339) {kind}, {_FORMATS[kind]}, is not read for {name}"
            )
        if photometric == 3 and (page.colormap is None or len(page.colormap[0]) != 2**bits):
            raise ValueError(
                "ColorMap (tag 320) is missing or of another size than BitsPerSample says"
            )
        if photometric in (5, 8, 9) and bits not in (8, 16):
            raise ValueError(f"BitsPerSample (tag 258) {bits} is not read for {name}")
        self._photometric, self._kind, self._bits, self._colours = photometric, kind, bits, colours
        self._choose_alpha(samples)
        self.channels = 1 if photometric in (0, 1) else 3
        deep = bits > 8 and photometric != 5
        self.dtype = "float32" if kind == 3 else "uint16" if deep else "uint8"
        if photometric == 3:
            colormap = np.asarray(page.colormap, dtype=np.uint16).T
            if int(colormap.max()) < 256:  # written as bytes, against the specification
                colormap = colormap * np.uint16(257)
            eight = not (colormap % 257).any()
            self._palette = (colormap // 257).astype(np.uint8) if eight else colormap
            self.dtype = str(self._palette.dtype)
        if photometric == 5:
            self._inks = Inks(page.iccprofile)
            self.notes += [self._inks.note] if self._inks.note else []
            self.notes += ["its inks are converted with 8 of their 16 bits"] if bits == 16 else []

    def _choose_alpha(self, samples: int) -> None:
        kinds = [int(kind) for kind in self._page.extrasamples or ()]
        kinds += [0] * (samples - self._colours - len(kinds))
        opacity = [i for i, kind in enumerate(kinds) if kind in (_ASSOCIATED, _UNASSOCIATED)]
        self.alpha = bool(opacity)
        self._alpha = self._colours + opacity[0] if opacity else None
        self._associated = bool(opacity) and kinds[opacity[0]] == _ASSOCIATED
        if len(kinds) > self.alpha:
            left = len(kinds) - self.alpha
            self.notes.append(f"{left} of its ExtraSamples (tag 338) left out")

    def _check_segments(self) -> None:
        import tifffile

        compression = int(self._page.compression)
        try:
            if compression != 1:
                tifffile.TIFF.DECOMPRESSORS[compression]
        except KeyError as error:
            raise ValueError(
                f"Compression (tag 259) {compression} is not read ({error})"
            ) from error
        page, (height, width) = self._page, self._stored
        if page.is_tiled:
            self._segment = (int(page.tilelength), int(page.tilewidth))
        else:
            self._segment = (min(int(page.rowsperstrip) or height, height), width)
        if min(*self._stored, *self._segment) < 1:
            raise ValueError(f"has {height} x {width} pixels in blocks of {self._segment}")
        planes = int(page.samplesperpixel) if int(page.planarconfig or 1) == 2 else 1
        rows, columns = (-(-n // m) for n, m in zip(self._stored, self._segment, strict=True))
        self._planes, self._grid = planes, (rows, columns)
        if len(page.dataoffsets) < planes * rows * columns:
            raise ValueError(
                f"StripOffsets or TileOffsets: {len(page.dataoffsets)}, expected {planes * rows * columns}"
            )

    def edges(self) -> tuple[list[int], list[int]]:
        """First rows and first columns of the blocks, upright, and the ends of the last ones."""
        found: list[list[int]] = []
        sides = zip(self._stored, self._segment, strict=True)
        for (length, step), back in zip(sides, self._back(), strict=True):
            edges = [*range(0, length, step), length]
            found.append(sorted(length - edge for edge in edges) if back else edges)
        rows, columns = found[::-1] if self._turn.exchange else found
        return rows, columns

    def _back(self) -> tuple[bool, bool]:
        """Whether stored rows and stored columns run against the upright ones."""
        turn = self._turn
        return (turn.columns, turn.rows) if turn.exchange else (turn.rows, turn.columns)

    def read(self, block: tuple[int, int, int, int]) -> np.ndarray:
        """The pixels of a block of :meth:`edges`, (rows, columns, channels and alpha).

        Args:
            block:
                (top, left, height, width), upright.

        Raises:
            Exception: They cannot be decoded: whatever the decoder raises.
            ValueError: They are not what the tags promise.
        """
        top, left, height, width = self._turn.stored(block, self.size)
        i, j = top // self._segment[0], left // self._segment[1]
        return self._turn.upright(self._meaning(self._samples(i, j)[:height, :width]))

    def whole(self) -> np.ndarray:
        """All pixels, (rows, columns, channels and alpha)."""
        pixels = np.empty((*self.size, self.channels + self.alpha), dtype=self.dtype)
        rows, columns = self.edges()
        for top, bottom in zip(rows, rows[1:], strict=False):
            for left, right in zip(columns, columns[1:], strict=False):
                block = (top, left, bottom - top, right - left)
                pixels[top:bottom, left:right] = self.read(block)
        return pixels

    def _samples(self, i: int, j: int) -> np.ndarray:
        """A block as it is stored, (rows, columns, samples)."""
        page, (rows, columns) = self._page, self._grid
        found = []
        for plane in range(self._planes):
            index = (plane * rows + i) * columns + j
            offset, count = int(page.dataoffsets[index]), int(page.databytecounts[index])
            data = None
            if count:  # 0: nothing was ever written there
                self._file.filehandle.seek(offset)
                data = self._file.filehandle.read(count)
                if len(data) < count:
                    raise ValueError("the file ends before it does")
            decoded, _, shape = page.decode(data, index, jpegtables=page.jpegtables)
            if decoded is None:
                decoded = np.zeros(shape, dtype=page.dtype)
            found.append(decoded[0])
        return found[0] if self._planes == 1 else np.concatenate(found, axis=-1)

    def _meaning(self, samples: np.ndarray) -> np.ndarray:
        """Grey or RGB (and alpha) of samples as they are stored."""
        alpha = None
        if self._alpha is not None:
            alpha = self._scaled(samples[..., self._alpha], self._bits)
        colours = samples[..., : self._colours]
        if self._photometric == 3:
            colours = self._palette[colours[..., 0]]
        elif self._photometric == 5:
            inks = colours if self._bits == 8 else np.rint(colours / 257).astype(np.uint8)
            colours = self._inks.rgb(inks)
            alpha = alpha if alpha is None or self._bits == 8 else (alpha >> 8).astype(np.uint8)
        elif self._photometric in (8, 9):
            colours = self._lab(colours)
        else:
            colours = self._scaled(colours, self._bits)
            if self._photometric == 0:
                white = 1 if self.dtype == "float32" else np.iinfo(self.dtype).max
                colours = (white - colours).astype(self.dtype)
        if alpha is None:
            return colours
        if self._associated:
            colours = self._divided(colours, alpha)
        return np.concatenate((colours, alpha.astype(self.dtype)[..., None]), axis=-1)

    def _scaled(self, samples: np.ndarray, bits: int) -> np.ndarray:
        """Samples with white at 255, 65535 or 1."""
        if self._kind == 3:
            return samples.astype(np.float32)
        if self._kind == 2:
            if samples.size and int(samples.min()) < 0:
                raise ValueError(
                    f"SampleFormat (tag 339) 2, signed whole numbers: {int(samples.min())} has no meaning, "
                    "expected numbers from 0 (black) up"
                )
            bits -= 1
        white = np.iinfo(np.uint16 if self._bits > 8 else np.uint8).max
        if 2**bits - 1 == white:
            return samples
        return np.rint(samples * (white / (2**bits - 1))).astype(self.dtype)

    def _divided(self, colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """Colours that alpha is no longer multiplied into."""
        white = 1.0 if self.dtype == "float32" else float(np.iinfo(self.dtype).max)
        share = np.maximum(alpha[..., None] / white, 1e-12)
        straight = np.where(alpha[..., None] > 0, colours / share, 0).clip(0, white)
        return (straight if white == 1 else np.rint(straight)).astype(self.dtype)

    def _lab(self, samples: np.ndarray) -> np.ndarray:
        """RGB of L*a*b*: CIELab has signed a and b, ICCLab those with an offset (TIFF 6.0, TN 4)."""
        one = 1.0 if self._bits == 8 else 256.0
        lightness = samples[..., 0] * (100 / (2**self._bits - 1))
        if self._photometric == 8:
            kind = np.dtype(np.int8 if self._bits == 8 else np.int16)
            signed = samples[..., 1:].astype(kind).astype(np.float64)
            a, b = signed[..., 0] / one, signed[..., 1] / one
        else:
            a, b = (samples[..., k].astype(np.float64) / one - 128 for k in (1, 2))
        white = np.iinfo(self.dtype).max
        return np.rint(rgb_of_lab(lightness, a, b) * white).astype(self.dtype)


def _tag(page: Any, code: int) -> Any:
    """Value of a tag, or None."""
    tag = page.tags.get(code)
    value = None if tag is None else tag.value
    return int(value) if isinstance(value, int) else value


def _bytes(value: object) -> bytes | None:
    if isinstance(value, bytes):
        return value
    return bytes(value) if isinstance(value, (tuple, np.ndarray)) and len(value) else None


def _dpi(page: Any) -> tuple[float, float] | None:
    """Dots per inch of tags 282, 283 and 296."""
    unit = {2: 1.0, 3: 2.54}.get(_tag(page, 296) or 2)
    values = [_tag(page, 282), _tag(page, 283)]
    if unit is None or not all(
        isinstance(v, tuple) and len(v) == 2 and v[0] and v[1] for v in values
    ):
        return None
    x, y = (round(unit * v[0] / v[1], 4) for v in values)
    return x, y


def tiff_words(meta: Metadata) -> dict[str, Any]:
    """Profile, XMP, resolution and the plain part of EXIF as keywords of ``tifffile.imwrite``.

    Where EXIF has lists of its own (exposure, place), :func:`put_exif` has to follow.
    """
    more: dict[str, Any] = {"iccprofile": meta.icc, "software": False, "extratags": []}
    if meta.dpi is not None:
        more |= {"resolution": meta.dpi, "resolutionunit": "INCH"}
    if meta.xmp is not None:
        more["extratags"].append((700, 1, len(meta.xmp), meta.xmp, True))
    for tag, value in exif_tags(meta.exif).items():
        if tag in EXIF_LISTS:
            more["extratags"].append((tag - 1, 4, 1, 0, True))  # tifffile refuses the number itself
        elif isinstance(value, str):
            more["extratags"].append((tag, 2, 0, value.encode("utf-8", "replace"), True))
    return more


def put_exif(file: BinaryIO, meta: Metadata) -> None:
    """Writes EXIF's own lists behind a TIFF file made with :func:`tiff_words`, and their tags.

    Left out of a file above 4 GiB, whose tags they are too far away for.

    Args:
        file:
            Open for reading and writing.
    """
    import tifffile

    exif = exif_tags(meta.exif)
    lists = [tag for tag in EXIF_LISTS if tag in exif]
    if not lists:
        return
    file.seek(0)
    with tifffile.TiffFile(file) as written:
        first, order = written.pages[0], written.byteorder
        places = {tag: first.tags[tag - 1] for tag in lists}
        header = struct.pack(f"{order}2sH", b"II" if order == "<" else b"MM", 42)
        if written.is_bigtiff:
            header = header[:2] + struct.pack(f"{order}HHHQ", 43, 8, 0, 16)
        else:
            header += struct.pack(f"{order}L", 8)
    for tag in lists:
        end = file.seek(0, 2)
        end += end % 2  # lists begin at even places
        if end >= 2**32:
            return
        content = TiffImagePlugin.ImageFileDirectory_v2(header, group=tag)
        for name, value in exif.get_ifd(tag).items():
            content[name] = value
        file.seek(end)
        file.write(content.tobytes(end))
        file.seek(places[tag].offset)
        file.write(struct.pack(f"{order}H", tag))
        file.seek(places[tag].valueoffset)
        file.write(struct.pack(f"{order}L", end))
    file.seek(0, 2)

"""Pictures larger than memory: Zarr arrays and tiled TIFF files, read and written block by block."""

from __future__ import annotations

import logging
import os
import shutil
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from .decode import check_unit, exif_of_tiff
from .files import OutputError, atomic_file, in_words, reason
from .foreign import foreign
from .metadata import Metadata, upright_xmp
from .tiff import TiffPicture, put_exif, tiff_words

log = logging.getLogger(__name__)

ZARR = ".zarr"
TIFF = frozenset({".tif", ".tiff"})
TILE = 256  # rows and columns of a block that is written
_WHITE = {"uint8": 255, "uint16": 65535, "float32": 1}

Block = tuple[int, int, int, int]  # top, left, height, width
Slices = tuple[slice, slice]  # of rows and of columns


class BlockError(ValueError):
    """A block of a file cannot be read.

    Attributes:
        block:
            (top, left, height, width) in pixels.
    """

    def __init__(self, message: str, block: Block) -> None:
        super().__init__(message)
        self.block = block


class BlockPicture:
    """A picture in a file, of which only the blocks that are asked for are read.

    Args:
        path:
            A Zarr array, a Zarr group that holds one array or a pyramid with the finest level "0", or a
            TIFF file, tiled or in strips. Arrays are (H, W), (H, W, C) or (C, H, W) with 1 or 3 channels;
            uint8, uint16, or float32 in [0, 1]. TIFF files are read as their tags say, upright, as
            :func:`ddrm_fast.io.read_picture` does; those with transparency are refused.
        cache:
            Bytes of decoded blocks that are kept, the latest ones.

    Attributes:
        channels, size:
            C and (H, W).
        dtype:
            "uint8", "uint16" or "float32".
        icc, meta:
            Colour profile of a TIFF file, or None; and what else stands beside its pixels.
        notes:
            What is left out or converted, to be said.
        block:
            (rows, columns) of a block of the file.
        lost:
            Blocks that are to be taken as missing: :meth:`read` gives zeros there, :meth:`known` False.

    Raises:
        ImportError: zarr is not installed, and it is a Zarr array.
        FileNotFoundError: There is no such file.
        ValueError: It is no such picture, or one of its blocks is larger than ``cache``; the message
            names it.
    """

    def __init__(self, path: str | Path, cache: int = 2**26) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"{path}: no such file")
        with foreign(path, "not readable as a picture in blocks"):
            if self.path.suffix.lower() in TIFF:
                self._source: _Tiff | _Zarr = _Tiff(self.path)
            else:
                self._source = _Zarr(self.path)
        source = self._source
        self.channels, self.size, self.dtype = source.channels, source.size, source.dtype
        self.meta, self.notes, self.block = source.meta, source.notes, source.block
        for note in self.notes:
            log.warning("%s: %s", path, note)
        if self.dtype not in _WHITE:
            raise ValueError(f"{path}: has {self.dtype} pixels, expected {', '.join(_WHITE)}")
        self._rows, self._columns = source.edges()
        each = self.channels * self.block[0] * self.block[1] * np.dtype(self.dtype).itemsize
        if each > cache:
            raise ValueError(
                f"{path}: one of its blocks, {self.block[0]} x {self.block[1]} pixels, takes "
                f"{in_words(each)}, expected at most {in_words(cache)}; save it in smaller tiles"
            )
        self._room = max(1, cache // each)
        self._cache: OrderedDict[Block, np.ndarray] = OrderedDict()
        self.lost: set[Block] = set()

    @property
    def icc(self) -> bytes | None:
        """Colour profile."""
        return self.meta.icc

    def blocks(self) -> Iterator[Block]:
        """All blocks of the file, row by row."""
        for i in range(len(self._rows) - 1):
            for j in range(len(self._columns) - 1):
                yield self._place(i, j)

    def _place(self, i: int, j: int) -> Block:
        top, left = self._rows[i], self._columns[j]
        return top, left, self._rows[i + 1] - top, self._columns[j + 1] - left

    def stored(self, block: Block) -> np.ndarray:
        """The pixels of a block as they are stored, (rows, columns, channels).

        Raises:
            BlockError: They cannot be read, or are floating-point numbers outside [0, 1].
        """
        if block in self._cache:
            self._cache.move_to_end(block)
            return self._cache[block]
        top, left, height, width = block
        try:
            pixels = self._source.read(block)
            if pixels.shape != (height, width, self.channels):
                raise ValueError(f"it holds {pixels.shape}")
            if self.dtype == "float32":
                check_unit(pixels)
        except Exception as error:  # decoders raise anything
            key = bisect_right(self._rows, top) - 1, bisect_right(self._columns, left) - 1
            raise BlockError(
                f"{self.path}: block ({key[0]}, {key[1]}), rows {top} to {top + height - 1}, columns "
                f"{left} to {left + width - 1}, cannot be read ({error})",
                block,
            ) from error
        self._cache[block] = pixels
        if len(self._cache) > self._room:
            self._cache.popitem(last=False)
        return pixels

    def read(self, top: int, left: int, height: int, width: int) -> Tensor:
        """A region, float32 (C, height, width) in [0, 1].

        Raises:
            BlockError: One of its blocks cannot be read.
        """
        pixels = np.zeros((height, width, self.channels), dtype=np.float32)
        for block, here, there in self._parts(top, left, height, width):
            if block not in self.lost:
                pixels[here] = self.stored(block)[there]
        if _WHITE[self.dtype] != 1:
            pixels /= np.float32(_WHITE[self.dtype])
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def known(self, top: int, left: int, height: int, width: int) -> Tensor:
        """Where a region is not lost, bool (height, width)."""
        known = torch.ones(height, width, dtype=torch.bool)
        for block, here, _ in self._parts(top, left, height, width):
            if block in self.lost:
                known[here] = False
        return known

    def _parts(
        self, top: int, left: int, height: int, width: int
    ) -> Iterator[tuple[Block, Slices, Slices]]:
        """The blocks that a region meets, with their slices of the region and of the block."""
        for i in _met(self._rows, top, height):
            for j in _met(self._columns, left, width):
                block = self._place(i, j)
                down, down_inside = _meet(top, height, block[0], block[2])
                right, right_inside = _meet(left, width, block[1], block[3])
                yield block, (down, right), (down_inside, right_inside)


class _Tiff(TiffPicture):
    """A TIFF file without transparency."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if self.alpha:
            self.close()
            raise ValueError(
                "ExtraSamples (tag 338): its transparency is not carried from disk to disk; save it without"
            )
        self.meta = Metadata(self.icc, exif_of_tiff(path), upright_xmp(self.xmp), self.dpi)
        self.meta = self.meta.for_channels(self.channels)


class _Zarr:
    """A Zarr array of pixels, as a source of blocks."""

    meta = Metadata()
    notes: Sequence[str] = ()

    def __init__(self, path: Path) -> None:
        zarr = _package("zarr")
        found = zarr.open(path, mode="r")
        if not hasattr(found, "shape"):
            names = list(found.array_keys())
            if len(names) != 1 and "0" not in names:
                raise ValueError(f"a group of {len(names)} arrays, expected one, or a pyramid")
            found = found["0" if "0" in names else names[0]]
        self._array, self.dtype = found, str(found.dtype)
        self._first, self.channels, self.size = self._layout()
        chunks = found.chunks
        self.block = tuple(chunks[1:] if self._first else chunks[:2])

    def _layout(self) -> tuple[bool, int, tuple[int, int]]:
        """Whether the channels come first, C and (H, W)."""
        shape = tuple(self._array.shape)
        if len(shape) == 2:
            return False, 1, shape
        if len(shape) == 3 and shape[2] in (1, 3):
            return False, shape[2], shape[:2]
        if len(shape) == 3 and shape[0] in (1, 3):
            return True, shape[0], shape[1:]
        raise ValueError(
            f"has shape {shape}, expected (rows, columns), (rows, columns, channels) or "
            "(channels, rows, columns) with 1 or 3 channels"
        )

    def edges(self) -> tuple[list[int], list[int]]:
        rows, columns = (
            [*range(0, n, step), n] for n, step in zip(self.size, self.block, strict=True)
        )
        return rows, columns

    def read(self, block: Block) -> np.ndarray:
        top, left, height, width = block
        rows, columns = slice(top, top + height), slice(left, left + width)
        if self._first:
            return np.moveaxis(self._array[:, rows, columns], 0, -1)
        return self._array[rows, columns].reshape(height, width, self.channels)


def _met(edges: list[int], start: int, length: int) -> range:
    """Which intervals between edges meet one."""
    return range(bisect_right(edges, start) - 1, bisect_right(edges, start + length - 1))


def _meet(start: int, length: int, other: int, size: int) -> tuple[slice, slice]:
    """What two intervals share, counted from the start of each."""
    low, high = max(start, other), min(start + length, other + size)
    return slice(low - start, high - start), slice(low - other, high - other)


def is_block_picture(path: str | Path) -> bool:
    """Whether a path names a Zarr array or a TIFF file, by its suffix."""
    suffix = Path(path).suffix.lower()
    return suffix == ZARR or suffix in TIFF


def write_blocks(
    path: str | Path,
    shape: Sequence[int],
    dtype: str,
    read: Callable[[int, int, int, int], Tensor],
    meta: Metadata | None = None,
) -> None:
    """Write a picture block by block, whole or not at all.

    Args:
        path:
            ``.zarr``, or ``.tif`` (tiled, compressed without loss, BigTIFF where it has to be).
        shape:
            (C, H, W).
        dtype:
            "uint8", "uint16" or "float32".
        read:
            ``(top, left, height, width) -> (C, height, width)`` in [0, 1].
        meta:
            Profile, EXIF, XMP and resolution, for TIFF.

    Raises:
        OutputError: The disk is full, or the place is not writable.
    """
    path, (channels, height, width) = Path(path), shape
    white = np.float32(_WHITE[dtype])

    def tile(top: int, left: int) -> np.ndarray:
        x = read(top, left, min(TILE, height - top), min(TILE, width - left))
        values = x.permute(1, 2, 0).clamp(0, 1).contiguous().numpy()
        return values if dtype == "float32" else np.rint(values * white).astype(dtype)

    places = [(i, j) for i in range(0, height, TILE) for j in range(0, width, TILE)]
    if path.suffix.lower() == ZARR:
        _write_zarr(path, (height, width, channels), dtype, places, tile)
        return
    import tifffile

    with atomic_file(path) as file:
        tifffile.imwrite(
            file,
            (tile(*place) for place in places),
            shape=(height, width, channels)[: 2 + (channels > 1)],
            dtype=dtype,
            tile=(TILE, TILE),
            photometric="rgb" if channels == 3 else "minisblack",
            compression="zlib",
            bigtiff=channels * height * width * np.dtype(dtype).itemsize > 2**31,
            metadata=None,
            **tiff_words(meta or Metadata()),
        )
        put_exif(file, meta or Metadata())


def _write_zarr(
    path: Path,
    shape: Sequence[int],
    dtype: str,
    places: Iterable[tuple[int, int]],
    tile: Callable[[int, int], np.ndarray],
) -> None:
    zarr = _package("zarr")
    part, old = (path.with_name(f".{path.name}.{kind}") for kind in ("part", "old"))
    try:
        shutil.rmtree(part, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        array = zarr.create_array(
            part, shape=shape, chunks=(TILE, TILE, shape[2]), dtype=dtype,
            dimension_names=("y", "x", "c"),
        )  # fmt: skip
        for top, left in places:
            values = tile(top, left)
            array[top : top + values.shape[0], left : left + values.shape[1]] = values
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            os.replace(path, old)
        os.replace(part, path)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, OSError):
            raise OutputError(f"{path}: cannot be written ({reason(error)})") from error
        raise


def _package(name: str) -> ModuleType:
    """zarr.

    Raises:
        ImportError: It is not installed.
    """
    try:
        return __import__(name)
    except ImportError as error:
        raise ImportError(
            f"pictures in blocks need {name}: pip install 'ddrm-fast[large]'"
        ) from error

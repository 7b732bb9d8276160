"""Pictures larger than memory: Zarr arrays and tiled TIFF files, read and written block by block."""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .files import OutputError, atomic_file, in_words, reason

ZARR = ".zarr"
TIFF = frozenset({".tif", ".tiff"})
TILE = 256  # rows and columns of a block that is written
_WHITE = {"uint8": 255, "uint16": 65535, "float32": 1}

Block = tuple[int, int, int, int]  # top, left, height, width


class BlockError(ValueError):
    """A block of a file cannot be read.

    Attributes:
        block: (top, left, height, width) in pixels.
    """

    def __init__(self, message: str, block: Block) -> None:
        super().__init__(message)
        self.block = block


class BlockPicture:
    """A picture in a file, of which only the blocks that are asked for are read.

    Args:
        path:
            A Zarr array, a Zarr group that holds one array or a pyramid with the finest level "0", or a
            TIFF file, tiled or in strips: (H, W), (H, W, C) or (C, H, W) with 1 or 3 channels; uint8,
            uint16, or float32 in [0, 1].
        cache:
            Bytes of decoded blocks that are kept, the latest ones.

    Attributes:
        channels, size:
            C and (H, W).
        dtype:
            "uint8", "uint16" or "float32".
        icc:
            Colour profile of a TIFF file, or None.
        block:
            (rows, columns) of a block of the file.
        lost:
            Blocks that are to be taken as missing: :meth:`read` gives zeros there, :meth:`known` False.

    Raises:
        ImportError: zarr or tifffile is not installed.
        FileNotFoundError: There is no such file.
        ValueError: It is no such picture, or one of its blocks is larger than ``cache``; the message
            names it.
    """

    def __init__(self, path: str | Path, cache: int = 2**26) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"{path}: no such file")
        self.icc: bytes | None = None
        try:
            if self.path.suffix.lower() in TIFF:
                self._array = self._open_tiff()
            else:
                self._array = self._open_zarr()
        except ImportError:
            raise
        except Exception as error:  # readers of foreign bytes raise anything
            raise ValueError(f"{path}: not readable as a picture in blocks ({error})") from error
        self._planes, self.channels, self.size = self._layout()
        self.dtype = str(self._array.dtype)
        if self.dtype not in _WHITE:
            raise ValueError(f"{path}: has {self.dtype} pixels, expected {', '.join(_WHITE)}")
        chunks = self._array.chunks
        self.block = tuple(chunks[1:] if self._planes else chunks[:2])
        each = self.channels * self.block[0] * self.block[1] * self._array.dtype.itemsize
        if each > cache:
            raise ValueError(
                f"{path}: one of its blocks, {self.block[0]} x {self.block[1]} pixels, takes "
                f"{in_words(each)}, expected at most {in_words(cache)}; save it in smaller tiles"
            )
        self._room = max(1, cache // each)
        self._cache: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self.lost: set[Block] = set()

    def _open_tiff(self):
        tifffile, zarr = _package("tifffile"), _package("zarr")
        with tifffile.TiffFile(self.path) as file:
            page = file.pages.first
            self.icc = page.iccprofile
            tifffile.TIFF.DECOMPRESSORS[page.compression]  # says what is missing for this one
        store = tifffile.imread(self.path, aszarr=True, series=0, level=0)
        return zarr.open_array(store, mode="r")

    def _open_zarr(self):
        zarr = _package("zarr")
        found = zarr.open(self.path, mode="r")
        if hasattr(found, "shape"):
            return found
        names = list(found.array_keys())
        if len(names) != 1 and "0" not in names:
            raise ValueError(f"a group of {len(names)} arrays, expected one, or a pyramid")
        return found["0" if "0" in names else names[0]]

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
            f"{self.path}: has shape {shape}, expected (rows, columns), (rows, columns, channels) or "
            "(channels, rows, columns) with 1 or 3 channels"
        )

    def blocks(self) -> Iterator[Block]:
        """All blocks of the file, row by row."""
        for i in range(-(-self.size[0] // self.block[0])):
            for j in range(-(-self.size[1] // self.block[1])):
                yield self._place(i, j)

    def _place(self, i: int, j: int) -> Block:
        top, left = i * self.block[0], j * self.block[1]
        height, width = self.size
        return top, left, min(self.block[0], height - top), min(self.block[1], width - left)

    def stored(self, block: Block) -> np.ndarray:
        """The pixels of a block as they are stored, (rows, columns, channels).

        Raises:
            BlockError: They cannot be read, or are floating-point numbers outside [0, 1].
        """
        top, left, height, width = block
        key = (top // self.block[0], left // self.block[1])
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        rows, columns = slice(top, top + height), slice(left, left + width)
        try:
            if self._planes:
                pixels = np.moveaxis(self._array[:, rows, columns], 0, -1)
            else:
                pixels = self._array[rows, columns].reshape(height, width, self.channels)
            if self.dtype == "float32" and not ((pixels >= 0) & (pixels <= 1)).all():
                raise ValueError("pixels outside [0, 1]")
        except Exception as error:  # decoders raise anything
            raise BlockError(
                f"{self.path}: block ({key[0]}, {key[1]}), rows {top} to {top + height - 1}, columns "
                f"{left} to {left + width - 1}, cannot be read ({error})",
                block,
            ) from error
        self._cache[key] = pixels
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

    def _parts(self, top: int, left: int, height: int, width: int):
        """The blocks that a region meets, with their slices of the region and of the block."""
        for i in range(top // self.block[0], -(-(top + height) // self.block[0])):
            for j in range(left // self.block[1], -(-(left + width) // self.block[1])):
                block = self._place(i, j)
                down, down_inside = _meet(top, height, block[0], block[2])
                right, right_inside = _meet(left, width, block[1], block[3])
                yield block, (down, right), (down_inside, right_inside)


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
    shape: tuple[int, int, int],
    dtype: str,
    read: Callable[[int, int, int, int], Tensor],
    icc: bytes | None = None,
) -> None:
    """Write a picture block by block, whole or not at all.

    Args:
        path: ``.zarr``, or ``.tif`` (tiled, compressed without loss, BigTIFF where it has to be).
        shape: (C, H, W).
        dtype: "uint8", "uint16" or "float32".
        read: ``(top, left, height, width) -> (C, height, width)`` in [0, 1].
        icc: Colour profile, for TIFF.

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
    tifffile = _package("tifffile")
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
            iccprofile=icc,
            metadata=None,
        )


def _write_zarr(path: Path, shape: tuple[int, int, int], dtype: str, places, tile) -> None:
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


def _package(name: str):
    """zarr or tifffile.

    Raises:
        ImportError: It is not installed.
    """
    try:
        return __import__(name)
    except ImportError as error:
        raise ImportError(
            f"pictures in blocks need {name}: pip install 'ddrm-fast[large]'"
        ) from error

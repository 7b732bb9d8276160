"""Training pictures of one size: folders, arrays, dead leaves; shuffled the same way in every run."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ...io.foreign import foreign, read_arrays
from .dead_leaves import DeadLeavesConfig
from .leaves import kept_leaves
from .packs import usable_pictures

logger = logging.getLogger(__name__)

ARRAYS = (".npy", ".npz")
_NAMES = ("images", "pictures", "x", "arr_0"), ("labels", "classes", "y", "arr_1")


@dataclass
class Pictures:
    """Pictures of one size, and their classes.

    Attributes:
        blocks:
            uint8 arrays (N, size, size, channels); those of .npy files stay on disk.
        labels:
            Class of every picture, int64 (total,); None: no classes.
        unreadable:
            Names of files that could not be read.
        too_small:
            Names of pictures with a side below the size.
    """

    blocks: list[np.ndarray]
    labels: np.ndarray | None = None
    unreadable: list[str] = field(default_factory=list)
    too_small: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ends = np.cumsum([len(block) for block in self.blocks])
        self._order: tuple[tuple[int, int], np.ndarray] | None = None

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.blocks else 0

    def __getitem__(self, index: int) -> np.ndarray:
        """Picture number `index`, uint8 (size, size, channels)."""
        block = int(np.searchsorted(self._ends, index, side="right"))
        start = int(self._ends[block - 1]) if block else 0
        return self.blocks[block][index - start]

    def digest(self) -> str:
        """Hex digest of all pictures and labels: tells whether two runs see the same."""
        digest = hashlib.blake2b(digest_size=16)
        for block in self.blocks:
            digest.update(repr(block.shape).encode())
            for start in range(0, len(block), 1024):
                digest.update(np.ascontiguousarray(block[start : start + 1024]).data)
        if self.labels is not None:
            digest.update(self.labels.astype(np.int64).tobytes())
        return digest.hexdigest()

    def drawn(self, item: int, seed: int) -> int:
        """Which picture is draw number `item` of a run: every epoch is a new permutation of all.

        Args:
            item:
                Number of the draw, 0 or more.
            seed:
                Of the run.
        """
        epoch, place = divmod(item, len(self))
        if self._order is None or self._order[0] != (seed, epoch):
            order = np.random.default_rng([seed, epoch, 1]).permutation(len(self))
            self._order = (seed, epoch), order
        return int(self._order[1][place])

    def tensor(self, indices: Sequence[int]) -> Tensor:
        """Pictures in [-1, 1], float32 (B, channels, size, size)."""
        pixels = torch.from_numpy(np.stack([self[index] for index in indices]))
        return (pixels.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous()


def load_pictures(
    paths: Sequence[str | Path],
    size: int,
    channels: int = 3,
    num_classes: int | None = None,
    *,
    leaves: int = 0,
    seed: int = 0,
    workers: int = 1,
    cache: str | Path | None = None,
    limit: int | None = None,
) -> Pictures:
    """Read folders and arrays, and draw dead leaves.

    A picture of a folder (sub-folders included) is scaled down and cut to the square in its middle. What
    cannot be read, or has a side below the size, is skipped, logged and counted.

    Args:
        paths:
            Folders of pictures; .npy or .npz files of uint8 (N, size, size, channels) or, grey, (N,
            size, size); an .npz file holds it as "images" or "arr_0".
        size:
            Side of the pictures in pixels.
        channels:
            3, or 1 for grey.
        num_classes:
            Read classes 0 .. num_classes - 1: the sub-folders of a folder in order of their names,
            or "labels" or "arr_1" of an .npz file. None: no classes.
        leaves:
            Dead-leaves pictures to draw besides.
        seed, workers, cache:
            Of the dead leaves, see :func:`kept_leaves`.
        limit:
            Take the first so many pictures of each path.

    Raises:
        FileNotFoundError: A path does not exist.
        ValueError: A path is another kind of file, an array has another shape or dtype, a label is out of
            range or missing, or there is no usable picture.
    """
    if leaves < 0:
        raise ValueError(f"leaves: got {leaves}, expected 0 or more")
    if leaves and num_classes is not None:
        raise ValueError("leaves: dead leaves have no class, expected none beside classes")
    result = Pictures([])
    labels: list[np.ndarray] = []
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"paths: {path}: no such folder or file")
        if not path.is_dir() and path.suffix.lower() not in ARRAYS:
            raise ValueError(
                f"paths: {path} is a file, expected a folder of pictures or an array "
                f"({', '.join(ARRAYS)})"
            )
        if not path.is_dir():
            block, found = _read_array(path, size, channels, num_classes is not None)
            block, found = block[:limit], None if found is None else found[:limit]
        else:
            block, found = _read_folder(
                path, size, channels, num_classes is not None, limit, result
            )
        result.blocks.append(block)
        if found is not None and num_classes is not None:
            labels.append(_checked(found, num_classes, path))
    if leaves:
        packed = kept_leaves(seed, leaves, DeadLeavesConfig(size=size), workers, cache)
        block = packed.pixels.reshape(leaves, size, size, 3)
        result.blocks.append(block if channels == 3 else _grey(block))
    skipped = len(result.unreadable), len(result.too_small)
    blocks = [block for block in result.blocks if len(block)]
    if not blocks:
        where = ", ".join(map(str, paths)) or "nothing"
        raise ValueError(
            f"pictures: no usable one in {where} (skipped: {skipped[0]} unreadable, {skipped[1]} with a "
            f"side below {size} pixels)"
        )
    pictures = Pictures(
        blocks,
        np.concatenate(labels) if num_classes is not None else None,
        result.unreadable,
        result.too_small,
    )
    logger.info("%d pictures; skipped: %d unreadable, %d too small", len(pictures), *skipped)
    return pictures


def _checked(labels: np.ndarray, num_classes: int, path: Path) -> np.ndarray:
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise ValueError(
            f"labels: picture {wrong[0]} of {path} has {labels[wrong[0]]}, expected 0 to {num_classes - 1}"
        )
    return labels.astype(np.int64)


def _grey(pixels: np.ndarray) -> np.ndarray:
    pictures = [np.asarray(Image.fromarray(picture).convert("L")) for picture in pixels]
    return np.stack(pictures)[..., None]


def _read_folder(
    folder: Path, size: int, channels: int, classes: bool, limit: int | None, skipped: Pictures
) -> tuple[np.ndarray, np.ndarray | None]:
    pictures, names = [], []
    # thumbnails of 4 times the size: then the fit below still averages over several pixels
    found = usable_pictures(
        [folder], size, max(2048, 4 * size), skipped.unreadable, skipped.too_small
    )
    for path, picture in found:
        image = Image.fromarray(picture)
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
        pictures.append(np.asarray(image.convert("RGB" if channels == 3 else "L")))
        names.append(path.relative_to(folder).parts)
        if len(pictures) == limit:
            break
    block = np.stack(pictures) if pictures else np.zeros((0, size, size, channels), np.uint8)
    block = block.reshape(-1, size, size, channels)
    if not classes:
        return block, None
    loose = [parts[0] for parts in names if len(parts) < 2]
    if loose:
        raise ValueError(
            f"labels: {folder / loose[0]} is in no sub-folder, expected one sub-folder for every class"
        )
    known = sorted(path.name for path in folder.iterdir() if path.is_dir())
    numbers = {name: number for number, name in enumerate(known)}
    return block, np.array([numbers[parts[0]] for parts in names], dtype=np.int64)


def _read_array(
    path: Path, size: int, channels: int, classes: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    labels = None
    if path.suffix.lower() == ".npy":
        with foreign(path, "not readable as an array"):
            pixels: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    else:
        file = read_arrays(path, names=[name for names in _NAMES for name in names])
        named = [next((n for n in names if n in file), None) for names in _NAMES]
        if named[0] is None:
            raise ValueError(
                f"{path}: not readable as an array (has no array called {' or '.join(_NAMES[0])})"
            )
        pixels = file[named[0]]
        labels = None if named[1] is None else file[named[1]]
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size, channels):
        raise ValueError(
            f"{path}: got {pixels.dtype} {pixels.shape}, expected uint8 (N, {size}, {size}, {channels})"
        )
    if not classes:
        return pixels, None
    if labels is None or labels.shape != (len(pixels),) or labels.dtype.kind not in "iu":
        given = "none" if labels is None else f"{labels.dtype} {labels.shape}"
        raise ValueError(
            f"labels: {path} holds {given}, expected whole numbers ({len(pixels)},) as 'labels' of an .npz"
        )
    return pixels, labels

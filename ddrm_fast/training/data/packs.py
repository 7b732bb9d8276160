"""Photographs of folders, of any size, in one compact block of memory."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ...io.folders import files_in, passed_over
from ...io.pictures import read_picture as read_file
from .licences import Licences

logger = logging.getLogger(__name__)


@dataclass
class PicturePack:
    """Pictures of any size, back to back in one uint8 array.

    Attributes:
        pixels:
            uint8 array (total bytes,).
        starts:
            First byte of each picture, and the end of the last.
        shapes:
            (height, width) of each picture.
        unreadable:
            Names of files that could not be read.
        too_small:
            Names of pictures with a side below the smallest allowed.
        left_out:
            Names of pictures with another licence than those asked for.
        groups:
            How many pictures came from each folder, in order; empty: one group.
    """

    pixels: np.ndarray
    starts: list[int]
    shapes: list[tuple[int, int]]
    unreadable: list[str] = field(default_factory=list)
    too_small: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> np.ndarray:
        """Picture number `index` as a view, uint8 (height, width, 3)."""
        height, width = self.shapes[index]
        block = self.pixels[self.starts[index] : self.starts[index + 1]]
        return block.reshape(height, width, 3)

    def digest(self) -> str:
        """Hex digest of all pictures and their shapes: tells whether two packs are the same."""
        digest = hashlib.blake2b(repr(self.shapes).encode(), digest_size=16)
        digest.update(self.pixels.data)
        return digest.hexdigest()


def pack(pictures: Iterable[np.ndarray]) -> PicturePack:
    """Pack uint8 pictures (H, W, 3).

    Args:
        pictures:
            The pictures, in the order that they keep.

    Raises:
        ValueError: A picture has another dtype or shape.
    """
    blocks, starts, shapes = [], [0], []
    for picture in pictures:
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(
                f"pictures: got {picture.dtype} {picture.shape}, expected uint8 (H, W, 3)"
            )
        blocks.append(np.ascontiguousarray(picture).reshape(-1))
        starts.append(starts[-1] + picture.size)
        shapes.append((picture.shape[0], picture.shape[1]))
    pixels = np.concatenate(blocks) if blocks else np.zeros(0, np.uint8)
    return PicturePack(pixels, starts, shapes)


def read_picture(path: Path, largest_side: int = 2048) -> np.ndarray:
    """Read one picture as uint8 (H, W, 3), whatever its depth and channels; transparency is dropped.

    Args:
        path:
            A picture file.
        largest_side:
            Larger pictures are scaled down to this side, in pixels.

    Raises:
        FileNotFoundError, ValueError: See :func:`ddrm_fast.io.read_picture`.
    """
    pixels = read_file(path).pixels.expand(3, -1, -1).permute(1, 2, 0)
    image = Image.fromarray(np.rint(pixels.numpy() * 255).astype(np.uint8))
    if max(image.size) > largest_side:
        image.thumbnail((largest_side, largest_side), Image.Resampling.BICUBIC)
    return np.asarray(image)


def load_folders(
    folders: Sequence[str | Path],
    smallest_side: int,
    largest_side: int = 2048,
    licences: Licences | None = None,
) -> PicturePack:
    """Read all pictures of some folders, sub-folders included, in the order of their names.

    Files that cannot be read and pictures that are too small are skipped, logged, and listed in
    the result.

    Args:
        folders:
            Folders to search.
        smallest_side:
            Pictures with a smaller height or width are skipped, in pixels.
        largest_side:
            Larger pictures are scaled down to this side, in pixels.
        licences:
            Leave out what has another licence, or none that is known.

    Raises:
        FileNotFoundError: A folder does not exist.
        ValueError: Licences are asked for, and a folder does not tell its pictures'.
    """
    unreadable: list[str] = []
    too_small: list[str] = []
    left_out: list[str] = []
    groups: list[int] = []

    def found() -> Iterator[np.ndarray]:
        for folder in folders:
            allowed = licences.of(folder) if licences is not None else None
            groups.append(0)
            for _, picture in usable_pictures(
                [folder], smallest_side, largest_side, unreadable, too_small, allowed, left_out
            ):
                groups[-1] += 1
                yield picture

    packed = pack(found())
    packed.unreadable, packed.too_small, packed.left_out = unreadable, too_small, left_out
    packed.groups = groups
    return packed


def usable_pictures(
    folders: Sequence[str | Path],
    smallest_side: int,
    largest_side: int,
    unreadable: list[str],
    too_small: list[str],
    allowed: Callable[[Path], bool] | None = None,
    left_out: list[str] | None = None,
) -> Iterator[tuple[Path, np.ndarray]]:
    """The pictures of :func:`load_folders` one after another, each with its path.

    Args:
        folders, smallest_side, largest_side:
            As there.
        unreadable, too_small:
            Names of what is skipped are added to these.
        allowed, left_out:
            Whether a file may be used, and where the names of others are added.

    Raises:
        FileNotFoundError: A folder does not exist.
    """
    for folder in folders:
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"folders: {folder} is not a folder, expected a folder of pictures"
            )
        paths, others = files_in(folder)
        if others:
            logger.info("%s: %s", folder, passed_over(others))
        for path in paths:
            if allowed is not None and not allowed(path):
                if left_out is not None:
                    left_out.append(str(path))
                continue
            try:
                picture = read_picture(path, largest_side)
            except (OSError, ValueError, ImportError) as error:
                logger.warning("skipped %s", error)
                unreadable.append(str(path))
                continue
            if min(picture.shape[:2]) < smallest_side:
                logger.warning(
                    "skipped %s: %d x %d pixels, expected sides of at least %d",
                    path, picture.shape[1], picture.shape[0], smallest_side,
                )  # fmt: skip
                too_small.append(str(path))
                continue
            yield path, picture

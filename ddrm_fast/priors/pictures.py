"""Training pictures in one compact block of memory, and random crops of them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from ..io.folders import files_in, passed_over
from ..io.pictures import read_picture as read_file
from .dead_leaves import DeadLeavesConfig, dead_leaves

logger = logging.getLogger(__name__)


@dataclass
class PicturePack:
    """Pictures of any size, back to back in one uint8 array.

    Attributes:
        pixels: uint8 array (total bytes,).
        starts: First byte of each picture, and the end of the last.
        shapes: (height, width) of each picture.
        unreadable: Names of files that could not be read.
        too_small: Names of pictures with a side below the smallest allowed.
    """

    pixels: np.ndarray
    starts: list[int]
    shapes: list[tuple[int, int]]
    unreadable: list[str] = field(default_factory=list)
    too_small: list[str] = field(default_factory=list)

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
        digest.update(self.pixels)
        return digest.hexdigest()


def pack(pictures: Iterable[np.ndarray]) -> PicturePack:
    """Pack uint8 pictures (H, W, 3).

    Args:
        pictures: The pictures, in the order that they keep.

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
        path: A picture file.
        largest_side: Larger pictures are scaled down to this side, in pixels.

    Raises:
        FileNotFoundError, ValueError: See :func:`ddrm_fast.io.read_picture`.
    """
    pixels = read_file(path).pixels.expand(3, -1, -1).permute(1, 2, 0)
    image = Image.fromarray(np.rint(pixels.numpy() * 255).astype(np.uint8))
    if max(image.size) > largest_side:
        image.thumbnail((largest_side, largest_side), Image.Resampling.BICUBIC)
    return np.asarray(image)


def load_folders(
    folders: Sequence[str | Path], smallest_side: int, largest_side: int = 2048
) -> PicturePack:
    """Read all pictures of some folders, sub-folders included, in the order of their names.

    Files that cannot be read and pictures that are too small are skipped, logged, and listed in
    the result.

    Args:
        folders: Folders to search.
        smallest_side: Pictures with a smaller height or width are skipped, in pixels.
        largest_side: Larger pictures are scaled down to this side, in pixels.

    Raises:
        FileNotFoundError: A folder does not exist.
    """
    unreadable: list[str] = []
    too_small: list[str] = []
    found = usable_pictures(folders, smallest_side, largest_side, unreadable, too_small)
    packed = pack(picture for _, picture in found)
    packed.unreadable, packed.too_small = unreadable, too_small
    return packed


def usable_pictures(
    folders: Sequence[str | Path],
    smallest_side: int,
    largest_side: int,
    unreadable: list[str],
    too_small: list[str],
) -> Iterator[tuple[Path, np.ndarray]]:
    """The pictures of :func:`load_folders` one after another, each with its path.

    Args:
        folders, smallest_side, largest_side: As there.
        unreadable, too_small: Names of what is skipped are added to these.

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


@dataclass(frozen=True)
class CropConfig:
    """How crops are taken.

    Attributes:
        patch: Side of a crop in pixels.
        scale_low: Photographs are scaled down by a random factor before they are cropped, from
            this one ...
        scale_high: ... to this one. Scaling down removes the artefacts of JPEG files.
        leaves_scale_low: Smallest random factor for dead leaves (the largest is 1).
        smooth_share: Share of crops that are then magnified, so that the network also meets what
            a camera shows out of focus and at full resolution, 0 to 1.
        smooth_high: Largest factor of that, at least 1; the factor is drawn log-uniformly from 1,
            and what is magnified has 3 x 3 pixels or more.
    """

    patch: int = 64
    scale_low: float = 0.4
    scale_high: float = 0.9
    leaves_scale_low: float = 0.6
    smooth_share: float = 0.25
    smooth_high: float = 6.0

    def __post_init__(self) -> None:
        if self.patch < 8:
            raise ValueError(f"patch: got {self.patch}, expected at least 8")
        if not 0 < self.scale_low <= self.scale_high <= 1:
            raise ValueError(
                f"scale_low, scale_high: got {self.scale_low}, {self.scale_high}, "
                "expected 0 < scale_low <= scale_high <= 1"
            )
        if not 0 < self.leaves_scale_low <= 1:
            raise ValueError(
                f"leaves_scale_low: got {self.leaves_scale_low}, expected above 0, at most 1"
            )
        if not 0 <= self.smooth_share <= 1:
            raise ValueError(f"smooth_share: got {self.smooth_share}, expected 0 to 1")
        if not self.smooth_high >= 1:
            raise ValueError(f"smooth_high: got {self.smooth_high}, expected at least 1")


class CropSource:
    """Random crops of photographs and dead leaves; step n of a seed is always the same batch."""

    def __init__(
        self,
        photographs: PicturePack,
        leaves: PicturePack,
        leaves_share: float,
        config: CropConfig,
        seed: int,
    ) -> None:
        """Choose what to draw from.

        Args:
            photographs: Photographs; may be empty where leaves_share is 1.
            leaves: Dead leaves; may be empty where leaves_share is 0.
            leaves_share: Probability that a crop comes from the dead leaves, 0 to 1.
            config: How crops are taken.
            seed: Seed of the draws, 0 or more.

        Raises:
            ValueError: The share is outside 0 to 1, or there is nothing to draw from.
        """
        if not 0 <= leaves_share <= 1:
            raise ValueError(f"leaves_share: got {leaves_share}, expected 0 to 1")
        if leaves_share < 1 and not len(photographs):
            raise ValueError(
                f"photographs: got none, expected at least one where the share of dead leaves "
                f"is {leaves_share}"
            )
        if leaves_share > 0 and not len(leaves):
            raise ValueError(f"leaves: got none, expected some for a share of {leaves_share}")
        self.photographs, self.leaves = photographs, leaves
        self.leaves_share, self.config, self.seed = leaves_share, config, seed
        self._digest = ""

    def digest(self) -> str:
        """Hex digests of the photographs and of the dead leaves, computed once."""
        self._digest = self._digest or f"{self.photographs.digest()}-{self.leaves.digest()}"
        return self._digest

    def batch(self, step: int, size: int) -> np.ndarray:
        """Crops of one training step.

        Args:
            step: Number of the step, 0 or more.
            size: Number of crops.

        Returns:
            uint8 array (size, patch, patch, 3).
        """
        rng = np.random.default_rng([self.seed, step, 0])
        return np.stack([self._crop(rng) for _ in range(size)])

    def _crop(self, rng: np.random.Generator) -> np.ndarray:
        config = self.config
        from_leaves = rng.random() < self.leaves_share
        source = self.leaves if from_leaves else self.photographs
        low = config.leaves_scale_low if from_leaves else config.scale_low
        high = 1.0 if from_leaves else config.scale_high
        picture = source[int(rng.integers(len(source)))]
        scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        patch = config.patch
        if rng.random() < config.smooth_share:
            factor = np.exp(rng.uniform(0, np.log(config.smooth_high)))
            patch = max(3, round(patch / factor))
        side = min(round(patch / scale), *picture.shape[:2])
        top = int(rng.integers(picture.shape[0] - side + 1))
        left = int(rng.integers(picture.shape[1] - side + 1))
        crop = picture[top : top + side, left : left + side]
        for size in (patch, config.patch):  # down first: that removes the artefacts
            if crop.shape[0] != size:
                image = Image.fromarray(crop).resize((size, size), Image.Resampling.BICUBIC)
                crop = np.asarray(image)
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))
        crop = np.rot90(crop, turns)
        return crop[:, ::-1] if flip else crop


def make_leaves(
    seed: int, count: int, config: DeadLeavesConfig | None = None, workers: int = 1
) -> PicturePack:
    """Draw a pack of dead-leaves pictures.

    Args:
        seed: Seed of the collection, 0 or more.
        count: Number of pictures.
        config: Look of the pictures.
        workers: Processes that draw; the pictures do not depend on it.
    """
    draw = partial(dead_leaves, seed, config=config)
    if workers <= 1 or count < 32:
        return pack(map(draw, range(count)))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return pack(pool.map(draw, range(count), chunksize=8))

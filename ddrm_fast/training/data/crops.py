"""Random crops of photographs and dead leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ...machine.arguments import check_made
from .packs import PicturePack


@dataclass(frozen=True)
class CropConfig:
    """How crops are taken.

    Attributes:
        patch:
            Side of a crop in pixels.
        scale_low:
            Photographs are scaled down by a random factor before they are cropped, from
            this one ...
        scale_high:
            ... to this one. Scaling down removes the artefacts of JPEG files.
        leaves_scale_low:
            Smallest random factor for dead leaves (the largest is 1).
        smooth_share:
            Share of crops that are then magnified, so that the network also meets what
            a camera shows out of focus and at full resolution, 0 to 1.
        smooth_low:
            Smallest factor of that, at least 1. A prior that learned from crops magnified by 2 takes a
            picture that is only enlarged for a likely one, and leaves it soft ...
        smooth_high:
            ... and the largest; the factor is drawn log-uniformly between them, and what is magnified has
            3 x 3 pixels or more.
        detail:
            Of so many candidates the crop with the most detail is taken, 1 or more: soft backgrounds
            fill most of most photographs. Magnified crops and dead leaves are taken as they come.
        shares:
            How often each folder of photographs is drawn from, in any unit; empty: every picture
            alike, so that the folder with the most pictures dominates.
    """

    patch: int = 64
    scale_low: float = 0.4
    scale_high: float = 0.9
    leaves_scale_low: float = 0.6
    smooth_share: float = 0.25
    smooth_low: float = 1.0
    smooth_high: float = 6.0
    detail: int = 1
    shares: tuple[float, ...] = ()

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
        if not 1 <= self.smooth_high < math.inf:
            raise ValueError(
                f"smooth_high: got {self.smooth_high}, expected at least 1, not infinity"
            )
        if not 1 <= self.smooth_low <= self.smooth_high:
            raise ValueError(
                f"smooth_low: got {self.smooth_low}, expected from 1 to smooth_high = {self.smooth_high}"
            )
        if self.detail < 1:
            raise ValueError(f"detail: got {self.detail}, expected at least 1")
        object.__setattr__(self, "shares", tuple(float(share) for share in self.shares))
        if self.shares and not (min(self.shares) >= 0 and 0 < sum(self.shares) < math.inf):
            raise ValueError(
                f"shares: got {self.shares}, expected numbers of 0 or more, one of them above 0"
            )


check_made(CropConfig)


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
            photographs:
                Photographs; may be empty where leaves_share is 1.
            leaves:
                Dead leaves; may be empty where leaves_share is 0.
            leaves_share:
                Probability that a crop comes from the dead leaves, 0 to 1.
            config:
                How crops are taken.
            seed:
                Seed of the draws, 0 or more.

        Raises:
            ValueError: The share is outside 0 to 1, there is nothing to draw from, or there are other shares
                than folders.
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
        if leaves_share < 1 and config.shares and len(config.shares) != len(photographs.groups):
            raise ValueError(
                f"shares: got {len(config.shares)}, expected one for each of "
                f"{len(photographs.groups)} folders"
            )
        empty = [
            number
            for number, (share, count) in enumerate(
                zip(config.shares, photographs.groups, strict=False), 1
            )
            if share and not count
        ]
        if leaves_share < 1 and empty:
            raise ValueError(
                f"shares: folder number {empty[0]} holds no usable picture, expected a share of 0"
            )
        self.photographs, self.leaves = photographs, leaves
        self.leaves_share, self.config, self.seed = leaves_share, config, seed
        self._digest = ""

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.photographs) + len(self.leaves)

    def digest(self) -> str:
        """Hex digests of the photographs and of the dead leaves, computed once."""
        self._digest = self._digest or f"{self.photographs.digest()}-{self.leaves.digest()}"
        return self._digest

    def batch(self, step: int, size: int) -> np.ndarray:
        """Crops of one training step.

        Args:
            step:
                Number of the step, 0 or more.
            size:
                Number of crops.

        Returns:
            uint8 array (size, patch, patch, 3).
        """
        rng = np.random.default_rng([self.seed, step, 0])
        return np.stack([self._crop(rng) for _ in range(size)])

    def _crop(self, rng: np.random.Generator) -> np.ndarray:
        config = self.config
        from_leaves = rng.random() < self.leaves_share
        low = config.leaves_scale_low if from_leaves else config.scale_low
        high = 1.0 if from_leaves else config.scale_high
        picture = self._picture(rng, from_leaves)
        scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        patch = config.patch
        magnified = rng.random() < config.smooth_share
        if magnified:
            factor = np.exp(rng.uniform(np.log(config.smooth_low), np.log(config.smooth_high)))
            patch = max(3, round(patch / factor))
        crop = _cut(rng, picture, round(patch / scale))
        if config.detail > 1 and not magnified and not from_leaves:
            others = (
                _cut(rng, self._picture(rng, False), round(patch / scale))
                for _ in range(config.detail - 1)
            )
            crop = max((crop, *others), key=_detail)
        for size in (patch, config.patch):  # down first: that removes the artefacts
            if crop.shape[0] != size:
                image = Image.fromarray(crop).resize((size, size), Image.Resampling.BICUBIC)
                crop = np.asarray(image)
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))
        crop = np.rot90(crop, turns)
        return crop[:, ::-1] if flip else crop

    def _picture(self, rng: np.random.Generator, from_leaves: bool) -> np.ndarray:
        pack, shares = self.leaves if from_leaves else self.photographs, self.config.shares
        if from_leaves or not shares:
            return pack[int(rng.integers(len(pack)))]
        ends = np.cumsum(shares)
        group = int(np.searchsorted(ends, rng.random() * ends[-1], side="right"))
        first = sum(pack.groups[:group])
        return pack[first + int(rng.integers(pack.groups[group]))]


def _cut(rng: np.random.Generator, picture: np.ndarray, side: int) -> np.ndarray:
    """A random square of a picture, of such a side or of the picture's shorter one."""
    side = min(side, *picture.shape[:2])
    top = int(rng.integers(picture.shape[0] - side + 1))
    left = int(rng.integers(picture.shape[1] - side + 1))
    return picture[top : top + side, left : left + side]


def _detail(crop: np.ndarray) -> float:
    """How much a crop varies from pixel to pixel; the root keeps a single strong edge from winning."""
    green = crop[::2, :, 1].astype(np.int16)
    return float(np.sqrt(np.abs(np.diff(green, axis=1))).mean())

"""What lies before one visitor: the picture, what is painted on it, and what came of it."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from ..evaluation.report import image_of
from ..io import Picture, read_picture
from ..io.decode import SUFFIXES, opened
from ..io.encode import FORMATS
from ..io.tiff import MAGIC
from .look import Finding, look

#: longest side of what a browser is shown
SHOWN = 1280
#: sides that a picture has at least
SMALLEST = 8
#: side of the part that is tried, in pixels of the result
TRIED = 192


@dataclass
class Desk:
    """One visitor's.

    Args:
        folder:
            Of this visitor alone.
        name:
            That the picture's file has.
        picture:
            As it was opened, None: nothing is.
        findings:
            What was seen of it.
        damage:
            bool (H, W): marked by a mask or a colour, beside what is painted.
        place:
            Which part is tried, from 0 on.
        stop:
            Set where the run is to end.
        uploads:
            Files that this visitor sent.
    """

    folder: Path
    name: str = ""
    picture: Picture | None = None
    findings: list[Finding] = field(default_factory=list)
    damage: Tensor | None = None
    place: int = 0
    stop: Event = field(default_factory=Event)
    uploads: list[Path] = field(default_factory=list)

    @classmethod
    def new(cls, where: Path) -> Desk:
        """An empty one, with a folder below another one."""
        return cls(Path(tempfile.mkdtemp(dir=where)))

    def open(self, path: Path, most: int) -> None:
        """Puts a picture here.

        Args:
            path:
                Its file, which a stranger sent.
            most:
                Pixels that it may have.

        Raises:
            ValueError, ImportError: It is none, is damaged or too large.
        """
        if not path.is_relative_to(self.folder):
            self.uploads.append(path)
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"{path.name}: got no picture, expected a file of a camera or a scanner"
            )
        check_size(path, most)
        picture = read_picture(path)
        if min(picture.size) < SMALLEST:
            height, width = picture.size
            raise ValueError(
                f"{path.name}: has {width} x {height} pixels, expected at least {SMALLEST} x {SMALLEST}"
            )
        self.take(picture, path.name)

    def take(self, picture: Picture, name: str) -> None:
        """Puts a picture here that is read."""
        self.picture, self.name, self.damage, self.place = picture, name, None, 0
        self.findings = look(picture)

    def file(self, what: str) -> Path:
        """Where a result goes: named after the picture, in its format where that is written."""
        name = Path(self.name)
        suffix = name.suffix.lower()
        return self.folder / f"{name.stem}-{what}{suffix if suffix in FORMATS else '.png'}"

    def clear(self) -> None:
        """Ends what runs and removes the files."""
        self.stop.set()
        self.picture = self.damage = None
        for path in self.uploads:
            path.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pixels(self) -> int:
        """That it holds in memory."""
        return 0 if self.picture is None else self.picture.size[0] * self.picture.size[1]

    @property
    def opened(self) -> Picture:
        """The picture.

        Raises:
            ValueError: There is none.
        """
        if self.picture is None:
            raise ValueError("open a picture first")
        return self.picture


def check_size(path: Path, most: int) -> None:
    """Raises ValueError where a file says that it has more pixels, before they are read."""
    with path.open("rb") as file:
        head = file.read(4)
    try:
        if head in MAGIC:
            import tifffile

            with tifffile.TiffFile(path) as tiff:
                page = tiff.pages[0]
                pixels = page.imagewidth * page.imagelength
        else:
            with opened(path) as image:
                pixels = image.width * image.height
    except Exception:  # reading it says what is wrong with it
        return
    if pixels > most:
        raise ValueError(
            f"{path.name}: has {pixels / 1e6:.1f} megapixels, this page takes {most / 1e6:.0f} at most"
        )


def shown(pixels: Tensor, most: int = SHOWN) -> np.ndarray:
    """A picture for a browser, uint8 (h, w, 3), no side longer than ``most``.

    Args:
        pixels:
            (1 or 3, H, W) in [0, 1].
    """
    height, width = pixels.shape[1:]
    scale = most / max(height, width)
    if scale < 1:
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        pixels = interpolate(pixels[None].float(), size=size, mode="area")[0]
    return np.asarray(image_of(pixels))


def enlarged(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture as anybody would enlarge it, to be compared with; itself where it has the size."""
    if tuple(pixels.shape[1:]) == size:
        return pixels
    found = interpolate(pixels[None].float(), size=size, mode="bicubic", align_corners=False)
    return found[0].clamp(0, 1)


def part(desk: Desk, factor: int, damaged: Tensor) -> tuple[slice, slice]:
    """Rows and columns of the picture that are tried: where there is damage, else the most detail.

    They begin at a multiple of 16, where the blocks of a JPEG file do.
    """
    picture = desk.opened
    height, width = picture.size
    side = max(16, TRIED // factor)
    what = damaged.float()
    if not bool(damaged.any()):
        grey = picture.pixels.mean(0)
        what = torch.zeros(height, width)
        what[:-1] += (grey[1:] - grey[:-1]).abs()
        what[:, :-1] += (grey[:, 1:] - grey[:, :-1]).abs()
    coarse = interpolate(what[None, None], size=(-(-height // 16), -(-width // 16)), mode="area")
    cells = max(1, side // 16)
    pool = torch.nn.functional.avg_pool2d(coarse, min(cells, *coarse.shape[2:]), stride=1)
    # the highest of each neighbourhood, so that another place is another one
    best = pool * (pool == max_pool2d(pool, 5, 1, 2)) + 1e-9 * pool
    order = best.flatten().argsort(descending=True)
    place = int(order[desk.place % min(8, len(order))])
    top, left = divmod(place, pool.shape[3])
    top, left = (
        min(16 * at, max(0, (n - side) // 16 * 16)) for at, n in ((top, height), (left, width))
    )
    return slice(top, min(height, top + side)), slice(left, min(width, left + side))


def cut(picture: Picture, rows: slice, columns: slice) -> Picture:
    """A part of a picture."""
    pixels = picture.pixels[:, rows, columns].contiguous()
    return replace(picture, pixels=pixels, alpha=None)


def save_mask(path: Path, whole: Tensor) -> None:
    """A mask as a picture, white where the picture is whole."""
    Image.fromarray(whole.to(torch.uint8).mul(255).numpy()).save(path)

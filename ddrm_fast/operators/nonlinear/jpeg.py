"""JPEG compression (ITU-T T.81, JFIF): what a file keeps of a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..cuts import Cuts
from .same_size import SameSize

__all__ = ["JPEG", "quality_tables"]

#: steps at quality 50 for luminance and chrominance, row by row (T.81, annex K, tables K.1 and K.2)
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *[99] * 32,
)  # fmt: skip
#: luminance and the two differences of colour out of RGB (JFIF: BT.601)
_OF_RGB = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)
_SUBSAMPLINGS = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:4:0": (2, 1), "4:2:0": (2, 2)}


def quality_tables(quality: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The steps of luminance and chrominance that the reference encoder takes for a quality of 1 to 100."""
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ValueError(f"quality: expected an integer from 1 to 100, got {quality!r}")
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    scaled = [
        tuple(min(max((step * scale + 50) // 100, 1), 255) for step in table)
        for table in (_LUMINANCE, _CHROMINANCE)
    ]
    return scaled[0], scaled[1]


class JPEG(SameSize):
    """y: a picture in [0, 1] after compression to a JPEG file and back, in 8 bits.

    As the codec does: colours become luminance and two differences, whose rows and columns may be halved,
    blocks of 8 x 8 their cosine transform, divided by a step each and rounded. What libjpeg's whole-number
    transform rounds besides is not, which decides some ties otherwise: 95 to 99.8 % of the values of
    photographs are those of the file up to quality 60, 82 % (96 % within 1 of 255) at 90.

    Rounding has no slope: the gradient is that of everything else (a straight-through estimate).

    Args:
        quality:
            1 to 100, of the reference encoder's tables; or None with ``tables``.
        tables:
            64 steps of 1/255 each, row by row, for luminance and for chrominance, as a file has them.
        subsampling:
            "4:2:0" (rows and columns of the colours halved, the usual one), "4:2:2" (columns), "4:4:0"
            (rows) or "4:4:4".
        top, left:
            Rows and columns before the first whole block, 0 to 15: of pictures that were turned or cut.
    """

    grid = 16
    margin = 8
    mixes = "blocks"
    parameter_names = ("quality", "tables", "subsampling", "top", "left")

    @property
    def parameters(self) -> dict[str, object]:
        tables = None if self.quality is not None else self.tables
        given = {"quality": self.quality, "tables": tables, "subsampling": self.subsampling}
        return {**given, "top": self.top, "left": self.left}

    def __init__(
        self,
        quality: int | None = None,
        tables: Sequence[Sequence[int]] | None = None,
        subsampling: str = "4:2:0",
        top: int = 0,
        left: int = 0,
    ) -> None:
        if (quality is None) == (tables is None):
            raise ValueError(
                f"quality, tables: expected one of the two, got {quality} and {tables}"
            )
        if subsampling not in _SUBSAMPLINGS:
            raise ValueError(
                f"subsampling: expected one of {', '.join(_SUBSAMPLINGS)}, got {subsampling!r}"
            )
        for name, value in (("top", top), ("left", left)):
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 16:
                raise ValueError(f"{name}: expected an integer from 0 to 15, got {value!r}")
        self.quality, self.subsampling, self.top, self.left = quality, subsampling, top, left
        self.tables = quality_tables(quality) if quality is not None else _checked(tables or ())
        self._halved = _SUBSAMPLINGS[subsampling]
        self._steps = [torch.tensor(table, dtype=torch.float64).view(8, 8) for table in self.tables]
        self._basis = _basis()
        #: what is lost by rounding, as noise: a quarter of the step of a block's mean, which restores best
        self.rounding = 0.25 * self.tables[0][0] / 255

    def windows(self, cuts: Cuts) -> JPEG:
        if self.top or self.left:
            raise ValueError(
                "operator: the blocks of this JPEG file begin inside the picture, which was turned; use "
                "large.windowed(prior) (--large joint), which keeps it whole"
            )
        return self

    def H(self, x: Tensor) -> Tensor:
        self._check(x)
        if x.shape[1] not in (1, 3):
            raise ValueError(
                f"x: expected pictures with 1 or 3 channels, got shape {tuple(x.shape)}"
            )
        height, width = x.shape[2:]
        levels = _rounded(255 * x.clamp(0, 1))
        if x.shape[1] == 1:
            y = self._component(levels - 128, self._steps[0]) + 128
            return _rounded(y.clamp(0, 255)) / 255
        matrix = torch.tensor(_OF_RGB, dtype=torch.float64)
        parts = torch.einsum("ij,bjhw->bihw", matrix.to(x), levels)
        luminance = self._component(_rounded(parts[:, :1]) - 128, self._steps[0]) + 128
        colours = self._colours(_rounded(parts[:, 1:]))
        whole = torch.cat((_rounded(luminance.clamp(0, 255)), colours), dim=1)
        back = torch.linalg.inv(matrix).to(x)
        return (
            _rounded(torch.einsum("ij,bjhw->bihw", back, whole)[..., :height, :width].clamp(0, 255))
            / 255
        )

    def _colours(self, parts: Tensor) -> Tensor:
        """The two differences, of fewer rows and columns, and back."""
        down, right = self._halved
        height, width = parts.shape[2:]
        if (down, right) == (1, 1):
            return _rounded(self._component(parts, self._steps[1]).clamp(-128, 127))
        padded = _continued(parts, self.top % down, self.left % right, down, right)
        small = torch.nn.functional.avg_pool2d(padded, (down, right))
        # libjpeg adds in turn a little less and a little more than a half, column by column
        bias = (0.25, 0.5) if down == 2 else (0.0, 0.5)
        small = _rounded(small, _columns(small, *bias))
        small = self._component(small, self._steps[1], down, right)
        small = _rounded(small.clamp(-128, 127))
        large = _enlarged(small, down, right)
        top, left = self.top % down, self.left % right
        return large[..., top : top + height, left : left + width]

    def _component(self, x: Tensor, steps: Tensor, down: int = 1, right: int = 1) -> Tensor:
        """Values through blocks of 8 x 8, quantised."""
        height, width = x.shape[2:]
        # rows and columns of the first, cut block that are not there
        before = (-(self.top // down) % 8, -(self.left // right) % 8)
        padded = _continued(x, *before, 8, 8)
        blocks = padded.unflatten(3, (-1, 8)).unflatten(2, (-1, 8))
        basis, q = self._basis.to(x), steps.to(x)
        coefficients = torch.einsum("ui,bcniwj,vj->bcnuwv", basis, blocks, basis)
        step = q[None, None, None, :, None, :]
        kept = _nearest(coefficients / step) * step
        back = torch.einsum("ui,bcnuwv,vj->bcniwj", basis, kept, basis)
        whole = back.flatten(4, 5).flatten(2, 3)
        return whole[..., before[0] : before[0] + height, before[1] : before[1] + width]


def _rounded(x: Tensor, up: float | Tensor = 0.5) -> Tensor:
    """Whole numbers, with the slope of what they were; halves go up, unless less than a half is added."""
    return x + ((x + up).floor() - x).detach()


def _nearest(x: Tensor) -> Tensor:
    """The same for what is symmetric about 0: halves go away from it."""
    return x + (x.sign() * (x.abs() + 0.5).floor() - x).detach()


def _continued(x: Tensor, top: int, left: int, down: int, right: int) -> Tensor:
    """More rows above and columns before, and behind up to whole multiples, with the edges' values."""
    height, width = x.shape[2:]
    bottom, behind = -(height + top) % down, -(width + left) % right
    if not (top or left or bottom or behind):
        return x
    return torch.nn.functional.pad(x, (left, behind, top, bottom), mode="replicate")


def _enlarged(x: Tensor, down: int, right: int) -> Tensor:
    """Rows and columns doubled by a triangle filter (3/4 and 1/4 of the nearest two), as libjpeg does."""
    for dim, factor in ((2, down), (3, right)):
        if factor == 1:
            continue
        n = x.shape[dim]
        first, last = x.narrow(dim, 0, 1), x.narrow(dim, n - 1, 1)
        before = torch.cat((first, x.narrow(dim, 0, n - 1)), dim)
        behind = torch.cat((x.narrow(dim, 1, n - 1), last), dim)
        pair = torch.stack((0.75 * x + 0.25 * before, 0.75 * x + 0.25 * behind), dim + 1)
        x = pair.flatten(dim, dim + 1)
    return _rounded(x, _columns(x, *((0.5, 7 / 16) if down == 2 else (0.25, 0.5))))


def _columns(like: Tensor, even: float, odd: float) -> Tensor:
    """One number for even columns, another for odd ones, (W,)."""
    return torch.where(torch.arange(like.shape[3], device=like.device) % 2 == 0, even, odd).to(like)


def _basis() -> Tensor:
    """Orthonormal DCT-II of 8 values, float64 (8, 8)."""
    n = torch.arange(8, dtype=torch.float64)
    basis = torch.cos(math.pi * (2 * n + 1) * n[:, None] / 16) / 2
    basis[0] /= math.sqrt(2)
    return basis


def _checked(tables: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """One or two tables of a file; a single one serves both."""
    found = tuple(tuple(int(step) for step in table) for table in tables)
    if not found or any(len(table) != 64 or min(table) < 1 for table in found):
        raise ValueError(
            "tables: expected 64 steps >= 1 for luminance and 64 for chrominance, got "
            f"{[len(table) for table in found]} steps"
        )
    return (found[0], found[min(1, len(found) - 1)])

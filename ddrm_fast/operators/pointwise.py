"""Operators that act on each pixel alone: denoising, inpainting, gain."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from .. import ops
from ..machine.arguments import checked
from ..ops import Noise
from .base import (
    Carry,
    Measurement,
    Operator,
    Rows,
    Shape,
    as_real,
    block_means,
    cut_small,
    expect_dims,
)
from .cuts import Cuts


class Gain(Operator):
    """y = gain * x: vignetting, exposure, any per-pixel factor. U = identity, s = |gain|.

    Args:
        gain:
            Factor of each pixel, (H, W), (C, H, W) or (B, C or 1, H, W), finite; 0: not measured.
        rcond:
            A gain below ``rcond`` times the largest counts as 0.
    """

    mixes = "nothing"
    parameter_names = ("gain",)

    def __init__(self, gain: Tensor, rcond: float = 1e-3) -> None:
        super().__init__()
        gain = as_real("gain", gain)
        if not 2 <= gain.dim() <= 4 or 0 in gain.shape:
            raise ValueError(
                f"gain: expected (H, W), (C, H, W) or (B, C, H, W), got {tuple(gain.shape)}"
            )
        if not torch.isfinite(gain).all():
            raise ValueError("gain: has NaN or infinite entries")
        gain = gain[(None,) * (4 - gain.dim())]
        self.gain = torch.where(cut_small(gain.abs(), rcond) > 0, gain, 0.0)
        self.batch = gain.shape[0]

    def select(self, images: Tensor) -> Gain:
        return self if self.batch == 1 else self._with(self.gain.index_select(0, images.cpu()))

    def windows(self, cuts: Cuts) -> Gain:
        return self._with(cuts.of(self.gain))

    def coarse(self, y: Tensor, factor: int) -> tuple[Gain, Tensor, float]:
        """A small pixel is measured where all of its pixels are, with their mean.

        Exact for masks; for a gain that varies within a block, as if it were its mean.
        """
        measured = block_means((self.gain != 0).double(), factor) == 1
        small = self._with(torch.where(measured, block_means(self.gain, factor), 0.0))
        return small, block_means(y, factor) * measured.to(y), 1 / factor

    def _with(self, gain: Tensor) -> Gain:
        """The same kind of operator with another gain, whose small entries are 0 already."""
        chosen = copy.copy(self)
        chosen._cache, chosen.gain, chosen.batch = {}, gain, len(gain)
        return chosen

    def check_image(self, shape: Shape) -> None:
        channels, *size = self.gain.shape[1:]
        if tuple(size) != tuple(shape[1:]) or channels not in (1, shape[0]):
            raise ValueError(
                f"x: this operator is for {channels if channels > 1 else 'any'} channels of "
                f"{size[0]} x {size[1]}, got {shape[0]} of {shape[1]} x {shape[2]}"
            )

    def image_shape(self, y: Tensor) -> Shape:
        expect_dims("y", y, 4, "(B, C, H, W)")
        self._check_batch("y", y)
        shape = tuple(y.shape[1:])
        self.check_image(shape)
        return shape

    def singulars(self, shape: Shape) -> Tensor:
        return self.gain.abs()

    def certainty(self, sigma_y: Tensor, shape: Shape, like: Tensor) -> Tensor:
        share = self.singulars(shape) / sigma_y.view(-1, 1, 1, 1).clamp(min=1e-12)
        return share.square().clamp(max=1e8).to(like)

    def _sign(self, like: Tensor) -> Tensor:
        return self._constant("sign", torch.where(self.gain < 0, -1.0, 1.0).double(), like)

    def measure(self, x: Tensor) -> Tensor:
        return self._sign(x) * x

    def lift(self, c: Tensor, shape: Shape) -> Tensor:
        # only where something is measured: the other entries of c are no coefficients
        return torch.where(self._s(shape, c) > 0, self._sign(c) * c, 0.0)

    def Vt(self, x: Tensor) -> Tensor:
        self._check(x)
        return self._sign(x) * x

    def V(self, c: Tensor) -> Tensor:
        return self._sign(c) * c

    def prepare(self, y: Tensor) -> Measurement:
        shape = self.image_shape(y)
        u = (self._sign(y) * y).contiguous()
        return Measurement(shape, u, self._s(shape, y))

    def step(
        self,
        x_t: Tensor | None,
        out: Tensor | None,
        u: Measurement,
        rows: Rows,
        step: Tensor,
        noise: Noise,
        *,
        x_next: Tensor | None = None,
        x0: Tensor | None = None,
        carry: Carry | None = None,
    ) -> Tensor:
        return ops.pointwise_step(x_t, out, u.u, u.s, rows.table, step, noise, x_next=x_next, x0=x0)


class Inpainting(Gain):
    """y = mask * x: missing pixels, boxes, colour filter arrays. y is the image with zeros there.

    Args:
        mask:
            True (or 1) where a pixel is known: (H, W), (C, H, W) or (B, C or 1, H, W). See
            :func:`bayer_mask` for demosaicing.

    Raises:
        ValueError: an entry is neither 0 nor 1, or the shape has no meaning.
    """

    def __init__(self, mask: Tensor) -> None:
        mask = as_real("mask", mask)
        if not 2 <= mask.dim() <= 4 or 0 in mask.shape:
            raise ValueError(
                f"mask: expected (H, W), (C, H, W) or (B, C, H, W), got {tuple(mask.shape)}"
            )
        if not ((mask == 0) | (mask == 1)).all():
            raise ValueError("mask: expected only 0 and 1 (or False and True)")
        super().__init__(mask)

    @property
    def parameters(self) -> dict[str, object]:
        return {"mask": self.gain > 0}

    def H(self, x: Tensor) -> Tensor:
        self._check(x)
        return self._s(tuple(x.shape[1:]), x) * x

    def __repr__(self) -> str:
        known = self.gain.mean().item()
        return f"Inpainting({tuple(self.gain.shape)}, {100 * known:.1f} % known)"


@checked
def bayer_mask(height: int, width: int, pattern: str = "RGGB") -> Tensor:
    """Mask (1, 3, height, width) of a colour filter array, for :class:`Inpainting` (demosaicing).

    Args:
        pattern:
            Colours of the 2 x 2 cell, row by row, letters R, G, B.
    """
    for name, side in (("height", height), ("width", width)):
        if side < 1:
            raise ValueError(f"{name}: expected an integer >= 1, got {side}")
    if len(pattern) != 4 or set(pattern) - set("RGB"):
        raise ValueError(f"pattern: expected four letters of R, G, B, got {pattern!r}")
    mask = torch.zeros(1, 3, height, width, dtype=torch.bool)
    for place, colour in enumerate(pattern):
        mask[:, "RGB".index(colour), place // 2 :: 2, place % 2 :: 2] = True
    return mask


class Denoising(Operator):
    """y = x (plus noise): every pixel is measured with s = 1. Images of any shape."""

    mixes = "nothing"

    def windows(self, cuts: Cuts) -> Denoising:
        return self

    def coarse(self, y: Tensor, factor: int) -> tuple[Denoising, Tensor, float]:
        return self, block_means(y, factor), 1 / factor

    def check_image(self, shape: Shape) -> None:
        pass

    def image_shape(self, y: Tensor) -> Shape:
        expect_dims("y", y, 4, "(B, C, H, W)")
        return tuple(y.shape[1:])

    def singulars(self, shape: Shape) -> Tensor:
        return torch.ones(1, 1, 1, 1, dtype=torch.float64)

    def measure(self, x: Tensor) -> Tensor:
        return x

    def lift(self, c: Tensor, shape: Shape) -> Tensor:
        return c

    def Vt(self, x: Tensor) -> Tensor:
        return x

    def V(self, c: Tensor) -> Tensor:
        return c

    def prepare(self, y: Tensor) -> Measurement:
        shape = self.image_shape(y)
        return Measurement(shape, y.contiguous(), self._s(shape, y))

    certainty, step = Gain.certainty, Gain.step

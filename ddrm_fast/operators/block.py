"""Operators that average groups of pixels: super-resolution, colorization, old photographs."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import ops
from ..ops import Noise
from ..ops.groups import group_sum, spread_groups
from .base import (
    Carry,
    Measurement,
    Operator,
    Rows,
    Shape,
    as_real,
    block_means,
    cut_small,
    divides,
    expect_dims,
    whole_factor,
)
from .cuts import Cuts


class SuperResolution(Operator):
    """y = mean of each r x r block, optionally of a grey and masked image ("old photo").

    With weights a_c and mask m: y = (1 / r^2) sum over the block (and channels) of a_c m x. One measured
    direction per group, w = a m / norm with s = norm(a m) / r^2; without weights and mask s = 1 / r.

    Args:
        factor:
            Side r of a block, >= 1; divides height and width.
        weights:
            Grey weights, one per channel: y has one channel. None: every channel by itself.
        mask:
            Known pixels before averaging, (H, W), (C, H, W) or (B, C or 1, H, W); real gains allowed.
        rcond:
            A block whose s is below ``rcond`` times the largest counts as not measured.
    """

    parameter_names: tuple[str, ...] = ("factor", "weights", "mask", "rcond")

    def __init__(
        self,
        factor: int,
        weights: Sequence[float] | Tensor | None = None,
        mask: Tensor | None = None,
        rcond: float = 1e-3,
    ) -> None:
        super().__init__()
        self.factor = self.grid = whole_factor(factor)
        self.rcond = rcond
        self._largest: float | None = None  # singular value of the picture this is a window of
        cut_small(torch.zeros(0), rcond)
        self.weights: Tensor | None = None
        self.mask: Tensor | None = None
        if weights is not None:
            weights = as_real("weights", weights)
            if weights.dim() != 1 or not torch.isfinite(weights).all() or not weights.any():
                raise ValueError(
                    f"weights: expected finite numbers, one per channel, not all 0; got {weights}"
                )
            self.weights, self.mixes = weights, "channels"
        if mask is not None:
            mask = as_real("mask", mask)
            if not 2 <= mask.dim() <= 4 or not torch.isfinite(mask).all():
                raise ValueError(f"mask: expected finite (B, C, H, W), got {tuple(mask.shape)}")
            self.mask = mask[(None,) * (4 - mask.dim())]
            self.batch = self.mask.shape[0]

    def select(self, images: Tensor) -> SuperResolution:
        if self.mask is None or self.batch == 1:
            return self
        return self._with(self.mask.index_select(0, images.cpu()))

    def windows(self, cuts: Cuts) -> SuperResolution:
        if self.mask is None:
            return self
        chosen = self._with(cuts.of(self.mask))
        if self._largest is None:
            channels, *size = self.mask.shape[1:]
            channels = channels if self.weights is None else len(self.weights)
            self._largest = float(self.singulars((channels, *size)).max())
        chosen._largest = self._largest
        return chosen

    def coarse(self, y: Tensor, factor: int) -> tuple[SuperResolution, Tensor, float]:
        """Blocks of r / factor, or of 1 where the small pixels are larger than the blocks.

        Exact without a mask; with one that varies within a small pixel, as if it were its mean there.
        """
        r = self.factor
        mask = None if self.mask is None else block_means(self.mask, factor)
        if r % factor == 0:
            return SuperResolution(r // factor, self.weights, mask, self.rcond), y, 1.0
        if factor % r:
            raise ValueError(
                f"factor: {factor} neither divides the operator's blocks of {r} nor is a multiple"
            )
        small = SuperResolution(1, self.weights, mask, self.rcond)
        return small, block_means(y, factor // r), r / factor

    def _with(self, mask: Tensor) -> SuperResolution:
        """The same kind of operator with another mask."""
        chosen = copy.copy(self)
        chosen._cache, chosen.mask, chosen.batch = {}, mask, len(mask)
        return chosen

    def check_image(self, shape: Shape) -> None:
        divides(self.factor, shape)
        if self.weights is not None and shape[0] != len(self.weights):
            raise ValueError(
                f"x: expected {len(self.weights)} channels (one per weight), got {shape[0]}"
            )
        if self.mask is not None:
            channels, *size = self.mask.shape[1:]
            if tuple(size) != tuple(shape[1:]) or channels not in (1, shape[0]):
                raise ValueError(
                    f"x: expected the mask's {tuple(self.mask.shape[1:])}, got {tuple(shape)}"
                )

    def image_shape(self, y: Tensor) -> Shape:
        expect_dims("y", y, 4, "(B, C, H / factor, W / factor)")
        self._check_batch("y", y)
        channels = y.shape[1]
        if self.weights is not None:
            if channels != 1:
                raise ValueError(f"y: expected 1 channel, got {channels}")
            channels = len(self.weights)
        shape = (channels, y.shape[2] * self.factor, y.shape[3] * self.factor)
        self.check_image(shape)
        return shape

    def singulars(self, shape: Shape) -> Tensor:
        r = self.factor
        if self.mask is None:
            norm = r if self.weights is None else r * float(self.weights.norm())
            return torch.full((1, 1, 1, 1), norm / r**2, dtype=torch.float64)
        profile = self.mask.square()
        if self.weights is not None:
            profile = profile * self.weights.square().view(1, -1, 1, 1)
        s = group_sum(profile, r, self.weights is not None).sqrt() / r**2
        return cut_small(s, self.rcond, self._largest)

    def _profile(self, shape: Shape, like: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        weights = None if self.weights is None else self._constant("weights", self.weights, like)
        mask = None if self.mask is None else self._constant("mask", self.mask, like)
        return self._s(shape, like), weights, mask

    def measure(self, x: Tensor) -> Tensor:
        return ops.block_measure(x, *self._profile(tuple(x.shape[1:]), x), self.factor)

    def lift(self, c: Tensor, shape: Shape) -> Tensor:
        return ops.block_lift(c, *self._profile(shape, c), self.factor, shape[0])

    def _reflector(self, shape: Shape, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Householder vector v = w + sign(w_1) e_1 of each group, 2 / <v, v>, and -sign(w_1).

        I - 2 v v^T / <v, v> maps w to -sign(w_1) e_1, so after a change of sign the first coefficient
        of a group is <w, x> and the others span its null space. w = 0: the identity.
        """
        s, weights, mask = self._profile(shape, like)
        grid = (1 if self.weights is not None else shape[0], *(n // self.factor for n in shape[1:]))
        s = s.expand(-1, *grid).contiguous()
        w = ops.block_lift(torch.ones_like(s), s, weights, mask, self.factor, shape[0])
        corner = torch.zeros((1, *shape), dtype=w.dtype, device=w.device)
        corner[:, : 1 if self.weights is not None else None, :: self.factor, :: self.factor] = 1.0
        measured = group_sum(w * w, self.factor, self.weights is not None) > 0
        measured_pixels = spread_groups(measured, self.factor, shape[0])
        sign = torch.where(w < 0, -1.0, 1.0).to(w.dtype)
        first = (corner > 0) & measured_pixels
        v = torch.where(first, w + sign, w)
        square = group_sum(v * v, self.factor, self.weights is not None)
        beta = torch.where(measured, 2.0 / torch.where(measured, square, 1.0), 0.0)
        return v, beta, torch.where(first, -sign, 1.0)

    def _reflect(self, x: Tensor, v: Tensor, beta: Tensor) -> Tensor:
        t = beta * group_sum(v * x, self.factor, self.weights is not None)
        return x - v * spread_groups(t, self.factor, x.shape[1])

    def Vt(self, x: Tensor) -> Tensor:
        """Coefficients in the image's shape: the first place of each group holds <w, x>."""
        self._check(x)
        v, beta, flip = self._reflector(tuple(x.shape[1:]), x)
        return flip * self._reflect(x, v, beta)

    def V(self, c: Tensor) -> Tensor:
        expect_dims("c", c, 4, "(B, C, H, W)")
        if any(n % self.factor for n in c.shape[2:]):
            raise ValueError(
                f"c: expected sides that are multiples of {self.factor}, got {tuple(c.shape)}"
            )
        v, beta, flip = self._reflector(tuple(c.shape[1:]), c)
        return self._reflect(flip * c, v, beta)

    def prepare(self, y: Tensor) -> Measurement:
        shape = self.image_shape(y)
        s, weights, mask = self._profile(shape, y)
        return Measurement(shape, y.contiguous(), s, weights, mask)

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
        return ops.block_step(
            x_t, out, u.u, u.s, u.weights, u.mask, self.factor, rows.table, step, noise,
            x_next=x_next, x0=x0,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"{type(self).__name__}(factor={self.factor})"


class Colorization(SuperResolution):
    """y = weighted sum of the channels; any number of channels. s = norm of the weights.

    Args:
        weights:
            One per channel; default a third each.
    """

    parameter_names = ("weights",)

    def __init__(self, weights: Sequence[float] | Tensor = (1 / 3, 1 / 3, 1 / 3)) -> None:
        super().__init__(1, weights=weights)

    def __repr__(self) -> str:
        weights = None if self.weights is None else self.weights.tolist()
        return f"Colorization({weights})"

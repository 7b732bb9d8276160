"""Compressive sensing: some coefficients of an orthonormal transform are known, the rest are not."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import ops
from ..ops import Noise, fwht
from .base import (
    Carry,
    Measurement,
    Operator,
    Rows,
    Shape,
    as_real,
    divides,
    expect_dims,
    whole_factor,
)
from .cuts import Cuts
from .spectral import TransformOperator
from .transforms import Blocks, WalshHadamard

LARGEST_BLOCK = 64


def _power_of_two(n: int) -> bool:
    return n >= 1 and n & (n - 1) == 0


class WalshHadamardCS(TransformOperator):
    """y = the kept coefficients of the orthonormal Walsh-Hadamard transform of each channel.

    The plane is flattened row by row, the transform is in natural (Hadamard) order. y is (B, C, m), in the
    order of ``kept``. s = 1 for kept coefficients.

    Args:
        size:
            (H, W), powers of two.
        ratio:
            Keep one coefficient of ``ratio``, >= 1, chosen at random by ``seed`` (the mean is always
            kept). Or give ``kept``.
        kept:
            Indices of the kept coefficients, distinct, 0 <= index < H W.
    """

    mixes = "everything"
    parameter_names = ("size", "kept")

    def __init__(
        self,
        size: tuple[int, int],
        ratio: float | None = None,
        *,
        kept: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        height, width = size
        if not (_power_of_two(height) and _power_of_two(width)):
            raise ValueError(f"size: expected powers of two, got {height} x {width}")
        self.size = (height, width)
        self.kept = _kept(height * width, ratio, kept, seed)
        mask = torch.zeros(height * width, dtype=torch.float64)
        mask[self.kept] = 1.0
        self._mask = mask.view(1, 1, height, width)

    def check_image(self, shape: Shape) -> None:
        if tuple(shape[1:]) != self.size:
            raise ValueError(
                f"x: this operator is for {self.size[0]} x {self.size[1]} pixels, "
                f"got {shape[1]} x {shape[2]}"
            )

    def image_shape(self, y: Tensor) -> Shape:
        expect_dims("y", y, 3, "(B, C, m)")
        if y.shape[2] != len(self.kept):
            raise ValueError(f"y: expected {len(self.kept)} coefficients, got {y.shape[2]}")
        return y.shape[1], *self.size

    def singulars(self, shape: Shape) -> Tensor:
        return torch.ones(1, 1, 1, dtype=torch.float64)

    def measure(self, x: Tensor) -> Tensor:
        return fwht(x).flatten(2).index_select(2, self.kept.to(x.device))

    def _spread(self, c: Tensor) -> Tensor:
        plane = c.new_zeros(*c.shape[:2], self.size[0] * self.size[1])
        return plane.index_copy(2, self.kept.to(c.device), c).unflatten(2, self.size)

    def lift(self, c: Tensor, shape: Shape) -> Tensor:
        return fwht(self._spread(c))

    def Vt(self, x: Tensor) -> Tensor:
        self._check(x)
        return fwht(x)

    def V(self, c: Tensor) -> Tensor:
        return fwht(c)

    def prepare(self, y: Tensor) -> Measurement:
        shape = self.image_shape(y)
        return Measurement(shape, self._spread(y), self._constant("mask", self._mask, y))

    def _forward(self, x: Tensor) -> Tensor:
        return WalshHadamard.forward(x)

    def _inverse(self, c: Tensor, shape: Shape, out: Tensor | None) -> Tensor:
        return WalshHadamard.inverse(c, out)

    def _advance(
        self,
        x_t: Tensor,
        out: Tensor,
        u: Measurement,
        table: Tensor,
        step: Tensor,
        noise: Noise,
        x_next: Tensor,
    ) -> None:
        ops.fwht_step(x_t, out, u.u, u.s, table, step, noise, x_next=x_next)

    def __repr__(self) -> str:
        return f"WalshHadamardCS({self.size[0]} x {self.size[1]}, {len(self.kept)} kept)"


class BlockCS(Operator):
    """y = the first m coefficients of every k x k block in a small orthogonal basis.

    y is (B, C, H / k, W / k, m). s = 1 for kept coefficients. With one singular value a step is two
    pixel-wise updates, measured and not, and P = V_1 V_1^T chooses between them:
    x_next = n + P (m - n). That needs the m measured columns of the basis alone, and its noise belongs to
    pixels.

    Args:
        block:
            Side k of a block, 1 to 64 (the basis has k^4 numbers); divides height and width.
        ratio:
            Keep one coefficient of ``ratio``, at least one. Or give ``keep``.
        keep:
            Number m of kept coefficients, 1 <= m <= k^2.
        basis:
            Orthogonal (k^2, k^2), its first m columns measure; default: random, by ``seed``.
    """

    mixes = "blocks"
    parameter_names = ("block", "keep", "basis")

    def __init__(
        self,
        block: int = 32,
        ratio: float | None = None,
        *,
        keep: int | None = None,
        basis: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.block = self.grid = whole_factor(block, "block")
        n = self.block**2
        if self.block > LARGEST_BLOCK:
            raise ValueError(
                f"block: a side of {self.block} is over {LARGEST_BLOCK}: its basis would have "
                f"{n} x {n} numbers"
            )
        if (ratio is None) == (keep is None):
            raise ValueError("ratio, keep: give exactly one of them")
        if ratio is not None and not ratio >= 1:
            raise ValueError(f"ratio: expected >= 1, got {ratio}")
        self.keep = max(1, int(n / ratio)) if ratio is not None else keep
        if not isinstance(self.keep, int) or not 1 <= self.keep <= n:
            raise ValueError(f"keep: expected an integer from 1 to {n}, got {self.keep!r}")
        if basis is None:
            generator = torch.Generator().manual_seed(seed)
            basis = torch.randn(n, n, generator=generator, dtype=torch.float64)
            basis = torch.linalg.qr(basis)[0]
        basis = as_real("basis", basis)
        if basis.shape != (n, n):
            raise ValueError(f"basis: expected ({n}, {n}), got {tuple(basis.shape)}")
        error = (basis.mT @ basis - torch.eye(n, dtype=torch.float64)).abs().max()
        if not error <= 1e-4:  # (NaN is not orthogonal either)
            raise ValueError("basis: is not orthogonal")
        self.basis = basis

    def check_image(self, shape: Shape) -> None:
        divides(self.block, shape, "block")

    def image_shape(self, y: Tensor) -> Shape:
        expect_dims("y", y, 5, "(B, C, H / block, W / block, m)")
        if y.shape[4] != self.keep:
            raise ValueError(f"y: expected {self.keep} coefficients a block, got {y.shape[4]}")
        return y.shape[1], y.shape[2] * self.block, y.shape[3] * self.block

    def windows(self, cuts: Cuts) -> BlockCS:
        return self

    def singulars(self, shape: Shape) -> Tensor:
        return torch.ones(1, 1, 1, 1, 1, dtype=torch.float64)

    def _transform(self, like: Tensor) -> Blocks:
        return Blocks(self._constant("basis", self.basis, like), self.block)

    def Vt(self, x: Tensor) -> Tensor:
        """Coefficients (B, C, H / k, W / k, k^2)."""
        self._check(x)
        grid = (x.shape[2] // self.block, x.shape[3] // self.block)
        return self._transform(x).forward(x).unflatten(2, grid)

    def V(self, c: Tensor) -> Tensor:
        height, width = c.shape[2] * self.block, c.shape[3] * self.block
        return self._transform(c).inverse(c.flatten(2, 3), height, width)

    def _measured(self, like: Tensor) -> Blocks:
        basis = self._constant("measured", self.basis[:, : self.keep], like)
        return Blocks(basis, self.block)

    def measure(self, x: Tensor) -> Tensor:
        grid = (x.shape[2] // self.block, x.shape[3] // self.block)
        return self._measured(x).forward(x).unflatten(2, grid)

    def lift(self, c: Tensor, shape: Shape) -> Tensor:
        return self._measured(c).inverse(c.flatten(2, 3), *shape[1:])

    def prepare(self, y: Tensor) -> Measurement:
        shape = self.image_shape(y)
        everywhere = self._constant("s", torch.ones(1, 1, 1, 1, dtype=torch.float64), y)
        return Measurement(shape, self.lift(y, shape).contiguous(), everywhere)

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
        like = x_next if x_t is None else x_t
        if like is None:
            raise ValueError("x_next: has to be given where x_t and out are None")
        nowhere = self._constant("nowhere", torch.zeros(1, 1, 1, 1, dtype=torch.float64), u.u)
        change, table = torch.empty_like(like), rows.table
        ops.pointwise_step(x_t, out, u.u, u.s, table, step, noise, x_next=change)
        x_next = ops.pointwise_step(
            x_t, out, None, nowhere, table, step, noise, x_next=x_next, x0=x0
        )
        change.sub_(x_next)
        blocks = self._measured(change)
        return x_next.add_(blocks.inverse(blocks.forward(change), *u.image_shape[1:]))

    def __repr__(self) -> str:
        return f"BlockCS({self.block} x {self.block}, {self.keep} kept)"


def _kept(n: int, ratio: float | None, kept: Tensor | None, seed: int) -> Tensor:
    if (ratio is None) == (kept is None):
        raise ValueError("ratio, kept: give exactly one of them")
    if kept is not None:
        kept = torch.as_tensor(kept).detach().cpu().flatten()
        if kept.numel() and (kept.is_floating_point() or kept.dtype == torch.bool):
            raise ValueError(f"kept: expected indices as integers, got {kept.dtype}")
        kept = kept.long()
        if not len(kept) or kept.min() < 0 or kept.max() >= n:
            raise ValueError(f"kept: expected indices from 0 to {n - 1}")
        if len(kept.unique()) != len(kept):
            raise ValueError("kept: has repeated indices")
        return kept
    if ratio is None or not ratio >= 1:
        raise ValueError(f"ratio: expected >= 1, got {ratio}")
    chosen = torch.randperm(n - 1, generator=torch.Generator().manual_seed(seed)) + 1
    count = max(1, int(n / ratio))
    return torch.cat((torch.zeros(1, dtype=torch.int64), chosen[: count - 1]))

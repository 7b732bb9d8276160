"""Any matrix, by a dense SVD: the oracle at small sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Measurement, Shape, as_real, cut_small, expect_dims
from .spectral import TransformOperator, into

LARGEST = 16384


class GeneralOperator(TransformOperator):
    """y = A vec(x), with vec(x) channel-major (channel, row, column). y is (B, m).

    Keeps dense factors of n^2 numbers: for small images and for tests.

    Args:
        matrix:
            A, (m, C H W).
        image_shape:
            (C, H, W).
        rcond:
            Singular values below ``rcond`` times the largest count as 0.
    """

    mixes = "everything"

    def __init__(self, matrix: Tensor, image_shape: Shape, rcond: float = 1e-3) -> None:
        super().__init__()
        matrix = as_real("matrix", matrix)
        if len(image_shape) != 3:
            raise ValueError(f"image_shape: expected (C, H, W), got {tuple(image_shape)}")
        channels, height, width = image_shape
        n = channels * height * width
        if matrix.dim() != 2 or matrix.shape[1] != n or not matrix.shape[0]:
            raise ValueError(f"matrix: expected (m, {n}), got {tuple(matrix.shape)}")
        if max(matrix.shape) > LARGEST:
            raise ValueError(f"matrix: a side of {max(matrix.shape)} is over {LARGEST}")
        if not torch.isfinite(matrix).all():
            raise ValueError("matrix: has NaN or infinite entries")
        self.shape: Shape = tuple(image_shape)
        self.matrix, self.rcond = matrix, rcond
        self.rows = matrix.shape[0]
        self._left, s, vh = torch.linalg.svd(matrix)
        self._right = vh.mT
        self._singulars = cut_small(s, rcond)

    @property
    def parameters(self) -> dict[str, object]:
        return {"matrix": self.matrix, "image_shape": self.shape, "rcond": self.rcond}

    def check_image(self, shape: Shape) -> None:
        if tuple(shape) != self.shape:
            raise ValueError(f"x: expected images of shape {self.shape}, got {tuple(shape)}")

    def image_shape(self, y: Tensor) -> Shape:
        expect_dims("y", y, 2, "(B, m)")
        if y.shape[1] != self.rows:
            raise ValueError(f"y: expected {self.rows} entries, got {y.shape[1]}")
        return self.shape

    def singulars(self, shape: Shape) -> Tensor:
        return torch.nn.functional.pad(self._singulars, (0, self.rows - len(self._singulars)))[None]

    def Vt(self, x: Tensor) -> Tensor:
        """All coefficients, (B, C H W)."""
        self._check(x)
        return x.flatten(1) @ self._constant("V", self._right, x)

    def V(self, c: Tensor) -> Tensor:
        return (c @ self._constant("V", self._right, c).mT).unflatten(1, self.shape)

    def measure(self, x: Tensor) -> Tensor:
        c = self.Vt(x)[:, : self.rows]
        return torch.nn.functional.pad(c, (0, self.rows - c.shape[1]))

    def _spread(self, c: Tensor) -> Tensor:
        n = len(self._right)
        return torch.nn.functional.pad(c, (0, n - self.rows)) if self.rows < n else c[:, :n]

    def lift(self, c: Tensor, shape: Shape) -> Tensor:
        return self.V(self._spread(c))

    def U(self, u: Tensor) -> Tensor:
        return u @ self._constant("U", self._left, u).mT

    def Ut(self, y: Tensor) -> Tensor:
        return y @ self._constant("U", self._left, y)

    def prepare(self, y: Tensor) -> Measurement:
        shape = self.image_shape(y)
        u = self._spread(self.Ut(y))[:, None, None].contiguous()
        s = self._spread(self._s(shape, y))[:, None, None].contiguous()
        return Measurement(shape, u, s)

    def _forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self._constant("V", self._right, x))[:, None, None].contiguous()

    def _inverse(self, c: Tensor, shape: Shape, out: Tensor | None) -> Tensor:
        return into(self.V(c[:, 0, 0]), out)

    def __repr__(self) -> str:
        return f"GeneralOperator({self.rows} x {len(self._right)})"

"""Degradations that are known by V, Vt, U and Ut alone: the caller's own classes, dense matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from ...operators.base import Measurement, Shape
from ...operators.spectral import TransformOperator, into
from .base import Functions, flat, pad

ZERO = 1e-3


class General(Functions):
    """Any matrix (m, N) on channel-major vectors, through a dense SVD. s < 1e-3 becomes 0.

    Args:
        basis:
            (U, s, V) to use instead of torch's SVD: U (m, m), s [min(m, N)], V (N, N).
    """

    def __init__(self, matrix: Tensor, *, basis: tuple[Tensor, Tensor, Tensor] | None = None):
        if not isinstance(matrix, Tensor) or matrix.dim() != 2 or not matrix.numel():
            shape = tuple(matrix.shape) if isinstance(matrix, Tensor) else type(matrix).__name__
            raise ValueError(f"matrix: expected a tensor (m, N), got {shape}")
        if not torch.isfinite(matrix).all():
            raise ValueError("matrix: has NaN or infinite entries")
        if basis is None:
            U, s, Vh = torch.linalg.svd(matrix.float())
            V = Vh.mT.contiguous()
        else:
            U, s, V = (torch.as_tensor(part).to(matrix.device).float() for part in basis)
            rank = len(s)
            rebuilt = U[:, :rank] * s @ V[:, :rank].mT
            if not float((rebuilt - matrix).abs().max()) <= 1e-4 * float(matrix.abs().max()):
                raise ValueError("basis: U diag(s) V^T is not the matrix")
        self._u, self._v, self._s = U, V, torch.where(s < ZERO, 0.0, s)

    def _times(self, vec: Tensor, matrix: Tensor) -> Tensor:
        vec = self.measurement(vec, matrix.shape[0])
        return vec @ matrix.to(vec)

    def V(self, vec: Tensor) -> Tensor:
        return self._times(vec, self._v.mT)

    def Vt(self, vec: Tensor) -> Tensor:
        return self._times(vec, self._v)

    def U(self, vec: Tensor) -> Tensor:
        return self._times(vec, self._u.mT)

    def Ut(self, vec: Tensor) -> Tensor:
        return self._times(vec, self._u)

    def singulars(self) -> Tensor:
        return self._s

    def add_zeros(self, vec: Tensor) -> Tensor:
        return pad(vec, self._v.shape[0]) if vec.shape[1] < self._v.shape[0] else flat(vec)


class FlatOperator(TransformOperator):
    """The operator of an object with V, Vt, U, Ut and singulars: its steps run on flat coefficients.

    Args:
        functions:
            The object.
        shape:
            (C, H, W) of the images.
        zero:
            What stands for s = 0 in a step's weights; see :mod:`ddrm_fast.compat.weights`.
    """

    def __init__(self, functions: Functions, shape: Shape, zero: float) -> None:
        super().__init__()
        self.functions, self.shape, self.zero = functions, tuple(shape), zero
        channels, height, width = shape
        self.entries = channels * height * width

    def check_image(self, shape: Shape) -> None:
        if tuple(shape) != self.shape:
            raise ValueError(f"x: expected images of shape {self.shape}, got {tuple(shape)}")

    def image_shape(self, y: Tensor) -> Shape:
        return self.shape

    def singulars(self, shape: Shape) -> Tensor:
        return self.functions.singulars().detach().cpu().double()[None]

    def Vt(self, x: Tensor) -> Tensor:
        # clones: a class of the caller's own may write into what it is given
        return self._sized("Vt", self.functions.Vt(x.clone()), x.shape[0])

    def V(self, c: Tensor) -> Tensor:
        return self._sized("V", self.functions.V(c.clone()), c.shape[0]).view(len(c), *self.shape)

    def _sized(self, name: str, vec: Tensor, batch: int) -> Tensor:
        if vec.numel() != batch * self.entries:
            raise ValueError(
                f"H_funcs.{name}: expected (B, {self.entries}) for images of shape {self.shape}, "
                f"got {tuple(vec.shape)}"
            )
        return vec.reshape(batch, self.entries)

    def measure(self, x: Tensor) -> Tensor:
        return self.Vt(x)[:, : self.functions.singulars().shape[0]]

    def lift(self, c: Tensor, shape: Shape) -> Tensor:
        return self.V(pad(c, self.entries))

    def prepare(self, y: Tensor) -> Measurement:
        u = flat(self.functions.Ut(y.clone()))[:, : self.entries]
        s = self.functions.singulars().to(u)
        if s.dim() != 1 or not len(s) <= self.entries or not len(s) <= u.shape[1]:
            raise ValueError(
                f"H_funcs.singulars: expected at most {min(self.entries, u.shape[1])} values, "
                f"got {tuple(s.shape)}"
            )
        if bool((s < 0).any()) or not torch.isfinite(s).all():
            raise ValueError("H_funcs.singulars: expected finite values >= 0")
        s = torch.where(s > 0, s, self.zero)
        return Measurement(
            self.shape,
            pad(u, self.entries)[:, None, None].contiguous(),
            pad(s[None], self.entries)[:, None, None].contiguous(),
        )

    def _forward(self, x: Tensor) -> Tensor:
        return self.Vt(x)[:, None, None].contiguous()

    def _inverse(self, c: Tensor, shape: Shape, out: Tensor | None) -> Tensor:
        return into(self.V(c[:, 0, 0]), out)

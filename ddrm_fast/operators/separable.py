"""Separable operators y = A x B^T: blur with any boundary, decimation, bicubic downscaling."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Self, cast

import torch
from torch import Tensor

from ..machine.arguments import checked
from .base import (
    Measurement,
    Operator,
    Shape,
    as_real,
    cut_small,
    divides,
    expect_dims,
    whole_factor,
)
from .blur import Blur
from .cosine_decimate import CosineDecimation, has_cosine_basis
from .cuts import Cuts
from .spectral import TransformOperator, into
from .transforms import Kronecker

LARGEST_SIDE = 8192
BOUNDARIES = ("zero", "reflect", "periodic")


def filter_matrix(
    kernel: Tensor, length: int, factor: int = 1, boundary: str = "zero", centre: int | None = None
) -> Tensor:
    """Matrix (length / factor, length) of a 1-D filter that keeps every ``factor``-th sample.

    Row i has tap kernel[k] at column factor i + factor // 2 + centre - k (a convolution); taps beyond
    the ends are dropped ("zero"), reflected at half samples ("reflect") or wrapped ("periodic").

    Args:
        kernel:
            float64 [taps].
        centre:
            Tap over the sample; default (taps - 1) // 2 for even taps with factor > 1, else taps // 2.
    """
    taps = kernel.numel()
    if centre is None:
        centre = (taps - 1) // 2 if taps % 2 == 0 and factor > 1 else taps // 2
    rows = length // factor
    offset = factor // 2 + centre - torch.arange(taps)
    column = factor * torch.arange(rows)[:, None] + offset[None]
    weight = kernel.double()[None].expand(rows, taps)
    if boundary == "zero":
        weight = torch.where((column >= 0) & (column < length), weight, 0.0)
        column = column.clamp(0, length - 1)
    elif boundary == "periodic":
        column = column % length
    else:
        column = column % (2 * length)
        column = torch.where(column < length, column, 2 * length - 1 - column)
    matrix = torch.zeros(rows, length, dtype=torch.float64)
    return matrix.scatter_add_(1, column, weight)


class Separable(TransformOperator):
    """y = A x B^T for each channel, with A (h, H) and B (w, W) dense: two small SVDs.

    s = s_i s_j, and 0 for coefficients beyond A's and B's ranks. Costs two matrix products a transform
    and keeps two square factors; a side over 8192 is refused.

    Args:
        vertical, horizontal:
            A and B, float64 (rows <= columns).
        rcond:
            Singular values (products) below ``rcond`` times the largest count as 0.
    """

    def __init__(self, vertical: Tensor, horizontal: Tensor, rcond: float = 1e-3) -> None:
        super().__init__()
        self.rcond = rcond
        self.matrices = []
        for name, matrix in (("vertical", vertical), ("horizontal", horizontal)):
            matrix = as_real("matrix", matrix)
            if matrix.dim() != 2 or matrix.shape[0] > matrix.shape[1] or not matrix.numel():
                raise ValueError(
                    f"{name}: expected a matrix with rows <= columns, got {tuple(matrix.shape)}"
                )
            if not torch.isfinite(matrix).all():
                raise ValueError(f"{name}: has NaN or infinite entries")
            if matrix.shape[1] > LARGEST_SIDE:
                raise ValueError(
                    f"{name}: a side of {matrix.shape[1]} is over {LARGEST_SIDE}: the two square "
                    "factors and their matrix products would dominate; use a periodic or "
                    "reflecting boundary (FFT, DCT) or restore in windows"
                )
            self.matrices.append(matrix)
        self._factors = [torch.linalg.svd(matrix) for matrix in self.matrices]
        s1, s2 = (s for _, s, _ in self._factors)
        self._s_grid = cut_small(s1[:, None] * s2[None], rcond)[None, None]
        self._low_rank = bool((self._s_grid == 0).any())
        self._of_size: Callable[..., Separable] | None = None
        self._windows: dict[tuple[int, int], Separable] = {}

    @property
    def parameters(self) -> dict[str, object]:
        vertical, horizontal = self.matrices
        return {"vertical": vertical, "horizontal": horizontal, "rcond": self.rcond}

    def splits(self, grid: int, margin: int, of_size: Callable[..., Separable]) -> Separable:
        """Says that windows have an operator of this kind, ``of_size(size=(h, w))``; returns itself.

        The filter is reflected at the edges of a window. That is exact in its inside and at edges of the
        picture, if it is reflected there; elsewhere the outermost ``margin`` pixels are approximate.
        """
        self.grid, self.margin, self._of_size = grid, margin, of_size
        return self

    def windows(self, cuts: Cuts) -> Self:
        if self._of_size is None:
            return super().windows(cuts)
        size = (cuts.boxes[0].height, cuts.boxes[0].width)
        if size not in self._windows:
            self._windows[size] = self._of_size(size=size)
        return cast("Self", self._windows[size])

    @property
    def _image_size(self) -> tuple[int, int]:
        return self.matrices[0].shape[1], self.matrices[1].shape[1]

    @property
    def _measured_size(self) -> tuple[int, int]:
        return self.matrices[0].shape[0], self.matrices[1].shape[0]

    def check_image(self, shape: Shape) -> None:
        if tuple(shape[1:]) != self._image_size:
            raise ValueError(
                f"x: this operator is for {self._image_size[0]} x {self._image_size[1]} pixels, "
                f"got {shape[1]} x {shape[2]}"
            )

    def image_shape(self, y: Tensor) -> Shape:
        expect_dims("y", y, 4, "(B, C, h, w)")
        if tuple(y.shape[2:]) != self._measured_size:
            raise ValueError(
                f"y: expected {self._measured_size[0]} x {self._measured_size[1]} pixels, "
                f"got {y.shape[2]} x {y.shape[3]}"
            )
        return y.shape[1], *self._image_size

    def singulars(self, shape: Shape) -> Tensor:
        return self._s_grid

    def _basis(self, like: Tensor) -> Kronecker:
        (_, _, vh1), (_, _, vh2) = self._factors
        return Kronecker(
            self._constant("V vertical", vh1.mT, like), self._constant("V horizontal", vh2.mT, like)
        )

    def _output_basis(self, like: Tensor) -> Kronecker:
        (u1, _, _), (u2, _, _) = self._factors
        return Kronecker(
            self._constant("U vertical", u1, like), self._constant("U horizontal", u2, like)
        )

    def Vt(self, x: Tensor) -> Tensor:
        self._check(x)
        return self._basis(x).forward(x)

    def V(self, c: Tensor) -> Tensor:
        return self._basis(c).inverse(c)

    def measure(self, x: Tensor) -> Tensor:
        h, w = self._measured_size
        return self._basis(x).forward(x)[..., :h, :w]

    def _pad(self, c: Tensor) -> Tensor:
        (H, W), (h, w) = self._image_size, self._measured_size
        return torch.nn.functional.pad(c, (0, W - w, 0, H - h))

    def lift(self, c: Tensor, shape: Shape) -> Tensor:
        return self._basis(c).inverse(self._pad(c))

    def U(self, u: Tensor) -> Tensor:
        return self._output_basis(u).inverse(u)

    def Ut(self, y: Tensor) -> Tensor:
        return self._output_basis(y).forward(y)

    def H(self, x: Tensor) -> Tensor:
        self._check(x)
        if self._low_rank:
            return super().H(x)
        vertical, horizontal = self.matrices
        return self._constant("A", vertical, x) @ x @ self._constant("B", horizontal, x).mT

    def prepare(self, y: Tensor) -> Measurement:
        shape = self.image_shape(y)
        s = self._pad(self._s(shape, y))
        return Measurement(shape, self._pad(self.Ut(y)).contiguous(), s.contiguous())

    def _forward(self, x: Tensor) -> Tensor:
        return self._basis(x).forward(x)

    def _inverse(self, c: Tensor, shape: Shape, out: Tensor | None) -> Tensor:
        return into(self._basis(c).inverse(c), out)

    def __repr__(self) -> str:
        (H, W), (h, w) = self._image_size, self._measured_size
        return f"{type(self).__name__}({H} x {W} -> {h} x {w})"


def _taps(name: str, kernel: Tensor) -> Tensor:
    kernel = as_real("kernel", kernel)
    if kernel.dim() != 1 or not kernel.numel():
        raise ValueError(f"{name}: expected a 1-D kernel, got shape {tuple(kernel.shape)}")
    if not torch.isfinite(kernel).all() or not kernel.any():
        raise ValueError(f"{name}: has NaN or infinite entries, or is all zero")
    return kernel


def _pair(vertical: Tensor, horizontal: Tensor | None) -> tuple[Tensor, Tensor]:
    vertical = _taps("kernel", vertical)
    return vertical, vertical if horizontal is None else _taps("horizontal", horizontal)


@partial(checked, arrays=True)
def SeparableBlur(
    kernel: Tensor,
    horizontal: Tensor | None = None,
    *,
    size: tuple[int, int] | None = None,
    boundary: str = "zero",
    rcond: float = 1e-3,
) -> Operator:
    """Blur by ``kernel`` along columns and ``horizontal`` (default: the same) along rows.

    A periodic boundary becomes :class:`Blur` through the FFT and a reflecting one with odd, symmetric
    kernels through the DCT: any size, Theta(n) memory. All else keeps two square factors.

    Args:
        kernel, horizontal:
            1-D kernels; centre tap k // 2.
        size:
            (H, W) of the images; needed where no fast transform applies.
        boundary:
            "zero", "reflect" (half-sample) or "periodic".
    """
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary: expected one of {', '.join(BOUNDARIES)}, got {boundary!r}")
    vertical, horizontal = _pair(kernel, horizontal)
    symmetric = all(
        k.numel() % 2 and torch.allclose(k, k.flip(0), rtol=0, atol=1e-6 * float(k.abs().max()))
        for k in (vertical, horizontal)
    )
    if boundary == "periodic" or (boundary == "reflect" and symmetric):
        return Blur(vertical[:, None] * horizontal[None], boundary, rcond)
    if size is None:
        raise ValueError(f"size: (H, W) is needed for boundary {boundary!r} with this kernel")
    for taps, length in zip((vertical, horizontal), size, strict=True):
        if taps.numel() > 2 * length:
            raise ValueError(f"kernel: {taps.numel()} taps are too many for a side of {length}")
        _check_side(length)
    height, width = size
    columns = filter_matrix(vertical, height, boundary=boundary)
    operator = Separable(columns, filter_matrix(horizontal, width, boundary=boundary), rcond=rcond)
    if boundary != "reflect":
        return operator
    margin = max(vertical.numel(), horizontal.numel()) // 2
    # with this kernel and boundary it comes here again
    again = partial(SeparableBlur, vertical, horizontal, boundary=boundary, rcond=rcond)
    return operator.splits(1, margin, cast("Callable[..., Separable]", again))


def _check_side(length: int) -> None:
    """Refuses a large side before its matrix is made."""
    if length > LARGEST_SIDE:
        raise ValueError(
            f"size: a side of {length} is over {LARGEST_SIDE}; a periodic or reflecting boundary "
            "(FFT, DCT) has no such limit"
        )


@partial(checked, arrays=True)
def SeparableDecimation(
    kernel: Tensor,
    factor: int,
    *,
    size: tuple[int, int],
    horizontal: Tensor | None = None,
    boundary: str = "reflect",
    rcond: float = 1e-3,
) -> Operator:
    """Filter by a 1-D kernel along both axes, then keep one sample of every ``factor``.

    A reflecting boundary with kernels that are symmetric about a block's centre becomes
    :class:`CosineDecimation` through the DCT: Theta(n) memory, no side too large. All else keeps two
    square factors.

    Args:
        kernel:
            Taps along columns, and along rows unless ``horizontal`` is given.
        factor:
            Integer >= 1 that divides both sides.
        size:
            (H, W) of the images.
        boundary:
            "reflect" (half-sample), "zero" or "periodic".
    """
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary: expected one of {', '.join(BOUNDARIES)}, got {boundary!r}")
    factor = whole_factor(factor)
    divides(factor, (1, *size))
    pair = _pair(kernel, horizontal)
    product = pair[0][:, None] * pair[1][None]
    if boundary == "reflect" and has_cosine_basis(product, factor):
        return CosineDecimation(product, factor, rcond, size)
    return _dense_decimation(pair, factor, boundary, rcond, size=size)


def _dense_decimation(
    pair: tuple[Tensor, Tensor],
    factor: int,
    boundary: str,
    rcond: float,
    *,
    size: tuple[int, int],
) -> Separable:
    matrices: list[Tensor] = []
    for taps, length in zip(pair, size, strict=True):
        _check_side(length)
        matrices.append(filter_matrix(taps, length, factor, boundary))
    operator = Separable(matrices[0], matrices[1], rcond=rcond)
    if boundary != "reflect":
        return operator
    reach = max(taps.numel() for taps in pair) // 2
    again = partial(_dense_decimation, pair, factor, boundary, rcond)
    return operator.splits(factor, reach + -reach % factor, again)


@partial(checked, arrays=True)
def bicubic_kernel(factor: int, a: float = -0.5) -> Tensor:
    """Antialiasing bicubic kernel, stretched by the factor r and normalised (Keys 1981).

    Its centre is the block's centre: 4 r taps at (k - 2 r + 0.5) / r for even r, 4 r - 1 taps at
    (k - 2 r + 1) / r for odd r.
    """
    r = whole_factor(factor)
    taps = 4 * r - r % 2
    x = ((torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2) / r).abs()
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    kernel = torch.where(x <= 1, near, torch.where(x < 2, far, 0.0))
    return kernel / kernel.sum()


@partial(checked, arrays=True)
def BicubicDownscaling(
    factor: int, size: tuple[int, int] | None = None, rcond: float = 1e-3
) -> CosineDecimation:
    """Antialiased bicubic downscaling by an integer factor, half-sample reflecting boundary.

    Args:
        factor:
            Integer >= 1 that divides both sides.
        size:
            (H, W) of the images; None: any multiples of the factor.
        rcond:
            Singular values below ``rcond`` times the largest count as 0.
    """
    kernel = bicubic_kernel(factor)
    return CosineDecimation(kernel[:, None] * kernel[None], factor, rcond, size)

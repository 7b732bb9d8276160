"""Separable degradations y = A x B^T with dense matrices: bicubic downscaling, blurs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...operators.base import Measurement, Operator, Shape
from ...operators.cosine_decimate import CosineDecimation, alias_factors, has_cosine_basis
from ...operators.separable import Separable
from ...operators.spectral import TransformOperator
from ...ops.groups import spread_groups
from .base import Functions, dividing, flat, pad, whole

ZERO = 3e-2


class Basis(NamedTuple):
    """Singular value decomposition of a 1-D filter's matrix: U (m, m), s [m] descending, V (n, n)."""

    U: Tensor
    s: Tensor
    V: Tensor


def filter_matrix(kernel: Tensor, img_dim: int, stride: int = 1, reflect: bool = False) -> Tensor:
    """Matrix (img_dim / stride, img_dim) of a correlation, float32, as the published classes build it.

    Row i has tap k at column stride i + stride // 2 - L // 2 + k for k = 0 .. 2 (L // 2) - 1: of an odd
    number of taps the last is never used. Beyond the ends: reflected at half samples, or dropped.
    """
    used = 2 * (kernel.numel() // 2)
    row = torch.arange(img_dim // stride)[:, None]
    column = stride * row + stride // 2 - kernel.numel() // 2 + torch.arange(used)
    weight = kernel[:used].expand(len(row), used)
    if reflect:
        column = torch.where(column < 0, -column - 1, column)
        column = torch.where(column >= img_dim, 2 * img_dim - 1 - column, column)
    inside = (column >= 0) & (column < img_dim)
    if reflect and not inside.all():
        raise ValueError(
            f"kernel: {kernel.numel()} taps are too many to reflect once in {img_dim} pixels"
        )
    matrix = torch.zeros(len(row), img_dim)
    weight = torch.where(inside, weight, 0.0)
    return matrix.scatter_add_(1, column.clamp(0, img_dim - 1), weight)


def _taps(name: str, kernel: Tensor) -> Tensor:
    kernel = torch.as_tensor(kernel).detach().cpu().float()
    if kernel.dim() != 1 or kernel.numel() < 2:
        raise ValueError(f"{name}: expected two or more taps [L], got shape {tuple(kernel.shape)}")
    if not torch.isfinite(kernel).all() or not kernel.any():
        raise ValueError(f"{name}: has NaN or infinite taps, or is all zero")
    return kernel


def decompose(matrix: Tensor, given: Sequence[Tensor] | None, name: str = "basis") -> Basis:
    """The matrix's SVD in float32, or the one that is given if it belongs to the matrix."""
    if given is None:
        U, s, Vh = torch.linalg.svd(matrix)
        return Basis(U, s, Vh.mT.contiguous())
    if len(given) != 3:
        raise ValueError(f"{name}: expected (U, s, V), got {len(given)} entries")
    basis = Basis(*(torch.as_tensor(part).detach().cpu().float() for part in given))
    m, n = matrix.shape
    expected = ((m, m), (m,), (n, n))
    for part, value, shape in zip("UsV", basis, expected, strict=True):
        if tuple(value.shape) != shape:
            raise ValueError(f"{name}: expected {part} {shape}, got {tuple(value.shape)}")
    rebuilt = basis.U * basis.s @ basis.V[:, :m].mT
    if not float((rebuilt - matrix).abs().max()) <= 1e-4 * float(matrix.abs().max()):
        raise ValueError(f"{name}: U diag(s) V^T is not the matrix of the kernel")
    return basis


class Kronecker(Separable):
    """A separable operator with singular values of its own for each channel.

    Args:
        vertical, horizontal:
            SVDs of the two matrices.
        s:
            Singular values (1 or C, m, m) at the places of the products.
        zero:
            What stands for s = 0 in a step's weights; see :mod:`ddrm_fast.compat.weights`.
    """

    def __init__(self, vertical: Basis, horizontal: Basis, s: Tensor, zero: float) -> None:
        TransformOperator.__init__(self)
        pairs = (vertical, horizontal)
        self._factors = [(b.U.double(), b.s.double(), b.V.double().mT) for b in pairs]
        self._s_grid = s.double()[None]
        self._low_rank = True  # H always through the SVD: its singular values are what defines it
        self.zero = zero

    @property
    def _image_size(self) -> tuple[int, int]:
        return self._factors[0][2].shape[0], self._factors[1][2].shape[0]

    @property
    def _measured_size(self) -> tuple[int, int]:
        return self._factors[0][0].shape[0], self._factors[1][0].shape[0]

    def check_image(self, shape: Shape) -> None:
        super().check_image(shape)
        if self._s_grid.shape[1] not in (1, shape[0]):
            raise ValueError(f"x: expected {self._s_grid.shape[1]} channels, got {shape[0]}")

    def prepare(self, y: Tensor) -> Measurement:
        s = self._s(self.image_shape(y), y)
        s = torch.where(s > 0, s, self.zero)
        return Measurement(
            self.image_shape(y), self._pad(self.Ut(y)).contiguous(), self._pad(s).contiguous()
        )


class CosineSteps(CosineDecimation):
    """Steps of a decimation whose kernel has a cosine basis, with the published singular values.

    A step depends on the measured directions, their singular values and the null space, not on the basis
    in which they are written; LAPACK's V and U would cost two products with square matrices a transform.

    Args:
        kernel:
            1-D, of both axes.
        zero:
            What stands for s = 0 in a step's weights; see :mod:`ddrm_fast.compat.weights`.
    """

    def __init__(self, kernel: Tensor, factor: int, zero: float) -> None:
        kernel = kernel.double()
        super().__init__(kernel[:, None] * kernel, factor, rcond=0.0)
        self.taps, self.zero = kernel, zero

    def axis(self, length: int) -> Tensor:
        """Singular values along one axis, in the order of the cosine basis; float64 [length / factor]."""
        offset = torch.arange(len(self.taps), dtype=torch.float64) - (len(self.taps) - 1) / 2
        k = torch.arange(length, dtype=torch.float64)
        spectrum = torch.cos(torch.pi / length * k[:, None] * offset) @ self.taps
        profile = self._basis.regroup_axis(alias_factors(length, self.factor) * spectrum)
        return profile.view(-1, self.factor).norm(dim=1)

    def prepare(self, y: Tensor) -> Measurement:
        shape = self.image_shape(y)
        sides = [self.axis(n) for n in shape[1:]]
        raw = sides[0][:, None] * sides[1]
        rows, columns = (torch.where(s < ZERO, 0.0, s) for s in sides)
        s = rows[:, None] * columns
        s = torch.where(s > 0, s, self.zero)
        # the direction of a group is its mask / (s r^2)
        spread = spread_groups((s / raw)[None, None], self.factor, 1)
        mask = self.groups(shape).mask
        mask = spread if mask is None else mask * spread
        return Measurement(shape, self.Ut(y).contiguous(), s[None, None].to(y), mask=mask.to(y))


class _Separable(Functions):
    """Vectors are (coefficient, channel) with the channel fastest."""

    operator: Kronecker
    shape: tuple[int, int, int]
    channels: int
    img_dim: int

    def _spread(self, vec: Tensor, side: int) -> Tensor:
        """Coefficients (B, side^2 C), in row-major order, as planes (B, C, side, side)."""
        planes = vec.reshape(vec.shape[0], side**2, self.channels).mT
        return planes.reshape(len(vec), self.channels, side, side)

    def to_operator(self, y: Tensor, name: str = "vec") -> Tensor:
        side = self._measured_side()
        y = self.measurement(y, self.channels * side**2, name)
        return y.view(len(y), self.channels, side, side)

    def _measured_side(self) -> int:
        return self.operator._measured_size[0]


class SRConv(_Separable):
    """y = M x M^T with a filter that keeps every stride-th sample; half-sample reflecting boundary.

    Coefficients: the measured (img_dim / stride)^2 row by row, then the other columns of those rows,
    then the other rows. 1-D singular values below 3e-2 are set to 0.
    """

    def __init__(
        self,
        kernel: Tensor,
        channels: int,
        img_dim: int,
        device: torch.device | str,
        stride: int = 1,
        *,
        basis: Sequence[Tensor] | None = None,
    ) -> None:
        self.channels, self.img_dim = whole("channels", channels), whole("img_dim", img_dim)
        self.ratio = dividing(stride, img_dim, "stride")
        self.small_dim = m = img_dim // stride
        self.shape = (channels, img_dim, img_dim)
        self.device = torch.device(device)
        matrix = filter_matrix(_taps("kernel", kernel), img_dim, stride, reflect=True)
        raw = decompose(matrix, basis)
        s = torch.where(raw.s < ZERO, 0.0, raw.s)
        self._s = (s[:, None] * s[None]).flatten()
        self.operator = Kronecker(raw, raw, self._s.view(1, m, m), self.zero)
        self._steps = self._cosine_steps(_taps("kernel", kernel), stride)
        place = torch.arange(img_dim**2).view(img_dim, img_dim)
        top = place[:m]
        self._order = torch.cat((top[:, :m].flatten(), top[:, m:].flatten(), place[m:].flatten()))

    def _cosine_steps(self, kernel: Tensor, stride: int) -> CosineSteps | None:
        """Steps in the cosine basis, where the taps in use have one and every direction is measured."""
        taps = kernel[: 2 * (kernel.numel() // 2)]
        if not has_cosine_basis(taps[:, None] * taps, stride):
            return None
        steps = CosineSteps(taps, stride, self.zero)
        s = steps.axis(self.img_dim)
        return steps if float(s.min()) > 1e-4 * float(s.max()) else None

    def stepping(self) -> Operator | None:
        usual = self.fast()
        return usual if usual is None or self._steps is None else self._steps

    def singulars(self) -> Tensor:
        return self._s.repeat_interleave(self.channels).to(self.device)

    def V(self, vec: Tensor) -> Tensor:
        planes = flat(self.image(vec)).unflatten(1, (self.img_dim**2, self.channels)).mT
        spread = planes.new_empty(planes.shape)
        spread.index_copy_(2, self._order.to(vec.device), planes)
        return flat(self.operator.V(spread.view(len(vec), *self.shape)))

    def Vt(self, vec: Tensor) -> Tensor:
        planes = self.operator.Vt(self.image(vec)).flatten(2)
        return flat(planes.index_select(2, self._order.to(vec.device)).mT)

    def U(self, vec: Tensor) -> Tensor:
        vec = self.measurement(vec, self.channels * self.small_dim**2)
        return flat(self.operator.U(self._spread(vec, self.small_dim)))

    def Ut(self, vec: Tensor) -> Tensor:
        return flat(self.operator.Ut(self.to_operator(vec)).flatten(2).mT)

    def add_zeros(self, vec: Tensor) -> Tensor:
        return pad(vec, self.channels * self.img_dim**2)


class _Blur(_Separable):
    """Blurs of one size: coefficients by descending product of the 1-D singular values."""

    def _build(
        self,
        vertical: Basis,
        horizontal: Basis,
        zero: float,
        ordered: bool,
        order: Tensor | None,
        device: torch.device | str,
    ) -> None:
        """Args:
        ordered:
            False: coefficient j = C k + c takes the sorted singular value j mod n^2, as published (for
            C > 1 another operator than the blur). True: the k-th.
        order:
            The sort's permutation, if it is to be another than torch's here (ties).
        """
        raw = (vertical.s[:, None] * horizontal.s[None]).flatten()
        s1, s2 = (torch.where(b.s < zero, 0.0, b.s) for b in (vertical, horizontal))
        s = (s1[:, None] * s2[None]).flatten()
        if order is None:
            sorted_s, order = s.sort(descending=True)
        else:
            sorted_s = s[order]
            if bool((sorted_s.diff() > 1e-6 * s.max()).any()):
                raise ValueError("order: does not sort the singular values in descending order")
        self.device = torch.device(device)
        self.ordered = ordered
        self._order = order
        repeated = sorted_s.repeat_interleave(self.channels)
        self._singulars = repeated if ordered else sorted_s.repeat(self.channels)
        #: before thresholding, in the order of the coefficients
        self._raw_singulars = raw[order].repeat_interleave(self.channels)
        self._bases = (vertical, horizontal)
        self.operator = Kronecker(vertical, horizontal, self._plane(self._singulars), self.zero)

    def _plane(self, vec: Tensor) -> Tensor:
        """One number per coefficient (k, channel), at its place (C, n, n)."""
        planes = torch.empty(self.channels, self.img_dim**2)
        planes[:, self._order] = vec.view(-1, self.channels).mT
        return planes.view(self.shape)

    def singulars(self) -> Tensor:
        return self._singulars.to(self.device)

    def _from_order(self, vec: Tensor) -> Tensor:
        planes = flat(self.image(vec)).unflatten(1, (self.img_dim**2, self.channels)).mT
        spread = planes.new_empty(planes.shape)
        return spread.index_copy_(2, self._order.to(vec.device), planes).unflatten(
            2, self.shape[1:]
        )

    def arrange(self, vec: Tensor) -> Tensor:
        """The pixels in the order of coefficients, without V^T."""
        return flat(self.image(vec).flatten(2).index_select(2, self._order.to(vec.device)).mT)

    def V(self, vec: Tensor) -> Tensor:
        return flat(self.operator.V(self._from_order(vec)))

    def Vt(self, vec: Tensor) -> Tensor:
        return self.arrange(self.operator.Vt(self.image(vec)))

    def U(self, vec: Tensor) -> Tensor:
        return flat(self.operator.U(self._from_order(vec)))

    def Ut(self, vec: Tensor) -> Tensor:
        return self.arrange(self.operator.Ut(self.to_operator(vec)))

    def add_zeros(self, vec: Tensor) -> Tensor:
        return flat(self.image(vec)).clone()


def _order(order: Tensor | None, n: int) -> Tensor | None:
    if order is None:
        return None
    order = torch.as_tensor(order).detach().cpu().long()
    if order.shape != (n * n,) or bool((order.sort()[0] != torch.arange(n * n)).any()):
        raise ValueError(f"order: expected a permutation of {n * n} indices")
    return order


class Deblurring(_Blur):
    """y = M x M^T with one kernel along both axes and a zero boundary."""

    def __init__(
        self,
        kernel: Tensor,
        channels: int,
        img_dim: int,
        device: torch.device | str,
        ZERO: float = ZERO,
        *,
        ordered: bool = False,
        basis: Sequence[Tensor] | None = None,
        order: Tensor | None = None,
    ) -> None:
        self.channels, self.img_dim = whole("channels", channels), whole("img_dim", img_dim)
        self.shape = (channels, img_dim, img_dim)
        raw = decompose(filter_matrix(_taps("kernel", kernel), img_dim), basis)
        self._build(raw, raw, ZERO, ordered, _order(order, img_dim), device)


class Deblurring2D(_Blur):
    """y = M1 x M2^T: ``kernel1`` along columns, ``kernel2`` along rows; zero boundary."""

    def __init__(
        self,
        kernel1: Tensor,
        kernel2: Tensor,
        channels: int,
        img_dim: int,
        device: torch.device | str,
        *,
        ordered: bool = False,
        basis: Sequence[Sequence[Tensor]] | None = None,
        order: Tensor | None = None,
    ) -> None:
        self.channels, self.img_dim = whole("channels", channels), whole("img_dim", img_dim)
        self.shape = (channels, img_dim, img_dim)
        given = (None, None) if basis is None else tuple(basis)
        if len(given) != 2:
            raise ValueError(f"basis: expected two of (U, s, V), got {len(given)}")
        vertical, horizontal = (
            decompose(filter_matrix(_taps(f"kernel{i}", kernel), img_dim), part, f"basis[{i - 1}]")
            for i, kernel, part in zip((1, 2), (kernel1, kernel2), given, strict=True)
        )
        self._build(vertical, horizontal, ZERO, ordered, _order(order, img_dim), device)

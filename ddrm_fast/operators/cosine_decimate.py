"""Blur by a kernel symmetric about its centre, then one sample for each r x r block: exact SVD by the DCT."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import ops
from ..ops import Noise
from ..ops.groups import group_sum
from .base import Measurement, Shape, cut_small, divides, expect_dims, whole_factor
from .block import SuperResolution
from .blur import check_kernel, cosine_spectrum
from .cuts import Cuts
from .spectral import FieldOperator, into
from .transforms import Cosine, GroupedCosine


def has_cosine_basis(kernel: Tensor, factor: int) -> bool:
    """Whether a kernel (..., kh, kw) is symmetric under each axis flip, and its centre that of a block."""
    return all(
        kernel.shape[axis] % 2 == factor % 2
        and bool((kernel - kernel.flip(axis)).abs().max() <= 1e-6 * kernel.abs().max())
        for axis in (-2, -1)
    )


def alias_factors(length: int, factor: int) -> Tensor:
    """What coefficient k of ``length`` samples brings to that of the decimated ones, but for the kernel.

    With M = length / factor: (-1)^a / sqrt(r) for k = 2 a M +- k', times sqrt(2) where k' = 0 < a, since the
    orthonormal coefficient 0 has another scale; 0 for odd multiples of M. float64 [length].
    """
    small = length // factor
    k = torch.arange(length)
    block, place = k // small, k % small
    factors = torch.full((length,), factor**-0.5, dtype=torch.float64)
    factors[(block + 1) // 2 % 2 == 1] *= -1
    factors[(place == 0) & (block > 0)] *= 2**0.5
    factors[(place == 0) & (block % 2 == 1)] = 0.0
    return factors


class CosineDecimation(FieldOperator):
    """y[j] = sum_i kernel x around r (j + 1/2), along both axes; half-sample reflecting boundary.

    With orthonormal DCTs of N and M = N / r samples the coefficients k, 2M - k, 2M + k, 4M - k, ... fold
    onto coefficient k, with signs + - - + + ...: r of them, one measured direction
    w_k = K_k sign_k / norm for each group, s = norm / sqrt(r) along each axis. Odd multiples of M vanish
    in every sample; they stand in the group of 0. Theta(n log n), and no side is too large.

    In the order of these groups the coefficients are a picture whose r x r blocks are averaged with
    weights, as :class:`SuperResolution` does; steps are its steps.

    Args:
        kernel:
            (kh, kw) or (C, kh, kw), symmetric under each axis flip; sides even where r is even, odd where
            it is odd, so that its centre is that of a block.
        factor:
            Decimation r >= 1; divides height and width.
        rcond:
            Singular values below ``rcond`` times the largest count as 0.
        size:
            (H, W) of the images; None: any multiples of the factor.

    Raises:
        ValueError: the kernel is not finite, or has no such basis.
    """

    parameter_names = ("factor", "rcond", "size")
    field_basis = Cosine

    def __init__(
        self,
        kernel: Tensor,
        factor: int,
        rcond: float = 1e-3,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.kernel = check_kernel(kernel)
        self.factor = self.grid = whole_factor(factor)
        self.rcond = rcond
        self.size = size
        cut_small(torch.zeros(0), rcond)
        if not has_cosine_basis(self.kernel, factor):
            kh, kw = self.kernel.shape[-2:]
            raise ValueError(
                f"kernel: expected one that is symmetric under each axis flip, of "
                f"{'odd' if factor % 2 else 'even'} sides for factor {factor}, got {kh} x {kw}; "
                "SeparableDecimation and BlurDecimate take others"
            )
        if size is not None:
            divides(factor, (1, *size))
        reach = max(self.kernel.shape[-2:]) // 2
        self.margin = reach + -reach % factor
        self._basis = GroupedCosine(factor)
        self._groups: dict[tuple[int, int], SuperResolution] = {}

    @property
    def parameters(self) -> dict[str, object]:
        return {"kernel": self.kernel[0], **super().parameters}

    def windows(self, cuts: Cuts) -> CosineDecimation:
        """The same of a window, reflected at its edges: see :meth:`Blur.windows`."""
        return (
            self if self.size is None else CosineDecimation(self.kernel[0], self.factor, self.rcond)
        )

    def check_image(self, shape: Shape) -> None:
        if self.size is not None and tuple(shape[1:]) != tuple(self.size):
            raise ValueError(
                f"x: this operator is for {self.size[0]} x {self.size[1]} pixels, "
                f"got {shape[1]} x {shape[2]}"
            )
        divides(self.factor, shape)
        if self.kernel.shape[1] not in (1, shape[0]):
            raise ValueError(
                f"kernel: is for {self.kernel.shape[1]} channels, the image has {shape[0]}"
            )

    def image_shape(self, y: Tensor) -> Shape:
        expect_dims("y", y, 4, "(B, C, H / factor, W / factor)")
        if self.size is not None and tuple(y.shape[2:]) != tuple(
            n // self.factor for n in self.size
        ):
            h, w = (n // self.factor for n in self.size)
            raise ValueError(f"y: expected {h} x {w} pixels, got {y.shape[2]} x {y.shape[3]}")
        shape = (y.shape[1], y.shape[2] * self.factor, y.shape[3] * self.factor)
        self.check_image(shape)
        return shape

    def groups(self, shape: Shape) -> SuperResolution:
        """The weighted block means that this is in coefficients, of images (C, H, W)."""
        size = shape[1], shape[2]
        if size not in self._groups:
            if len(self._groups) > 8:
                self._groups.clear()
            factors = [alias_factors(n, self.factor) for n in size]
            profile = factors[0][:, None] * factors[1] * cosine_spectrum(self.kernel, *size)
            mask = self._basis.regroup(profile) * self.factor**2
            self._groups[size] = SuperResolution(self.factor, None, mask, self.rcond)
        return self._groups[size]

    def singulars(self, shape: Shape) -> Tensor:
        return self.groups(shape).singulars(shape)

    def spread(self, power: Tensor, shape: Shape) -> Tensor:
        means = self.groups(shape)
        small = (1, self.kernel.shape[1], *(n // self.factor for n in shape[1:]))
        w = means.lift(power.new_ones(small), (self.kernel.shape[1], *shape[1:]))
        return group_sum(w.square() * self._basis.regroup(power), self.factor, False)

    def measure(self, x: Tensor) -> Tensor:
        return self.groups(tuple(x.shape[1:])).measure(self._basis.forward(x))

    def lift(self, c: Tensor, shape: Shape) -> Tensor:
        return self._basis.inverse(self.groups(shape).lift(c, shape))

    def U(self, u: Tensor) -> Tensor:
        return Cosine.inverse(u)

    def Ut(self, y: Tensor) -> Tensor:
        return Cosine.forward(y)

    def Vt(self, x: Tensor) -> Tensor:
        """Coefficients in the image's shape: the first place of each r x r block holds a measured one."""
        self._check(x)
        return self.groups(tuple(x.shape[1:])).Vt(self._basis.forward(x))

    def V(self, c: Tensor) -> Tensor:
        return self._basis.inverse(self.groups(tuple(c.shape[1:])).V(c))

    def prepare(self, y: Tensor) -> Measurement:
        shape = self.image_shape(y)
        blocks = self.groups(shape).prepare(self.Ut(y))
        return Measurement(shape, blocks.u, blocks.s, mask=blocks.mask)

    def _forward(self, x: Tensor) -> Tensor:
        return self._basis.forward(x)

    def _inverse(self, c: Tensor, shape: Shape, out: Tensor | None) -> Tensor:
        return into(self._basis.inverse(c), out)

    def _coefficient_space(self, batch: int, u: Measurement) -> tuple[tuple[int, ...], torch.dtype]:
        return (batch, *u.image_shape), u.u.dtype

    def _update(
        self,
        x_t: Tensor | None,
        out: Tensor | None,
        u: Measurement,
        table: Tensor,
        step: Tensor,
        noise: Noise,
        x_next: Tensor,
    ) -> None:
        ops.block_step(
            x_t, out, u.u, u.s, None, u.mask, self.factor, table, step, noise, x_next=x_next
        )

    def __repr__(self) -> str:
        taps = " x ".join(map(str, self.kernel.shape[-2:]))
        return f"CosineDecimation({taps}, factor={self.factor})"

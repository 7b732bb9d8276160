"""Blur by any 2-D kernel, then keep every r-th pixel: exact SVD through aliased frequencies."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import ops
from ..ops import Noise
from ..ops.groups import full_spectrum
from .base import Measurement, Shape, cut_small, divides, expect_dims, whole_factor
from .blur import check_kernel, fits, kernel_spectrum
from .spectral import FieldOperator
from .transforms import Fourier


class BlurDecimate(FieldOperator):
    """y = (kernel * x)[::r, ::r], periodic boundary.

    With unitary FFTs the r^2 frequencies f + a N / r fold onto one measured frequency: its group has
    norm = sqrt(sum |K_j|^2), w_j = K_j / norm, s = norm / r, and the rest is null space.

    Args:
        kernel:
            (kh, kw) or (C, kh, kw), no larger than the image; centre (kh // 2, kw // 2).
        factor:
            Decimation r >= 1; divides height and width.
        rcond:
            Singular values below ``rcond`` times the largest count as 0.
    """

    parameter_names = ("factor", "rcond")
    field_basis = Fourier

    def __init__(self, kernel: Tensor, factor: int, rcond: float = 1e-3) -> None:
        super().__init__()
        self.kernel = check_kernel(kernel)
        self.factor = whole_factor(factor)
        self.rcond = rcond
        cut_small(torch.zeros(0), rcond)

    @property
    def parameters(self) -> dict[str, object]:
        return {"kernel": self.kernel[0], **super().parameters}

    def check_image(self, shape: Shape) -> None:
        divides(self.factor, shape)
        fits(self.kernel, shape)

    def image_shape(self, y: Tensor) -> Shape:
        expect_dims("y", y, 4, "(B, C, H / factor, W / factor)")
        shape = (y.shape[1], y.shape[2] * self.factor, y.shape[3] * self.factor)
        self.check_image(shape)
        return shape

    def _fold(self, full: Tensor) -> Tensor:
        """Sum over the frequencies that alias: (..., H, W) to (..., H / r, W / r)."""
        r = self.factor
        height, width = full.shape[-2:]
        return full.reshape(*full.shape[:-2], r, height // r, r, width // r).sum(dim=(-4, -2))

    def singulars(self, shape: Shape) -> Tensor:
        K = full_spectrum(kernel_spectrum(self.kernel, *shape[1:]), shape[2])
        return cut_small(self._fold(K.abs().square()).sqrt() / self.factor, self.rcond)

    def _half_singulars(self, shape: Shape, like: Tensor) -> Tensor:
        half = shape[2] // self.factor // 2 + 1
        real = like.dtype

        def make() -> Tensor:
            return self.singulars(shape)[..., :half].to(like.device, real).contiguous()

        return self._keep(("half singulars", shape, real, like.device), make)

    def _kernel(self, shape: Shape, like: Tensor) -> Tensor:
        """Half spectrum of the kernel, 0 in the groups that count as not measured."""
        dtype = like.dtype.to_complex()

        def make() -> Tensor:
            K = kernel_spectrum(self.kernel, *shape[1:])
            kept = (self.singulars(shape) > 0).repeat(1, 1, self.factor, self.factor)
            K = torch.where(kept[..., : K.shape[-1]], K, 0.0)
            return K.to(like.device, dtype).contiguous()

        return self._keep(("kernel", shape, dtype, like.device), make)

    def _direction(self, shape: Shape, like: Tensor) -> Tensor:
        """w on the full grid of frequencies, 0 in groups that are not measured."""
        s = self._s(shape, like)
        scale = torch.where(s > 0, 1.0 / torch.where(s > 0, s, 1.0), 0.0) / self.factor
        spread = scale.repeat(1, 1, self.factor, self.factor)
        return full_spectrum(self._kernel(shape, like), shape[2]) * spread

    def spread(self, power: Tensor, shape: Shape) -> Tensor:
        return self._fold(self._direction(shape, power).abs().square() * power)

    def measure(self, x: Tensor) -> Tensor:
        w = self._direction(tuple(x.shape[1:]), x)
        return self._fold(w * Fourier.full(x))

    def lift(self, c: Tensor, shape: Shape) -> Tensor:
        w = self._direction(shape, c.real)
        spread = c.repeat(1, 1, self.factor, self.factor)
        return Fourier.full_inverse(w.conj() * spread)

    def H(self, x: Tensor) -> Tensor:
        self._check(x)
        blurred = self._kernel(tuple(x.shape[1:]), x) * Fourier.forward(x)
        return Fourier.inverse(blurred, x.shape[-1])[..., :: self.factor, :: self.factor]

    def Ht(self, y: Tensor) -> Tensor:
        shape = self.image_shape(y)
        x = torch.zeros(y.shape[0], *shape, dtype=y.dtype, device=y.device)
        x[..., :: self.factor, :: self.factor] = y
        return Fourier.inverse(self._kernel(shape, y).conj() * Fourier.forward(x), shape[2])

    def U(self, u: Tensor) -> Tensor:
        return Fourier.full_inverse(u)

    def Ut(self, y: Tensor) -> Tensor:
        return Fourier.full(y)

    def _reflector(self, shape: Shape, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Complex Householder vector v = w' + phase(w'_1) e_1 with w' = conj(w); see block.py."""
        w = self._direction(shape, like).conj()
        height, width = shape[1] // self.factor, shape[2] // self.factor
        corner = torch.zeros_like(w.real)
        corner[..., :height, :width] = 1.0
        measured = (self._s(shape, like) > 0).repeat(1, 1, self.factor, self.factor)
        size = w.abs()
        phase = torch.where(size > 0, w / torch.where(size > 0, size, 1.0), 1.0)
        v = w + phase * (corner * measured)
        square = self._fold(v.abs().square())
        beta = torch.where(square > 0, 2.0 / torch.where(square > 0, square, 1.0), 0.0)
        flip = torch.where((corner > 0) & measured, -phase, 1.0)
        return v, beta, flip

    def _reflect(self, X: Tensor, v: Tensor, beta: Tensor) -> Tensor:
        t = beta * self._fold(v.conj() * X)
        return X - v * t.repeat(1, 1, self.factor, self.factor)

    def Vt(self, x: Tensor) -> Tensor:
        """Full spectrum (complex) with one reflection per group of aliasing frequencies."""
        self._check(x)
        v, beta, flip = self._reflector(tuple(x.shape[1:]), x)
        return flip.conj() * self._reflect(Fourier.full(x), v, beta)

    def V(self, c: Tensor) -> Tensor:
        v, beta, flip = self._reflector(tuple(c.shape[1:]), c.real)
        return Fourier.full_inverse(self._reflect(flip * c, v, beta))

    def prepare(self, y: Tensor) -> Measurement:
        shape = self.image_shape(y)
        s = self._half_singulars(shape, y)
        return Measurement(shape, Fourier.forward(y), s, kernel=self._kernel(shape, y))

    def _forward(self, x: Tensor) -> Tensor:
        return Fourier.forward(x)

    def _inverse(self, c: Tensor, shape: Shape, out: Tensor | None) -> Tensor:
        return Fourier.inverse(c, shape[2], out)

    def _coefficient_space(self, batch: int, u: Measurement) -> tuple[tuple[int, ...], torch.dtype]:
        channels, height, width = u.image_shape
        return (batch, channels, height, width // 2 + 1), u.u.dtype

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
        if u.kernel is None:
            raise ValueError("u: was prepared by another operator: it holds no kernel")
        ops.alias_step(
            x_t, out, u.u, u.kernel, u.s, table, step, noise, self.factor, u.image_shape[2],
            x_next=x_next,
        )  # fmt: skip

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.kernel.shape[-2:]))
        return f"BlurDecimate({size}, factor={self.factor})"

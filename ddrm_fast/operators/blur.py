"""Blur by any 2-D kernel: periodic boundary through the FFT, reflecting through the DCT."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import ops
from ..machine.arguments import checked
from ..ops import Noise
from ..ops.groups import full_spectrum
from .base import KEEPS_WHOLE, Measurement, Shape, as_real, cut_small, expect_dims
from .cuts import Cuts
from .spectral import FieldOperator, into
from .transforms import Cosine, Fourier


def check_kernel(kernel: Tensor) -> Tensor:
    """A blur kernel (kh, kw) or (C, kh, kw) as float64 (1, C or 1, kh, kw)."""
    kernel = as_real("kernel", kernel)
    if kernel.dim() not in (2, 3) or kernel.numel() == 0:
        raise ValueError(f"kernel: expected (kh, kw) or (C, kh, kw), got {tuple(kernel.shape)}")
    if not torch.isfinite(kernel).all():
        raise ValueError("kernel: has NaN or infinite entries")
    if not kernel.any():
        raise ValueError("kernel: is all zero")
    return kernel[None] if kernel.dim() == 3 else kernel[None, None]


def fits(kernel: Tensor, shape: Shape) -> None:
    """Raises ValueError unless the kernel is no larger than the image and its channels fit."""
    channels, kh, kw = kernel.shape[1:]
    if kh > shape[1] or kw > shape[2]:
        raise ValueError(f"kernel: {kh} x {kw} is larger than the image of {shape[1]} x {shape[2]}")
    if channels not in (1, shape[0]):
        raise ValueError(f"kernel: is for {channels} channels, the image has {shape[0]}")


def kernel_spectrum(kernel: Tensor, height: int, width: int) -> Tensor:
    """Half spectrum of a kernel with its centre (kh // 2, kw // 2) at the origin: eigenvalues of the
    periodic convolution, complex128 (1, C or 1, height, width // 2 + 1)."""
    kh, kw = kernel.shape[-2:]
    padded = torch.zeros(*kernel.shape[:2], height, width, dtype=torch.float64)
    padded[..., :kh, :kw] = kernel
    padded = torch.roll(padded, (-(kh // 2), -(kw // 2)), dims=(-2, -1))
    return torch.fft.rfft2(padded)


def cosine_spectrum(kernel: Tensor, height: int, width: int) -> Tensor:
    """Eigenvalues of a symmetric kernel's reflecting convolution, float64 (1, C or 1, height, width):

    K[p, q] = sum_ij kernel[i, j] cos(pi p i / H) cos(pi q j / W), i and j from the centre.
    """

    def cosines(taps: int, length: int) -> Tensor:
        offset = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
        frequency = torch.arange(length, dtype=torch.float64)
        return torch.cos(torch.pi * offset[:, None] * frequency[None] / length)

    kh, kw = kernel.shape[-2:]
    return cosines(kh, height).mT @ kernel @ cosines(kw, width)


class Blur(FieldOperator):
    """y = kernel * x with periodic or reflecting boundary.

    y[i] = sum_k kernel[k] x[i - (k - centre)], centre = (kh // 2, kw // 2) (a convolution, as
    ``scipy.ndimage.convolve``). The spectrum K diagonalises it: s = |K|, w = phase of K.

    Args:
        kernel:
            (kh, kw), or (C, kh, kw) for a kernel per channel; no larger than the image. A 1-D motion
            blur is a kernel of one row.
        boundary:
            "periodic": any kernel. "reflect" (half-sample: d c b a | a b c d): an odd-sized kernel
            that is symmetric under each axis flip separately.
        rcond:
            Singular values below ``rcond`` times the largest count as 0: kernels have exact zeros that
            arithmetic shows as 1e-17.

    Raises:
        ValueError: the kernel is not finite, or has no cosine spectrum where that is needed.
    """

    parameter_names = ("boundary", "rcond")

    def __init__(self, kernel: Tensor, boundary: str = "periodic", rcond: float = 1e-3) -> None:
        super().__init__()
        self.kernel = check_kernel(kernel)
        self.rcond = rcond
        cut_small(torch.zeros(0), rcond)
        if boundary not in ("periodic", "reflect"):
            raise ValueError(f"boundary: expected 'periodic' or 'reflect', got {boundary!r}")
        self.boundary = boundary
        self.field_basis = Fourier if boundary == "periodic" else Cosine
        if boundary == "reflect":
            try:
                self._check_symmetry()
            except ValueError as error:
                raise ValueError(f"kernel: {error}; use boundary='periodic'") from None
        self.margin = max(self.kernel.shape[-2:]) // 2

    @property
    def parameters(self) -> dict[str, object]:
        return {"kernel": self.kernel[0], **super().parameters}

    def windows(self, cuts: Cuts) -> Blur:
        """The blur of a window that is reflected at its edges.

        Exact in the window's inside, and at edges of a picture that was reflected there. At other edges
        what lies beyond was blurred into the last ``margin`` pixels, and the reflection stands for it.
        """
        if self.boundary == "reflect":
            return self
        try:
            self._check_symmetry()
        except ValueError as error:
            raise ValueError(
                f"operator: windows of a blur are reflected at their edges, and {error}; {KEEPS_WHOLE}"
            ) from None
        return Blur(self.kernel[0], "reflect", self.rcond)

    def _check_symmetry(self) -> None:
        kh, kw = self.kernel.shape[-2:]
        if kh % 2 == 0 or kw % 2 == 0:
            raise ValueError(f"boundary 'reflect' needs odd sides, got {kh} x {kw}")
        scale = self.kernel.abs().max()
        for axis in (-2, -1):
            if (self.kernel - self.kernel.flip(axis)).abs().max() > 1e-6 * scale:
                raise ValueError(
                    "boundary 'reflect' needs symmetry under each axis flip separately "
                    "(a rotated Gaussian has only point symmetry and is not diagonal in the DCT)"
                )

    def check_image(self, shape: Shape) -> None:
        fits(self.kernel, shape)

    def image_shape(self, y: Tensor) -> Shape:
        expect_dims("y", y, 4, "(B, C, H, W)")
        shape = tuple(y.shape[1:])
        self.check_image(shape)
        return shape

    def _eigenvalues(self, shape: Shape) -> Tensor:
        """Eigenvalues with small ones set to 0: half spectrum, or the cosine spectrum (real)."""
        height, width = shape[1:]
        if self.boundary == "periodic":
            spectrum = kernel_spectrum(self.kernel, height, width)
        else:
            spectrum = cosine_spectrum(self.kernel, height, width)
        return torch.where(cut_small(spectrum.abs(), self.rcond) > 0, spectrum, 0.0)

    def _spectrum(self, shape: Shape, like: Tensor) -> Tensor:
        dtype = like.dtype.to_complex() if self.boundary == "periodic" else like.dtype
        key = ("spectrum", shape, dtype, like.device)
        return self._keep(key, lambda: self._eigenvalues(shape).to(like.device, dtype))

    def singulars(self, shape: Shape) -> Tensor:
        s = self._eigenvalues(shape).abs()
        return full_spectrum(s, shape[2]) if self.boundary == "periodic" else s

    def _phase(self, shape: Shape, like: Tensor) -> Tensor:
        """w = K / |K|, 1 where K = 0."""

        def make() -> Tensor:
            K = self._eigenvalues(shape)
            w = torch.where(K == 0, 1.0, K / torch.where(K == 0, 1.0, K.abs()))
            return w.to(like.device, like.dtype.to_complex() if w.is_complex() else like.dtype)

        return self._keep(("phase", shape, like.dtype, like.device), make)

    def _filter(self, x: Tensor, response: Tensor) -> Tensor:
        if self.boundary == "periodic":
            return Fourier.inverse(response * Fourier.forward(x), x.shape[-1])
        return Cosine.inverse(response * Cosine.forward(x))

    def H(self, x: Tensor) -> Tensor:
        self._check(x)
        return self._filter(x, self._spectrum(tuple(x.shape[1:]), x))

    def Ht(self, y: Tensor) -> Tensor:
        return self._filter(y, self._spectrum(self.image_shape(y), y).conj())

    def H_pinv(self, y: Tensor) -> Tensor:
        K = self._spectrum(self.image_shape(y), y)
        inverse = torch.where(K == 0, 0.0, 1.0 / torch.where(K == 0, 1.0, K))
        return self._filter(y, inverse.to(K.dtype))

    def spread(self, power: Tensor, shape: Shape) -> Tensor:
        return power.expand(1, 1, *power.shape)

    def project(self, x0: Tensor, y: Tensor, sigma: float | Tensor, sigma_y: Tensor) -> Tensor:
        """As :meth:`Operator.project`, in half spectra."""
        self._check(x0)
        K = self._spectrum(self.image_shape(y), y)
        power, prior = K.abs().square(), float(sigma) ** 2
        variance = torch.as_tensor(sigma_y, dtype=power.dtype, device=power.device).square()
        total = power * prior + variance.reshape(-1, 1, 1, 1)
        gain = K.conj() * torch.where(total > 0, prior / torch.where(total > 0, total, 1.0), 0.0)
        gain = torch.where((total > 0) | (K == 0), gain, 1.0 / torch.where(K == 0, 1.0, K))
        change = gain * (self._forward(y) - K * self._forward(x0))
        return x0 + self._inverse(change, tuple(x0.shape[1:]), None)

    def Vt(self, x: Tensor) -> Tensor:
        """Full unitary spectrum times the phase of K (complex), or the cosine spectrum."""
        self._check(x)
        shape = tuple(x.shape[1:])
        if self.boundary == "reflect":
            return self._phase(shape, x) * Cosine.forward(x)
        return full_spectrum(self._phase(shape, x), shape[2]) * Fourier.full(x)

    def V(self, c: Tensor) -> Tensor:
        shape = tuple(c.shape[1:])
        if self.boundary == "reflect":
            return Cosine.inverse(self._phase(shape, c) * c)
        phase = full_spectrum(self._phase(shape, c.real), shape[2])
        return Fourier.full_inverse(phase.conj() * c)

    def measure(self, x: Tensor) -> Tensor:
        return self.Vt(x)

    def lift(self, c: Tensor, shape: Shape) -> Tensor:
        return self.V(c)

    def U(self, u: Tensor) -> Tensor:
        if self.boundary == "reflect":
            return Cosine.inverse(u)
        return Fourier.full_inverse(u)

    def Ut(self, y: Tensor) -> Tensor:
        if self.boundary == "reflect":
            return Cosine.forward(y)
        return Fourier.full(y)

    def prepare(self, y: Tensor) -> Measurement:
        shape = self.image_shape(y)
        u = self._phase(shape, y).conj() * self._forward(y)
        return Measurement(shape, u.contiguous(), self._spectrum(shape, y).abs())

    def _forward(self, x: Tensor) -> Tensor:
        return Fourier.forward(x) if self.boundary == "periodic" else Cosine.forward(x)

    def _inverse(self, c: Tensor, shape: Shape, out: Tensor | None) -> Tensor:
        if self.boundary == "periodic":
            return Fourier.inverse(c, shape[2], out)
        return into(Cosine.inverse(c), out)

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
        if self.boundary == "reflect":
            return super()._update(x_t, out, u, table, step, noise, x_next)
        width = u.image_shape[2]
        ops.spectral_step(x_t, out, u.u, u.s, table, step, noise, width, x_next=x_next)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.kernel.shape[-2:]))
        return f"Blur({size}, boundary={self.boundary!r})"


#: pixels that a kernel's standard deviation may have: a kernel has six times as many a side
_WIDEST = 2000


@checked
def gaussian_kernel(sigma: float | tuple[float, float], size: int | None = None) -> Tensor:
    """Normalised Gaussian kernel (size, size), float64.

    Args:
        sigma:
            Standard deviation in pixels, > 0; or (vertical, horizontal).
        size:
            Odd side; default reaches 3 sigma.
    """
    vertical, horizontal = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    if not (0 < vertical <= _WIDEST and 0 < horizontal <= _WIDEST):
        raise ValueError(f"sigma: expected > 0, at most {_WIDEST}, got {sigma}")
    if size is not None and (not isinstance(size, int) or size < 1 or size % 2 == 0):
        raise ValueError(f"size: expected an odd integer >= 1, got {size!r}")
    if size is None:
        size = 2 * int(3 * max(vertical, horizontal) + 0.5) + 1
    offset = torch.arange(size, dtype=torch.float64) - size // 2
    column, row = (torch.exp(-0.5 * (offset / s) ** 2) for s in (vertical, horizontal))
    kernel = column[:, None] * row[None]
    return kernel / kernel.sum()


@checked
def motion_kernel(length: int, angle: float = 0.0) -> Tensor:
    """Normalised kernel of a straight motion blur, float64.

    Args:
        length:
            Path in pixels, >= 1.
        angle:
            Direction in degrees, counter-clockwise from the horizontal.
    """
    if not math.isfinite(angle):
        raise ValueError(f"angle: expected degrees, got {angle}")
    if not isinstance(length, int) or length < 1:
        raise ValueError(f"length: expected an integer >= 1, got {length!r}")
    size = length + (length + 1) % 2
    kernel = torch.zeros(size, size, dtype=torch.float64)
    along = torch.linspace(-(length - 1) / 2, (length - 1) / 2, 16 * length, dtype=torch.float64)
    radians = torch.tensor(angle, dtype=torch.float64).deg2rad()
    row, column = size // 2 - along * radians.sin(), size // 2 + along * radians.cos()
    top, left = row.floor().long(), column.floor().long()
    down, right = row - top, column - left
    for dr, weight_r in ((0, 1 - down), (1, down)):
        for dc, weight_c in ((0, 1 - right), (1, right)):
            r, c = (top + dr).clamp(max=size - 1), (left + dc).clamp(max=size - 1)
            kernel.index_put_((r, c), weight_r * weight_c, accumulate=True)
    return kernel / kernel.sum()

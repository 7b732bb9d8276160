"""deepinv: our operators as its physics, and its physics as our operators where they agree.

Its denoisers are priors here with :class:`ddrm_fast.DenoiserPrior`, our priors are its denoisers with
:meth:`ddrm_fast.Prior.as_deepinv`. Pictures are in [0, 1] on both sides, and so is the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import operators
from ..operators import Operator
from ..operators.base import Shape

try:
    from deepinv import physics as theirs
except ImportError as error:
    raise ImportError(
        "ddrm_fast.interop.deepinv needs deepinv: pip install 'ddrm-fast[deepinv]'"
    ) from error

#: how far apart two maps may be, relative, and still count as the same
AGREES = 1e-3


class OperatorPhysics(theirs.LinearPhysics):
    """An operator of this package as a ``LinearPhysics``: exact adjoint, pseudo-inverse and proximal step."""

    def __init__(self, operator: Operator, sigma_y: float = 0.0) -> None:
        """See :func:`as_physics`."""
        noise = theirs.GaussianNoise(sigma_y) if sigma_y else theirs.ZeroNoise()
        super().__init__(noise_model=noise)
        self.operator = operator

    def A(self, x: Tensor, **ignored: object) -> Tensor:
        """H x."""
        return self.operator.H(x)

    def A_adjoint(self, y: Tensor, **ignored: object) -> Tensor:
        """H^T y."""
        return self.operator.Ht(y)

    def A_dagger(self, y: Tensor, **ignored: object) -> Tensor:
        """The pseudo-inverse: singular values that count as 0 are left out, nothing is iterated."""
        return self.operator.H_pinv(y)

    def prox_l2(
        self, z: Tensor | float | None, y: Tensor, gamma: float | Tensor, **ignored: object
    ) -> Tensor:
        """argmin_x gamma / 2 ||H x - y||^2 + 1/2 ||x - z||^2 = z + H^T (1 / gamma + H H^T)^-1 (y - H z).

        In the singular basis, where H H^T is a number for each measured direction.

        Args:
            z:
                (B, C, H, W), one number for all pixels, or None: no pull towards it, as of z = 0.
            y:
                Measurement.
            gamma:
                Weight of the measurement, one or [B].
        """
        operator = self.operator
        shape = operator.image_shape(y)
        if not isinstance(z, Tensor):
            z = y.new_full((len(y), *shape), 0.0 if z is None else float(z))
        u = operator.Ut(y - operator.H(z))
        s = operator.singulars(shape).to(device=u.device, dtype=u.real.dtype)
        weight = torch.as_tensor(gamma, dtype=s.dtype, device=s.device)
        weight = weight.reshape(-1, *[1] * (u.dim() - 1))
        return z + operator.Ht(operator.U(u / (1 / weight + s * s)))


class SpectralPhysics(OperatorPhysics, theirs.DecomposablePhysics):
    """The same with the singular vectors, as deepinv's DDRM wants them: A = U diag(mask) V^T.

    Coefficients are real and laid out as the operator's ``Vt`` has them (periodic blurs: as the Hartley
    transform, which is orthonormal and real), with 0 in ``mask`` where nothing is measured.
    """

    def __init__(self, operator: Operator, image_shape: Shape, sigma_y: float = 0.0) -> None:
        """See :func:`as_physics`."""
        OperatorPhysics.__init__(self, operator, sigma_y)
        self.image_shape = image_shape
        probe = torch.zeros(1, *image_shape)
        y = operator.H(probe)
        s = operator.singulars(image_shape).to(operator.Ut(y)).expand_as(operator.Ut(y))
        mask = self._to_real(operator.Vt(operator.lift(s, image_shape)))
        self.register_buffer("mask", mask.clamp(min=0) * (mask > 1e-6 * mask.max()))

    def V_adjoint(self, x: Tensor) -> Tensor:
        """All coefficients of an image."""
        return self._to_real(self.operator.Vt(x))

    def V(self, c: Tensor, **ignored: object) -> Tensor:
        """The image with these coefficients."""
        return self.operator.V(self._from_real(c))

    def U(self, c: Tensor) -> Tensor:
        """The measurement with these coefficients; those where nothing is measured are dropped."""
        return self.operator.U(self.operator.measure(self.V(c)))

    def U_adjoint(self, y: Tensor, **ignored: object) -> Tensor:
        """Coefficients of a measurement, 0 where nothing is measured."""
        return self.V_adjoint(self.operator.lift(self.operator.Ut(y), self.image_shape))

    def _to_real(self, c: Tensor) -> Tensor:
        return c.real - c.imag if c.is_complex() else c

    def _from_real(self, c: Tensor) -> Tensor:
        if not isinstance(self.operator, operators.Blur) or self.operator.boundary != "periodic":
            return c
        mirrored = torch.roll(c.flip((-2, -1)), (1, 1), (-2, -1))  # at the negative frequencies
        return torch.complex((c + mirrored) / 2, (mirrored - c) / 2)


def as_physics(operator: Operator, image_shape: Shape, sigma_y: float = 0.0) -> OperatorPhysics:
    """An operator of this package as deepinv's physics.

    Args:
        operator:
            Any. With one mask for all pictures and a real spectrum (all but :class:`BlurDecimate`) the result
            is a ``DecomposablePhysics`` that deepinv's DDRM takes.
        image_shape:
            (C, H, W) of the pictures.
        sigma_y:
            Noise of the measurement, Gaussian, in [0, 1] units; 0: none.

    Raises:
        ValueError: the operator does not take such pictures, or sigma_y is negative.
    """
    if not 0 <= sigma_y < float("inf"):
        raise ValueError(f"sigma_y: expected a noise level of 0 or more, got {sigma_y}")
    operator.check_image(tuple(image_shape))
    if operator.batch == 1 and not isinstance(operator, operators.BlurDecimate):
        return SpectralPhysics(operator, tuple(image_shape), sigma_y)
    return OperatorPhysics(operator, sigma_y)


def as_operator(physics: Any, image_shape: Shape) -> Operator:
    """deepinv's physics as an operator of this package, if there is one that computes the same.

    Known are ``Denoising``, ``Inpainting`` and ``Demosaicing``, ``Decolorize``, ``BlurFFT``, ``Blur`` and
    ``Downsampling`` with circular padding (any filter, or none), ``DownsamplingMatlab``, and what
    :func:`as_physics` made. The two are compared on a picture of noise.

    Args:
        physics:
            A ``LinearPhysics`` of deepinv.
        image_shape:
            (C, H, W) of the pictures.

    Returns:
        The operator. Its noise is not part of it: give ``sigma_y`` to :func:`ddrm_fast.restore`.

    Raises:
        ValueError: no operator is known for it, or the two differ by more than :data:`AGREES`; the message
            says by how much.
    """
    if isinstance(physics, OperatorPhysics):
        return physics.operator
    kind = next((k for k in _MADE if isinstance(physics, k)), None)
    if kind is None:
        raise ValueError(
            f"physics: no operator is known for {type(physics).__name__}; expected one of "
            f"{', '.join(k.__name__ for k in _MADE)}"
        )
    operator = _MADE[kind](physics, tuple(image_shape))
    apart = distance(operator, physics, image_shape)
    if not apart <= AGREES:
        raise ValueError(
            f"physics: {type(physics).__name__} and {operator} differ by {apart:.2g} (relative) on pictures "
            f"of {tuple(image_shape)}; expected at most {AGREES:g}"
        )
    return operator


def distance(operator: Operator, physics: Any, image_shape: Shape) -> float:
    """||H x - A x|| / ||A x|| for a picture of white noise in [0, 1]; infinite where shapes differ."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, *image_shape, generator=generator)
    with torch.no_grad():
        y, expected = operator.H(x), physics.A(x)
    if y.shape != expected.shape:
        return float("inf")
    return float((y - expected).norm() / expected.norm())


def _inpainting(physics: Any, shape: Shape) -> Operator:
    mask = torch.as_tensor(physics.mask).detach().float()
    mask = mask.expand(1, *shape)[0] if mask.dim() != 4 or len(mask) == 1 else mask
    binary = bool(((mask == 0) | (mask == 1)).all())
    return operators.Inpainting(mask) if binary else operators.Gain(mask)


def _blur(physics: Any, shape: Shape) -> Operator:
    if getattr(physics, "padding", "circular") != "circular":
        raise ValueError(
            f"physics: {type(physics).__name__} has padding {physics.padding!r}, expected 'circular'"
        )
    return operators.Blur(_kernel(physics.filter), boundary="periodic")


def _downsampling(physics: Any, shape: Shape) -> Operator:
    if physics.padding != "circular":
        raise ValueError(
            f"physics: Downsampling has padding {physics.padding!r}, expected 'circular'"
        )
    kernel = torch.ones(1, 1) if physics.filter is None else _kernel(physics.filter)
    return operators.BlurDecimate(kernel, int(physics.factor))


def _bicubic(physics: Any, shape: Shape) -> Operator:
    _, height, width = shape
    return operators.BicubicDownscaling(int(physics.factor), (height, width))


def _kernel(kernels: Tensor) -> Tensor:
    """The one kernel (h, w) of a filter (1, 1 or C, h, w)."""
    kernel = kernels.detach().cpu().double()
    if kernel.dim() != 4 or len(kernel) != 1 or not (kernel == kernel[:, :1]).all():
        raise ValueError(
            f"physics: has filters of shape {tuple(kernel.shape)}, expected one for all channels and pictures"
        )
    return kernel[0, 0]


_MADE: dict[type, Callable[[Any, Shape], Operator]] = {
    theirs.Denoising: lambda physics, shape: operators.Denoising(),
    theirs.Inpainting: _inpainting,
    theirs.Decolorize: lambda physics, shape: operators.Colorization(physics.srf.flatten()),
    theirs.BlurFFT: _blur,
    theirs.Blur: _blur,
    theirs.DownsamplingMatlab: _bicubic,  # before what it is derived from
    theirs.Downsampling: _downsampling,
}

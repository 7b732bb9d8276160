"""The degradations of the published DPS, under their published names; pictures in [-1, 1]."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...operators.nonlinear import centred_amplitude
from ...operators.shake import shake_kernel
from .names import Names

_OPERATORS = Names("operator")
register_operator = _OPERATORS.register


def get_operator(name: str, **settings: Any) -> Any:
    """A degradation by its name in a task's configuration.

    >>> get_operator("gaussian_blur", kernel_size=61, intensity=3.0, device="cpu")

    Args:
        name:
            "noise", "super_resolution", "motion_blur", "gaussian_blur", "inpainting", "phase_retrieval",
            "nonlinear_blur", or one of your own (:func:`register_operator`).
        settings:
            Of its class; ``corrected=True`` for adjoints and projections in place of the published ones.

    Raises:
        NameError: no class has the name.
    """
    return _OPERATORS.make(name, **settings)


class LinearOperator(ABC):
    """A linear degradation. Derive from it with ``forward`` and ``transpose``.

    Args:
        device:
            Not needed: everything is on the device of the pictures.
        corrected:
            ``project`` is the orthogonal projection's shape, x - T(A x) + T(y), with the true adjoint or
            pseudo-inverse T, where the published one exchanges picture and measurement.
    """

    def __init__(self, device: Any = None, corrected: bool = False) -> None:
        self.device, self.corrected = device, corrected

    @abstractmethod
    def forward(self, data: Tensor, **kwargs: Any) -> Tensor:
        """A x."""

    def transpose(self, data: Tensor, **kwargs: Any) -> Tensor:
        """What the released code takes for the adjoint; the identity of most classes."""
        return data

    def ortho_project(self, data: Tensor, **kwargs: Any) -> Tensor:
        """x - T(A x)."""
        return data - self.transpose(self.forward(data, **kwargs), **kwargs)

    def project(self, data: Tensor, measurement: Tensor, **kwargs: Any) -> Tensor:
        """The state with the measurement put in; as published, with its exchange: y - T(A y) - A x."""
        if self.corrected:
            missing = measurement - self.forward(data, **kwargs)
            return data + self.transpose(missing, **kwargs)
        return self.ortho_project(measurement, **kwargs) - self.forward(data, **kwargs)


class NonLinearOperator(LinearOperator):
    """A degradation that is none."""

    def project(self, data: Tensor, measurement: Tensor, **kwargs: Any) -> Tensor:
        return data + measurement - self.forward(data)


@register_operator("noise")
class DenoiseOperator(LinearOperator):
    """Nothing but noise."""

    def forward(self, data: Tensor, **kwargs: Any) -> Tensor:
        return data

    def project(self, data: Tensor, measurement: Tensor | None = None, **kwargs: Any) -> Tensor:
        return data

    def ortho_project(self, data: Tensor, **kwargs: Any) -> Tensor:
        return data


@register_operator("super_resolution")
class SuperResolutionOperator(LinearOperator):
    """Antialiased bicubic downscaling, made for pictures of one size.

    Args:
        in_shape:
            (B, C, H, W) or (H, W) of the pictures.
        scale_factor:
            Whole; sides that it does not divide are rounded up.
    """

    def __init__(
        self, in_shape: Any, scale_factor: int, device: Any = None, corrected: bool = False
    ) -> None:
        super().__init__(device, corrected)
        self.factor = int(scale_factor)
        if self.factor != scale_factor or self.factor < 1:
            raise ValueError(f"scale_factor: expected an integer >= 1, got {scale_factor}")
        self.rows, self.columns = (bicubic_matrix(int(n), self.factor) for n in in_shape[-2:])

    def forward(self, data: Tensor, **kwargs: Any) -> Tensor:
        rows, columns = self.rows.to(data), self.columns.to(data)
        if data.shape[-2:] != (rows.shape[1], columns.shape[1]):
            raise ValueError(
                f"data: expected pictures of {rows.shape[1]} x {columns.shape[1]}, for which the operator "
                f"was made, got {tuple(data.shape)}"
            )
        return rows @ (data @ columns.mT)

    def transpose(self, data: Tensor, **kwargs: Any) -> Tensor:
        """Every value repeated factor x factor times; corrected: the adjoint."""
        if self.corrected:
            return self.rows.to(data).mT @ data @ self.columns.to(data)
        return data.repeat_interleave(self.factor, -1).repeat_interleave(self.factor, -2)

    def project(self, data: Tensor, measurement: Tensor, **kwargs: Any) -> Tensor:
        if not self.corrected:
            return data - self.transpose(self.forward(data)) + self.transpose(measurement)
        missing = measurement - self.forward(data)
        inverse = [torch.linalg.pinv(matrix.double()) for matrix in (self.rows, self.columns)]
        return data + (inverse[0] @ missing.double() @ inverse[1].mT).to(data)


class _Blur(LinearOperator):
    """Correlation with a kernel; what lies beyond the edges is reflected, the edge not repeated."""

    kernel: Tensor

    def forward(self, data: Tensor, **kwargs: Any) -> Tensor:
        half, channels = len(self.kernel) // 2, data.shape[1]
        if min(data.shape[-2:]) <= half:
            raise ValueError(
                f"data: expected sides above {half} for a kernel of {len(self.kernel)}, got "
                f"{tuple(data.shape)}"
            )
        weight = self.kernel.to(data).expand(channels, 1, *self.kernel.shape)
        padded = torch.nn.functional.pad(data, (half,) * 4, mode="reflect")
        return torch.nn.functional.conv2d(padded, weight, groups=channels)

    def transpose(self, data: Tensor, **kwargs: Any) -> Tensor:
        """The identity, as published; corrected: the adjoint."""
        if not self.corrected:
            return data
        with torch.enable_grad():
            x = torch.zeros_like(data).requires_grad_()
            (adjoint,) = torch.autograd.grad(self.forward(x), x, data)
        return adjoint

    def get_kernel(self) -> Tensor:
        """(1, 1, k, k)."""
        return self.kernel.view(1, 1, *self.kernel.shape)


@register_operator("gaussian_blur")
class GaussialBlurOperator(_Blur):
    """Gaussian blur; the name is the published one.

    Args:
        kernel_size:
            Odd.
        intensity:
            Standard deviation in pixels.
    """

    def __init__(
        self, kernel_size: int, intensity: float, device: Any = None, corrected: bool = False
    ) -> None:
        super().__init__(device, corrected)
        self.kernel_size = kernel_size
        self.kernel = torch.from_numpy(folded_gaussian(kernel_size, intensity)).float()


@register_operator("motion_blur")
class MotionBlurOperator(_Blur):
    """Blur by a shaken camera.

    Args:
        kernel_size:
            Odd.
        intensity:
            0 (straight) to 1 (shaken) of :func:`~ddrm_fast.operators.shake_kernel`; the published kernels
            come from another package and are not the same.
        kernel:
            (k, k), to use another one.
        seed:
            Of the shake; None: from numpy's global generator, as a new path for every operator.
    """

    def __init__(
        self,
        kernel_size: int,
        intensity: float,
        device: Any = None,
        corrected: bool = False,
        kernel: Any = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(device, corrected)
        self.kernel_size = kernel_size
        if kernel is None:
            seed = int(np.random.randint(2**31)) if seed is None else seed
            kernel = shake_kernel(kernel_size, intensity, seed)
        self.kernel = torch.as_tensor(kernel, dtype=torch.float32)


@register_operator("inpainting")
class InpaintingOperator(LinearOperator):
    """Missing pixels; the mask comes with every call."""

    def forward(self, data: Tensor, **kwargs: Any) -> Tensor:
        mask = kwargs.get("mask")
        if mask is None:
            raise ValueError("mask: expected a tensor of 1 (known) and 0, got None")
        return data * mask.to(data)

    def transpose(self, data: Tensor, **kwargs: Any) -> Tensor:
        """The identity, as published; corrected: the adjoint."""
        return self.forward(data, **kwargs) if self.corrected else data


@register_operator("phase_retrieval")
class PhaseRetrievalOperator(NonLinearOperator):
    """Magnitudes of the oversampled centred FFT.

    Args:
        oversample:
            Zeros on every side, in eighths of 256 pixels whatever the picture's size; corrected: of the
            shorter side.
    """

    def __init__(self, oversample: float, device: Any = None, corrected: bool = False) -> None:
        super().__init__(device, corrected)
        self.oversample = float(oversample)
        self.pad = int(oversample / 8.0 * 256)

    def forward(self, data: Tensor, **kwargs: Any) -> Tensor:
        pad = int(self.oversample / 8 * min(data.shape[-2:])) if self.corrected else self.pad
        return centred_amplitude(data, pad)


@register_operator("nonlinear_blur")
class NonlinearBlurOperator(NonLinearOperator):
    """Blur by a network, with a random kernel.

    Args:
        opt_yml_path:
            Published configuration of a network that is not part of this package; refused without
            ``blur_model``.
        blur_model:
            A module with ``adaptKernel(pictures in [0, 1], kernel=)``.
        seed:
            Draw the kernel once, so that guidance follows the measurement; None: anew in every call, as
            published.
    """

    def __init__(
        self,
        opt_yml_path: str | None = None,
        device: Any = None,
        corrected: bool = False,
        blur_model: Any = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(device, corrected)
        if blur_model is None:
            raise ValueError(
                f"blur_model: expected a module with adaptKernel(x, kernel=), built from {opt_yml_path}; "
                "the network of the released code (bkse) is not part of this package"
            )
        self.blur_model, self.seed = blur_model, 0 if corrected and seed is None else seed

    def forward(self, data: Tensor, **kwargs: Any) -> Tensor:
        generator = None if self.seed is None else torch.Generator().manual_seed(self.seed)
        kernel = 1.2 * torch.randn(1, 512, 2, 2, generator=generator)
        blurred = self.blur_model.adaptKernel((data + 1) / 2, kernel=kernel.to(data))
        return (2 * blurred - 1).clamp(-1, 1)


def bicubic_matrix(n: int, factor: int) -> Tensor:
    """Antialiased bicubic downscaling of n values to ceil(n / factor), float32; rows sum to 1.

    Cubic convolution with a = -1/2, stretched by the factor; values beyond the edges are those reflected
    about them (half-sample).
    """
    count = -(-n // factor)
    matrix = np.zeros((count, n))
    for i in range(count):
        centre = (i + 1 - (count - n / factor) / 2) * factor + (1 - factor) / 2 - 1
        first, last = math.floor(centre - 2 * factor), math.ceil(centre + 2 * factor)
        places = np.arange(first, last + 1)
        weights = _cubic((centre - places) / factor)
        places = places % (2 * n)
        places = np.where(places < n, places, 2 * n - 1 - places)
        np.add.at(matrix[i], places, weights / weights.sum())
    return torch.from_numpy(matrix).float()


def _cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def folded_gaussian(size: int, sigma: float) -> np.ndarray:
    """A Gaussian of size x size, its tails beyond 4 sigma cut and those beyond the edges folded back."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"kernel_size: expected an integer >= 1, got {size!r}")
    if not 0 < sigma < math.inf:
        raise ValueError(f"intensity: expected a number > 0, got {sigma}")
    radius = int(4 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    taps = np.exp(-0.5 * (offsets / sigma) ** 2)
    places = (size // 2 + offsets) % (2 * size)
    line = np.zeros(size)
    np.add.at(line, np.where(places < size, places, 2 * size - 1 - places), taps / taps.sum())
    return np.outer(line, line)

"""What a degradation is: a forward map; and one with a fast transform, a grouping, and singular values.

A :class:`Forward` knows its shapes and ``H``. An :class:`Operator` is linear, y = H x + sigma_y n with
H = U S V^T, and knows its thin decomposition (``measure`` is V_1^T,
``lift`` is V_1, ``singulars`` the diagonal), from which H, its adjoint and its pseudo-inverse follow,
the full orthonormal basis (``V``, ``Vt``), and the fused sampling ``step``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ..ops import Noise
from .cuts import Cuts

#: (C, H, W) of an image; no triple to the type checker, since a slice of ``x.shape`` is none
Shape = tuple[int, ...]
#: what to do where a measurement does not split over windows
KEEPS_WHOLE = (
    "large.windowed(prior), in the shell --large joint, keeps it whole and shows windows to the network "
    "alone"
)


@dataclass
class Rows:
    """Row tables of a run.

    Args:
        table:
            float32 [steps + 1, B or 1, 48]; row 0 makes the initial state.
        edited:
            The same for a clean image that was edited in pixel space (clipping) and takes the place
            of the network's output; None where nothing is edited.
    """

    table: Tensor
    edited: Tensor | None = None

    @property
    def of_clean(self) -> Tensor:
        """``edited``, where the run has it.

        Raises:
            ValueError: it was made for a run that edits nothing.
        """
        if self.edited is None:
            raise ValueError("rows: were made for a run that edits no clean image")
        return self.edited

    def to(self, device: torch.device) -> Rows:
        edited = None if self.edited is None else self.edited.to(device)
        return Rows(self.table.to(device), edited)


@dataclass
class Measurement:
    """A measurement as kernels read it: coefficients, singular values, and what defines the groups.

    Tensors with a batch dimension of 1 serve every image.

    Args:
        image_shape:
            (C, H, W) of the restored image.
        u:
            U^T y in the kernel's layout.
        s:
            Singular values, broadcastable to u.
        weights, mask, kernel:
            What else defines the groups, where the operator has it.
    """

    image_shape: Shape
    u: Tensor
    s: Tensor
    weights: Tensor | None = None
    mask: Tensor | None = None
    kernel: Tensor | None = None

    @property
    def batch(self) -> int:
        return self.u.shape[0]


@dataclass
class Carry:
    """Coefficients of the state, kept from step to step by transform operators and updated in place."""

    coefficients: Tensor | None = None


class Forward(ABC):
    """What a picture goes through before it is measured: shape rules and a differentiable map ``H``.

    Need not be linear. Samplers that ask for a map alone (``needs = Forward``) restore with it; those of the
    singular basis want an :class:`Operator`. Images are (B, C, H, W), float32 or float64; the layout of a
    measurement y is each degradation's own.
    """

    #: number of images with a mask or gain of their own; 1: all images share it
    batch: int = 1
    #: windows of a picture start and end at multiples of this, in pixels
    grid: int = 1
    #: pixels at the inner edges of a window whose measurement is only approximate
    margin: int = 0
    #: what a measured value mixes: "nothing" (a pixel alone), "neighbours", "blocks" (at random within
    #: blocks), "channels" (colours) or "everything"
    mixes: str = "neighbours"
    #: (black, white) of the images that ``H`` is made for; None: any, since it is linear
    range: tuple[float, float] | None = (0.0, 1.0)
    #: standard deviation of what it rounds off, in the unit of y: a measurement may be that far from ``H``
    rounding: float = 0.0
    #: names of the attributes that define it, beside its type
    parameter_names: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For messages and records."""
        return type(self).__name__

    @property
    def parameters(self) -> dict[str, object]:
        """What defines it, by the names of its constructor's arguments."""
        return {name: getattr(self, name) for name in self.parameter_names}

    @abstractmethod
    def image_shape(self, y: Tensor) -> Shape:
        """(C, H, W) of the image behind a measurement.

        Raises:
            ValueError: the shape of ``y`` does not fit this degradation.
        """

    @abstractmethod
    def check_image(self, shape: Shape) -> None:
        """Raises ValueError if images of shape (C, H, W) do not fit this degradation."""

    @abstractmethod
    def H(self, x: Tensor) -> Tensor:
        """The degradation without its noise, for images in ``range``; differentiable."""

    def picture_of(self, y: Tensor) -> Tensor | None:
        """A picture, in ``range``, that may have given a measurement: where restoring begins.

        The measurement itself where it has the shape of a picture, else None.
        """
        return y if tuple(y.shape[1:]) == tuple(self.image_shape(y)) else None

    def select(self, images: Tensor) -> Self:
        """That of some images of the batch: itself, unless images have masks of their own."""
        return self

    def windows(self, cuts: Cuts) -> Self:
        """That of windows of the pictures, as a batch; its measurement is :meth:`crop`.

        Raises:
            ValueError: the measurement does not split over windows.
        """
        raise ValueError(
            f"operator: the measurement of {self} does not split over windows of the picture; "
            + KEEPS_WHOLE
        )

    def crop(self, y: Tensor, cuts: Cuts) -> Tensor:
        """The measurement of windows, out of that of the whole pictures."""
        return cuts.of(y, self.grid)

    def coarse(self, y: Tensor, factor: int) -> tuple[Forward, Tensor, float]:
        """The same degradation of a small picture, whose pixels are means of factor x factor.

        Returns:
            Degradation and measurement of the small picture, and what sigma_y is multiplied by.

        Raises:
            ValueError: there is none, or the factor does not fit.
        """
        raise ValueError(
            f"operator: {self} has no counterpart for a smaller picture; expected noise, masks, gain, "
            "lost colour or block means"
        )

    def _check(self, x: Tensor) -> None:
        if x.dim() != 4:
            raise ValueError(f"x: expected (B, C, H, W), got shape {tuple(x.shape)}")
        if not x.is_floating_point() or x.dtype in (torch.float16, torch.bfloat16):
            raise ValueError(f"x: expected float32 or float64, got {x.dtype}")
        self.check_image(tuple(x.shape[1:]))
        self._check_batch("x", x)

    def _check_batch(self, name: str, x: Tensor) -> None:
        """Degradations with a mask for each image know how many images there are."""
        if self.batch > 1 and x.shape[0] not in (0, self.batch):
            raise ValueError(
                f"{name}: this operator is for a batch of {self.batch}, got {x.shape[0]}"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Operator(Forward):
    """A linear degradation with a known singular value decomposition.

    Every method is linear and differentiable except ``step``.
    """

    range = None

    def __init__(self) -> None:
        self._cache: dict[tuple[Hashable, ...], Tensor] = {}

    def _constant(self, name: str, x: Tensor, like: Tensor) -> Tensor:
        """``x`` (float64, CPU) in the precision and on the device of ``like``; kept."""
        dtype = like.dtype
        if dtype.is_complex != x.is_complex():
            dtype = dtype.to_complex() if x.is_complex() else dtype.to_real()
        key = (name, dtype, like.device)
        if key not in self._cache:
            self._cache[key] = kept(lambda: x.to(device=like.device, dtype=dtype).contiguous())
        return self._cache[key]

    def _keep(self, key: tuple[Hashable, ...], make: Callable[[], Tensor]) -> Tensor:
        """The value of ``make()``, kept under ``key``; only a few sizes are kept at a time."""
        if key not in self._cache:
            if len(self._cache) > 32:
                self._cache.clear()
            self._cache[key] = kept(make)
        return self._cache[key]

    @abstractmethod
    def singulars(self, shape: Shape) -> Tensor:
        """Singular values of the measured directions of a (C, H, W) image.

        float64 on the CPU, broadcastable to ``Ut(y)``; 0 where nothing is measured.
        """

    @abstractmethod
    def measure(self, x: Tensor) -> Tensor:
        """V_1^T x: the coefficients of the measured directions, in the layout of ``Ut(y)``."""

    @abstractmethod
    def lift(self, c: Tensor, shape: Shape) -> Tensor:
        """V_1 c: an image with these measured coefficients and nothing else."""

    @abstractmethod
    def Vt(self, x: Tensor) -> Tensor:
        """All coefficients V^T x, in an orthonormal basis whose measured directions are V_1."""

    @abstractmethod
    def V(self, c: Tensor) -> Tensor:
        """The image with coefficients c; inverse and adjoint of ``Vt``."""

    def U(self, u: Tensor) -> Tensor:
        """Measurement with coefficients u; identity unless an operator says otherwise."""
        return u

    def Ut(self, y: Tensor) -> Tensor:
        """Coefficients of a measurement; inverse and adjoint of ``U``."""
        return y

    def _s(self, shape: Shape, like: Tensor) -> Tensor:
        real = like.dtype.to_real() if like.is_complex() else like.dtype
        key = ("singulars", shape, real, like.device)
        return self._keep(key, lambda: self.singulars(shape).to(device=like.device, dtype=real))

    def certainty(self, sigma_y: Tensor, shape: Shape, like: Tensor) -> Tensor:
        """1 / variance with which the measurement alone says what each pixel is; 0 where it says nothing.

        0 also of measurements that mix pixels: of a single one they say little.

        Args:
            sigma_y:
                Noise of the measurement, float64 [B or 1].
            shape:
                (C, H, W) of the image.
            like:
                A tensor of the dtype and on the device of the result.

        Returns:
            (B or 1, C or 1, H or 1, W or 1), at most 1e8.
        """
        return torch.zeros(1, 1, 1, 1, dtype=like.dtype, device=like.device)

    def H(self, x: Tensor) -> Tensor:
        """The degradation without its noise: y = U S V_1^T x."""
        self._check(x)
        c = self.measure(x)
        return self.U(self._s(tuple(x.shape[1:]), c) * c)

    def Ht(self, y: Tensor) -> Tensor:
        """Adjoint of H: V_1 S U^T y."""
        shape = self.image_shape(y)
        u = self.Ut(y)
        return self.lift(self._s(shape, u) * u, shape)

    def H_pinv(self, y: Tensor) -> Tensor:
        """Pseudo-inverse: V_1 S^+ U^T y, with 1/s taken as 0 where s = 0."""
        shape = self.image_shape(y)
        u = self.Ut(y)
        s = self._s(shape, u)
        inverse = torch.where(s > 0, 1.0 / torch.where(s > 0, s, 1.0), 0.0)
        return self.lift(torch.where(s > 0, u, 0.0) * inverse, shape)

    def project(self, x0: Tensor, y: Tensor, sigma: float | Tensor, sigma_y: Tensor) -> Tensor:
        """Ends on the measurement: x0 + V_1 g (u/s - V_1^T x0), g = s^2 sigma^2 / (s^2 sigma^2 + sigma_y^2).

        Args:
            x0:
                Clean-image estimate (B, C, H, W) with error of about ``sigma``.
            y:
                Measurement, batch B or 1.
            sigma:
                Noise level of the last network call, sqrt((1 - abar) / abar).
            sigma_y:
                Measurement noise, one for all or [B], in the unit of y.
        """
        self._check(x0)
        u = self.Ut(y)
        s = self._s(tuple(x0.shape[1:]), u)
        variance = torch.as_tensor(sigma_y, dtype=s.dtype, device=s.device).square()
        variance = variance.reshape(-1, *[1] * (u.dim() - 1))
        prior = float(sigma) ** 2
        # g/s and g, with g = 1 on measured directions where both sigma and sigma_y are 0
        total = torch.where(s > 0, s * s * prior + variance, 1.0)
        gain = torch.where(s > 0, s * prior / torch.where(total > 0, total, 1.0), 0.0)
        gain = torch.where((total > 0) | (s <= 0), gain, 1.0 / torch.where(s > 0, s, 1.0))
        c = self.measure(x0)
        change = gain * (torch.where(s > 0, u, 0.0) - s * c)
        return x0 + self.lift(change, tuple(x0.shape[1:]))

    @abstractmethod
    def prepare(self, y: Tensor) -> Measurement:
        """The measurement in the layout of this operator's step kernel; once per run."""

    @abstractmethod
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
        """One fused sampling step, x_next = V (a V^T x0 + b V^T eps + c u + d z).

        Args:
            x_t, out:
                State and network output, (B, C, H, W); None and None: the initial state.
            u:
                :class:`Measurement` from :meth:`prepare`.
            rows, step:
                The run's :class:`Rows` and the row's index, int64 [1].
            noise:
                :class:`ddrm_fast.ops.Noise`; given noise is in pixel space.
            x_next, x0:
                Buffers for the next state and the clean-image prediction.
            carry:
                Coefficients kept between steps; without it a transform operator transforms ``x_t``.

        Returns:
            The next state.
        """


def kept(make: Callable[[], Tensor]) -> Tensor:
    """A tensor that outlives this call: autograd may need it later, also if it is made inside
    ``torch.inference_mode()``."""
    if torch.compiler.is_compiling() or not torch.is_inference_mode_enabled():
        return make()
    with torch.inference_mode(False):
        return make()


#: what an operator may be defined by: its square is a float32 still
_LARGEST = 1e18


def expect_dims(name: str, x: Tensor, dims: int, layout: str) -> None:
    """Raises ValueError unless a tensor of floating-point numbers has so many dimensions."""
    if not x.is_floating_point():
        raise ValueError(f"{name}: expected float32 or float64, got {x.dtype}")
    if x.dim() != dims:
        raise ValueError(f"{name}: expected {layout}, got shape {tuple(x.shape)}")


def as_real(name: str, value: object) -> Tensor:
    """Numbers that define an operator, float64 on the CPU.

    Raises:
        ValueError: they are complex, or so large that float32 cannot hold what comes of them.
    """
    found = torch.as_tensor(value).detach().cpu()
    if found.is_complex():
        raise ValueError(f"{name}: expected real numbers, got {found.dtype}")
    found = found.double()
    if bool((found.abs() > _LARGEST).logical_and(found.isfinite()).any()):
        raise ValueError(
            f"{name}: expected numbers up to {_LARGEST:g}, got {float(found.abs().max()):g}"
        )
    return found


def cut_small(s: Tensor, rcond: float, largest: float | None = None) -> Tensor:
    """Singular values with those below ``rcond`` times the largest set to 0.

    ``largest`` is that of a whole picture where ``s`` belongs to a window of it.
    """
    if not 0 <= rcond < 1:
        raise ValueError(f"rcond: expected 0 <= rcond < 1, got {rcond}")
    if not s.numel():
        return s
    return torch.where(s < rcond * (s.max() if largest is None else largest), 0.0, s)


def whole_factor(factor: int, name: str = "factor") -> int:
    """A decimation factor, or the side of a block: an integer of at least 1."""
    if isinstance(factor, bool) or not isinstance(factor, int) or factor < 1:
        raise ValueError(f"{name}: expected an integer >= 1, got {factor!r}")
    return factor


def block_means(x: Tensor, factor: int) -> Tensor:
    """Means of factor x factor pixels of (B, C, H, W)."""
    divides(factor, tuple(x.shape[1:]))
    return torch.nn.functional.avg_pool2d(x, factor)


def divides(factor: int, shape: Shape, what: str = "factor") -> None:
    """Raises ValueError unless ``factor`` divides both sides of the image."""
    height, width = shape[1:]
    if height < factor or width < factor:
        raise ValueError(f"x: an image of {height} x {width} is smaller than a block of {factor}")
    if height % factor or width % factor:
        raise ValueError(
            f"x: height and width must be multiples of the {what} {factor}, got {height} x {width}"
        )

"""What the published classes share: flat vectors in, flat vectors out, and an operator inside."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor

from ...operators.base import Operator

#: the methods that say what a degradation is; an operator stands for them unless one is overridden
BASIS = ("V", "Vt", "U", "Ut", "singulars")


class MissingMethodError(NotImplementedError):
    """A solver asks for a method that a degradation of one's own does not give."""


def _missing(functions: Functions, method: str) -> NoReturn:
    raise MissingMethodError(f"{type(functions).__name__}.{method}")


class Functions:
    """The singular value decomposition of a degradation, as five methods on flat vectors.

    Inputs are (B, ...), read row by row; outputs are (B, N) for images and (B, m) for measurements.
    A class of one's own gives ``V``, ``Vt``, ``U``, ``Ut`` and ``singulars`` (and ``add_zeros``, if the
    measurement is not simply shorter than the image) and works with every solver. As in the published
    base class, a method that a class does not give raises NotImplementedError, with its name, when a solver
    asks for it.
    """

    #: what a singular value that was set to 0 becomes in a step's weights; see :mod:`..weights`
    zero: float = 0.0
    #: the package's own operator behind a built-in class, and the shape of its images
    operator: Operator | None = None
    shape: tuple[int, int, int] | None = None

    def V(self, vec: Tensor) -> Tensor:
        """Image (B, N) with the coefficients ``vec`` (B, N)."""
        _missing(self, "V")

    def Vt(self, vec: Tensor) -> Tensor:
        """Coefficients (B, N) of an image, measured ones first."""
        _missing(self, "Vt")

    def U(self, vec: Tensor) -> Tensor:
        """Measurement (B, m) with the coefficients ``vec`` (B, m)."""
        _missing(self, "U")

    def Ut(self, vec: Tensor) -> Tensor:
        """Coefficients (B, m) of a measurement."""
        _missing(self, "Ut")

    def singulars(self) -> Tensor:
        """Singular values, [m] or [N], whichever is shorter."""
        _missing(self, "singulars")

    def add_zeros(self, vec: Tensor) -> Tensor:
        """``vec`` (B, m) with zeros behind it: (B, N)."""
        _missing(self, "add_zeros")

    def fast(self) -> Operator | None:
        """The operator that stands for V, Vt, U and Ut; None for a class of the caller's own."""
        return None if overridden(self, *BASIS) else self.operator

    def stepping(self) -> Operator | None:
        """The operator whose steps a run takes: the same, unless a class has quicker ones."""
        return self.fast()

    def to_operator(self, y: Tensor, name: str = "vec") -> Tensor:
        """A measurement (B, ...) in the layout of :attr:`operator`; for classes that have one."""
        _missing(self, "to_operator")

    def from_operator(self, y: Tensor) -> Tensor:
        """The flat measurement (B, m) of the layout of :attr:`operator`."""
        return flat(y)

    def forward(self, vec: Tensor) -> Tensor:
        """U S V^T vec, (B, m)."""
        operator = self.fast()
        if operator is not None:
            return self.from_operator(operator.H(self.image(vec)))
        coefficients, s = self.Vt(vec), self.singulars()
        return self.U(s * coefficients[:, : s.shape[0]])

    def adjoint(self, vec: Tensor) -> Tensor:
        """V S U^T vec, (B, N)."""
        operator = self.fast()
        if operator is not None:
            return flat(operator.Ht(self.to_operator(vec)))
        return self.scaled(vec, self.singulars())

    def pseudo_inverse(self, vec: Tensor) -> Tensor:
        """V S^+ U^T vec, (B, N), with 1/s taken as 0 where s = 0."""
        operator = self.fast()
        if operator is not None:
            return flat(operator.H_pinv(self.to_operator(vec)))
        s = self.singulars()
        return self.scaled(vec, torch.where(s > 0, 1.0 / torch.where(s > 0, s, 1.0), 0.0))

    def scaled(self, vec: Tensor, factors: Tensor) -> Tensor:
        """V diag(factors) U^T vec, (B, N)."""
        coefficients = self.Ut(vec)
        kept = coefficients[:, : factors.shape[0]] * factors.to(coefficients)
        return self.V(self.add_zeros(kept))

    def image(self, vec: Tensor, name: str = "vec") -> Tensor:
        """``vec`` as (B, C, H, W).

        Raises:
            ValueError: it has another number of entries for each image.
        """
        if self.shape is None:
            _missing(self, "shape")
        channels, height, width = self.shape
        entries = channels * height * width
        if (
            vec.dim() < 2
            or vec[0:1].numel() not in (0, entries)
            or vec.shape[1:].numel() != entries
        ):
            raise ValueError(
                f"{name}: expected (B, {entries}) or (B, {channels}, {height}, {width}), "
                f"got {tuple(vec.shape)}"
            )
        return vec.reshape(vec.shape[0], channels, height, width)

    def measurement(self, vec: Tensor, entries: int, name: str = "vec") -> Tensor:
        """``vec`` as (B, entries).

        Raises:
            ValueError: it has another number of entries for each image.
        """
        if vec.dim() < 2 or vec.shape[1:].numel() != entries:
            raise ValueError(
                f"{name}: expected a measurement (B, {entries}), got {tuple(vec.shape)}"
            )
        return vec.reshape(vec.shape[0], entries)


def overridden(functions: object, *names: str) -> bool:
    """Whether one of these methods comes from a class outside this package."""
    for name in names:
        owner = next((c for c in type(functions).__mro__ if name in vars(c)), None)
        if owner is None or not owner.__module__.startswith("ddrm_fast.compat"):
            return True
    return False


def flat(x: Tensor) -> Tensor:
    """(B, ...) as (B, N)."""
    return x.flatten(1)


def pad(vec: Tensor, entries: int) -> Tensor:
    """(B, m) with zeros behind it: (B, entries)."""
    vec = flat(vec)
    return torch.nn.functional.pad(vec, (0, entries - vec.shape[1]))


def whole(name: str, value: int) -> int:
    """A size: an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")
    return value


def dividing(ratio: int, img_dim: int, name: str = "ratio") -> int:
    """A decimation factor: an integer that divides the side of the image."""
    whole(name, ratio)
    if whole("img_dim", img_dim) % ratio:
        raise ValueError(f"{name}: expected a divisor of img_dim = {img_dim}, got {ratio}")
    return ratio


def indices(name: str, value: Tensor, limit: int) -> Tensor:
    """Distinct indices from 0 to ``limit`` - 1, int64 [K].

    Raises:
        ValueError: not one-dimensional, not whole, out of range or repeated.
    """
    value = torch.as_tensor(value).detach()
    if value.dim() != 1 or value.dtype == torch.bool or value.is_complex():
        raise ValueError(f"{name}: expected indices [K], got {value.dtype} {tuple(value.shape)}")
    index = value.long()
    if value.is_floating_point() and bool((index != value).any()):
        raise ValueError(f"{name}: expected whole numbers")
    if index.numel():
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= limit:
            raise ValueError(f"{name}: expected indices from 0 to {limit - 1}, got {low} to {high}")
        seen = torch.zeros(limit, dtype=torch.bool, device=index.device)
        seen[index] = True
        repeated = index.numel() - int(seen.sum())
        if repeated:
            raise ValueError(f"{name}: expected distinct indices, {repeated} of them repeated")
    return index

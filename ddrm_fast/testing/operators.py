"""The laws of an operator: H and its parts against each other, and against its own dense matrix.

>>> from ddrm_fast import testing
>>> testing.check_operator(MyOperator(), (3, 8, 8))

Everything is done in float64 on small pictures: the matrix of a picture of n numbers has n^2.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..operators import Operator
from ..operators.base import Shape
from .tolerances import must

#: relative; what is solved or decomposed in between may cost a hundred times as much
PRECISION = 1e-11


def seeded(*shape: int, seed: int = 7, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal numbers that are the same whatever was drawn before."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def dense(function: Callable[[Tensor], Tensor], shape: Shape) -> Tensor:
    """Matrix of a linear function of a picture, one column per number of it.

    Args:
        function:
            Of (B, *shape); the batch stays.
        shape:
            (C, H, W).
    """
    n = math.prod(shape)
    return function(torch.eye(n, dtype=torch.float64).view(n, *shape)).reshape(n, -1).mT


def pictures(shape: Shape, batch: int = 2, salt: int = 0) -> Tensor:
    """Random pictures (batch, *shape), float64."""
    return seeded(batch, *shape, seed=11 + salt)


def measurement_like(operator: Operator, shape: Shape, batch: int = 2) -> Tensor:
    """Random numbers in the layout of a measurement."""
    return seeded(*operator.H(pictures(shape, batch)).shape, seed=5)


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Real part of <a, b>."""
    return (a.conj() * b).sum().real


def _close(actual: Tensor, expected: Tensor, rtol: float, atol: float | None = None) -> None:
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=rtol if atol is None else atol)


def shapes(operator: Operator, shape: Shape, precision: float = PRECISION) -> None:
    """A measurement tells the shape of its picture; adjoint and pseudo-inverse give such pictures."""
    y = operator.H(pictures(shape))
    must(tuple(operator.image_shape(y)) == tuple(shape), "image_shape(H x) is not the shape of x")
    for name in ("Ht", "H_pinv"):
        found = tuple(getattr(operator, name)(y).shape)
        must(found == (2, *shape), f"{name}(y) has shape {found}, expected {(2, *shape)}")
    must(not y.is_complex() and bool(torch.isfinite(y).all()), "H x is not real and finite")


def adjoint(operator: Operator, shape: Shape, precision: float = PRECISION) -> None:
    """<H x, y> = <x, Ht y>."""
    x, y = pictures(shape), measurement_like(operator, shape)
    _close(inner(operator.H(x), y), inner(x, operator.Ht(y)), precision)


def linear(operator: Operator, shape: Shape, precision: float = PRECISION) -> None:
    """H (2 x - 3 z) = 2 H x - 3 H z."""
    x, z = pictures(shape), pictures(shape, salt=1)
    _close(operator.H(2 * x - 3 * z), 2 * operator.H(x) - 3 * operator.H(z), precision)


def pseudo_inverse(operator: Operator, shape: Shape, precision: float = PRECISION) -> None:
    """The four Moore-Penrose conditions, on the dense matrix; H H_pinv H = H is the first."""
    H = dense(operator.H, shape)
    layout = operator.H(pictures(shape, 1)).shape[1:]
    eye = torch.eye(H.shape[0], dtype=torch.float64)
    columns = [operator.H_pinv(e.view(1, *layout)).flatten() for e in eye]
    pinv = torch.stack(columns, dim=1)
    close = {"rtol": 1e3 * precision, "atol": 1e2 * precision}
    _close(H @ pinv @ H, H, **close)
    _close(pinv @ H @ pinv, pinv, **close)
    _close(H @ pinv, (H @ pinv).mT, **close)
    _close(pinv @ H, (pinv @ H).mT, **close)


def singular_values(operator: Operator, shape: Shape, precision: float = PRECISION) -> None:
    """``singulars`` are those of the dense matrix."""
    expected = torch.linalg.svdvals(dense(operator.H, shape))
    u = operator.Ut(operator.H(pictures(shape, 1)))
    s = operator.singulars(shape).expand(u.shape).flatten().sort(descending=True).values
    size = max(len(s), len(expected))
    s, expected = (torch.nn.functional.pad(v, (0, size - len(v))) for v in (s, expected))
    _close(s, expected, 10 * precision, 10 * precision * float(expected.max()))


def basis(operator: Operator, shape: Shape, precision: float = PRECISION) -> None:
    """V is the inverse and the adjoint of Vt: the basis is orthonormal and whole."""
    x = pictures(shape)
    _close(operator.V(operator.Vt(x)), x, precision)
    Vt = dense(operator.Vt, shape)
    _close(Vt.mH @ Vt, torch.eye(Vt.shape[1], dtype=Vt.dtype), 0, precision)


def left_basis(operator: Operator, shape: Shape, precision: float = PRECISION) -> None:
    """U is the inverse of Ut, which keeps norms."""
    y = measurement_like(operator, shape)
    u = operator.Ut(y)
    _close(operator.U(u), y, precision)
    _close(inner(u, u), inner(y, y), max(1e-7, precision))


def decomposition(operator: Operator, shape: Shape, precision: float = PRECISION) -> None:
    """H = U S V_1^T, V_1 orthonormal on measured directions, and V_1^T part of V^T."""
    x = pictures(shape)
    measured = operator.measure(x)
    s = operator.singulars(shape).expand(measured.shape)
    _close(operator.U(s * measured), operator.H(x), 10 * precision)
    again = operator.measure(operator.lift(measured, shape))
    _close(again[s > 0], measured[s > 0], 10 * precision)
    energy = inner(operator.Vt(x), operator.Vt(x))
    _close(energy, inner(x, x), max(1e-7, precision))
    null = x - operator.lift(torch.where(s > 0, measured, 0.0), shape)
    must(bool(inner(null, null) <= inner(x, x) * (1 + precision / 10)), "V_1 is not orthonormal")
    must(bool(operator.H(null).abs().max() < 100 * precision), "H sees what V_1^T does not")


def projection(operator: Operator, shape: Shape, precision: float = PRECISION) -> None:
    """``project`` is the Gaussian posterior mean.

    For N(x0, sigma^2) it is x0 + sigma^2 H^T (sigma^2 H H^T + sigma_y^2)^-1 (y - H x0); without noise it ends
    on the measurement.
    """
    x0, y = pictures(shape, 1), measurement_like(operator, shape, 1)
    H = dense(operator.H, shape)
    sigma, sigma_y = 0.7, 0.3
    system = sigma**2 * H @ H.mT + sigma_y**2 * torch.eye(len(H), dtype=torch.float64)
    residual = y.flatten() - H @ x0.flatten()
    expected = x0.flatten() + sigma**2 * H.mT @ torch.linalg.solve(system, residual)
    actual = operator.project(x0, y, sigma, torch.tensor([sigma_y]))
    _close(actual.flatten(), expected, max(1e-7, 100 * precision))
    y = operator.H(x0)
    x = operator.project(pictures(shape, 1, salt=3), y, 0.5, torch.zeros(1))
    _close(operator.H(x), y, 1e3 * precision)


def precisions(operator: Operator, shape: Shape, precision: float = PRECISION) -> None:
    """The precision of a result is that of the picture, float32 or float64."""
    for dtype, allowed in ((torch.float32, 1e-6), (torch.float64, 1e-14)):
        x = pictures(shape).to(dtype)
        y = operator.H(x)
        for name, found in (("H", y), ("Ht", operator.Ht(y)), ("H_pinv", operator.H_pinv(y))):
            must(found.dtype == dtype, f"{name} gives {found.dtype} for {dtype}")
        expected = operator.H(x.double())
        error = float((y.double() - expected).norm() / expected.norm())
        must(error <= allowed, f"H x is off by {error:.2g} in {dtype}, allowed {allowed}")


def autograd(operator: Operator, shape: Shape, precision: float = PRECISION) -> None:
    """The gradient of <H x, y> is Ht y, and that of <H_pinv y, x> is the adjoint of H_pinv at x."""
    x, y = pictures(shape).requires_grad_(), measurement_like(operator, shape)
    (gradient,) = torch.autograd.grad(inner(operator.H(x), y), x)
    _close(gradient, operator.Ht(y), 10 * precision)
    y, z = y.requires_grad_(), pictures(shape, salt=2)
    (gradient,) = torch.autograd.grad(inner(operator.H_pinv(y), z), y)
    other = measurement_like(operator, shape) + 1
    _close(inner(gradient, other), inner(operator.H_pinv(other), z), 1e3 * precision)


#: name -> law; each takes (operator, shape, precision) and raises AssertionError
LAWS: dict[str, Callable[..., None]] = {
    law.__name__: law
    for law in (
        shapes, adjoint, linear, pseudo_inverse, singular_values, basis, left_basis, decomposition,
        projection, precisions, autograd,
    )
}  # fmt: skip


def check_operator(operator: Operator, shape: Shape, *, precision: float = PRECISION) -> list[str]:
    """Holds an operator against every law.

    Args:
        operator:
            Yours.
        shape:
            (C, H, W) of pictures that it takes, small: C H W up to about a thousand.
        precision:
            Relative; 1e-11 where everything is computed in float64, more where a stored array (a basis) is
            of lower precision.

    Returns:
        Names of the laws.

    Raises:
        AssertionError: A law does not hold; the message names all that do not.
    """
    broken = []
    for name, law in LAWS.items():
        try:
            law(operator, tuple(shape), precision)
        except AssertionError as error:
            broken.append(f"{name} ({(law.__doc__ or '').splitlines()[0]}): {error}")
    must(not broken, f"{operator} breaks {len(broken)} laws:\n" + "\n".join(broken))
    return list(LAWS)

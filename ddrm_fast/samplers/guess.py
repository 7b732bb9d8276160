"""A first guess without a network: a smooth Gaussian field, conditioned on the measurement."""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators import CosineDecimation, Operator, SuperResolution
from ..operators.base import Shape
from ..operators.spectral import FieldOperator
from ..operators.transforms import Cosine, Fourier
from ..problems import Problem

#: noise levels from which and down to which it is refined, [-1, 1] unit, and in how many rounds
_FIRST, _LAST, _ROUNDS = 2.0, 0.01, 40
#: the first level and rounds after a closed form of a periodic field
_AGAIN = 0.1, 8
#: power of photographs falls about as frequency^-2; what is interpolated wants to be smoother
_EXPONENT = 3.0
#: variance of a pixel, [-1, 1] unit
_VARIANCE = 0.3


@torch.no_grad()
def smooth_guess(problem: Problem, count: int, least_noise: float = 0.0) -> Tensor:
    """The most probable picture of a stationary Gaussian field, given y.

    Where the operator has the field's own basis (blurs, and decimation after them) this is a closed form,
    P H^T (H P H^T + sigma_y^2)^-1 y. For others the field has a reflecting boundary, and half-quadratic
    splitting (:class:`~ddrm_fast.samplers.HQS`) has the field's own denoiser, which is a gain
    power / (power + sigma^2) of every coefficient of the cosine transform: two transforms and one
    ``operator.project`` a round.

    Args:
        problem:
            In the network's range; of an :class:`Operator`.
        count:
            Pictures B; y may be one for all.
        least_noise:
            A measurement of less noise is taken to have this much, in the unit of y.

    Returns:
        (B, C, H, W).
    """
    operator, y = problem.operator, problem.y
    if not isinstance(operator, Operator):
        raise ValueError(f"operator: expected an Operator, got {operator}")
    noise = problem.sigma_y.clamp(min=least_noise)
    if type(operator) is SuperResolution and operator.mask is None and operator.weights is None:
        r = operator.factor
        operator = CosineDecimation(torch.full((r, r), r**-2.0), r)
    x, first, rounds = y.new_zeros(count, *problem.shape), _FIRST, _ROUNDS
    if isinstance(operator, FieldOperator):
        x = _at_once(operator, y, noise, problem.shape).expand(x.shape).contiguous()
        if operator.field_basis is Cosine or y.shape[2:] == x.shape[2:]:
            return x
        # a photograph does not go on at the opposite side, which shows where much of it is not measured
        first, rounds = _AGAIN
    power = _power(*(torch.arange(n).double() / (2 * n) for n in problem.shape[1:])).to(x)
    for k in range(rounds):
        sigma = first * (_LAST / first) ** (k / (rounds - 1))
        x = Cosine.inverse(Cosine.forward(x) * (power / (power + sigma**2)))
        x = operator.project(x, y, sigma, noise)
    return x


def _at_once(operator: FieldOperator, y: Tensor, noise: Tensor, shape: Shape) -> Tensor:
    """The closed form: what is measured of every group says all of its coefficients."""
    height, width = shape[1:]
    periodic = operator.field_basis is Fourier
    if periodic:
        power = _power(torch.fft.fftfreq(height).double(), torch.fft.fftfreq(width).double())
    else:
        power = _power(*(torch.arange(n).double() / (2 * n) for n in (height, width)))
    u = operator.Ut(y)
    s = operator._s(shape, u)
    spread = operator.spread(power.to(y.device), shape).to(s)
    total = s.square() * spread + noise.to(s).square().view(-1, 1, 1, 1)
    x = operator.lift(torch.where(s > 0, s / total, 0.0) * u, shape)
    if periodic:
        return Fourier.inverse(Fourier.forward(x) * power[:, : width // 2 + 1].to(x), width)
    return Cosine.inverse(Cosine.forward(x) * power.to(x))


def as_picture(problem: Problem, count: int) -> Tensor:
    """The picture that a measurement may come from (``Forward.picture_of``), in the problem's range, or grey.

    Args:
        problem, count:
            As for :func:`smooth_guess`, of any degradation.
    """
    low, high = problem.range
    shape = (count, *problem.shape)
    x = problem.operator.picture_of(problem.y)
    if x is None:
        return problem.y.new_full(shape, (low + high) / 2)
    black, white = problem.operator.range or problem.range
    share = (x - black) / (white - black)
    return (low + (high - low) * share).clamp(low, high).expand(shape).contiguous()


def _power(rows: Tensor, columns: Tensor) -> Tensor:
    """Variance of every coefficient (H, W) of an orthonormal transform, from cycles a pixel, float64."""
    squared = rows[:, None] ** 2 + columns[None] ** 2
    power = (squared + 1 / squared.numel()) ** (-_EXPONENT / 2)
    return power * (_VARIANCE / power.mean())

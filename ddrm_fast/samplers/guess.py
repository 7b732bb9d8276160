"""A first guess without a network: a smooth Gaussian field, conditioned on the measurement."""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators import Blur, Operator
from ..operators.transforms import Cosine
from ..problems import Problem

#: noise levels from which and down to which it is refined, [-1, 1] unit, and in how many rounds
_FIRST, _LAST, _ROUNDS = 2.0, 0.01, 40
#: power of photographs falls about as frequency^-2; what is interpolated wants to be smoother
_EXPONENT = 3.0
#: variance of a pixel, [-1, 1] unit
_VARIANCE = 0.3


@torch.no_grad()
def smooth_guess(problem: Problem, count: int, least_noise: float = 0.0) -> Tensor:
    """The most probable picture of a stationary Gaussian field, given y.

    A blur has the field's own basis: two transforms. For others the field has a reflecting boundary, and
    half-quadratic splitting (:class:`~ddrm_fast.samplers.HQS`) with the field's own denoiser, which is a
    gain power / (power + sigma^2) of every coefficient of the cosine transform: two transforms and one
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
    if isinstance(operator, Blur):
        power = _power(*operator.frequencies(problem.shape))
        ratio = noise.square().view(-1, 1, 1, 1) / power.to(y)
        return operator.solve(operator.Ht(y), ratio).expand(count, *problem.shape).contiguous()
    x = y.new_zeros(count, *problem.shape)
    power = _power(*(torch.arange(n).double() / (2 * n) for n in problem.shape[1:])).to(x)
    for k in range(_ROUNDS):
        sigma = _FIRST * (_LAST / _FIRST) ** (k / (_ROUNDS - 1))
        x = Cosine.inverse(Cosine.forward(x) * (power / (power + sigma**2)))
        x = operator.project(x, y, sigma, noise)
    return x


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

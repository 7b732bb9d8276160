"""The clean image fitted to a measurement whose degradation is a map alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...operators import Operator
from ...problems import Problem
from ..state import State
from .edit import Edit


class Fit(Edit):
    """x0 <- argmin ||y - H(x)||^2 / sigma_y^2 + trust ||x - x0||^2 / sigma^2, H linear about x0.

    The proximal step of plug-and-play methods, of a degradation without a decomposition: the Gauss-Newton
    equations (J^T J / v + 1 / R) d = J^T (y - H(x0)) / v, J the Jacobian of H at x0, by conjugate gradients
    for each picture. The network is not differentiated. Where there is a decomposition nothing is done:
    the step itself fits in closed form.

    Args:
        trust:
            In the clean image, against the measurement, > 0.
        least_noise:
            A measurement of less noise is taken to have this much, in the unit of y.
        rounds:
            Of conjugate gradients, each one ``H`` forward and back twice.
    """

    title = "fit"

    def __init__(self, trust: float = 0.23, least_noise: float = 0.0039, rounds: int = 4) -> None:
        if not 0 < trust < math.inf:
            raise ValueError(f"trust: expected a number > 0, got {trust}")
        if not 0 < least_noise < math.inf:
            raise ValueError(f"least_noise: expected a number > 0, got {least_noise}")
        if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
            raise ValueError(f"rounds: expected an integer >= 1, got {rounds!r}")
        self.trust, self.least_noise, self.rounds = trust, least_noise, rounds

    def prepared(self, problem: Problem, shape: tuple[int, ...]) -> Fit | None:
        return None if isinstance(problem.operator, Operator) else self

    def clean(self, problem: Problem, state: State) -> Tensor:
        if state.t_next == -1:  # the last word is the network's, as with a decomposition
            return state.x0
        R = state.sigma**2 / self.trust
        v = problem.sigma_y.clamp(min=self.least_noise).square().to(state.x0).view(-1, 1, 1, 1)
        if not R:
            return state.x0
        with torch.enable_grad():
            x = state.x0.detach().requires_grad_()
            y = problem.H(x)
            w = torch.zeros_like(y).requires_grad_()
            (back,) = torch.autograd.grad(y, x, w, create_graph=True)  # J^T w, linear in w

        def gram(d: Tensor) -> Tensor:
            (ahead,) = torch.autograd.grad(back, w, d, retain_graph=True)  # J d
            return transposed(ahead) / v + d / R

        def transposed(vector: Tensor) -> Tensor:
            return torch.autograd.grad(y, x, vector, retain_graph=True)[0]

        missing = (problem.y - y).detach()
        return state.x0 + solved(gram, transposed(missing) / v, self.rounds)


def solved(matrix: Callable[[Tensor], Tensor], right: Tensor, rounds: int) -> Tensor:
    """Conjugate gradients from 0, for each picture of a batch by itself."""

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).flatten(1).sum(dim=1).view(-1, 1, 1, 1)

    def ratio(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(b > 0, a / torch.where(b > 0, b, 1.0), 0.0)

    x = torch.zeros_like(right)
    residual, direction, size = right, right, dot(right, right)
    for _ in range(rounds):
        image = matrix(direction)
        step = ratio(size, dot(direction, image))
        x = x + step * direction
        residual = residual - step * image
        size, before = dot(residual, residual), size
        direction = residual + ratio(size, before) * direction
    return x

"""The measurement has the last word."""

from __future__ import annotations

from torch import Tensor

from ...operators import Operator
from ...problems import Problem
from ..state import State
from .edit import Edit


class EndOnMeasurement(Edit):
    """Ends with x0 + V g (u/s - V^T x0): what was measured, as far as its noise allows.

    g = s^2 sigma^2 / (s^2 sigma^2 + sigma_y^2), sigma the noise level of the last network call; see
    :meth:`~ddrm_fast.operators.Operator.project`.
    """

    capturable = True
    needs = Operator
    title = "end_on_measurement"

    def result(self, problem: Problem, state: State) -> Tensor:
        return problem.decomposed.project(state.x_next, problem.y, state.sigma, problem.sigma_y)

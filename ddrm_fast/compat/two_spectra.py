"""DDNM+ for blurs whose small singular values were set to 0 in A, but not in Lambda.

The published Deblurring corrects x0 with A's singular values and scales with others: those before
thresholding, in the true order. One row of weights evaluates at one singular value, so this operator
steps with Lambda's, and gives the measurement what makes the two agree.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import ops
from ..operators.base import Measurement
from ..ops import Noise, rows
from .degradations.separable import Basis, Kronecker


class TwoSpectra(Kronecker):
    """A's singular values in H and its inverse, Lambda's in the weights of a step.

    Where A measures, c(s) u = a lambda u / s has to use A's 1/s: u is scaled by the ratio of the two. Where A
    measures nothing, Lambda still scales a correction of 0: x0 is its own measurement there, u = s x0.

    Args:
        of_lambda:
            Lambda's singular values (C, m, m) at the places of the products.
    """

    def __init__(self, vertical: Basis, horizontal: Basis, s: Tensor, of_lambda: Tensor) -> None:
        super().__init__(vertical, horizontal, s, 0.0)
        self._of_lambda = of_lambda.double()[None]

    def prepare(self, y: Tensor) -> Measurement:
        u, s = self.Ut(y), self._s(self.image_shape(y), y)
        weights_at = self._constant("of_lambda", self._of_lambda, y)
        scale = torch.where(s > 0, weights_at / torch.where(s > 0, s, 1.0), 0.0)
        self._unmeasured = s <= 0
        return Measurement(self.image_shape(y), (u * scale).contiguous(), weights_at)

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
        measurement = u.u
        if x_t is not None and out is not None:
            row = table.index_select(0, step)[0, 0]
            x0 = row[rows.P_X] * x_t + row[rows.P_OUT] * out
            measurement = torch.where(self._unmeasured, u.s * x0, measurement)
        ops.pointwise_step(x_t, out, measurement, u.s, table, step, noise, x_next=x_next)

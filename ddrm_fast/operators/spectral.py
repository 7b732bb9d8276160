"""Shared by operators that work on coefficients of a transform: the state is kept there too."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from .. import ops
from ..ops import Noise, guard
from .base import Carry, Measurement, Operator, Rows, Shape
from .transforms import Cosine, Fourier


class TransformOperator(Operator):
    """An operator whose step runs on coefficients: one forward and one inverse transform a step."""

    @abstractmethod
    def _forward(self, x: Tensor) -> Tensor:
        """Coefficients of an image, in the layout of the step kernel."""

    @abstractmethod
    def _inverse(self, c: Tensor, shape: Shape, out: Tensor | None) -> Tensor:
        """The image with these coefficients, into ``out`` where the transform can."""

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
        """The affine map on coefficients; pointwise unless an operator says otherwise."""
        ops.pointwise_step(x_t, out, u.u, u.s, table, step, noise, x_next=x_next)

    def _advance(
        self,
        x_t: Tensor,
        out: Tensor,
        u: Measurement,
        table: Tensor,
        step: Tensor,
        noise: Noise,
        x_next: Tensor,
    ) -> None:
        """The affine map on coefficients ``x_t``, from a network output ``out`` in pixels."""
        predicted = self._forward(out.to(x_next.real.dtype))
        self._update(x_t, predicted, u, table, step, noise, x_next)

    def _coefficient_space(self, batch: int, u: Measurement) -> tuple[tuple[int, ...], torch.dtype]:
        """Shape and dtype of the coefficients of a batch."""
        return (batch, *u.u.shape[1:]), u.u.dtype

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
        carry = Carry() if carry is None else carry
        like = x_next if x_t is None else x_t
        if like is None:
            raise ValueError("x_next: has to be given where x_t and out are None")
        for name, buffer in (("x_next", x_next), ("x0", x0)):
            if buffer is not None:
                guard.same(name, buffer, like)
        if noise.pixels is not None:
            noise = Noise(noise.keys, self._forward(noise.pixels))
        if x_t is None or out is None:
            shape, dtype = self._coefficient_space(like.shape[0], u)
            start = torch.empty(shape, dtype=dtype, device=like.device)
            self._update(None, None, u, rows.table, step, noise, start)
            carry.coefficients = start
            return self._inverse(start, u.image_shape, x_next)
        if carry.coefficients is None:
            carry.coefficients = self._forward(x_t)
        if rows.edited is not None or x0 is not None:
            clean = ops.predict_x0(x_t, out, rows.table, step)
            if x0 is not None:
                x0.copy_(clean)
        # an edited clean image takes the place of the output: still one forward transform
        if rows.edited is not None:
            table, pixels = rows.edited, clean
        else:
            table, pixels = rows.table, guard.network_output(out, x_t)
        # in place: with the output's coefficients that is two spectra in all
        state = carry.coefficients
        self._advance(state, pixels, u, table, step, noise, state)
        return self._inverse(carry.coefficients, u.image_shape, x_next)


class FieldOperator(TransformOperator):
    """One that keeps apart what a transform keeps apart: each coefficient is measured in one group alone.

    So the measured directions of a stationary field, whose coefficients do not correlate, do not either.
    """

    #: that transform
    field_basis: type[Fourier] | type[Cosine]

    @abstractmethod
    def spread(self, power: Tensor, shape: Shape) -> Tensor:
        """Variance of every measured direction of a stationary field, w^T P w.

        Args:
            power:
                Variance of every coefficient of ``field_basis``, float64 (H, W), of the full spectrum.
            shape:
                (C, H, W) of the image.

        Returns:
            Broadcastable to ``Ut(y)``.
        """


def into(x: Tensor, out: Tensor | None) -> Tensor:
    """``x``, copied into a buffer if one is given."""
    return x if out is None else out.copy_(x)

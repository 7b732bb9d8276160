"""What was measured: a degradation, its measurement, how that scatters, and the range of the pictures."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..machine.arguments import checked
from ..operators import Forward, Operator
from ..operators.base import Shape
from ..operators.cuts import Cuts
from .checks import check_finite, check_forward, check_measures, warn_bytes
from .counts import PoissonGaussian, as_gaussian
from .likelihood import Gaussian

#: black and white of the pictures that people have, and of those that networks see
PICTURES, NETWORKS = (0.0, 1.0), (-1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Problem:
    """y was measured of pictures that went through a degradation. See :meth:`of` for one that is checked.

    Args:
        operator:
            The degradation, for one picture or for those of the batch.
        y:
            Its measurement, in the degradation's layout; batch B, or 1 for all.
        likelihood:
            How y scatters about what the degradation gives.
        range:
            (black, white) of the pictures that y is a measurement of.
    """

    operator: Forward
    y: Tensor
    likelihood: Gaussian = field(
        default_factory=lambda: Gaussian(torch.zeros(1, dtype=torch.float64))
    )
    range: tuple[float, float] = PICTURES

    @classmethod
    @checked
    def of(
        cls, y: Tensor, operator: Forward, sigma_y: float | Tensor | PoissonGaussian = 0.0
    ) -> Problem:
        """A problem of pictures in [0, 1], checked.

        Args:
            y:
                Measurement, float32 (float64: reference backend), in the operator's layout, batch B.
            operator:
                How the pictures were degraded.
            sigma_y:
                Standard deviation of the noise in y, in its unit, >= 0, one for all or [B]; or a law of noise
                that grows with the light, for which the nearest problem of white noise stands
                (:func:`~ddrm_fast.problems.counts.as_gaussian`).

        Raises:
            ValueError: something has a wrong type, shape or value; NaN or infinite entries; the operator
                measures nothing.
        """
        check_forward(operator, operator.batch if isinstance(operator, Forward) else 1)
        check_finite("y", y)
        shape = operator.image_shape(y)
        check_forward(operator, y.shape[0])
        check_measures(operator, shape)
        if isinstance(sigma_y, PoissonGaussian):
            y, operator, sigma_y = as_gaussian(y, operator, sigma_y)
        likelihood = Gaussian.of(sigma_y, y.shape[0])
        if y.shape[0] and not y.numel():
            raise ValueError(f"y: has no pixels, got shape {tuple(y.shape)}")
        return cls(operator, y.detach(), likelihood)

    @property
    def decomposed(self) -> Operator:
        """The degradation, where it has a singular value decomposition.

        Raises:
            ValueError: it is a map alone.
        """
        if not isinstance(self.operator, Operator):
            raise ValueError(
                f"operator: expected an Operator, with a decomposition, got {self.operator}"
            )
        return self.operator

    @property
    def shape(self) -> Shape:
        """(C, H, W) of the pictures."""
        return self.operator.image_shape(self.y)

    @property
    def batch(self) -> int:
        """Measurements; 1 may stand for any number of pictures."""
        return self.y.shape[0]

    @property
    def sigma_y(self) -> Tensor:
        """Standard deviation of the noise, float64 [B or 1] on the CPU."""
        return self.likelihood.sigma_y

    def select(self, pictures: Tensor) -> Problem:
        """That of some pictures of the batch, in this order.

        Args:
            pictures:
                int64, on the device of y.
        """
        y = self.y if self.batch == 1 else self.y.index_select(0, pictures)
        operator, likelihood = self.operator.select(pictures), self.likelihood.select(pictures)
        return replace(self, operator=operator, y=y, likelihood=likelihood)

    def windows(self, cuts: Cuts) -> Problem:
        """That of windows, as a batch; whole pictures where the windows are that large.

        Raises:
            ValueError: the measurement does not split over windows.
        """
        _, height, width = self.shape
        pictures = torch.tensor(cuts.pictures)
        if all(box == (0, 0, height, width) for box in cuts.boxes):
            return self.select(pictures.to(self.y.device))
        return replace(
            self,
            operator=self.operator.windows(cuts),
            y=self.operator.crop(self.y, cuts),
            likelihood=self.likelihood.select(pictures),
        )

    def to(self, device: torch.device | str) -> Problem:
        """The same on another device."""
        return replace(self, y=self.y.to(device))

    def coarse(self, factor: int) -> Problem:
        """That of pictures whose pixels are means of factor x factor.

        Raises:
            ValueError: the degradation has no counterpart for small pictures, or the factor does not fit.
        """
        operator, y, noise = self.operator.coarse(self.y, factor)
        return replace(self, operator=operator, y=y, likelihood=self.likelihood.scaled(noise))

    def in_network_range(self, warn: bool = False) -> Problem:
        """The same of pictures in [-1, 1], of [0, 1].

        With x' = 2 x - 1 the measurement of a linear degradation becomes y' = H x' = 2 y - H(1), which is
        2 y - 1 only where H(1) = 1, and its noise twice as strong. One that is made for a range keeps its
        measurement, and pictures are converted for it (:meth:`H`).

        Args:
            warn:
                Warn where y looks like 0..255.
        """
        if self.range == NETWORKS:
            return self
        if not isinstance(self.operator, Operator):
            return replace(self, range=NETWORKS)
        y = in_network_range(self.operator, self.y, warn)
        return Problem(self.operator, y, self.likelihood.scaled(2.0), range=NETWORKS)

    def H(self, x: Tensor) -> Tensor:
        """What the degradation makes of pictures in this problem's range; to be compared with y."""
        made_for = self.operator.range
        if made_for is None or made_for == self.range:
            return self.operator.H(x)
        (low, high), (black, white) = self.range, made_for
        return self.operator.H((x - low) * ((white - black) / (high - low)) + black)


def of_white(operator: Operator, shape: Shape, like: Tensor) -> Tensor:
    """H(1), for one picture or for those that have masks of their own."""
    ones = torch.ones(operator.batch, *shape, dtype=like.dtype, device=like.device)
    return operator.H(ones)


def in_network_range(operator: Operator, y: Tensor, warn: bool = False) -> Tensor:
    """The measurement of 2 x - 1 out of that of x: 2 y - H(1).

    Args:
        warn:
            Warn where y looks like 0..255.
    """
    h_ones = of_white(operator, operator.image_shape(y), y)
    if warn:
        warn_bytes(y, h_ones)
    return 2 * y - h_ones

"""Noise that grows with the light: Poisson's law of counted photons, and that of a camera's sensor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import ops
from ..machine.arguments import check_made
from ..operators import Forward, Operator
from ..operators.pointwise import Gain
from ..registry.values import number

#: side of the squares whose mean stands for the signal of a pixel
_NEAR = 5


@dataclass(frozen=True)
class PoissonGaussian:
    """y = a Poisson(H(x) / a) + sqrt(b) n: of variance a H(x) + b about H(x), in the unit of y.

    What a camera's sensor has: a is one over the electrons that make white, b the variance of reading them
    out (Foi, Trimeche, Katkovnik, Egiazarian, "Practical Poissonian-Gaussian noise modeling and fitting for
    single-image raw-data", 2008).

    Args:
        a:
            Variance per signal, > 0.
        b:
            Variance in the dark, >= 0.
    """

    a: float
    b: float = 0.0

    def __post_init__(self) -> None:
        for name, low in (("a", 0.0), ("b", -1.0)):
            value = getattr(self, name)
            if not low < value < math.inf or value < 0:
                least = "> 0" if name == "a" else ">= 0"
                raise ValueError(f"{name}: got {value}, expected a number {least}")

    def variance(self, signal: Tensor) -> Tensor:
        """Of y where H(x) is ``signal``."""
        return self.a * signal.clamp(min=0) + self.b

    def drawn(self, signal: Tensor, seed: int) -> Tensor:
        """y for H(x) = ``signal`` (B, ...); picture i draws from seed + i, whatever else is in the batch.

        Raises:
            ValueError: The signal is negative somewhere: no light is less than none.
        """
        if signal.numel() and float(signal.min()) < 0:
            raise ValueError(
                f"sigma_y: {self} counts light, and H(x) is {float(signal.min()):.4g} somewhere, expected "
                "0 or more"
            )
        counts = []
        for row, picture in enumerate(signal):
            generator = torch.Generator().manual_seed((seed + row) % 2**64)
            counts.append(torch.poisson(picture.double().cpu() / self.a, generator=generator))
        y = torch.stack(counts) * self.a if counts else signal.double()
        if self.b and signal.numel():
            keys = ops.noise_keys(signal.shape[0], seed, device=torch.device("cpu"))
            noise = ops.normal(keys, 1, 1, signal[0].numel(), stream=ops.Stream.MEASUREMENT)
            y = y + math.sqrt(self.b) * noise.double().view(y.shape)
        return y.to(signal)

    def __str__(self) -> str:
        if self.b == 0:
            return f"poisson:{1 / self.a:.6g}"
        return f"sensor:{self.a:.6g}:{self.b:.6g}"


def Poisson(rate: float) -> PoissonGaussian:
    """Photons are counted, ``rate`` of them where a picture is white: y = Poisson(rate H(x)) / rate.

    Args:
        rate:
            Counts for a signal of 1, > 0.

    Raises:
        ValueError: It is no such number.
    """
    if isinstance(rate, bool) or not 0 < rate < math.inf:
        raise ValueError(f"rate: got {rate!r}, expected a number > 0")
    return PoissonGaussian(1 / rate)


check_made(PoissonGaussian)

FORM = "0.1, 25/255, poisson:RATE (counts for white) or sensor:A:B (variance A signal + B)"


def parse_counts(name: str, text: object) -> PoissonGaussian | None:
    """``poisson:RATE`` or ``sensor:A:B``; None where it is nothing of the kind.

    Raises:
        ValueError: It begins like one and is none.
    """
    word, *rest = str(text).strip().lower().split(":")
    if word not in ("poisson", "sensor") or (word == "sensor" and not rest):
        return None
    try:
        if len(rest) != (1 if word == "poisson" else 2):
            raise ValueError
        values = [number(name, value, 0.0) for value in rest]
        return Poisson(values[0]) if word == "poisson" else PoissonGaussian(*values)
    except ValueError:
        raise ValueError(f"{name}: got {text!r}, expected {FORM}") from None


def mean_level(y: Tensor, law: PoissonGaussian) -> float:
    """Root of the mean variance of a measurement: one number for all of it."""
    return float(law.variance(y.double().clamp(min=0).mean()).sqrt()) if y.numel() else 0.0


def as_gaussian(
    y: Tensor, operator: Forward, law: PoissonGaussian
) -> tuple[Tensor, Forward, Tensor]:
    """The nearest problem of white noise: what every sampler in the singular basis can take.

    Where each pixel is measured by itself, rows of the system are divided by their own standard deviation,
    which is exact but for the variance being that of the mean signal nearby, and makes a :class:`Gain`. Where
    pixels are mixed, all values get the mean variance of their picture.

    Args:
        y, operator:
            The measurement of pictures in [0, 1] and its degradation.
        law:
            How y scatters.

    Returns:
        y, operator and standard deviation (float64, [B or 1]) of the other problem.

    Raises:
        ValueError: A count is negative.
    """
    if law.b == 0 and y.numel() and float(y.min()) < 0:
        raise ValueError(
            f"y: has values below 0 ({float(y.min()):.4g}), and {law} says that it was counted; expected "
            "0 or more, or sensor noise with a part that does not come from the light"
        )
    pointwise = isinstance(operator, Operator) and operator.mixes == "nothing"
    if not pointwise or not y.numel():
        mean = y.double().clamp(min=0).flatten(1).mean(1) if y.numel() else y.new_zeros(1)
        return y, operator, law.variance(mean.cpu().double()).sqrt()
    assert isinstance(operator, Operator)
    shape = operator.image_shape(y)
    gain = operator.H(torch.ones(operator.batch, *shape, dtype=y.dtype, device=y.device))
    measured = gain != 0
    # at least one count is taken to have been possible: a black pixel is not free of noise
    signal = _near(y, measured.expand_as(y).to(y)).clamp(min=law.a)
    spread = law.variance(signal.double()).sqrt()
    least = torch.where(measured, spread, math.inf).flatten(1).amin(1)
    share = torch.where(measured, least.view(-1, 1, 1, 1) / spread, 0.0)
    weighted = Gain((gain.double() * share).cpu(), rcond=0.0)
    return (y * share.to(y)).contiguous(), weighted, least.cpu()


def _near(y: Tensor, measured: Tensor) -> Tensor:
    """Mean of the measured pixels in squares around each (B, C, H, W)."""
    pad = _NEAR // 2
    area = torch.nn.functional.avg_pool2d
    total = area(y * measured, _NEAR, 1, pad, count_include_pad=True)
    return total / area(measured, _NEAR, 1, pad, count_include_pad=True).clamp(min=1e-6)

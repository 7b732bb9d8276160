"""Where a run calls its network: lists of noise levels, by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..machine.arguments import checked
from ..priors import Prior

SPACINGS = ("karras", "geometric")
_FORM = "COUNT, karras:COUNT:START:END, geometric:COUNT:START:END, or timesteps such as 900,600,300"


@dataclass(frozen=True)
class Steps:
    """Noise levels from one down to another, for ``steps`` of a sampler.

    Uniform timesteps, as published (a plain number), spend most calls above noise level 1 and jump from
    0.2 to 0.01 at the end: right for a strong prior and for large unknown regions. Where the measurement says
    most of the picture, or the network sees little of it, calls belong between about 1 and the noise of
    the measurement.

    Args:
        spacing:
            "karras": levels whose rho-th roots are equal distances apart (Karras et al. 2022, eq. 5);
            "geometric": equal ratios.
        count:
            Network calls, >= 1.
        start, end:
            First and last level, in the unit of [0, 1] pictures, start >= end > 0.
        rho:
            Of "karras": the larger, the more calls at low levels.

    Example:
        >>> DDRM(steps=Steps("karras", 20, 1.0, 0.01))  # or DDRM(steps="karras:20:1:0.01")
    """

    spacing: str
    count: int
    start: float
    end: float
    rho: float = 7.0

    def __post_init__(self) -> None:
        if self.spacing not in SPACINGS:
            raise ValueError(
                f"spacing: expected one of {', '.join(SPACINGS)}, got {self.spacing!r}"
            )
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise ValueError(f"count: expected an integer >= 1, got {self.count!r}")
        if not math.inf > self.start >= self.end > 0:
            raise ValueError(
                f"start, end: expected noise levels start >= end > 0, got {self.start} and {self.end}"
            )
        if not 0 < self.rho < math.inf:
            raise ValueError(f"rho: expected a number > 0, got {self.rho}")

    @property
    def levels(self) -> list[float]:
        """The noise levels, falling, in the unit of [0, 1] pictures."""
        if self.count == 1:
            return [self.start]
        share = [i / (self.count - 1) for i in range(self.count)]
        if self.spacing == "geometric":
            ratio = math.log(self.end / self.start)
            return [self.start * math.exp(ratio * part) for part in share]
        first, last = self.start ** (1 / self.rho), self.end ** (1 / self.rho)
        return [(first + part * (last - first)) ** self.rho for part in share]

    def timesteps(self, prior: Prior) -> list[float]:
        """Where a network is asked for these levels; fewer where some are one to it.

        A prior whose timesteps are whole knows no more levels than those, and none knows levels outside
        its :attr:`~ddrm_fast.priors.Prior.sigma_range`.
        """
        # networks live in [-1, 1], where noise is twice as strong
        return list(dict.fromkeys(prior.timestep(2 * level) for level in self.levels))

    def __str__(self) -> str:
        numbers = [float(self.count), self.start, self.end]
        if self.spacing == "karras" and self.rho != 7.0:
            numbers.append(self.rho)
        return ":".join([self.spacing, *map(_shortest, numbers)])

    def __repr__(self) -> str:
        return repr(str(self))


#: a number of steps, descending timesteps, or noise levels by name
StepsLike = int | str | Steps | Sequence[float]


def _shortest(number: float) -> str:
    """In as few digits as give it back."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


@checked
def parse_steps(text: str) -> int | Steps | tuple[float, ...]:
    """Steps in words.

    Args:
        text:
            A count; ``karras:COUNT:START:END`` (and ``:RHO``) or ``geometric:COUNT:START:END``; or
            timesteps, falling, with commas between them.

    Raises:
        ValueError: it is something else.
    """
    word, *rest = text.strip().split(":")
    try:
        if word in SPACINGS and 3 <= len(rest) <= 3 + (word == "karras"):
            return Steps(word, int(rest[0]), *map(float, rest[1:]))
        if not rest and "," in word:
            return tuple(float(t) if "." in t else int(t) for t in word.split(","))
        if not rest:
            return int(word)
    except ValueError as error:
        if ":" in str(error) and "literal" not in str(error) and "convert" not in str(error):
            raise ValueError(f"steps: {text!r}: {error}") from None
    raise ValueError(f"steps: expected {_FORM}, got {text!r}")


def timesteps(
    prior: Prior, steps: int | str | Steps | Sequence[float], *, from_pure_noise: bool = False
) -> list[float]:
    """The timesteps that a sampler visits, falling; see :meth:`~ddrm_fast.priors.Prior.steps`."""
    if isinstance(steps, str):
        steps = parse_steps(steps)
    if isinstance(steps, Steps):
        steps = steps.timesteps(prior)
    return prior.steps(steps, from_pure_noise=from_pure_noise)

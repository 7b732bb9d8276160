"""Settings of a task or a sampler: what they are called, which values they take, what they mean.

One description serves Python and the shell: :meth:`Parameter.read` takes the value itself or the text that
stands for it, and what it says of a wrong one begins with the parameter's name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from . import values


def _short(default: Any) -> str:
    """A default for people."""
    if default is None:
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A setting whose value is a word.

    Args:
        name:
            The keyword in Python; the option is the same with dashes.
        help:
            One line, with the unit; the default is added by whoever prints it.
        default:
            None: there is none, or it is found out.
        usual:
            The default in words, where ``default`` does not say it.
        required:
            There is no default, and it has to be given.
        example:
            For messages, documents and tests.
        metavar:
            What stands for the value in a help text.
    """

    name: str
    help: str
    default: Any = None
    usual: str = ""
    required: bool = False
    example: str = ""
    metavar: str = "WORD"
    #: a tensor, stored by itself, made from a word once the picture's shape is known
    array: ClassVar[bool] = False

    @property
    def option(self) -> str:
        """How the shell calls it."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def described(self) -> str:
        """The help with the default in brackets."""
        default = self.usual or _short(self.default)
        return f"{self.help} ({default})" if default else self.help

    def read(self, value: Any) -> Any:
        """The value that was meant.

        Raises:
            ValueError: It is none; the message begins with the parameter's name.
        """
        return value


@dataclass(frozen=True, kw_only=True)
class Whole(Parameter):
    """A whole number from ``low`` to ``high``."""

    low: int = 1
    high: int | None = None
    metavar: str = "N"

    def read(self, value: str | int) -> int:
        return values.whole(self.name, value, self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class Number(Parameter):
    """A number from ``low`` to ``high``."""

    low: float = -math.inf
    high: float = math.inf
    metavar: str = "X"

    def read(self, value: str | float) -> float:
        return values.number(self.name, value, self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class Choice(Parameter):
    """One of some words."""

    choices: tuple[str, ...] = ()

    def read(self, value: str) -> str:
        if value not in self.choices:
            known = ", ".join(self.choices)
            raise ValueError(f"{self.name}: got {value!r}, expected one of {known}")
        return value


@dataclass(frozen=True, kw_only=True)
class GreyWeights(Parameter):
    """Shares of red, green and blue in a grey value, such as 0.299,0.587,0.114; divided by their sum."""

    metavar: str = "R,G,B"

    def read(self, value: str | Sequence[float]) -> tuple[float, ...]:
        words = value.split(",") if isinstance(value, str) else value
        found = tuple(values.number(self.name, word, -10, 10) for word in words)
        if len(found) != 3 or not sum(found) > 0:
            raise ValueError(
                f"{self.name}: got {value!r}, expected three numbers with a sum above 0, such as "
                "0.299,0.587,0.114"
            )
        return tuple(weight / sum(found) for weight in found)


@dataclass(frozen=True, kw_only=True)
class Tables(Parameter):
    """Quantisation tables of a JPEG file: its path, or lists of 64 steps."""


@dataclass(frozen=True, kw_only=True)
class Mask(Parameter):
    """Which pixels are known: a tensor (H, W) or (C, H, W), or words for it."""

    WORDS: ClassVar[str] = "FILE, random:SHARE, box:TOP,LEFT,HEIGHT,WIDTH or bayer:RGGB"
    array: ClassVar[bool] = True
    metavar: str = "MASK"


@dataclass(frozen=True, kw_only=True)
class Kernel(Parameter):
    """A blur kernel: a tensor (kh, kw), or words for it."""

    WORDS: ClassVar[str] = "FILE, gaussian:SIGMA, motion:LENGTH,ANGLE or uniform:SIDE"
    array: ClassVar[bool] = True
    metavar: str = "KERNEL"


@dataclass(frozen=True, kw_only=True)
class Plane(Parameter):
    """A number for each pixel: a tensor (H, W), or words for it."""

    WORDS: ClassVar[str] = "FILE or vignette:CORNER"
    array: ClassVar[bool] = True
    metavar: str = "PLANE"

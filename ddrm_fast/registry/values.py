"""Numbers as people write them: read, checked, and named in what is said of a wrong one."""

from __future__ import annotations

import math


def whole(name: str, text: str | int, least: int = 1, most: int | None = None) -> int:
    """An integer of at least ``least`` and at most ``most``.

    Args:
        name:
            Of the argument or option, for the message.
        text:
            The number, or its digits.
        least, most:
            Bounds, inclusive.

    Raises:
        ValueError: It is none, or lies outside.
    """
    try:
        value = int(text) if isinstance(text, str) or int(text) == text else None
    except (ValueError, TypeError):
        value = None
    if value is None or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}: got {text!r}, expected a whole number {bounds}")
    return value


def sides(name: str, text: str) -> int | tuple[int, int]:
    """A side of a square, such as 256, or rows and columns, such as 256x512."""
    words = text.lower().split("x")
    try:
        found = [whole(name, word) for word in words]
    except ValueError:
        found = []
    if len(found) not in (1, 2):
        raise ValueError(
            f"{name}: got {text!r}, expected a whole number of at least 1 or ROWSxCOLUMNS, such as 256x512"
        )
    return found[0] if len(found) == 1 else (found[0], found[1])


def seed(name: str, text: str | int) -> int:
    """A seed: 64 bits."""
    return whole(name, text, 0, 2**64 - 1)


def number(name: str, text: str | float, low: float, high: float = math.inf) -> float:
    """A finite number from ``low`` to ``high``.

    Raises:
        ValueError: It is none, or lies outside.
    """
    try:
        value = float(text)
    except (ValueError, TypeError):
        value = math.nan
    if not (math.isfinite(value) and low <= value <= high):
        if math.isfinite(high):
            bounds = f" from {low:g} to {high:g}"
        else:
            bounds = f" of at least {low:g}" if math.isfinite(low) else ""
        raise ValueError(f"{name}: got {text!r}, expected a number{bounds}")
    return value


def noise_level(name: str, text: str | float) -> float:
    """A noise level in units of [0, 1], such as 0.1 or 25/255."""
    above, slash, below = str(text).partition("/")
    try:
        value = float(above) / (float(below) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not 0 <= value <= 1:
        hint = f"; for 8-bit levels write {text}/255" if 1 < value <= 255 and not slash else ""
        raise ValueError(
            f"{name}: got {text!r}, expected a noise level from 0 to 1 "
            f"(pictures are in [0, 1]){hint}"
        )
    return value


def numbers(name: str, text: str, example: str) -> tuple[int, ...]:
    """Whole numbers between commas.

    Args:
        example:
            For the message.
    """
    try:
        return tuple(int(word) for word in text.split(",") if word)
    except ValueError:
        raise ValueError(f"{name}: got {text!r}, expected numbers such as {example}") from None

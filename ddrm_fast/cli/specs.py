"""Values of the command line: numbers, threads, and files that are read or will be written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..registry.values import noise_level, number, seed, sides, whole

if TYPE_CHECKING:
    from ..problems import PoissonGaussian

__all__ = [
    "noise",
    "noise_level",
    "number",
    "seed",
    "settings",
    "sides",
    "threads",
    "whole",
    "writable",
]


def noise(option: str, text: str) -> float | PoissonGaussian:
    """A noise level, or the law of noise that grows with the light: poisson:RATE, sensor:A:B."""
    from ..problems.counts import parse_counts

    law = parse_counts(option, text)
    return noise_level(option, text) if law is None else law


def threads(option: str, text: str | int) -> int:
    """CPU threads, no more than there are processors: more would only wait for each other."""
    return whole(option, text, 1, os.cpu_count())


def settings(option: str, path: str | None) -> dict[str, Any] | None:
    """The object in a JSON file; None without a file."""
    from ..io.files import read_bytes

    if path is None:
        return None
    try:
        content = read_bytes(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{option}: {error}") from None
    try:
        found = json.loads(content)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{option}: {path} is not readable as JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{option}: {path} holds a {type(found).__name__}, expected an object")
    return found


def writable(option: str, path: str | Path) -> None:
    """Raises OutputError where a file could not be written, before any work is done for it."""
    from ..io.files import OutputError, check_writable

    try:
        check_writable(path)
    except OutputError as error:
        raise OutputError(f"{option}: {error}") from None

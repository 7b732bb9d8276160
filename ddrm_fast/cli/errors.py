"""What counts as an explained failure, and how it is said: one line, which names the option."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

FAILURES = (ValueError, OSError, RuntimeError, ArithmeticError, ImportError, MemoryError)

#: arguments that the command at hand has an option for
_OPTIONS: set[str] = set()


def speak_of(arguments: Iterable[str]) -> None:
    """Messages that begin with the name of one of these arguments name its option from now on."""
    _OPTIONS.clear()
    _OPTIONS.update(arguments)


def one_line(error: BaseException, path: Path | None = None) -> str:
    """The message of an error without line breaks, or its kind where it has none.

    Args:
        path:
            The file that was worked on; named where the message does not name it.
    """
    text = printable(with_options(" ".join(str(error).split())) or type(error).__name__)
    if path is not None and printable(str(path)) not in text:
        text = f"{printable(str(path))}: {text}"
    return text if len(text) <= 500 else f"{text[:250]} ... {text[-240:]}"


def printable(text: str) -> str:
    """Text with what is no UTF-8, as names of files may be, in backslashes."""
    return text.encode("utf-8", "backslashreplace").decode()


def with_options(text: str) -> str:
    """``eta_b: got 2`` as ``--eta-b: got 2``, ``give sigma`` as ``give --sigma``, for options there are."""

    def option(found: re.Match[str]) -> str:
        before, name = found[1], found[2]
        return f"{before}--{name.replace('_', '-')}" if name in _OPTIONS else found[0]

    text = re.sub(r"^()([a-z][a-z0-9_]*)(?=( \S+)?:)", option, text)
    return re.sub(r"\b((?:give|leave out) )([a-z][a-z0-9_]*)\b", option, text)

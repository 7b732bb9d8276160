"""What counts as an explained failure, and how it is said: one line."""

from __future__ import annotations

from pathlib import Path

FAILURES = (ValueError, OSError, RuntimeError, ArithmeticError, ImportError, MemoryError)


def one_line(error: BaseException, path: Path | None = None) -> str:
    """The message of an error without line breaks, or its kind where it has none.

    Args:
        path: The file that was worked on; named where the message does not name it.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    if path is not None and str(path) not in text:
        text = f"{path}: {text}"
    return text if len(text) <= 500 else text[:500] + " ..."

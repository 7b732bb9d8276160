"""How a command ends when it is told to, and how it warns: in words, without places in source files."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_PACKAGE = Path(__file__).parent.parent


class Terminated(KeyboardInterrupt):
    """The process was told to end (SIGTERM)."""


@contextmanager
def tidy_end() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does: what is being written is finished, and it is said.

    Commands that end in their own way, such as trainings, put their own handler in its place.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def told(number: int, frame: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, told)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


@contextmanager
def warnings_in_words(command: str) -> Iterator[None]:
    """Warnings of this package in one line each; those of others are for its developers."""

    def say(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = " ".join(str(message).split())
        own = Path(filename).is_relative_to(_PACKAGE)
        if own or "site-packages" not in Path(filename).parts:  # ours, or on behalf of the program
            print(f"ddrm-fast {command}: {text}", file=sys.stderr)
        else:
            logging.getLogger(__name__).debug("%s:%s: %s", filename, lineno, text)

    with warnings.catch_warnings():
        warnings.showwarning = say
        yield

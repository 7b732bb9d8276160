"""Ctrl-C and SIGTERM as a wish that a loop grants after its step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set while the context lasts (main thread only)."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    chosen = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: event.set()) for number in chosen]
    try:
        yield event
    finally:
        for number, handler in zip(chosen, before, strict=True):
            signal.signal(number, handler)

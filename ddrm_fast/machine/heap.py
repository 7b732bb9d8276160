"""Memory that stays with the process while something runs that frees and needs it again and again.

By itself the allocator of glibc returns what is freed to the system, which has to clear it page by page when
it is needed again, for the next tile of a network or the next step: at 4096 x 4096 a third of the time.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of <malloc.h>
_NEVER = 2**31 - 1
#: where glibc's own adjustment of the two ends
_LARGEST_TRIM, _LARGEST_MMAP = 2**26, 2**25

_lock = Lock()
_users = 0
_gives_back = False


@contextmanager
def kept_memory(give_back: bool = False) -> Iterator[None]:
    """What is freed in here stays with the process for what is needed next.

    For all threads, until the last of those that are in here leaves. Nothing happens where the C library is
    not glibc, or where its thresholds were chosen in the environment.

    Args:
        give_back:
            At the end return to the system what is free then, as after large pictures.
    """
    global _users, _gives_back
    library = _glibc()
    if library is None:
        yield
        return
    with _lock:
        _users += 1
        _gives_back |= give_back
        if _users == 1:
            # the C library before 2.35 refuses the first: blocks above 32 MiB are returned then
            library.mallopt(_MMAP_THRESHOLD, _NEVER)
            library.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                library.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP)
                library.mallopt(_TRIM_THRESHOLD, _LARGEST_TRIM)
                if _gives_back:
                    library.malloc_trim(_LARGEST_TRIM)
                _gives_back = False


def give_back() -> None:
    """Return to the system what this process has freed."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    chosen = os.environ.keys() & {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"}
    if chosen or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # no such handle, as on Windows
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None

"""How much memory this process has (Linux; elsewhere only its largest)."""

from __future__ import annotations

import re
import resource
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident() -> int:
    """Bytes of this process that are in memory now; 0 where the system does not tell."""
    return _field("VmRSS")


def peak() -> int:
    """The largest :func:`resident` since :func:`forget_peak`, or of the whole process."""
    return _field("VmHWM") or 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak() -> bool:
    """Let :func:`peak` begin anew; False where the system does not allow it."""
    try:
        _CLEAR.write_text("5")
        return True
    except OSError:
        return False


def _field(name: str) -> int:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(), flags=re.MULTILINE)
    except OSError:
        return 0
    return 1024 * int(found[1]) if found else 0

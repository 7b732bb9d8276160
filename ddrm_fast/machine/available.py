"""How much memory there is to be had (Linux)."""

from __future__ import annotations

import re
from pathlib import Path

_SYSTEM = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """Bytes that may be taken before the system or the container has none; None where nobody tells."""
    found = [_of_system(), _of_group("memory.max", "memory.current"),
             _of_group("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")]  # fmt: skip
    told = [count for count in found if count is not None]
    return min(told) if told else None


def _of_system() -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", _SYSTEM.read_text(), flags=re.MULTILINE)
    except OSError:
        return None
    return 1024 * int(found[1]) if found else None


def _of_group(limit: str, usage: str) -> int | None:
    """Of a container; what it keeps of files could be given back and is not counted as taken."""
    try:
        most = int((_GROUP / limit).read_text())
        taken = int((_GROUP / usage).read_text())
        files = re.search(
            r"^(?:total_)?inactive_file (\d+)$",
            (_GROUP / usage).with_name("memory.stat").read_text(),
            flags=re.MULTILINE,
        )
    except (OSError, ValueError):  # "max": no limit
        return None
    return max(0, most - taken + (int(files[1]) if files else 0))

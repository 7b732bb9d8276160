"""Pictures in folders: all that can be read, in a fixed order; and what is passed over."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from .decode import SUFFIXES

log = logging.getLogger(__name__)


def files_in(
    folder: str | Path, suffixes: Collection[str] = SUFFIXES
) -> tuple[list[Path], Counter[str]]:
    """The files of a folder and its sub-folders with one of some suffixes, in the order of their paths.

    Hidden files and folders are left alone. A folder that is linked is entered, but none twice, so a
    circle of links ends. A link to nothing counts as a file: reading it says so.

    Args:
        folder:
            Where.
        suffixes:
            Lower case; those of files may have any case.

    Returns:
        The files, and how many others there are of each suffix.
    """
    folder, seen = Path(folder), set()
    found: list[Path] = []
    others: Counter[str] = Counter()

    def unreadable(error: OSError) -> None:
        log.warning("%s: cannot be read (%s)", error.filename, error.strerror)

    for here, folders, files in os.walk(folder, followlinks=True, onerror=unreadable):
        place = os.stat(here)
        if (place.st_dev, place.st_ino) in seen:
            folders.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        # links last: what is in a folder itself is found under its own name
        shown = [name for name in folders if not name.startswith(".")]
        folders[:] = sorted(shown, key=lambda name: (os.path.islink(Path(here, name)), name))
        for name in files:
            if name.startswith("."):
                continue
            path = Path(here, name)
            if path.suffix.lower() in suffixes:
                found.append(path)
            else:
                others[path.suffix.lower() or "no suffix"] += 1
    return sorted(found), others


def passed_over(others: Counter[str]) -> str:
    """What was passed over, in words: 3 files passed over (.txt 2, .xcf 1)."""
    kinds = ", ".join(f"{suffix} {count}" for suffix, count in others.most_common(8))
    more = ", ..." if len(others) > 8 else ""
    count = others.total()
    return f"{count} file{'s' * (count != 1)} passed over ({kinds}{more})"

"""Where a prior was read from, so that a record can name it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..io.files import digest


@dataclass(frozen=True)
class Source:
    """What :func:`ddrm_fast.load_prior` was asked for.

    Args:
        name:
            A name or a path, as it was given.
        path:
            The file or folder behind it; None: a prior in closed form.
        config:
            What was said beside it, JSON values, or None.
    """

    name: str
    path: Path | None = None
    config: Mapping[str, Any] | None = None

    def digest(self) -> str | None:
        """SHA-256 of the file, or of the names and digests of the files of a folder; None: there is none."""
        if self.path is None:
            return None
        if self.path.is_file():
            return digest(self.path.read_bytes())
        whole = hashlib.sha256()
        for file in sorted(self.path.rglob("*")):
            if file.is_file():
                name = file.relative_to(self.path).as_posix()
                whole.update(f"{name} {digest(file.read_bytes())}\n".encode())
        return whole.hexdigest()

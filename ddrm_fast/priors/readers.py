"""Who reads which file of the package's own: by the format that a .safetensors file says it has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

from safetensors import SafetensorError, safe_open

from .prior import Prior

Reader = Callable[[Path, str], Prior]

#: functions, or where they are: MODULE:NAME, loaded when such a file is read
_READERS: dict[str, Reader | str] = {"ddrm_fast.ddpm/1": "ddrm_fast.ddpm.files:load_ddpm_prior"}


def register_reader(format: str, reader: Reader | str) -> None:
    """Makes :func:`load_prior` read files of a format; a room above this one brings its own so.

    Args:
        format:
            What stands under ``format`` in the file's metadata.
        reader:
            ``(path, name) -> Prior``, or where that is, ``"module:function"``, loaded when it is needed.
    """
    _READERS[format] = reader


def reader_of(path: Path) -> Reader | None:
    """The reader of a file, or None where the file does not say that it is one of ours.

    Args:
        path:
            A file; one that cannot be read has no reader.
    """
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            found = _READERS.get((file.metadata() or {}).get("format", ""))
    except (SafetensorError, OSError):
        return None
    return resolve_name(found) if isinstance(found, str) else found

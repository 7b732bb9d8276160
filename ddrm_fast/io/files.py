"""Files that are either whole or absent: written under another name, then renamed."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class OutputError(OSError):
    """A result cannot be written: no space, no permission, no such place."""


@contextmanager
def atomic_file(path: str | Path) -> Iterator[io.BufferedWriter]:
    """Open a file so that whoever looks sees the old one or the whole new one, also after a power cut.

    Makes the folder where it is missing. On any error the half-written file is removed and ``path``
    stays as it was; a run that is killed leaves at most ``.NAME.part`` behind, which the next run
    overwrites.

    Raises:
        OutputError: The disk is full, the place is not writable or not a folder.
    """
    path = Path(path)
    part = _part(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # some file systems report a full disk only here
        os.replace(part, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except BaseException as error:
        try:
            part.unlink(missing_ok=True)
        except OSError:
            pass
        if isinstance(error, OSError):
            raise OutputError(f"{path}: cannot be written ({reason(error)})") from error
        raise


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a whole file with :func:`atomic_file`.

    Raises:
        OutputError: The file cannot be written.
    """
    with atomic_file(path) as file:
        file.write(content)


def check_writable(path: str | Path) -> None:
    """Raises OutputError where a file could not be written, before any work is done for it."""
    path = Path(path)
    part = _part(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        part.unlink()
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({reason(error)})") from error


def write_json(path: str | Path, value: object) -> None:
    """:func:`write_atomically` a value as indented JSON."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def read_bytes(path: str | Path) -> bytes:
    """A whole file.

    Raises:
        ValueError: It is a folder, is empty, or cannot be read; the message names it.
        FileNotFoundError: There is no such file.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({reason(error)})") from error
    if not content:
        raise ValueError(f"{path}: is empty")
    return content


def digest(content: bytes) -> str:
    """SHA-256 as hex."""
    return hashlib.sha256(content).hexdigest()


def reason(error: OSError) -> str:
    """What the system says, without number and path."""
    return error.strerror or str(error) or type(error).__name__


def in_words(count: int) -> str:
    """A number of bytes for people: 1.9 GiB, 413.2 MiB, 6.8 KiB."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 2**10:.1f} KiB"

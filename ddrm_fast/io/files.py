"""Files that are either whole or absent: written under another name, then renamed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class OutputError(OSError):
    """A result cannot be written: no space, no permission, no such place."""


@contextmanager
def atomic_file(path: str | Path) -> Iterator[io.BufferedRandom]:
    """Open a file so that whoever looks sees the old one or the whole new one, also after a power cut.

    Makes the folder where it is missing. On any error the half-written file is removed and ``path``
    stays as it was; a run that is killed leaves at most ``.NAME.part`` behind, which the next run
    overwrites. Processes that write one file at a time each have a name of their own; the last one to
    finish stays.

    Raises:
        OutputError: The disk is full, the place is not writable or not a folder.
        ValueError: The name is longer than the file system allows.
    """
    path = Path(path)
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part, file = _part(path)
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # some file systems report a full disk only here
            os.replace(part, path)  # while it is locked
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except BaseException as error:
        if part is not None:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _failure(path, error) from error
        raise


_LONGEST = 255  # bytes of a name, on all file systems that people use
_COUNTER = itertools.count()


def _without_truncation(path: str, flags: int) -> int:
    """An opener for "w" (so that the file has its name): another process may be working on what is there."""
    return os.open(path, flags & ~os.O_TRUNC, 0o666)


def _part(path: Path) -> tuple[Path, io.BufferedRandom]:
    """The unfinished file beside ``path``, empty, locked as long as it is open; and its name.

    It is ``.NAME.part``, also where a run that was killed left one, unless a process works on that.
    """
    name = f".{path.name}.part"
    if len(os.fsencode(name)) > _LONGEST:
        name = f".{digest(os.fsencode(path.name))[:32]}.part"
    part = path.with_name(name)
    while True:
        file = open(part, "w+b", opener=_without_truncation)  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # unless another process made it its result between opening and locking
            if os.stat(part).st_ino == os.fstat(file.fileno()).st_ino:
                file.truncate(0)
                return part, file
        except FileNotFoundError:
            pass
        except OSError:  # it is locked, or nothing can be locked here
            own = f".{digest(os.fsencode(path.name))[:16]}.{os.getpid()}-{next(_COUNTER)}.part"
            part = path.with_name(own)
            file.close()
            return part, open(part, "w+b")  # noqa: SIM115
        file.close()


def _failure(path: Path, error: OSError) -> OSError | ValueError:
    """What to say where a file cannot be written: a name that is too long is that picture's alone."""
    if error.errno == errno.ENAMETOOLONG:
        return ValueError(f"{path}: cannot be written (the name is too long)")
    return OutputError(f"{path}: cannot be written ({reason(error)})")


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a whole file with :func:`atomic_file`.

    Raises:
        OutputError: The file cannot be written.
    """
    with atomic_file(path) as file:
        file.write(content)


def check_writable(path: str | Path) -> None:
    """Finds out whether a file could be written, before any work is done for it.

    Raises:
        OutputError: The place is not writable or not a folder.
        ValueError: The name is longer than the file system allows.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            os.lstat(path)  # says whether the name is too long
        part, file = _part(path)
        with file:
            part.unlink()
    except OSError as error:
        raise _failure(path, error) from error


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

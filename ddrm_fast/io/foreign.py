"""Files of strangers: what reading one can raise, how much memory it may ask for, and arrays in them."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np

from ..machine.available import available_bytes
from .files import in_words


class TooLarge(ValueError):
    """A file would take more memory than there is."""


@contextmanager
def foreign(path: str | Path, verdict: str) -> Iterator[None]:
    """Turns whatever decoding a file raises into one ValueError that names it.

    Decoders of foreign bytes raise anything: ``zlib.error``, ``struct.error``, ``SyntaxError``,
    ``IndexError``, ``OverflowError``, ``NotImplementedError``... So this is the one place that says what a
    damaged file can do. What is no fault of the file passes: a package that is missing, an interruption.

    Args:
        path:
            Of the file.
        verdict:
            What to say of it, such as "not readable as a picture".

    Raises:
        ValueError: ``PATH: VERDICT (why)``; the cause is kept.
    """
    try:
        yield
    except (ImportError, TooLarge):
        raise
    except MemoryError as error:
        raise TooLarge(f"{path}: takes more memory than there is") from error
    except Exception as error:
        if type(error).__name__ == "UnidentifiedImageError":
            why = "is not a picture"
        else:
            why = " ".join(str(error).split()) or type(error).__name__
            why = why.removeprefix(f"{path}: ")
        raise ValueError(f"{path}: {verdict} ({why})") from error


def ask_for_memory(path: str | Path, taken: int, doing: str, advice: str) -> None:
    """Raises TooLarge where work on a file would take more memory than there is, before any is taken.

    Args:
        path:
            Of the file.
        taken:
            Bytes.
        doing:
            What takes them, such as "reading its 13300 x 13300 pixels".
        advice:
            What to do instead.
    """
    free = available_bytes()
    if free is not None and taken > free:
        raise TooLarge(
            f"{path}: {doing} takes {in_words(taken)} of memory, {in_words(free)} are free; {advice}"
        )


def read_arrays(
    path: str | Path, content: bytes | None = None, names: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file by name, or of an ``.npy`` file as ``""``. No code in it is run.

    Sizes are read first: what says that it unpacks to more than there is in the file or in memory is
    refused before it is unpacked.

    Args:
        path:
            Of the file.
        content:
            Of the file, where it is known already.
        names:
            Only these, where they are there; default all.

    Raises:
        ValueError: It is damaged, of another kind, or too large; the message names it.
    """
    with foreign(path, "not readable as an array"):
        source = open(path, "rb") if content is None else BytesIO(content)
        with source:
            if source.read(2) == b"PK":
                return _of_archive(path, source, names)
            _check_header(path, source, source.seek(0, 2))
            source.seek(0)
            return {"": np.lib.format.read_array(source, allow_pickle=False)}


def _of_archive(
    path: str | Path, source: IO[bytes], names: Collection[str] | None
) -> dict[str, np.ndarray]:
    arrays = {}
    with zipfile.ZipFile(source) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
        chosen = [e for e in entries if names is None or e.filename[:-4] in names]
        whole = sum(entry.file_size for entry in chosen)
        ask_for_memory(path, whole, "unpacking it", "is it damaged?")
        for entry in chosen:
            with archive.open(entry) as file:
                _check_header(path, file, entry.file_size)
            with archive.open(entry) as file:
                arrays[entry.filename[:-4]] = np.lib.format.read_array(file, allow_pickle=False)
    return arrays


def _check_header(path: str | Path, file: IO[bytes], size: int) -> None:
    """Raises ValueError where an ``.npy`` promises more than its file holds, or objects."""
    if file.seekable():
        file.seek(0)
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
        version, np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, expected numbers")
    promised = math.prod(shape) * dtype.itemsize
    if promised > size:
        raise ValueError(f"it promises {promised} bytes of {dtype} {shape} and holds {size}")
    ask_for_memory(path, promised, "reading it", "is it damaged?")

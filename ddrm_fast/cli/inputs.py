"""Which files a command works on, and what their results are called."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..io import SUFFIXES
from ..io.blocks import ZARR
from ..io.folders import files_in, passed_over
from ..problems.measured import MEASUREMENT

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Input:
    """A file to work on.

    Attributes:
        path:
            Where it is.
        name:
            Of its results, without suffix; with the sub-folder where a folder was given.
    """

    path: Path
    name: str


def find_inputs(paths: Sequence[str], out: Path | None, measurements: bool = False) -> list[Input]:
    """The files behind some arguments: files as they are, folders with all that they hold.

    In a folder, files with the suffix of a picture count, sub-folders included, hidden files and
    the output folder excluded. Where both ``photo.npz`` and ``photo.png`` are there (as ``degrade``
    writes them), the exact measurement is taken. A file that is named twice counts once.

    Args:
        paths:
            Files and folders. A path that does not exist is returned too: reading it says so.
        out:
            Output folder, if there is one.
        measurements:
            Whether ``.npz`` files count.

    Raises:
        ValueError: There is nothing to work on, the output folder is itself a folder of inputs, or
            the results of two inputs would have one name.
    """
    found: dict[Path, tuple[Path, Path, str]] = {}
    for given in map(Path, paths):
        if not given.is_dir():
            folder = given.resolve().parent.name
            found.setdefault(given.resolve(), (given, Path(given.name), folder))
            continue
        if out is not None and out.resolve() == given.resolve():
            raise ValueError(
                f"{given}: is a folder of inputs, where results would be taken for inputs the next "
                "time; expected another folder for the results"
            )
        inside = _files(given, out, measurements)
        if not inside:
            raise ValueError(f"{given}: holds no pictures")
        for path in inside:
            folder = given.resolve().name
            found.setdefault(path.resolve(), (path, path.relative_to(given), folder))
    names = _names([(name, folder) for _, name, folder in found.values()])
    return [Input(path, name) for (path, _, _), name in zip(found.values(), names, strict=True)]


#: seconds between two looks at a folder
_LOOK = 1.0


def arrivals(folders: Sequence[str], out: Path, quiet: bool = False) -> Iterator[list[Input]]:
    """What is in some folders, then what arrives or changes there, without end.

    A file counts when it is the same in two looks a second apart: until then it is still being written.

    Args:
        folders:
            Those that are watched.
        out:
            Where results go, below which nothing counts.
        quiet:
            Do not say that it waits.
    """
    done: dict[str, tuple[int, int]] = {}
    last: dict[str, tuple[int, int]] = {}
    waits = False
    while True:
        seen, items = {}, {}
        for item in _below(folders, out):
            try:
                found = item.path.stat()
            except OSError:  # it is gone again
                continue
            seen[str(item.path)] = found.st_size, found.st_mtime_ns
            items[str(item.path)] = item
        ready = [key for key, state in seen.items() if last.get(key) == state != done.get(key)]
        last = seen
        if ready:
            waits = False
            done |= {key: seen[key] for key in ready}
            yield [items[key] for key in ready]
            continue
        if not waits and not quiet and all(done.get(key) == state for key, state in seen.items()):
            log.info("waiting for pictures in %s; Ctrl-C ends it", ", ".join(folders))
            waits = True
        time.sleep(_LOOK)


def _below(folders: Sequence[str], out: Path) -> list[Input]:
    """All inputs of folders, some of which may be empty yet."""
    holding = []
    for folder in folders:
        try:
            find_inputs([folder], out, measurements=True)
        except ValueError as error:
            if "holds no pictures" not in str(error):
                raise
        else:
            holding.append(folder)
    return find_inputs(holding, out, measurements=True) if holding else []


def output_folder(text: str, expected: str = "a folder") -> Path:
    """The folder for results that ``--out`` names.

    Args:
        expected:
            For the message.

    Raises:
        ValueError: It has the suffix of a picture: whoever writes that means a file, not a folder.
    """
    out = Path(text)
    kind = out.suffix.lower()
    if kind == ZARR or (kind in SUFFIXES | {MEASUREMENT} and not out.is_dir()):
        raise ValueError(f"--out: got {text!r}, which ends in {kind}; expected {expected}")
    return out


def _names(files: list[tuple[Path, str]]) -> list[str]:
    """A name for the results of each file: as short as it can be, no two the same.

    Args:
        files:
            Path of each file below the folder that was given, and the name of that folder.
    """
    choices = [(name.with_suffix(""), name, Path(folder) / name) for name, folder in files]
    taken = [Counter(names) for names in zip(*choices, strict=True)]
    names = [
        next((name for name, of in zip(mine, taken, strict=True) if of[name] == 1), mine[-1])
        for mine in choices
    ]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"{twice[0]}: the results of several inputs would have this name; "
            "work on them one by one, with another --out for each"
        )
    return [name.as_posix() for name in names]


def _files(folder: Path, out: Path | None, measurements: bool) -> list[Path]:
    paths = []
    found, others = files_in(folder, SUFFIXES | {MEASUREMENT} if measurements else SUFFIXES)
    if others:
        log.info("%s: %s", folder, passed_over(others))
    for path in found:
        if out is not None and path.resolve().is_relative_to(out.resolve()):
            continue
        exact = path.with_suffix(MEASUREMENT)
        if measurements and path != exact and exact.is_file():
            continue
        paths.append(path)
    return paths


def partner(
    item: Input, truth: Path, option: str = "--truth", more: frozenset[str] = frozenset()
) -> Path:
    """The picture that belongs to an input: a file as it is; in a folder, that of the same name.

    Args:
        item:
            The input.
        truth:
            A file or a folder.
        option:
            For messages.
        more:
            Suffixes that count beside those of pictures.

    Raises:
        FileNotFoundError: There is none.
        ValueError: There are several.
    """
    if not truth.is_dir():
        if not truth.exists():
            raise FileNotFoundError(f"{option}: {truth}: no such file or folder")
        return truth
    name = Path(item.name)
    stem = name.stem if name.suffix.lower() in SUFFIXES | {MEASUREMENT} else name.name
    folder = truth / name.parent
    found = folder.iterdir() if folder.is_dir() else ()
    kinds = SUFFIXES | more
    matches = [p for p in sorted(found) if p.stem == stem and p.suffix.lower() in kinds]
    if not matches:
        raise FileNotFoundError(f"{option}: no picture {stem}.* in {folder}")
    if len(matches) > 1:
        raise ValueError(f"{option}: several pictures {stem}.* in {folder}")
    return matches[0]


def options_for(item: Input, options: dict[str, str]) -> dict[str, str]:
    """The options of a task for one input: of ``--mask DIR`` the mask that has its name.

    Raises:
        FileNotFoundError: There is none.
        ValueError: There are several.
    """
    found = dict(options)
    for name in ("mask", "kernel", "gain"):
        folder = Path(found[name]) if name in found else None
        if folder is not None and folder.is_dir() and folder.suffix.lower() != ZARR:
            found[name] = str(partner(item, folder, f"--{name}", frozenset({".npy"})))
    return found

"""Which files a command works on, and what their results are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..io import SUFFIXES

MEASUREMENT = ".npz"


@dataclass(frozen=True)
class Input:
    """A file to work on.

    Attributes:
        path: Where it is.
        name: Of its results, without suffix; with the sub-folder where a folder was given.
    """

    path: Path
    name: str


def find_inputs(paths: Sequence[str], out: Path, measurements: bool = False) -> list[Input]:
    """The files behind some arguments: files as they are, folders with all that they hold.

    In a folder, files with the suffix of a picture count, sub-folders included, hidden files and
    the output folder excluded. Where both ``photo.npz`` and ``photo.png`` are there (as ``degrade``
    writes them), the exact measurement is taken.

    Args:
        paths: Files and folders. A path that does not exist is returned too: reading it says so.
        out: Output folder.
        measurements: Whether ``.npz`` files count.

    Raises:
        ValueError: There is nothing to work on.
    """
    found: list[tuple[Path, Path]] = []
    for given in map(Path, paths):
        if not given.is_dir():
            found.append((given, Path(given.name)))
            continue
        inside = [(path, path.relative_to(given)) for path in _files(given, out, measurements)]
        if not inside:
            raise ValueError(f"{given}: holds no pictures")
        found += inside
    taken = Counter(name.with_suffix("") for _, name in found)
    return [
        Input(path, (name.with_suffix("") if taken[name.with_suffix("")] == 1 else name).as_posix())
        for path, name in found
    ]


def _files(folder: Path, out: Path, measurements: bool) -> list[Path]:
    suffixes = SUFFIXES | {MEASUREMENT} if measurements else SUFFIXES
    out = out.resolve()
    paths = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.suffix.lower() not in suffixes or not path.is_file():
            continue
        if out != folder.resolve() and path.resolve().is_relative_to(out):
            continue
        exact = path.with_suffix(MEASUREMENT)
        if measurements and path != exact and exact.is_file():
            continue
        paths.append(path)
    return paths


def partner(item: Input, truth: Path) -> Path:
    """The clean picture that belongs to an input: a file as it is; in a folder, the same name.

    Raises:
        FileNotFoundError: There is none.
        ValueError: There are several.
    """
    if not truth.is_dir():
        return truth
    name = Path(item.name)
    stem = name.stem if name.suffix.lower() in SUFFIXES | {MEASUREMENT} else name.name
    folder = truth / name.parent
    found = folder.iterdir() if folder.is_dir() else ()
    matches = [p for p in sorted(found) if p.stem == stem and p.suffix.lower() in SUFFIXES]
    if not matches:
        raise FileNotFoundError(f"--truth: no picture {stem}.* in {folder}")
    if len(matches) > 1:
        raise ValueError(f"--truth: several pictures {stem}.* in {folder}")
    return matches[0]

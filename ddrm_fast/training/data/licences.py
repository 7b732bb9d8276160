"""Licences of training pictures, as a table beside them tells.

A folder may hold CREDITS.tsv: a line of column names, among them "file" and "licence", then a line for each
picture, separated by tabs. A line for the file "*" speaks of all pictures without one of their own.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path

CREDITS = "CREDITS.tsv"


class Licences:
    """Which licences a run may learn from.

    Attributes:
        names:
            Beginnings of the licences' names, such as "CC0", "public domain", "CC BY".
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Choose some.

        Args:
            names:
                "CC BY" allows "CC BY 4.0" and not "CC BY-SA 4.0": a name goes on with a space or a bracket,
                or not at all. Upper and lower case are the same.

        Raises:
            ValueError: There is none.
        """
        self.names = tuple(name.strip() for name in names if name.strip())
        if not self.names:
            raise ValueError("licences: got none, expected some such as CC0, public domain, CC BY")

    def allow(self, licence: str) -> bool:
        """Whether a licence is one of these.

        Args:
            licence:
                As the table has it.
        """
        given = licence.strip()
        # a version or a remark may follow, no further condition such as -SA
        return any(
            re.match(re.escape(name) + r"(?![\w-])", given, re.IGNORECASE) for name in self.names
        )

    def of(self, folder: str | Path) -> Callable[[Path], bool]:
        """Whether a file of a folder may be used.

        Args:
            folder:
                That holds CREDITS.tsv; its sub-folders' files are named in it as FOLDER/FILE.

        Raises:
            ValueError: It holds none, or the table lacks a column.
        """
        folder = Path(folder)
        table = folder / CREDITS
        if not table.is_file():
            raise ValueError(
                f"licences: {folder} holds no {CREDITS}, expected one that tells the licences of its pictures"
            )
        with open(table, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            missing = {"file", "licence"} - set(rows.fieldnames or ())
            if missing:
                raise ValueError(f"licences: {table} has no column {' or '.join(sorted(missing))}")
            known = {row["file"]: row["licence"] or "" for row in rows}
        everything_else = known.get("*", "")

        def allowed(path: Path) -> bool:
            name = path.relative_to(folder).as_posix()
            return self.allow(known.get(name, everything_else))

        return allowed

"""Parameters out of a dataclass: its fields, and what its docstring says of them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from .parameters import Number, Parameter, Whole


def fields_of(cls: Callable[..., Any], leave: tuple[str, ...] = ()) -> tuple[Parameter, ...]:
    """A parameter for each field of a dataclass that holds a number or a word.

    Args:
        cls:
            The dataclass.
        leave:
            Names of fields that are none.

    Raises:
        TypeError: ``cls`` is no dataclass, or a field without a default is neither.
    """
    if not isinstance(cls, type) or not is_dataclass(cls):
        raise TypeError(f"{cls!r}: expected a dataclass, whose fields are its parameters")
    said = described_arguments(cls.__doc__ or "")
    found = []
    for field in fields(cls):
        if field.name in leave or not field.init:
            continue
        default = None if field.default is MISSING else field.default
        kind = _kind(field.type, default)
        if kind is not None:
            own: dict[str, Any] = {"low": -(2**63)} if kind is Whole else {}
            words = said.get(field.name, field.name)
            missing = field.default is MISSING and field.default_factory is MISSING
            found.append(
                kind(name=field.name, help=words, default=default, required=missing, **own)
            )
    return tuple(found)


def _kind(annotation: Any, default: Any) -> type[Parameter] | None:
    """What holds such a value, or None where a word on a line cannot say it."""
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    if isinstance(default, bool) or "bool" in name:
        return None
    for words, kind in (("float", Number), ("int", Whole), ("str", Parameter)):
        if re.search(rf"\b{words}\b", name):
            return kind
    return None


def described_arguments(docstring: str) -> dict[str, str]:
    """Name -> text of the entries under ``Args:``, each on one line."""
    lines = inspect.cleandoc(docstring).splitlines()
    if "Args:" not in lines:
        return {}
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines[lines.index("Args:") + 1 :]:
        if line and not line.startswith(" "):
            break
        entry = re.match(r"    ([\w, ]+):\s*(.*)$", line)
        if entry:
            names = [name.strip() for name in entry[1].split(",")]
            found |= dict.fromkeys(names, entry[2])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
    return found

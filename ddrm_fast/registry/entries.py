"""What is registered: tasks and samplers, found by name, with those that other packages bring.

An entry says where its class or function is as ``"module:name"``, loaded when it is needed: to list what
there is costs no import. Other packages bring theirs by an entry point of the group ``ddrm_fast.plugins``, or
the variable ``DDRM_FAST_PLUGINS`` names modules or files, separated by commas; either is a module that calls
:func:`ddrm_fast.registry.register`.
"""

from __future__ import annotations

import difflib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Generic, TypeVar

from .parameters import Parameter

GROUP, ENVIRONMENT = "ddrm_fast.plugins", "DDRM_FAST_PLUGINS"

log = logging.getLogger(__name__)


def loaded(where: str | Callable[..., Any]) -> Callable[..., Any]:
    """What ``"module:name"`` names; a class or function is itself."""
    return resolve_name(where) if isinstance(where, str) else where


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Something with a name and parameters.

    Args:
        name:
            In the shell and in records.
        summary:
            One line.
        make:
            A class or function, or where it is, ``"module:name"``; called with parameters as keywords.
        parameters:
            The keywords of ``make`` that a user may set.
        aliases:
            Other names that people look for.
    """

    name: str
    summary: str
    make: str | Callable[..., Any]
    parameters: tuple[Parameter, ...] = ()
    aliases: tuple[str, ...] = ()

    def parameter(self, name: str) -> Parameter | None:
        """The parameter of a name, or None where there is none."""
        return next((found for found in self.parameters if found.name == name), None)


@dataclass(frozen=True, kw_only=True)
class Task(Entry):
    """A kind of degradation. ``make`` gives its operator, an :class:`ddrm_fast.operators.Operator`.

    ``make`` is called with those of its keywords that are parameters, arrays that :attr:`prepare` added,
    ``size`` (H, W) or ``image_shape`` (C, H, W).

    Args:
        complaint:
            What somebody says of such a picture, for those who choose.
        grey:
            The measurement has one channel where the picture has three.
        shown:
            The measurement is a picture.
        smaller_by:
            The parameter that says how many times smaller the measurement is than the picture.
        multiple_of:
            The parameter that both sides of a picture have to be multiples of, or "power of two".
        known:
            The parameter (a mask) that says which pixels of the measurement are known; others count as 0.
        kernel:
            The parameter with the kernel that blurred what lies beyond the edges into a picture: unless the
            boundary is given, the picture is continued there.
        prepare:
            ``(values, arrays, image_shape, seed)``, which adds what follows from the parameters or is drawn;
            a function or ``"module:name"``.
        regions:
            Where such a degradation splits over windows of a picture on disk: the operator of windows, with
            ``mask`` (B, 1 or C, H, W), or None, as a keyword beside the parameters if pixels may be
            missing; a function or ``"module:name"``.
        exact:
            There is no noise beside what the degradation does: the level is 0 unless it is given.
        of_file:
            ``(picture, options)``: the parameters that a picture's file itself says; a function or
            ``"module:name"``.
        examples:
            Label -> parameters, as words, for pictures of 16 x 16 and more: what benchmarks time and the laws
            of operators are held against; none where the degradation is a map without a decomposition.
        cases:
            Name -> (noise level, parameters), for `ddrm-fast evaluate`.
    """

    complaint: str = ""
    grey: bool = False
    shown: bool = True
    smaller_by: str = ""
    multiple_of: str = ""
    known: str = ""
    kernel: str = ""
    prepare: str | Callable[..., Any] | None = None
    regions: str | Callable[..., Any] | None = None
    exact: bool = False
    of_file: str | Callable[..., Any] | None = None
    examples: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    cases: Mapping[str, tuple[float, Mapping[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SamplerEntry(Entry):
    """A sampler. ``make`` is its class, whose fields ``parameters`` are, with the same defaults.

    Args:
        steps:
            Network calls by default.
        restores:
            It follows a measurement; others draw from the prior alone.
        advice:
            What to know before choosing it, half a line.
    """

    steps: int | None = None
    restores: bool = True
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class EditEntry(Entry):
    """An edit. ``make`` is its class, whose attributes ``parameters`` are, with the same defaults."""


E = TypeVar("E", bound=Entry)


class Registry(Mapping[str, E], Generic[E]):
    """Entries by name, in the order in which they were registered.

    Args:
        kind:
            What they are, for messages: the name of the argument that takes one.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, E] = {}
        self._aliases: dict[str, str] = {}

    def register(self, entry: E) -> E:
        """Add an entry; one of the same name is replaced.

        Raises:
            ValueError: Its name or an alias is an alias or name of another.
        """
        for name in (entry.name, *entry.aliases):
            owner = self._aliases.get(name, name)
            if owner != entry.name and (owner in self._entries or name in self._aliases):
                raise ValueError(f"{self.kind}: the name {name!r} belongs to {owner} already")
        self._entries[entry.name] = entry
        self._aliases |= dict.fromkeys(entry.aliases, entry.name)
        return entry

    def __getitem__(self, name: str) -> E:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, name: str) -> E:
        """The entry of a name or an alias, plugins loaded.

        Raises:
            ValueError: There is none; the message offers the nearest names.
        """
        for attempt in (1, 2):
            found = self._entries.get(self._aliases.get(name, name))
            if found is not None:
                return found
            if attempt == 1:
                load_plugins()
        raise ValueError(f"{self.kind}: got {name!r}, {self.nearest(name)}")

    def of(self, cls: type) -> E | None:
        """The entry whose ``make`` is a class, or None where there is none."""
        return next((entry for entry in self.values() if loaded(entry.make) is cls), None)

    def nearest(self, name: str) -> str:
        """What to say to somebody who asked for a name that is none."""
        known = f"expected one of {', '.join(self._entries)}"
        close = difflib.get_close_matches(name, [*self._entries, *self._aliases], 3, 0.6)
        close = list(dict.fromkeys(self._aliases.get(found, found) for found in close))
        return (
            f"did you mean {' or '.join(close)}? {known[0].upper()}{known[1:]}" if close else known
        )


_LOADED: set[str] = set()


def load_plugins() -> None:
    """Import what other packages and ``DDRM_FAST_PLUGINS`` bring, once; one that fails is named and left."""
    from importlib.metadata import entry_points  # which takes longer than all of this room

    asked = [name.strip() for name in os.environ.get(ENVIRONMENT, "").split(",")]
    for name in filter(None, asked):
        _load(name, partial(_module, name))
    for point in entry_points(group=GROUP):
        _load(f"{point.name} ({point.value})", point.load)


def _load(name: str, load: Callable[[], object]) -> None:
    if name in _LOADED:
        return
    _LOADED.add(name)
    try:
        load()
    except Exception as error:  # whatever somebody else's module raises
        log.warning("plugin %s is left out: %s: %s", name, type(error).__name__, error)


def _module(name: str) -> object:
    """A module by its name, or from a file."""
    if not name.endswith(".py"):
        return import_module(name)
    spec = spec_from_file_location(Path(name).stem, name)
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} is no Python file")
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

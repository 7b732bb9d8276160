"""Classes by the names of the configuration files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

C = TypeVar("C", bound=type)


class UnknownName(NameError, ValueError):
    """Nothing is registered under the name."""


class Names:
    """What is registered under the names of one kind of thing.

    Args:
        kind:
            For messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.classes: dict[str, type] = {}

    def register(self, name: str) -> Callable[[C], C]:
        """A decorator that registers a class.

        Raises:
            NameError: the name is taken, as published.
        """

        def wrapper(made: C) -> C:
            if name in self.classes:
                raise UnknownName(f"{self.kind}: {name!r} is registered already")
            self.classes[name] = made
            return made

        return wrapper

    def make(self, name: str, *arguments: Any, **settings: Any) -> Any:
        """An instance of the class under a name.

        Raises:
            NameError: there is none, as published; the message lists those that there are.
            ValueError: it does not take the settings.
        """
        if name not in self.classes:
            raise UnknownName(
                f"{self.kind}: got {name!r}, expected one of {', '.join(self.classes)}"
            )
        try:
            return self.classes[name](*arguments, **settings)
        except TypeError as error:
            raise ValueError(f"{self.kind} {name}: {error}") from error

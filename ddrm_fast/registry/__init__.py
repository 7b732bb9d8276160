"""One place where a task or a sampler is made known to everything that lists, takes or tests them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .edits import EDITS, edit_of
from .entries import EditEntry, Entry, Registry, SamplerEntry, Task, load_plugins, loaded
from .fields import fields_of
from .parameters import Choice, GreyWeights, Kernel, Mask, Number, Parameter, Plane, Tables, Whole
from .samplers import SAMPLERS
from .tasks import TASKS

__all__ = [
    "EDITS",
    "SAMPLERS",
    "TASKS",
    "Choice",
    "EditEntry",
    "Entry",
    "GreyWeights",
    "Kernel",
    "Mask",
    "Number",
    "Parameter",
    "Plane",
    "Registry",
    "SamplerEntry",
    "Tables",
    "Task",
    "Whole",
    "edit_of",
    "load_plugins",
    "loaded",
    "register_edit",
    "register_sampler",
    "register_task",
]


def register_task(
    name: str, make: Callable[..., Any] | str, summary: str = "", **settings: Any
) -> Task:
    """Makes an operator known as a task: to the shell, records, benchmarks and the laws.

    Args:
        name:
            As in ``--task NAME``.
        make:
            The operator's class, or a function that returns the operator; called with the parameters as
            keywords, and with ``size`` (H, W) or ``image_shape`` (C, H, W) if it has such a keyword.
        summary:
            One line.
        settings:
            Fields of :class:`Task`: ``parameters``, ``complaint``, ``examples``, ``grey`` ...

    Returns:
        The entry.

    Raises:
        ValueError: Another task has the name.
    """
    return TASKS.register(Task(name=name, make=make, summary=summary, **settings))


def register_sampler(
    name: str, make: Callable[..., Any] | str, summary: str = "", **settings: Any
) -> SamplerEntry:
    """Makes a sampler known: to the shell, records and the laws.

    Args:
        name:
            As in ``--sampler NAME``.
        make:
            Its dataclass. Fields that are numbers, words or switches become parameters, with their defaults,
            and options, with the help that the docstring's ``Args:`` gives them.
        summary:
            One line.
        settings:
            Fields of :class:`SamplerEntry`; ``parameters`` where those of the fields are not what is wanted.

    Returns:
        The entry.

    Raises:
        ValueError: Another sampler has the name.
    """
    steps = getattr(make, "steps", None)
    settings.setdefault("steps", steps if isinstance(steps, int) else None)
    settings.setdefault("parameters", fields_of(loaded(make), leave=("steps",)))
    return SAMPLERS.register(SamplerEntry(name=name, make=make, summary=summary, **settings))


def register_edit(
    name: str, make: Callable[..., Any] | str, summary: str = "", **settings: Any
) -> EditEntry:
    """Makes an edit known to records, and to the shell as ``--edit NAME``.

    Args:
        name:
            In records, and of the shell.
        make:
            Its class, a dataclass or one with ``parameters``; called with the parameters as keywords.
        summary:
            One line.
        settings:
            Fields of :class:`EditEntry`; ``parameters`` where those of the fields are not what is wanted.

    Returns:
        The entry.

    Raises:
        ValueError: Another edit has the name.
    """
    if "parameters" not in settings:
        settings["parameters"] = fields_of(loaded(make))
    return EDITS.register(EditEntry(name=name, make=make, summary=summary, **settings))

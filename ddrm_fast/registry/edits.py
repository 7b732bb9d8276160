"""Edits that a record can name by numbers and words alone.

No module of the package is imported here. Those that hold tensors (:class:`~ddrm_fast.samplers.Hold`,
:class:`~ddrm_fast.samplers.Known`) are written by :mod:`ddrm_fast.samplers.records`.
"""

from __future__ import annotations

from typing import Any

from .entries import EditEntry, Registry, loaded
from .parameters import Number

#: edits by name
EDITS: Registry[EditEntry] = Registry("edit")

_LIMITS = (
    Number(name="low", help="the darkest value, of [0, 1]", default=0.0),
    Number(name="high", help="the brightest value, of [0, 1]", default=1.0),
)

EDITS.register(
    EditEntry(
        name="clip",
        summary="keeps the clean image of every step within a range",
        make="ddrm_fast.samplers:Clip",
        parameters=_LIMITS,
    )
)
EDITS.register(
    EditEntry(
        name="clip-keeping-noise",
        summary="clips the clean image, and steps along the network's own noise",
        make="ddrm_fast.samplers:ClipKeepingNoise",
        parameters=_LIMITS,
    )
)
EDITS.register(
    EditEntry(
        name="end-on-measurement",
        summary="pulls the result to the measurement as far as its noise allows",
        make="ddrm_fast.samplers:EndOnMeasurement",
    )
)


def edit_of(text: str) -> Any:
    """The edit that words stand for: NAME, or NAME:PARAMETER=VALUE,... such as clip:low=0.1,high=0.9.

    Raises:
        ValueError: No edit has the name, or it has no such parameter or value.
    """
    name, _, words = text.partition(":")
    entry = EDITS.find(name)
    settings: dict[str, Any] = {}
    for word in filter(None, words.split(",")):
        key, equals, value = word.partition("=")
        parameter = entry.parameter(key.replace("-", "_"))
        if parameter is None or not equals:
            known = ", ".join(f"{p.name}={p.example or p.metavar}" for p in entry.parameters)
            raise ValueError(
                f"edit: {name} does not take {word!r}; its parameters: {known or 'none'}"
            )
        settings[parameter.name] = parameter.read(value)
    return loaded(entry.make)(**settings)

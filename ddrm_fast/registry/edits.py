"""Edits that a record can name by numbers and words alone.

No module of the package is imported here. Those that hold tensors (:class:`~ddrm_fast.samplers.Hold`,
:class:`~ddrm_fast.samplers.Known`) are written by :mod:`ddrm_fast.samplers.records`.
"""

from __future__ import annotations

from .entries import EditEntry, Registry
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

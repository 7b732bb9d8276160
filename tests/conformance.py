"""What the conformance tests share: the matrix of backends, as pytest runs it, and the calls.

The calls of every operation and the oracle are those of :mod:`ddrm_fast.testing`. The matrix is made from the
backend registry; the compiled backend is tested once for each instruction set that it carries and this
processor runs: tests ask for the fixture ``device``.
"""

import cuda_host
import pytest

from ddrm_fast.ops import dispatch, triton_available
from ddrm_fast.testing.backends import devices_of, in_use, variants_of  # noqa: F401
from ddrm_fast.testing.calls import *  # noqa: F403
from ddrm_fast.testing.calls import SAMPLERS

cuda_host.register()


def variants():
    """Every backend on every device that it runs on, once for each of its instruction sets."""
    for name in dispatch._BACKENDS:
        for variant in variants_of(name):
            yield pytest.param(variant, id=str(variant))


# what is fast enough for large pictures
SLOW = ["reference", cuda_host.NAME]
if triton_available.interpreted():
    SLOW.append("triton")
NATIVE = [variant for variant in variants() if variant.values[0].backend not in SLOW]

each_sampler = pytest.mark.parametrize(
    "sampler", SAMPLERS, ids=lambda s: f"{type(s).__name__}-{s.steps}"
)
free_and_clipped = pytest.mark.parametrize("clip", [None, (-1.0, 1.0)], ids=["free", "clipped"])

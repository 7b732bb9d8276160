"""How close is close enough: the constants of :mod:`ddrm_fast.testing.tolerances`."""

from ddrm_fast.testing.tolerances import *  # noqa: F403

"""For those who add an operator, a sampler or a backend: the laws and the matrix that ours are held against.

No test framework is needed: each check raises AssertionError with what does not hold.
"""

from .backends import Conformance, Variant, cases, check_backend, in_use, variants_of
from .operators import LAWS, check_operator
from .samplers import check_entry, check_sampler
from .tolerances import assert_close

__all__ = [
    "LAWS",
    "Conformance",
    "Variant",
    "assert_close",
    "cases",
    "check_backend",
    "check_entry",
    "check_operator",
    "check_sampler",
    "in_use",
    "variants_of",
]

"""What is timed, by `ddrm-fast bench` and by the scripts of benchmarks/: one registry for all of them."""

from . import flops, roofline
from .kernels import LARGE, TINY, Case, Sizes, blur_case, kernel_cases
from .published import PublishedStep
from .roofline import Ceilings
from .steps import (
    OPERATORS,
    StepInputs,
    disagreement,
    moved_bytes,
    random_mask,
    rows,
    step_function,
)
from .timing import Clock, against_copy, quantiles

__all__ = [
    "LARGE",
    "OPERATORS",
    "TINY",
    "Case",
    "Ceilings",
    "Clock",
    "PublishedStep",
    "Sizes",
    "StepInputs",
    "against_copy",
    "blur_case",
    "disagreement",
    "flops",
    "kernel_cases",
    "moved_bytes",
    "quantiles",
    "random_mask",
    "roofline",
    "rows",
    "step_function",
]

"""What a problem is made of, checked before any work is done."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
from torch import Tensor

from ..operators import Forward, Operator
from ..operators.base import Shape


def check_finite(name: str, x: Tensor) -> None:
    """Raises ValueError unless ``x`` holds finite float32 or float64 numbers."""
    if not isinstance(x, Tensor):
        raise ValueError(f"{name}: expected a tensor, got {type(x).__name__}")
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"{name}: expected float32 (or float64) with pictures in [0, 1], got {x.dtype}"
        )
    if not all_finite(x):
        bad = int((~torch.isfinite(x)).sum())
        raise ValueError(f"{name}: has {bad} NaN or infinite entries of {x.numel()}")


def all_finite(x: Tensor) -> bool:
    """Whether no entry is NaN or infinite; reads them once and keeps nothing beside them."""
    return not x.numel() or bool(torch.stack(x.aminmax()).isfinite().all())


def check_forward(operator: Forward, batch: int) -> None:
    """Raises ValueError unless it is a degradation for a batch of so many pictures."""
    if not isinstance(operator, Forward):
        raise ValueError(f"operator: expected an Operator, got {type(operator).__name__}")
    if operator.batch not in (1, batch):
        raise ValueError(f"y: the operator is for a batch of {operator.batch}, got {batch}")


def check_measures(operator: Forward, shape: Shape) -> None:
    """Raises ValueError where it is known that nothing of a picture is measured."""
    if not isinstance(operator, Operator):
        return
    s = operator.singulars(shape)
    empty = (s.flatten(1).amax(dim=1) <= 0).nonzero().flatten().tolist()
    if empty:
        which = f" of picture {empty[0]}" if operator.batch > 1 else ""
        raise ValueError(
            f"operator: {operator} measures nothing{which} (an all-zero mask or kernel)"
        )


def warn_bytes(y: Tensor, h_ones: Tensor) -> None:
    """y far above what a white picture gives looks like 0..255; so do whole numbers that are above it."""
    largest, white = (float(torch.stack(v.aminmax()).abs().max()) for v in (y, h_ones))
    usual = max(1.0, white)
    if largest > 16 * usual or (largest > 2 * usual and bool((y == y.round()).all())):
        warnings.warn(
            f"y: reaches {largest:.4g}, where a white picture gives {white:.4g}; pictures are "
            "expected in [0, 1], this looks like 0..255",
            stacklevel=_level_of_caller(),
        )


def _level_of_caller() -> int:
    """The ``stacklevel`` with which a function that calls this one warns whoever uses the package."""
    package, level = Path(__file__).parent.parent, 1
    frame = sys._getframe(1)
    while frame.f_back is not None and Path(frame.f_code.co_filename).is_relative_to(package):
        frame, level = frame.f_back, level + 1
    return level

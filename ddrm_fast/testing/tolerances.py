"""How close is close enough: the one place of these constants. They are never loosened in CI."""

import math

import torch
from torch import Tensor

#: one sampling step in float32 against float64: relative L2
STEP = 1e-6
#: a fast transform of n numbers in float32 against float64: relative L2 per factor of two
TRANSFORM_PER_OCTAVE = 5e-8
#: a standard normal in float32 against the same normal in float64: absolute
NORMAL = 2e-6
#: the largest error of a single number, as a multiple of the tolerance times the largest number
PEAK = 30.0


def transform(n: int) -> float:
    """Relative L2 tolerance of a fast transform of n numbers."""
    return TRANSFORM_PER_OCTAVE * max(1.0, math.log2(max(1, n)))


def must(holds: bool, said: str) -> None:
    """Raises AssertionError with what is said unless something holds, also under ``python -O``."""
    if not holds:
        raise AssertionError(said)


def assert_close(actual: Tensor, expected: Tensor, rel: float, absolute: float = 0.0) -> None:
    """Shapes equal, relative L2 error at most ``rel``, no single number far off; NaN never passes.

    Args:
        actual:
            What was computed, any precision.
        expected:
            The oracle, float64 or complex128, finite.
        rel:
            Relative L2 tolerance.
        absolute:
            Error that every number may have besides, for noise that both sides draw themselves.
    """
    must(actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}")
    double = expected.dtype in (torch.float64, torch.complex128)
    must(double, "the oracle is not in double precision")
    must(bool(torch.isfinite(expected).all()), "the oracle is not finite")
    if not expected.numel():
        return
    error = (actual.detach().cpu().to(expected.dtype) - expected).abs()
    allowed = rel * expected.norm() + absolute * math.sqrt(expected.numel())
    must(
        bool(error.norm() <= allowed),
        f"L2 error {float(error.norm()):.3g}, allowed {float(allowed):.3g}, "
        f"norm {float(expected.norm()):.3g}, NaN: {int(error.isnan().sum())}",
    )
    peak = PEAK * rel * expected.abs().max() + absolute
    must(
        bool(error.max() <= peak),
        f"largest error {float(error.max()):.3g} at place {int(error.argmax())}, "
        f"allowed {float(peak):.3g}",
    )

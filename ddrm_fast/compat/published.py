"""One switch for noisy runs: DDNM+ as the paper has it, or with the noise of the published code."""

from __future__ import annotations

_on = False


def published_noise(on: bool = True) -> None:
    """Noisy runs of DDNM+ with the published code's noise, so that they give its numbers.

    Without it they follow the paper: ``Lambda_noise`` applies V^T, and the path without SVD takes the paper's
    sigma_t. With it ``Lambda_noise`` is that of the published code, without V^T (``aligned=False`` in every
    constructor), and :func:`simplified_ddnm_plus` takes the published sigma_t (as ``official=True``). What a
    constructor or a call says itself goes before. Runs with a singular value decomposition and without noise
    are the same either way; the published path without one departs from the paper at sigma_y = 0 too.

    Args:
        on:
            False switches it off again.
    """
    global _on
    _on = bool(on)


def in_use() -> bool:
    """Whether the switch is on."""
    return _on

"""The reference as ``torch.compile`` sees it: every fused operation in plain PyTorch, nothing hidden.

The package's operations are opaque to a compiler. Here the reference's functions stand in their place,
so that a whole step of an operator, transforms included, becomes one graph that the compiler may fuse as
well as it can: the strongest plain PyTorch to be compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from ..ops import dct, functions, reference


class _Plain:
    """The functions of ``torch.ops.ddrm_fast`` that steps call."""

    pointwise_step = staticmethod(reference.pointwise_step)
    block_step = staticmethod(reference.block_step)
    spectral_step = staticmethod(reference.spectral_step)
    alias_step = staticmethod(reference.alias_step)

    @staticmethod
    def fwht(x: Tensor) -> Tensor:
        y = torch.empty_like(x)
        reference.fwht(y, x)
        return y

    @staticmethod
    def fwht_out(y: Tensor, x: Tensor) -> None:
        reference.fwht(y, x)

    @staticmethod
    def fwht_step(x_next: Tensor, x_t: Tensor, out: Tensor, *arguments: Any) -> None:
        coefficients = _Plain.fwht(out.to(x_next.dtype))
        reference.pointwise_step(x_next, None, x_t, coefficients, *arguments)


def _forward(x: Tensor, factor: int = 1) -> Tensor:
    y = torch.empty_like(x)
    dct.dct2(y, x, factor)
    return y


def _inverse(c: Tensor, factor: int = 1) -> Tensor:
    x = torch.empty_like(c)
    dct.idct2(x, c, factor)
    return x


def compiled(function: Callable[[], object], backend: str = "inductor") -> Callable[[], object]:
    """``function`` as one graph (``fullgraph``), its operations those of the reference.

    It is compiled when it is first called, anew for each function: what was compiled before it counts for
    no limit of recompilations.

    Args:
        function:
            Takes no arguments.
        backend:
            Of ``torch.compile``.
    """
    made: list[Callable[[], object]] = []

    def run() -> object:
        if not made:
            torch._dynamo.reset()
            made.append(torch.compile(function, fullgraph=True, dynamic=False, backend=backend))
        with (
            torch.no_grad(),
            mock.patch.object(functions, "_registered", _Plain),
            mock.patch.object(dct, "forward", _forward),
            mock.patch.object(dct, "inverse", _inverse),
        ):
            return made[0]()

    return run

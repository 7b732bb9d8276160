"""Options that make a prior's network faster: nothing of it is on unless it is asked for."""

from __future__ import annotations

from copy import copy

import torch
from torch import Tensor

from .precision import DTYPES
from .prior import Prior


def accelerated(
    prior: Prior,
    *,
    autocast: torch.dtype | None = None,
    channels_last: bool = False,
    compile: bool | str = False,
) -> Prior:
    """The same prior with a faster network.

    Half precision changes the picture a little; one that ends in NaN or black is drawn again in float32, with
    a warning. The other options change only rounding. The sampling state stays float32 in any case, and steps
    read a float16 or bfloat16 output in place.

    Args:
        prior:
            The prior; it is left as it is, but its network's weights are shared.
        autocast:
            torch.bfloat16 or torch.float16: what the network computes in; None: as ``prior`` has it.
        channels_last:
            The network's weights and its input in channels-last memory, which convolutions on tensor
            cores like. (Its output is copied once, into planes.) Needs ``prior.module``.
        compile:
            True, or a mode of ``torch.compile``. Compiling takes a while; with ``restore(capture=True)``
            no mode that makes CUDA graphs of its own ("reduce-overhead") may be given.

    Returns:
        A new :class:`Prior`.

    Raises:
        ValueError: autocast is no half precision, or the network has no weights to arrange.

    Example:
        >>> fast = accelerated(prior, autocast=torch.bfloat16, channels_last=True, compile=True)
    """
    names = {dtype: name for name, dtype in DTYPES.items()}
    if autocast not in names:
        raise ValueError(f"autocast: expected torch.bfloat16 or torch.float16, got {autocast}")
    network = prior.network
    if channels_last:
        if prior.module is None:
            name = type(network).__name__
            raise ValueError(f"channels_last: needs a network that is a Module, got a {name}")
        prior.module.to(memory_format=torch.channels_last)

    def run(x_t: Tensor, *conditions: Tensor) -> Tensor:
        if channels_last:
            x_t = x_t.contiguous(memory_format=torch.channels_last)
        return network(x_t, *conditions)

    if compile:
        run = torch.compile(run, mode=compile if isinstance(compile, str) else None)
    faster = copy(prior)
    faster.network = run
    if autocast is not None:
        faster.precision = names[autocast]
    return faster

"""Options that make a prior's network faster, or its gradients smaller."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

import torch
from torch import Tensor

from .adapters import DenoiserPrior
from .checkpointing import blocks_of
from .precision import DTYPES
from .prior import Prior


def accelerated(
    prior: Prior,
    *,
    autocast: torch.dtype | None = None,
    channels_last: bool | None = None,
    compile: bool | str = False,
    checkpointing: bool | None = None,
) -> Prior:
    """The same prior with a faster network, or one whose gradients take less memory.

    Half precision changes the picture a little; one that ends in NaN or black is drawn again in float32, with
    a warning. The other options change only rounding. The sampling state stays float32 in any case, and steps
    read a float16 or bfloat16 output in place.

    Args:
        prior:
            The prior. The new one shares its weights, so ``channels_last`` rearranges them for both (outputs
            change by rounding); else it is left as it is.
        autocast:
            torch.bfloat16 or torch.float16: what the network computes in; None: as ``prior`` has it.
        channels_last:
            True: the network's weights and its input in channels-last memory, which convolutions on tensor
            cores like. (Its output is copied once, into planes.) False: in planes. None: as ``prior`` has it;
            networks that :func:`load_prior` reads have it. Needs ``prior.module``.
        compile:
            True, or a mode of ``torch.compile``. Compiling takes a while for each size (after eight of them
            torch says so and compiles no more); with ``restore(capture=True)``
            no mode that makes CUDA graphs of its own ("reduce-overhead") may be given.
        checkpointing:
            True: samplers and edits that look through the network (DPS, PiGDM ...) keep the inputs of its
            blocks alone and compute the blocks a second time: the same gradient, in less memory, for one call
            more. None: as ``prior`` has it. Needs ``prior.module``, not compiled.

    Returns:
        A new :class:`Prior`.

    Raises:
        ValueError: autocast is no half precision, or the network has no weights to arrange or no blocks.

    Example:
        >>> fast = accelerated(prior, autocast=torch.bfloat16, channels_last=True, compile=True)
    """
    names = {dtype: name for name, dtype in DTYPES.items()}
    if autocast not in names:
        raise ValueError(f"autocast: expected torch.bfloat16 or torch.float16, got {autocast}")
    faster = copy(prior)
    if channels_last is not None:
        faster.arrange(channels_last)
    if compile:
        mode = compile if isinstance(compile, str) else None
        # (whose ways to call the network are two)
        if isinstance(prior, DenoiserPrior) and isinstance(faster, DenoiserPrior):
            faster.denoiser, faster.network = _Compiled(prior.denoiser, mode), faster._clean
        else:
            faster.network = _Compiled(prior.network, mode)
    if autocast is not None:
        faster.precision = names[autocast]
    if checkpointing is not None:
        if checkpointing and (prior.module is None or not blocks_of(prior.module)):
            raise ValueError(
                "checkpointing: needs a network that is a Module with blocks in a ModuleList or a "
                f"Sequential, got {type(prior.module or prior.network).__name__}"
            )
        faster.checkpointing = checkpointing
    return faster


class _Compiled:
    """``torch.compile`` of a function, at its first call: what is compiled cannot be sent to a worker."""

    def __init__(self, run: Callable[..., Tensor], mode: str | None) -> None:
        self.run, self.mode = run, mode
        self._compiled: Callable[..., Tensor] | None = None

    def __call__(self, *arguments: Tensor) -> Tensor:
        if self._compiled is None:
            # each size by itself: where sizes are unknowns, what a network derives from them may not compile
            self._compiled = torch.compile(self.run, mode=self.mode, dynamic=False)
        return self._compiled(*arguments)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_compiled": None}

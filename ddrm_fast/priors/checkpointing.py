"""Gradients through a network with less memory: blocks keep their input alone, and are computed twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """The outermost blocks of a network: what its lists hold, or, without lists, its sequences.

    Args:
        module:
            The network. Layers that stand in a list by themselves (one convolution) are no blocks: what they
            keep is their input already.
    """
    found = list(_elements(module, nn.ModuleList))
    return found or list(_elements(module, nn.Sequential))


def _elements(module: nn.Module, kind: type[nn.Module]) -> Iterator[nn.Module]:
    for child in module.children():
        inside = isinstance(module, kind) and not isinstance(child, kind)
        if not inside:
            yield from _elements(child, kind)
        elif sum(bool(list(part.parameters(recurse=False))) for part in child.modules()) > 1:
            yield child


@contextmanager
def checkpointed(module: nn.Module | None) -> Iterator[None]:
    """Where a network's blocks keep their inputs alone, if gradients are asked for; None: changes nothing.

    Raises:
        ValueError: Nothing in the network is a block.
    """
    blocks = [] if module is None or not torch.is_grad_enabled() else blocks_of(module)
    if module is not None and torch.is_grad_enabled() and not blocks:
        raise ValueError(
            f"checkpointing: {type(module).__name__} has no blocks in a ModuleList or a Sequential"
        )
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # that of the instance: the class's is behind it

"""One process, or several on GPUs and machines through Hugging Face accelerate.

Every process holds the whole network and takes its share of every batch; gradients are averaged.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn


class OneProcess:
    """This process alone."""

    count, rank = 1, 0

    def __init__(self, device: str | torch.device | None = None, compiled: bool = False) -> None:
        """Choose the device.

        Args:
            device:
                Where the network is; default: a GPU where there is one, else the CPU.
            compiled:
                Steps call the network through torch.compile: a minute at first, fewer passes over memory
                from then on.
        """
        self.compiled = compiled
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    @property
    def main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def prepare(self, model: nn.Module) -> nn.Module:
        """The network as the training step calls it."""
        return self._compiled(model)

    def _compiled(self, model: nn.Module) -> nn.Module:
        if not self.compiled:
            return model
        # shapes never change in a run, but for a part of a batch that is smaller
        return cast("nn.Module", torch.compile(model, dynamic=False))

    def no_sync(self, model: nn.Module) -> AbstractContextManager[Any]:
        """A context in which gradients add up without being exchanged."""
        return nullcontext()

    def mean(self, x: Tensor) -> Tensor:
        """Mean over the processes."""
        return x

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return flag

    def wait(self) -> None:
        """Return when all processes are here."""


class Accelerated(OneProcess):
    """The processes that `accelerate launch` started."""

    def __init__(self, device: str | torch.device | None = None, compiled: bool = False) -> None:
        """Join them.

        Args:
            device:
                "cpu" keeps the network off the GPUs; default: as accelerate is configured.
            compiled:
                As in :class:`OneProcess`.

        Raises:
            ImportError: accelerate is not installed.
        """
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise ImportError(
                "several processes need accelerate: pip install 'ddrm-fast[accelerate]'"
            ) from error
        self.compiled = compiled
        # the precision is the trainer's own, the same in one process and in many
        self.accelerator = Accelerator(
            cpu=str(device or "").startswith("cpu"), mixed_precision="no"
        )
        self.device = self.accelerator.device
        self.count = self.accelerator.num_processes
        self.rank = self.accelerator.process_index

    def prepare(self, model: nn.Module) -> nn.Module:
        return self._compiled(self.accelerator.prepare_model(model))

    def no_sync(self, model: nn.Module) -> AbstractContextManager[Any]:
        return self.accelerator.no_sync(model)

    def mean(self, x: Tensor) -> Tensor:
        return self.accelerator.reduce(x, "mean")

    def any(self, flag: bool) -> bool:
        if self.count == 1:
            return flag
        found = torch.tensor(float(flag), device=self.device)
        return bool(self.accelerator.reduce(found, "sum") > 0)

    def wait(self) -> None:
        self.accelerator.wait_for_everyone()


def launched(device: str | torch.device | None = None, compiled: bool = False) -> OneProcess:
    """The processes of `accelerate launch` (or torchrun) where one of them started this, else one."""
    kind = Accelerated if "LOCAL_RANK" in os.environ else OneProcess
    return kind(device, compiled)

"""Batches made while the network learns from the one before."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor

from torch.utils.data import DataLoader, Dataset

from .fit import Fit
from .learner import Data, Learner, Step


class _Steps(Dataset[Step]):
    """The batches of all steps, for the processes of a DataLoader."""

    def __init__(self, source: Callable[[int], Step]) -> None:
        self.source = source

    def __getitem__(self, step: int) -> Step:
        return self.source(step)


def batches(
    learner: Learner[Fit, Data, Step], end: int, processes: int = 0
) -> Generator[Step, None, None]:
    """The batches of the learner's next steps up to `end` - 1, on its device.

    Args:
        learner:
            Whose.
        end:
            Number of the first step without.
        processes:
            That draw batches ahead; 0: one thread of this process, one batch ahead.
    """
    source = learner.source()
    if processes:
        steps = range(learner.step, end)
        drawn = DataLoader(
            _Steps(source), batch_size=None, sampler=steps, num_workers=processes, prefetch_factor=4,
            pin_memory=learner.device.type == "cuda",
        )  # fmt: skip
        for step, batch in zip(steps, drawn, strict=True):
            yield learner.place(batch, step)
        return

    def prepare(step: int) -> Step:
        return learner.place(source(step), step)

    first = learner.step
    if first >= end:
        return
    with ThreadPoolExecutor(1) as loader:
        upcoming = loader.submit(prepare, first)
        for step in range(first, end):
            batch = upcoming.result()
            if step + 1 < end:
                upcoming = loader.submit(prepare, step + 1)
            yield batch

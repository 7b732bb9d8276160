"""A stream of pictures: the next is loaded and the last one saved while one is worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
Result = TypeVar("Result")


def overlapped(
    items: Iterable[Item],
    load: Callable[[Item], Loaded],
    work: Callable[[Loaded], Result],
    finish: Callable[[Item, Callable[[], Result]], None],
) -> None:
    """Works on one item after another, while threads load the next one and finish the last one.

    Everything happens in the order of the items, and three of them are in memory at most.

    Args:
        items:
            What to work on.
        load:
            Reads an item; in a thread, one item ahead.
        work:
            Works on what ``load`` returned; in the calling thread.
        finish:
            ``finish(item, result)``, in another thread: ``result()`` returns what ``work`` returned, or
            raises what ``load`` or ``work`` raised. An error that ``finish`` lets through ends the run.

    Raises:
        Exception: What ``finish`` raised first. An interruption (KeyboardInterrupt) passes through as
            soon as the item that is being finished is finished.

    Example:
        >>> overlapped(paths, read, lambda y: restore(y, operator, 0.05), write)
    """
    loader, finisher = ThreadPoolExecutor(1, "load"), ThreadPoolExecutor(1, "finish")
    finishing: Future[None] | None = None
    try:
        for item, loading in _one_ahead(loader, load, items):
            outcome: Future[Result] = Future()
            try:
                outcome.set_result(work(loading.result()))
            except Exception as error:
                outcome.set_exception(error)
            if finishing is not None:
                finishing.result()
            finishing = finisher.submit(finish, item, outcome.result)
            if outcome.exception() is not None:
                finishing.result()  # whether to go on, before the next item is worked on
        if finishing is not None:
            finishing.result()
    finally:
        loader.shutdown(wait=False, cancel_futures=True)
        finisher.shutdown(wait=True)


def _one_ahead(
    loader: ThreadPoolExecutor, load: Callable[[Item], Loaded], items: Iterable[Item]
) -> Iterator[tuple[Item, Future[Loaded]]]:
    """Each item with its loading, that of the next one begun."""
    ahead = None
    for item in items:
        following = item, loader.submit(load, item)
        if ahead is not None:
            yield ahead
        ahead = following
    if ahead is not None:
        yield ahead


class Transfers:
    """Copies between host and GPU beside the GPU's work: from and to pinned memory, on their own streams.

    Args:
        device:
            Where the work is done; on a CPU nothing is copied.

    Example:
        >>> transfers = Transfers("cuda")
        >>> overlapped(
        ...     paths,
        ...     load=lambda path: transfers.send(read(path)),
        ...     work=lambda y: transfers.fetch(restore(y(), operator, 0.05, prior).mean),
        ...     finish=lambda path, result: write(path, result()()),
        ... )
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        on_gpu = self.device.type == "cuda"
        self._there, self._back = (
            torch.cuda.Stream(self.device) if on_gpu else None for _ in range(2)
        )

    def send(self, x: Tensor) -> Callable[[], Tensor]:
        """Starts the way to the device; calling the result gives the tensor to the current stream."""
        if self._there is None:
            moved = x.to(self.device)
            return lambda: moved
        with torch.cuda.stream(self._there):
            moved = x.pin_memory().to(self.device, non_blocking=True)
            sent = self._there.record_event()

        def arrived() -> Tensor:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(sent)
            moved.record_stream(current)  # its memory is not given away before the work is done
            return moved

        return arrived

    def fetch(self, x: Tensor) -> Callable[[], Tensor]:
        """Starts the way back, behind what the current stream is doing; calling the result waits."""
        if self._back is None:
            return lambda: x
        self._back.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._back):
            host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
            host.copy_(x, non_blocking=True)
            x.record_stream(self._back)
            fetched = self._back.record_event()

        def arrived() -> Tensor:
            fetched.synchronize()
            return host

        return arrived

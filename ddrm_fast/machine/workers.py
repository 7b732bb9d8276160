"""Work shared among processes by Ray: one actor per GPU or group of cores, one item each at a time.

An actor pool rather than Ray Data: nothing flows from row to row here, the results are files. The unit of
retrying is then one item and not a block of rows, an item whose worker dies every time is given up and named
where Ray Data would start it for ever, and the waves of one picture, which depend on each other, use
the same pool.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

LOCAL = "local"
_LARGEST_DEFAULT = 8  # workers on one machine: each holds the network and a picture
_OBJECTS = 2**28  # bytes of shared memory for what workers are given and give back
_ANSWER = 10.0  # seconds for a cluster to accept a connection
_PATIENCE = 30.0  # seconds without any worker before that is said

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """How a machine or cluster is shared out.

    Attributes:
        workers:
            Number of actors.
        threads:
            CPU threads of each.
        gpus:
            GPUs of each: 0 or 1.
    """

    workers: int
    threads: int
    gpus: int = 0


@dataclass(frozen=True)
class Lost:
    """An item that was given up because its worker died each time."""

    tries: int
    reason: str


def connect(address: str = LOCAL, quiet: bool = False) -> Callable[[], None]:
    """Start Ray on this machine, or join a cluster.

    Args:
        address:
            "local", or that of a running cluster: "auto", HOST:PORT, ray://HOST:PORT. Where this
            process is connected already, that connection is used.
        quiet:
            Do not repeat what workers print.

    Returns:
        What undoes it.

    Raises:
        ImportError: Ray is not installed.
        ValueError: It is no such address.
        ConnectionError: There is no cluster at that address.
    """
    ray = _ray()
    place = _place(address)
    if ray.is_initialized():
        return lambda: None
    if place is not None:
        _listens(address, place)
    settings: dict[str, object] = {"logging_level": logging.ERROR, "log_to_driver": not quiet}
    if address == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        settings |= {"include_dashboard": False, "object_store_memory": _OBJECTS}
    try:
        # Workers look for modules where Ray was started before anywhere else. A folder with a copy of the
        # sources would give them another package than this one, without its compiled kernels.
        with contextlib.chdir(Path(__file__).parents[2]):
            ray.init(address=address, **settings)
    except (ConnectionError, ValueError, RuntimeError) as error:
        first = str(error).strip().partition("\n")[0]
        raise _nobody(address, first) from error
    return ray.shutdown


def _place(address: str) -> tuple[str, int] | None:
    """Host and port of an address; None where it names none.

    Raises:
        ValueError: It is no address.
    """
    if address in (LOCAL, "auto"):
        return None
    found = re.fullmatch(r"(?:ray://)?(?:([\w.-]+)|\[([0-9a-fA-F:.]+)\]):([0-9]{1,5})", address)
    if found is None or not 0 < int(found[3]) < 2**16:
        raise ValueError(
            f"got {address!r}, expected the address of a cluster: auto, HOST:PORT or ray://HOST:PORT, or "
            f"{LOCAL} for this machine"
        )
    return found[1] or found[2], int(found[3])


def _listens(address: str, place: tuple[str, int]) -> None:
    """Find out whether there is anybody: Ray itself still tries after three minutes.

    Raises:
        ConnectionError: There is not.
    """
    try:
        socket.create_connection(place, timeout=_ANSWER).close()
    except (OSError, UnicodeError) as error:  # the latter of a name with an empty part
        reason = getattr(error, "strerror", None) or str(error)
        raise _nobody(address, reason) from error


def _nobody(address: str, reason: str) -> ConnectionError:
    return ConnectionError(
        f"no Ray cluster can be joined at {address!r} ({reason}); expected the address of a running one: "
        "auto, HOST:PORT or ray://HOST:PORT"
    )


def layout(workers: int | None = None, threads: int | None = None, use_gpus: bool = True) -> Layout:
    """A worker per GPU where there are any, else at most eight per machine that share its cores.

    Args:
        workers:
            Number of workers, or None.
        threads:
            Threads of each, or None: its share of the cores.
        use_gpus:
            False: workers of cores alone.

    Raises:
        ValueError: One worker would want more cores than any machine has.
    """
    machines = [node["Resources"] for node in _ray().nodes() if node["Alive"]]
    cores = [int(machine.get("CPU", 0)) for machine in machines]
    gpus = sum(int(machine.get("GPU", 0)) for machine in machines)
    if threads is not None and threads > max(cores):
        raise ValueError(f"threads: got {threads}, the largest machine has {max(cores)} cores")
    gpus = gpus if use_gpus and (workers is None or workers <= gpus) else 0
    if workers is None:
        each = threads or max(1, -(-max(cores) // _LARGEST_DEFAULT))
        workers = gpus or max(1, sum(count // each for count in cores))
    if threads is None:
        threads = max(1, min(max(cores), sum(cores) // workers))
    return Layout(workers, threads, 1 if gpus else 0)


class Pool:
    """Actors that work on items, each in a process of its own.

    A worker that dies is replaced, and its item goes to another one. Items are independent, and working
    twice on one must do no harm: a worker may die between finishing and saying so.

    Args:
        make:
            ``make() -> work``, called once in each worker; ``work(item) -> result``.
        layout:
            From :func:`layout`.
        tries:
            Times that an item is started before it is given up.

    Raises:
        ValueError: tries or the number of workers is below 1.
    """

    def __init__(
        self, make: Callable[[], Callable[[Any], Any]], layout: Layout, tries: int = 3
    ) -> None:
        if tries < 1 or layout.workers < 1:
            raise ValueError(f"expected at least one worker and one try, got {layout}, {tries}")
        self.make, self.layout, self.tries = make, layout, tries
        self._actor = _ray().remote(_Worker)
        self._idle: list[Any] = []
        self._starting: dict[Any, Any] = {}  # reference to the sign of life -> actor

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exception: object) -> None:
        for actor in [*self._idle, *self._starting.values()]:
            _ray().kill(actor)
        self._idle, self._starting = [], {}

    def start(self) -> None:
        """Start all workers and wait until they are ready (:meth:`run` starts them as it needs them).

        Raises:
            RuntimeError: None can start.
        """
        self._start(self.layout.workers)
        while self._starting:
            ready, _ = _ray().wait(list(self._starting), timeout=_PATIENCE)
            for reference in ready:
                actor = self._starting.pop(reference)
                try:
                    _ray().get(reference)
                except _ray().exceptions.RayError as error:
                    raise RuntimeError(f"workers cannot start: {_reason(error)}") from error
                self._idle.append(actor)

    def run(self, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Work on all items, in any order.

        Args:
            items:
                What to work on; sent to the workers.

        Yields:
            (index of an item, its result or :class:`Lost`), as they are finished.

        Raises:
            Exception: What ``work`` raised; the other items in work are given up.
        """
        ray = _ray()
        waiting, started = deque(range(len(items))), [0] * len(items)
        working: dict[Any, tuple[Any, int]] = {}  # reference to the result -> (actor, index)
        deaths = 0
        try:
            while waiting or working:
                self._start(min(self.layout.workers, len(waiting) + len(working)) - len(working))
                while waiting and self._idle:
                    index, actor = waiting.popleft(), self._idle.pop()
                    started[index] += 1
                    working[actor.work.remote(items[index])] = (actor, index)
                ready, _ = ray.wait([*working, *self._starting], timeout=_PATIENCE)
                if not ready and not working:
                    log.warning("still waiting for a first worker: %s", _free())
                for reference in ready:
                    try:
                        result = ray.get(reference)
                    except ray.exceptions.RayTaskError:
                        raise
                    except ray.exceptions.RayError as error:
                        reason = _reason(error)
                        if reference in self._starting:
                            del self._starting[reference]
                            deaths += 1
                            if deaths >= self.tries * self.layout.workers:
                                raise RuntimeError(f"workers cannot start: {reason}") from error
                            continue
                        _, index = working.pop(reference)
                        if started[index] >= self.tries:
                            yield index, Lost(started[index], reason)
                        else:
                            log.warning("a worker died, its item is started again: %s", reason)
                            waiting.appendleft(index)
                        continue
                    if reference in self._starting:
                        self._idle.append(self._starting.pop(reference))
                        continue
                    actor, index = working.pop(reference)
                    self._idle.append(actor)
                    yield index, result
        finally:
            for actor, _ in working.values():
                ray.kill(actor)

    def _start(self, wanted: int) -> None:
        """So many actors that wait for work or are on their way."""
        # an item goes to actors that have shown a sign of life: a cluster may have no room for all
        for _ in range(wanted - len(self._idle) - len(self._starting)):
            actor = self._actor.options(
                num_cpus=self.layout.threads, num_gpus=self.layout.gpus, max_restarts=0
            ).remote(self.make, self.layout.threads)
            self._starting[actor.alive.remote()] = actor


class _Worker:
    """What runs in the other process."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]], threads: int) -> None:
        torch.set_num_threads(threads)
        self._work = make()

    def alive(self) -> None:
        """Returns when the worker is ready."""

    def work(self, item: Any) -> Any:
        return self._work(item)


def _free() -> str:
    free, all_of = _ray().available_resources(), _ray().cluster_resources()
    return ", ".join(
        f"{free.get(kind, 0):g} of {all_of.get(kind, 0):g} {kind}s are free"
        for kind in ("CPU", "GPU")
    )


def _reason(error: BaseException) -> str:
    """One line of Ray's account: the last where a worker's own code failed as it started."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    failed = any("creation task" in line for line in lines)
    return lines[-1 if failed else 0] if lines else type(error).__name__


def _ray() -> ModuleType:
    """The package.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError("several workers need Ray: pip install 'ddrm-fast[ray]'") from error
    return ray

"""`--ray`: the inputs of a command shared among workers on this machine or on a cluster."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from .. import ops, workers
from . import specs
from .folder import Outcome, Stages, Tally, attempt
from .inputs import Input


@contextmanager
def pool(
    arguments: argparse.Namespace, make: Callable[[], Callable[[Any], Any]]
) -> Iterator[workers.Pool]:
    """The workers that were asked for; ``make`` runs once in each, in the folder of this process.

    Raises:
        ValueError, ImportError, ConnectionError: An option has no meaning, Ray is not installed, or
            there is no such cluster.
    """
    count = None if arguments.workers is None else specs.whole("--workers", arguments.workers)
    threads = None if arguments.threads is None else specs.whole("--threads", arguments.threads)
    if os.path.exists(arguments.ray):
        raise ValueError(
            f"--ray: got {arguments.ray!r}, which is a file or folder; expected an address, or --ray as "
            f"the last word, or --ray {workers.LOCAL}"
        )
    try:
        disconnect = workers.connect(arguments.ray, arguments.quiet)
    except (ValueError, ConnectionError) as error:
        raise type(error)(f"--ray: {error}") from error
    try:
        shared = workers.layout(count, threads, arguments.device != "cpu")
        with workers.Pool(
            partial(_settle, str(Path.cwd()), arguments.backend, make), shared
        ) as found:
            yield found
    finally:
        disconnect()


def share_out(
    command: str,
    inputs: Sequence[Input],
    make: Callable[[], Stages],
    arguments: argparse.Namespace,
) -> int:
    """:func:`~ddrm_fast.cli.folder.work_through`, by several workers, printed as they finish.

    Args:
        make:
            Called once in each worker.
    """
    with pool(arguments, partial(attempts, make)) as crew:
        with Tally(command, len(inputs), arguments.quiet) as tally:
            for index, found in crew.run(inputs):
                if isinstance(found, workers.Lost):
                    text = f"its worker died {found.tries} times ({found.reason})"
                    found = Outcome(f"{inputs[index].path}: {text}", failed=True)
                tally.add(found)
    return tally.status()


def attempts(make: Callable[[], Stages]) -> Callable[[Input], Outcome]:
    """Works on one input after the other, all stages of it."""
    load, work, save = make()
    return lambda item: attempt(lambda: save(work(load(item))), item.path)


def _settle(
    folder: str, backend: str | None, make: Callable[[], Callable[[Any], Any]]
) -> Callable[[Any], Any]:
    """``make()`` in a worker, where names of files and the backend mean what they mean here."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise ValueError(
            f"{folder}: this worker's machine has no such folder; workers need the same files"
        ) from error
    ops.use_backend(backend)
    return make()

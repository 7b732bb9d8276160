"""Collections of dead leaves: drawn by several processes, kept so that a resumed run need not draw again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np

from ...io.files import atomic_file
from .dead_leaves import DeadLeavesConfig, dead_leaves
from .packs import PicturePack, pack

logger = logging.getLogger(__name__)


def make_leaves(
    seed: int, count: int, config: DeadLeavesConfig | None = None, workers: int = 1
) -> PicturePack:
    """Draw a pack of dead-leaves pictures.

    Args:
        seed:
            Seed of the collection, 0 or more.
        count:
            Number of pictures.
        config:
            Look of the pictures.
        workers:
            Processes that draw; the pictures do not depend on it.
    """
    draw = partial(dead_leaves, seed, config=config)
    if workers <= 1 or count < 32:
        return pack(map(draw, range(count)))
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_end_with_parent
    ) as pool:
        with _left_to_us():
            drawn = pool.map(draw, range(count), chunksize=8)
        try:
            return pack(drawn)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _left_to_us() -> Iterator[None]:
    """Processes that are started here do not hear Ctrl-C and SIGTERM: this process ends them."""
    ours = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ours)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Also where it was killed and cannot."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def kept_leaves(
    seed: int,
    count: int,
    config: DeadLeavesConfig,
    workers: int = 1,
    cache: str | Path | None = None,
) -> PicturePack:
    """Draw dead leaves, or read them from the file where an earlier run left them.

    Args:
        seed, count, config, workers:
            See :func:`make_leaves`.
        cache:
            Folder where they are kept, so that a resumed run need not draw them.
    """
    if cache is None or not count:
        return make_leaves(seed, count, config, workers)
    size = config.size
    key = json.dumps([seed, count, asdict(config)])
    path = Path(cache) / f"leaves-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npy"
    try:
        stored = np.load(path, allow_pickle=False)
        if stored.shape == (count, size, size, 3) and stored.dtype == np.uint8:
            return pack(stored)
        logger.warning("%s does not hold the dead leaves of this run; drawing them", path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, EOFError) as error:
        logger.warning("%s cannot be read (%s); drawing the dead leaves", path, error)
    leaves = make_leaves(seed, count, config, workers)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            np.save(file, leaves.pixels.reshape(count, size, size, 3))
    except OSError as error:
        logger.warning("the dead leaves are not kept: %s", error)
    return leaves

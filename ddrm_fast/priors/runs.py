"""What trainings share: files that are whole or absent, checkpoints, refusals, kept dead leaves."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..io.files import atomic_file
from .dead_leaves import DeadLeavesConfig
from .pictures import PicturePack, make_leaves, pack

logger = logging.getLogger(__name__)


class ConfigMismatch(ValueError):
    """A run was resumed with another configuration or other pictures."""


def refuse_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Compare two configurations, the checkpoint's and the new one.

    Raises:
        ConfigMismatch: They differ; the message lists every difference.
    """
    old, new = _flat(old), _flat(new)
    differences = [
        f"{name}: {new.get(name)!r}, checkpoint has {old.get(name)!r}"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]
    if differences:
        raise ConfigMismatch(
            "cannot resume with another configuration:\n  " + "\n  ".join(differences)
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings within settings as one level: {"network": {"width": 1}} as {"network.width": 1}."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def write_state(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint in one indivisible replacement.

    Raises:
        OSError: The file cannot be written; an earlier one at `path` stays intact.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with atomic_file(path) as file:
        file.write(buffer.getbuffer())


def read_state(path: str | Path, kind: str) -> dict[str, Any]:
    """Read a checkpoint of which `state["format"]` is `kind`; no code in it is run.

    Raises:
        FileNotFoundError: There is none.
        ValueError: The file is not such a checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint: {path} does not exist")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # (what torch says of it speaks to programmers)
        raise ValueError(
            f"checkpoint: {path} cannot be read: damaged, or of another kind"
        ) from error
    if not isinstance(state, dict) or state.get("format") != kind:
        raise ValueError(f"checkpoint: {path} is not a {kind} file")
    return state


def in_fixed_order(data: bytes) -> bytes:
    """The same safetensors file with its metadata in order of their names.

    The library writes them in a random order; with a fixed one, equal weights give equal files.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


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


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set while the context lasts (main thread only)."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    chosen = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: event.set()) for number in chosen]
    try:
        yield event
    finally:
        for number, handler in zip(chosen, before, strict=True):
            signal.signal(number, handler)

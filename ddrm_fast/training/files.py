"""Files of runs, whole or absent, and the refusal of another configuration."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..io.files import atomic_file


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


def read_state(path: str | Path, kinds: Iterable[str]) -> dict[str, Any]:
    """Read a checkpoint of which `state["format"]` is one of `kinds`; no code in it is run.

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
    if not isinstance(state, dict) or state.get("format") not in tuple(kinds):
        raise ValueError(f"checkpoint: {path} is not one of ddrm-fast's trainings")
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

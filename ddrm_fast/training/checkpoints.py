"""Checkpoints of every kind of run in one format; older formats are read too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .files import read_state

CHECKPOINT = "checkpoint.pt"
FORMAT = "ddrm_fast.training/2"
_OLD_DENOISER, _OLD_DDPM = "ddrm_fast.training/1", "ddrm_fast.ddpm_training/1"
#: what a checkpoint holds, and of which type
_PARTS = {
    "kind": str, "config": str, "data": str, "step": int, "network": dict, "mean": dict,
    "optimiser": dict, "scaler": dict, "sums": Tensor,
}  # fmt: skip


def read_checkpoint(path: str | Path, kind: str) -> dict[str, Any]:
    """Read a checkpoint; no code in it is run.

    Args:
        path:
            The file, or the folder of the run.
        kind:
            What the run trains: see :attr:`ddrm_fast.training.Learner.kind`.

    Raises:
        FileNotFoundError: There is none.
        ValueError: The file is not a checkpoint, or one of another kind of run.
    """
    path = Path(path)
    path = path / CHECKPOINT if path.is_dir() or path.suffix != ".pt" else path
    state = read_state(path, (FORMAT, _OLD_DENOISER, _OLD_DDPM))
    try:
        state = _today(state)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"checkpoint: {path} is incomplete ({error!r})") from error
    for name, wanted in _PARTS.items():
        if not isinstance(state.get(name), wanted):
            raise ValueError(
                f"checkpoint: {path} is incomplete: {name} is "
                f"{type(state.get(name)).__name__}, expected {wanted.__name__}"
            )
    if state["kind"] != kind:
        raise ValueError(
            f"checkpoint: {path} is of a run that trains a {state['kind']}, expected a {kind}"
        )
    return state


def _today(state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of an older format in today's."""
    if state["format"] == _OLD_DENOISER:
        return {
            **state, "kind": "denoiser", "network": state["model"], "mean": state["ema"], "scaler": {},
            "sums": torch.zeros(0),
        }  # fmt: skip
    if state["format"] == _OLD_DDPM:
        within = "module."
        mean = {
            name[len(within) :]: value
            for name, value in state["ema"].items()
            if name.startswith(within)
        }
        *sums, steps = state["sums"].tolist()
        sums = torch.tensor([sums, [steps] * len(sums)], dtype=torch.float64)
        return {**state, "kind": "ddpm", "mean": mean, "sums": sums}
    return state


def check_numbers(weights: Mapping[str, Any], where: str) -> None:
    """Raises FloatingPointError where a weight is no finite number.

    Args:
        weights:
            Tensors by name.
        where:
            For the message: "at step 3".
    """
    for name, value in weights.items():
        if isinstance(value, Tensor) and value.is_floating_point() and not _finite(value):
            raise FloatingPointError(
                f"the weights of {name} became infinite or no numbers {where}; "
                "the last checkpoint is from before"
            )


def _finite(value: Tensor) -> bool:
    # one pass without a mask: a sum of absolute values is finite where all of them are
    return bool(torch.isfinite(value.detach().abs().sum(dtype=torch.float64)))

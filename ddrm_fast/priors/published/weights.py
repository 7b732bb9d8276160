"""Weights out of the wrappings that checkpoints come in: training states, running means, prefixes of names.

Nothing is downloaded, and no code in a checkpoint is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ..download import PUBLISHED
from .presets import PRESETS

Weights = dict[str, Tensor]

#: where training programs keep the weights, and where their running mean
_TRAINED = ("model_state_dict", "state_dict", "model", "params", "network", "net", "unet", "module")
_MEANS = (
    "ema_state_dict", "state_dict_ema", "model_ema_state_dict", "ema_model_state_dict", "model_ema",
    "ema_model", "params_ema", "unet_ema", "ema",
)  # fmt: skip
#: what wraps the names of a network's weights, in any order and number
PREFIXES = (
    "_orig_mod.",
    "module.",
    "model.",
    "unet.",
    "denoise_fn.",
    "network.",
    "net.",
    "diffusion_model.",
)


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Args:
        weights:
            As trained; empty where there is the mean alone.
        mean:
            The running mean of the weights (EMA); None where there is none.
    """

    weights: Weights
    mean: Weights | None = None

    def chosen(self, mean: bool | None = None) -> Weights:
        """The mean where there is one (and what it lacks from the trained weights), unless it is not wanted.

        Args:
            mean:
                True: the mean, False: the trained weights, None: the mean if there is one.

        Raises:
            ValueError: What is asked for is not there.
        """
        if mean is True and self.mean is None:
            raise ValueError("config: ema is True, but there is no running mean of the weights")
        if mean is False and not self.weights:
            raise ValueError("config: ema is False, but there is only the mean of the weights")
        if mean is False or self.mean is None:
            return self.weights
        return {**self.weights, **self.mean}

    @property
    def has_both(self) -> bool:
        return self.mean is not None and bool(self.weights)


def read_checkpoint(path: Path, mean: bool | None = None) -> Checkpoint:
    """The weights in a file, and their running mean.

    Args:
        path:
            A ``.safetensors`` file, or one of ``torch.save``.
        mean:
            False: the running mean is not looked for.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read, or holds no weights, or a mean in a form that is not known.
    """
    if not path.is_file():
        where = PRESETS[path.name].page if path.name in PRESETS else None
        hint = f"; the published file is found through {where}" if where else ""
        if path.name in PUBLISHED:
            hint += f", and `ddrm-fast download {path.name}` fetches it"
        raise FileNotFoundError(f"{path}: no such file{hint}")
    try:
        if path.suffix == ".safetensors":
            content: Any = safetensors.torch.load_file(str(path))
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    except Exception as error:  # torch raises many kinds for damaged and foreign files
        raise ValueError(
            f"{path}: not a readable checkpoint: damaged, another kind of file, or one with Python "
            "objects beside its tensors (those could run code, so they are not read)"
        ) from error
    try:
        found = unwrapped(content, mean is not False)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if found is None:
        raise ValueError(f"{path}: holds no weights by name, but a {type(content).__name__}")
    return found


def read_weights(path: Path) -> Weights:
    """Tensors by name: the running mean of the weights where there is one.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read, or holds no weights.
    """
    return read_checkpoint(path).chosen()


def unwrapped(content: Any, with_mean: bool = True) -> Checkpoint | None:
    """Weights and mean in what a file holds; None where there are no tensors by name.

    Raises:
        ValueError: There is a mean in a form that is not known.
    """
    if isinstance(content, (list, tuple)):  # DDIM's [weights, optimiser, epoch, step, mean]
        if not content:
            return None
        weights = _named(content[0])
        has_mean = with_mean and len(content) > 4
        mean = _mean(content[4], weights or {}) if has_mean else None
        return None if weights is None else Checkpoint(weights, mean)
    if not isinstance(content, Mapping):
        return None
    weights = next(filter(None, (_named(content.get(key)) for key in _TRAINED)), None)
    means = (_mean(content.get(key), weights or {}) for key in _MEANS if with_mean or not weights)
    mean = next(filter(None, means), None)
    if weights is None and mean is None:
        weights = _named(content)
        if weights is None:
            return None
        pair = _online_and_mean(weights)
        return Checkpoint(weights) if pair is None else Checkpoint(*pair)
    return Checkpoint(weights or {}, mean)


def _named(content: Any) -> Weights | None:
    """The tensors of a dictionary by their bare names; of one that it holds, if it holds none itself."""
    if not isinstance(content, Mapping):
        return None
    for key in (*_TRAINED, *_MEANS):
        found = _named(content.get(key))
        if found is not None:
            return found
    tensors = {str(name): x for name, x in content.items() if isinstance(x, Tensor)}
    return bare(tensors) if tensors else None


def _mean(content: Any, weights: Weights) -> Weights | None:
    """A running mean by the names of the weights, in the forms that programs keep it in.

    By name; under "shadow"; a list "shadow_params" in the order of the parameters; or the copies that
    a module of two networks holds ("online_model.", "ema_model.").

    Raises:
        ValueError: There are tensors that are no mean of these weights.
    """
    if not isinstance(content, Mapping):
        return None
    unknown = ValueError(
        "there is a running mean of the weights (EMA) in a form that is not known; config={'ema': False} "
        "takes the weights as trained"
    )
    listed = content.get("shadow_params")
    if isinstance(listed, (list, tuple)):
        names = [name for name, x in weights.items() if x.is_floating_point()]
        shapes = [tuple(weights[name].shape) for name in names]
        if shapes == [tuple(x.shape) for x in listed if isinstance(x, Tensor)]:
            return dict(zip(names, listed, strict=True))
        raise unknown
    found = _named(content.get("shadow")) or _named(content)
    if found is None:
        return None
    pair = _online_and_mean(found)
    found = found if pair is None else pair[1]
    if weights and not set(found) <= set(weights):
        raise unknown
    return found


def _online_and_mean(weights: Weights) -> tuple[Weights, Weights] | None:
    parts = [
        {n.removeprefix(prefix): x for n, x in weights.items() if n.startswith(prefix)}
        for prefix in ("online_model.", "ema_model.")
    ]
    return None if not parts[1] else (bare(parts[0]), bare(parts[1]))


def bare(weights: Mapping[str, Tensor]) -> Weights:
    """The weights without what stands before all their names: wrappers such as torch.compile's."""
    names = dict(weights)
    while names:
        prefix = next((p for p in PREFIXES if all(n.startswith(p) for n in names)), None)
        if prefix is None:
            break
        names = {name.removeprefix(prefix): x for name, x in names.items()}
    return names


def within(weights: Weights, depth: int = 4) -> Iterator[Weights]:
    """The weights, and those that stand behind a prefix beside others: a network within a larger module."""
    yield weights
    if depth:
        for prefix in PREFIXES:
            part = {n.removeprefix(prefix): x for n, x in weights.items() if n.startswith(prefix)}
            if part:
                yield from within(part, depth - 1)

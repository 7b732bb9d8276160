"""A problem written out as JSON values, and read back.

Tensors (the measurement, masks, kernels) are named by their digest; what they hold is kept by itself, in
an :class:`Arrays`, or is there already, as in the file that a measurement was read from.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .. import operators
from ..operators import Forward
from ..registry import TASKS, load_plugins, loaded
from .likelihood import Gaussian
from .problem import Problem


class Arrays(dict[str, Tensor]):
    """Tensors by their digests."""

    def reference(self, tensor: Tensor) -> dict[str, Any]:
        """Keeps a tensor; what names it in a record."""
        tensor = tensor.detach().cpu().contiguous()
        name = digest(tensor)
        self[name] = tensor
        return {"sha256": name, "shape": list(tensor.shape), "dtype": _dtype(tensor)}


def digest(tensor: Tensor) -> str:
    """SHA-256 of a tensor's type, shape and numbers, on any device."""
    tensor = tensor.detach().cpu().contiguous()
    whole = hashlib.sha256(f"{_dtype(tensor)} {tuple(tensor.shape)}\n".encode())
    whole.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def plain(name: str, value: Any, arrays: Arrays) -> Any:
    """JSON values for a number, a word, a tensor, or lists of them.

    Args:
        name:
            Of the value, for the message.
        value:
            What is written.
        arrays:
            Where tensors go.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, Tensor):
        return arrays.reference(value)
    if isinstance(value, (list, tuple)):
        return [plain(name, entry, arrays) for entry in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(
        f"{name}: a record holds numbers, words and tensors, got {type(value).__name__}"
    )


def meant(name: str, value: Any, arrays: Mapping[str, Tensor]) -> Any:
    """The value behind what :func:`plain` gave.

    Raises:
        ValueError: a tensor is not among the arrays.
    """
    if isinstance(value, list):
        return [meant(name, entry, arrays) for entry in value]
    if not isinstance(value, dict):
        return value
    found = arrays.get(value.get("sha256", ""))
    if found is None:
        raise ValueError(
            f"{name}: the record names a tensor {tuple(value.get('shape', ()))} by its digest "
            f"{value.get('sha256')}, expected it among the arrays"
        )
    return found


def describe_operator(operator: Forward, arrays: Arrays) -> dict[str, Any]:
    """Name and parameters of a degradation.

    Args:
        operator:
            One of :mod:`ddrm_fast.operators`, or the class of a registered task.
        arrays:
            Where its tensors go.

    Raises:
        ValueError: it has no such name, or does not say what defines it.
    """
    if _class_of(operator.name) is not type(operator):
        raise ValueError(
            f"operator: {operator.name} is neither in ddrm_fast.operators nor the class of a registered task "
            "(ddrm_fast.registry.register_task), so a record cannot name it"
        )
    parameters = operator.parameters
    for name, parameter in inspect.signature(type(operator)).parameters.items():
        if parameter.default is parameter.empty and name not in parameters:
            raise ValueError(
                f"operator: {operator.name} does not say its {name}, expected it among parameter_names"
            )
    written = {name: plain(f"operator.{name}", value, arrays) for name, value in parameters.items()}
    return {"name": operator.name, "parameters": written}


def operator_of(record: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> Forward:
    """The degradation that :func:`describe_operator` wrote.

    Raises:
        ValueError: its name is not known, or a parameter is missing or wrong.
    """
    made = _class_of(record["name"])
    if made is None:
        raise ValueError(
            f"operator: got {record['name']!r}, expected a degradation of ddrm_fast.operators or of a "
            "registered task"
        )
    given = {
        name: meant(f"operator.{name}", value, arrays)
        for name, value in record["parameters"].items()
    }
    try:
        return made(**given)
    except TypeError as error:
        raise ValueError(f"operator: {record['name']} has other parameters ({error})") from error


def _class_of(name: str) -> type[Forward] | None:
    """A degradation's class by its name; no module is imported that was not registered."""
    found = getattr(operators, name, None)
    if isinstance(found, type) and issubclass(found, Forward):
        return found
    for attempt in (1, 2):
        for task in TASKS.values():
            made = loaded(task.make)
            if isinstance(made, type) and made.__name__ == name:
                return made
        if attempt == 1:
            load_plugins()
    return None


def describe(problem: Problem, arrays: Arrays | None = None) -> dict[str, Any]:
    """A problem as JSON values.

    Args:
        problem:
            Of whole pictures.
        arrays:
            Where the measurement and other tensors go; None: they are named, and kept nowhere.

    Raises:
        ValueError: a record cannot name the degradation or the likelihood.
    """
    arrays = Arrays() if arrays is None else arrays
    likelihood = problem.likelihood
    if type(likelihood) is not Gaussian:
        raise ValueError(
            f"likelihood: expected a Gaussian in a record, got {type(likelihood).__name__}"
        )
    return {
        "operator": describe_operator(problem.operator, arrays),
        "likelihood": {"name": "gaussian", "sigma_y": likelihood.sigma_y.tolist()},
        "range": list(problem.range),
        "y": arrays.reference(problem.y),
    }


def problem_of(
    record: Mapping[str, Any],
    arrays: Mapping[str, Tensor],
    device: torch.device | str = "cpu",
) -> Problem:
    """The problem that :func:`describe` wrote.

    Args:
        record:
            Its JSON values.
        arrays:
            Tensors by :func:`digest`, the measurement among them.
        device:
            Where the measurement goes.

    Raises:
        ValueError: a tensor is missing, or a name or a value is not known.
    """
    kind = record["likelihood"]["name"]
    if kind != "gaussian":
        raise ValueError(f"likelihood: got {kind!r}, expected 'gaussian'")
    y = meant("y", record["y"], arrays)
    low, high = record["range"]
    return Problem(
        operator_of(record["operator"], arrays),
        y.to(device),
        Gaussian.of(torch.tensor(record["likelihood"]["sigma_y"], dtype=torch.float64), len(y)),
        (low, high),
    )

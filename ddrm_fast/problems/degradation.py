"""A task made definite: its parameters, arrays and picture shape, which together define an operator."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..operators import Forward
from ..operators.base import Shape
from ..registry import TASKS, Kernel, Mask, Parameter, Plane, Task, loaded
from . import arrays as words
from .arrays import Size, pad


@dataclass(frozen=True)
class Degradation:
    """A task with everything that defines its operator; what a measurement file stores.

    Attributes:
        task:
            A name of :data:`ddrm_fast.registry.TASKS`.
        parameters:
            Numbers and words, plain JSON values.
        arrays:
            Masks, kernels, kept indices.
        image_shape:
            (C, H, W) that the operator works on.
    """

    task: str
    parameters: dict[str, Any]
    arrays: dict[str, Tensor]
    image_shape: Shape

    def operator(self) -> Forward:
        """The operator.

        Raises:
            ValueError: The task is unknown, an array or number is missing or does not fit.
        """
        task = TASKS.find(self.task)
        shape = tuple(self.image_shape)
        given = {**self.parameters, **self.arrays, "size": shape[1:], "image_shape": shape}
        try:
            return called(loaded(task.make), given)
        except KeyError as error:
            raise ValueError(f"task {self.task}: {error} is missing") from None


def called(make: Callable[..., Forward], given: Mapping[str, Any]) -> Forward:
    """``make`` with those of its keywords that are given.

    Raises:
        KeyError: One that has no default is not.
    """
    keywords = {}
    for name, parameter in inspect.signature(make).parameters.items():
        if name in given:
            keywords[name] = given[name]
        elif parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            raise KeyError(name)
    return make(**keywords)


def check_options(task: Task | str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a task that were given, the numbers among them read.

    Args:
        task:
            A task or its name.
        options:
            Values, or text for them. Arrays (masks, kernels, gains) stay as they are: they are read once the
            picture's size is known.

    Raises:
        ValueError: One is missing, wrong, or the task does not take it; the message begins with its name.
    """
    task = TASKS.find(task) if isinstance(task, str) else task
    for parameter in task.parameters:
        if parameter.required and parameter.name not in options:
            raise ValueError(
                f"{parameter.name}: task {task.name} needs it, for example {parameter.example}"
            )
    for name in options:
        if task.parameter(name) is None:
            known = ", ".join(parameter.name for parameter in task.parameters) or "none"
            raise ValueError(f"{name}: task {task.name} does not take it; its parameters: {known}")
    found = {}
    for parameter in task.parameters:
        value = options.get(parameter.name)
        if value is not None:
            found[parameter.name] = value if parameter.array else parameter.read(value)
    return found


def padded_size(task: Task | str, options: Mapping[str, Any], size: Size) -> Size:
    """The size (H, W) that a clean picture of ``size`` is padded to before it is degraded.

    Args:
        task:
            A task or its name.
        options:
            Its parameters.
        size:
            (H, W) of the picture.

    Raises:
        ValueError: A block is larger than the picture.
    """
    task = TASKS.find(task) if isinstance(task, str) else task
    if task.multiple_of == "power of two":
        height, width = (1 << (n - 1).bit_length() for n in size)
        return height, width
    if not task.multiple_of:
        return size
    parameter = task.parameter(task.multiple_of)
    if parameter is None:
        raise ValueError(f"task {task.name}: has no parameter {task.multiple_of}")
    step = check_options(task, options).get(parameter.name, parameter.default)
    if step > 1 and step > max(size):
        raise ValueError(
            f"{parameter.name}: {step} is larger than the picture of {size[0]} x {size[1]}"
        )
    height, width = (-(-n // step) * step for n in size)
    return height, width


def degradation(
    task: Task | str,
    image_shape: Shape,
    options: Mapping[str, Any] | None = None,
    *,
    seed: int | None = None,
    crop: Size | None = None,
) -> Degradation:
    """A task made definite for pictures of one shape.

    >>> degradation("sr", (3, 64, 64), {"factor": 4}).operator()
    SuperResolution(factor=4)

    Args:
        task:
            A task, its name, or an alias of it; see :data:`ddrm_fast.registry.TASKS`.
        image_shape:
            (C, H, W) that the operator works on.
        options:
            The task's parameters: values, tensors, or the text that stands for them.
        seed:
            Of what is random (masks, kept coefficients, bases); None: masks may not be.
        crop:
            (H, W) of the picture itself where it is padded; masks of a task whose measurement is smaller
            than the picture have this size.

    Raises:
        ValueError: A parameter is missing or wrong, or does not fit the shape; its name comes first.
        FileNotFoundError: A mask, kernel or gain names no file.
    """
    task = TASKS.find(task) if isinstance(task, str) else task
    given = check_options(task, options or {})
    size = tuple(image_shape[1:])
    values, arrays = {}, {}
    for parameter in task.parameters:
        value = given.get(parameter.name, parameter.default)
        if not parameter.array:
            if value is not None:
                values[parameter.name] = value
        elif value is not None:
            arrays[parameter.name] = _array(parameter, task, values, value, image_shape, seed, crop)
            if isinstance(parameter, Kernel) and isinstance(value, str):
                values[parameter.name] = value  # a record says which
    if task.prepare is not None:
        loaded(task.prepare)(values, arrays, tuple(image_shape), seed)
    return Degradation(task.name, values, arrays, (image_shape[0], *size))


def _array(
    parameter: Parameter,
    task: Task,
    values: Mapping[str, Any],
    value: Any,
    image_shape: Shape,
    seed: int | None,
    crop: Size | None,
) -> Tensor:
    """The tensor behind a mask, a kernel or a gain."""
    _, height, width = image_shape
    size = height, width
    if isinstance(parameter, Kernel):
        return words.kernel(value, parameter.name)
    if isinstance(parameter, Plane):
        return words.gain(value, size, parameter.name)
    if not isinstance(parameter, Mask):
        raise TypeError(f"{parameter.name}: {type(parameter).__name__} is no kind of array")
    if task.smaller_by:
        factor = values[task.smaller_by]
        known = _mask_of_either(value, size, factor, seed, crop or size, parameter.name)
    else:
        known = words.mask(value, size, seed, parameter.name)
    if known.dim() == 3 and known.shape[0] not in (1, image_shape[0]):
        raise ValueError(f"{parameter.name}: {value} needs a picture with colours, got a grey one")
    return known


def _mask_of_either(
    value: Any, size: Size, factor: int, seed: int | None, crop: Size, name: str
) -> Tensor:
    """A mask at the picture's own size, or at that of its measurement: then a pixel stands for its block."""
    small = (size[0] // factor, size[1] // factor)
    try:
        known = words.mask(value, crop, seed, name)
    except ValueError as error:
        if seed is not None or isinstance(error, words.NoWhite):
            raise
        known = words.mask(value, small, seed, name)
        known = known.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
    return pad(known[None] if known.dim() == 2 else known, size).squeeze(0)

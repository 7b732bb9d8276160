"""What public functions are given is of the kind that their annotations say: one layer, at the doors.

A wrong kind is answered with the argument's name, what came and what was expected. What lies behind the doors
asserts nothing of kinds; ranges and shapes are looked at where they mean something.
"""

from __future__ import annotations

import collections.abc
import functools
import inspect
import math
import numbers
import os
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, Union

import numpy as np
import torch
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])
Test = Callable[[Any], bool]
#: what comes from inside where an argument is of a wrong kind
_INNER = (
    TypeError, AttributeError, RuntimeError, LookupError, ValueError, OverflowError, AssertionError,
    ZeroDivisionError,
)  # fmt: skip
#: whole numbers outside fit into no seed and no index
_LEAST, _MOST = -(2**63), 2**64 - 1


class WrongKind(TypeError, ValueError):
    """An argument is of another kind than its annotation says."""


def checked(function: F, arrays: bool = False) -> F:
    """The function; where it fails without naming an argument, its arguments are looked at.

    So what it says itself, of ranges and shapes too, is what one reads, and a call that succeeds costs
    nothing more. Numbers are never truth values, nor whole ones larger than 64 bits; a class does not stand
    for its instance. What has no annotation is not looked at.

    Args:
        function:
            Of any kind.
        arrays:
            Whether arrays and lists stand for tensors, since it converts them (``torch.as_tensor``).
    """

    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        try:
            return function(*arguments, **keywords)
        except _INNER as error:
            said = _wrong(function, arguments, keywords, str(error), arrays)
            if said is None:
                raise
            raise WrongKind(said) from error

    return typing.cast("F", call)


def _wrong(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    told: str,
    arrays: bool,
) -> str | None:
    """What to say of a failed call; None where nothing more is known than it told."""
    signature, kinds = _kinds(function, arrays)
    try:
        bound = signature.bind(*arguments, **keywords)
    except TypeError:
        return None  # Python named what is missing or too much
    owner = function.__qualname__.partition(".")[
        0
    ].lower()  # Travel.length is known as travel.length
    if any(re.match(rf"{re.escape(name)}\b", told) for name in (*signature.parameters, owner)):
        return None
    for name, value in bound.arguments.items():
        kind = kinds.get(name)
        if kind is not None and not kind[0](value):
            return f"{name}: got {described(value)}, expected {kind[1]}"
    return None


def check_made(*classes: type) -> None:
    """Looks at what these classes are made with; arrays and lists stand for tensors."""
    for made in classes:
        if "__init__" in vars(made):
            setattr(made, "__init__", checked(vars(made)["__init__"], arrays=True))  # noqa: B010


def check_methods(names: Iterable[str], *classes: type) -> None:
    """:func:`checked` for methods that these classes have of their own."""
    for made in classes:
        for name in names:
            if inspect.isfunction(vars(made).get(name)):
                setattr(made, name, checked(vars(made)[name]))


def described(value: Any) -> str:
    """A value for a message: short, and tensors by type and shape."""
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"a {value.dtype} array {value.shape}"
    if inspect.isclass(value):
        return f"the class {value.__name__} (not an instance, such as {value.__name__}())"
    if inspect.isroutine(value):
        return f"the function {getattr(value, '__name__', '')}"
    said = repr(value)
    return said if len(said) <= 60 else f"{said[:57]}..."


def _kinds(
    function: Callable[..., Any], arrays: bool = False
) -> tuple[inspect.Signature, dict[str, tuple[Test, str]]]:
    signature = inspect.signature(function)
    plain = inspect.unwrap(function)
    names = {**vars(typing), **getattr(plain, "__globals__", {})}
    kinds = {}
    for name, parameter in signature.parameters.items():
        annotation = parameter.annotation
        if annotation is inspect.Parameter.empty or parameter.kind in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
        ):
            continue
        if isinstance(annotation, str):
            try:
                annotation = eval(annotation, names)  # noqa: S307 (our own annotations)
            except NameError:  # imported for type checkers alone
                continue
        found = _test_of(annotation, arrays)
        if found is not None:
            kinds[name] = found
    return signature, kinds


def _test_of(annotation: Any, arrays: bool = False) -> tuple[Test, str] | None:
    """Whether a value is of an annotated kind, and the kind in words; None: anything goes."""
    if annotation in (Any, object):
        return None
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        parts = [_test_of(part, arrays) for part in inside]
        if any(part is None for part in parts):
            return None
        known = [part for part in parts if part is not None]
        words = list(dict.fromkeys(word for _, word in known))
        return (lambda v: any(test(v) for test, _ in known)), " or ".join(words)
    if origin is typing.Literal:
        return (lambda v: v in inside), " or ".join(map(repr, inside))
    if annotation is Tensor and arrays:
        return _is_array, "a tensor"
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if origin is tuple or origin is collections.abc.Sequence or origin is list:
        return _rows_of(origin, inside)
    if origin is collections.abc.Iterable or origin is collections.abc.Iterator:
        return (lambda v: isinstance(v, Iterable)), "values one after another"
    if origin in (collections.abc.Callable, type) or annotation in (Callable, type):
        if origin is type or annotation is type:
            return inspect.isclass, "a class"
        return (lambda v: callable(v) and not inspect.isclass(v)), "a function"
    if origin in (dict, collections.abc.Mapping) or annotation in (dict, Mapping):
        return (lambda v: isinstance(v, Mapping)), "names with values"
    if inspect.isclass(annotation):
        return _instance(annotation)
    return None


def _rows_of(origin: Any, inside: tuple[Any, ...]) -> tuple[Test, str]:
    """Of a sequence of some kind; tuples of a length have that length."""
    of_any_length = origin is not tuple or (len(inside) == 2 and inside[1] is Ellipsis)
    each = [_test_of(kind) for kind in inside if kind is not Ellipsis]
    words = [kind[1] if kind else "a value" for kind in each]
    said = f"a list, each {words[0]}" if of_any_length and words else f"({', '.join(words)})"

    def test(value: Any) -> bool:
        if isinstance(value, (str, bytes)) or isinstance(value, Mapping):
            return False
        if isinstance(value, (Tensor, np.ndarray)):
            value = value.tolist() if value.ndim == 1 else None
        if not isinstance(value, (list, tuple, collections.abc.Sequence)):
            return False
        if of_any_length:
            return not each or each[0] is None or all(each[0][0](part) for part in value)
        pairs = zip(each, value, strict=False)
        return len(value) == len(each) and all(kind is None or kind[0](v) for kind, v in pairs)

    return test, said


def _instance(kind: type) -> tuple[Test, str]:
    article = f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"
    if getattr(kind, "_is_protocol", False):
        needed = [n for n, v in vars(kind).items() if callable(v) and not n.startswith("_")]
        said = f"{article} (with {', '.join(needed)})" if needed else article
        return (lambda v: not inspect.isclass(v) and all(hasattr(v, n) for n in needed)), said
    return (lambda v: isinstance(v, kind)), article


def _is_whole(value: Any) -> bool:
    whole = isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))
    return whole and _LEAST <= int(value) <= _MOST


def _is_number(value: Any) -> bool:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        return False
    try:
        return not math.isnan(float(value))
    except OverflowError:
        return False


def _is_array(value: Any) -> bool:
    if isinstance(value, (str, bytes, dict)) or value is None:
        return False
    if isinstance(value, Tensor):
        return True
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc"
    if not isinstance(value, (list, tuple)):
        return False
    try:
        torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return False
    return True


_PLAIN: dict[Any, tuple[Test, str]] = {
    int: (_is_whole, "a whole number"),
    float: (_is_number, "a number"),
    bool: (lambda v: isinstance(v, (bool, np.bool_)), "True or False"),
    str: (lambda v: isinstance(v, str), "a word"),
    bytes: (lambda v: isinstance(v, bytes), "bytes"),
    None: (lambda v: v is None, "None"),
    type(None): (lambda v: v is None, "None"),
    Tensor: (lambda v: isinstance(v, Tensor), "a tensor"),
    torch.device: (lambda v: isinstance(v, torch.device), "a device"),
    torch.dtype: (lambda v: isinstance(v, torch.dtype), "a dtype"),
    os.PathLike: (lambda v: isinstance(v, os.PathLike), "a path"),
}

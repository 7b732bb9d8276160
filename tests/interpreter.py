"""Triton in tests: which cases of the matrix it runs, and what makes its interpreter quicker."""

import dataclasses
import importlib
import os

from ddrm_fast.ops import triton_available

#: Of the cases of a parametrised test, every fifth (or all): the interpreter takes seconds for one, and
#: so does a compilation for a GPU, which most cases need, since their shapes differ.
SHARE = 1 if os.environ.get("DDRM_FAST_TRITON_ALL") else 5


def in_use() -> bool:
    return triton_available.unavailable() is None and triton_available.interpreted()


def quicken() -> None:
    """Spares the interpreter what costs half of its time and changes no number.

    It prepares the language anew at every call of a device function: once in a launch is enough. And it
    looks for overflows of integers, which compiled kernels do not.
    """
    interpreter = importlib.import_module("triton.runtime.interpreter")
    prepare, launch, prepared = interpreter._patch_lang, interpreter.GridExecutor.__call__, set()

    def prepare_once(function):
        if function not in prepared:
            prepared.add(function)
            return prepare(function)
        return None

    def launch_anew(executor, *arguments, **keywords):
        prepared.clear()
        return launch(executor, *arguments, **keywords)

    interpreter._patch_lang = prepare_once
    interpreter.GridExecutor.__call__ = launch_anew
    builder = interpreter.interpreter_builder
    builder.options = dataclasses.replace(builder.options, sanitize_overflow=False)


def chosen(items: list) -> tuple[list, list]:
    """Tests to run and to leave out: of each function every SHARE-th case of Triton."""
    seen, kept, left = {}, [], []
    for item in items:
        call = getattr(item, "callspec", None)
        variant = call.params.get("device") if call else None
        of_matrix = item.path.name.startswith("test_conformance_") and isinstance(variant, tuple)
        if not (of_matrix and variant[0] == "triton"):
            kept.append(item)
            continue
        index = seen[item.function] = seen.get(item.function, -1) + 1
        (left if index % SHARE else kept).append(item)
    return kept, left

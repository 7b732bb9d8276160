"""Docstrings have one form: a summary; arguments and attributes with the name on a line of its own."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(
    path
    for folder in ("ddrm_fast", "triton_kernels", "benchmarks", "examples")
    for path in (ROOT / folder).rglob("*.py")
    # a link to what is read already
    if path.relative_to(ROOT).parts[1] != "triton_kernels"
)
SECTIONS = ("Args", "Attributes", "Example", "Raises", "Returns", "Warns", "Yields")
OTHERS = "Arguments|Parameters|Params|Return|Yield|Raise|Examples|Note|Notes|Keyword Args"
ENTRY = re.compile(r"\*{0,2}[A-Za-z_]\w*((, | and )\*{0,2}[A-Za-z_]\w*|, \.\.\.)*:")


def docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node, text


def sections(text):
    """(name, its lines) of every section."""
    name, lines = None, []
    for line in text.splitlines():
        head = re.fullmatch(rf"({'|'.join(SECTIONS)}):", line)
        if head or (line and not line.startswith(" ")):
            if name:
                yield name, lines
            name, lines = head and head[1], []
        elif line.strip():
            lines.append(line)
    if name:
        yield name, lines


def faults(text):
    """What is wrong with a docstring."""
    first = text.split("\n\n")[0]
    if not re.search(r"[.:;?!)\"`]$", first) and not re.match(r"(Args|Attributes):", first):
        yield f"the summary does not end: {first!r}"
    found = re.search(rf"^({OTHERS}):$", text, flags=re.MULTILINE)
    if found:
        yield f"{found[1]} is none of {', '.join(SECTIONS)}"
    for name, lines in sections(text):
        if name not in ("Args", "Attributes"):
            continue
        for line, below in pairwise([*lines, ""]):
            indent = len(line) - len(line.lstrip())
            if indent == 4 and not ENTRY.fullmatch(line.strip()):
                yield f"{name}: the name belongs on a line of its own: {line.strip()!r}"
            if indent == 4 and not below.startswith(" " * 8):
                yield f"{name}: nothing is said below {line.strip()!r}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings_have_the_form(path):
    wrong = [
        f"line {getattr(node, 'lineno', 1)}: {fault}"
        for node, text in docstrings(ast.parse(path.read_text()))
        for fault in faults(text)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "Says something.\n\nArgs:\n    x: A picture.",
        "Says something.\n\nArgs:\n    x:\n    y:\n        Another.",
        "Says something.\n\nParameters:\n    x:\n        A picture.",
        "says something without an end\n\nmore",
    ],
)
def test_other_forms_are_seen(text):
    assert list(faults(text))

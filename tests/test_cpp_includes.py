"""Every file includes the header of what it names: compilers bring along less each year."""

import re
from functools import cache
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[1] / "csrc"
HEADERS = {
    "algorithm": r"std::(min|max|sort|fill|fill_n|copy|copy_n|clamp|swap_ranges)\b",
    "array": r"std::array\b",
    "atomic": r"std::(atomic|memory_order)",
    "chrono": r"std::chrono\b",
    "cmath": r"std::(sqrt|exp|log|cos|sin|fabs|floor|pow|ldexp|isfinite)\b",
    "condition_variable": r"std::condition_variable\b",
    "cstdint": r"\bu?int(8|16|32|64)_t\b",
    "cstdlib": r"std::(getenv|malloc|free|abort|strtol)\b",
    "cstring": r"std::(memcpy|memset|strcmp|memcmp)\b",
    "functional": r"std::function\b",
    "limits": r"std::numeric_limits\b",
    "memory": r"std::(unique_ptr|shared_ptr|make_unique)\b",
    "mutex": r"std::(mutex|lock_guard|unique_lock|call_once)\b",
    "new": r"std::(nothrow|bad_alloc)\b",
    "string": r"std::(string|to_string)\b",
    "system_error": r"std::system_error\b",
    "thread": r"std::(thread|this_thread)\b",
    "utility": r"std::(move|pair|swap|forward)\b",
    "vector": r"std::vector\b",
}
FILES = sorted(path for path in CSRC.rglob("*") if path.suffix in (".h", ".cpp", ".cu", ".cuh"))


@cache
def included(path: Path) -> frozenset[str]:
    """Names of system headers that a file includes, or those of ours that it includes do."""
    found: set[str] = set()
    for quote, name in re.findall(r'^\s*#\s*include\s+(["<])([^">]+)[">]', path.read_text(), re.M):
        ours = [p for p in (path.parent / name, CSRC / name, CSRC / "include" / name, CSRC / "cpu" / name)
                if p.is_file()]  # fmt: skip
        if ours:
            found |= included(ours[0])
        elif quote == "<":
            found.add(name)
    return frozenset(found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CSRC).as_posix())
def test_what_is_named_is_included(path):
    text = re.sub(r"//.*", "", path.read_text())
    missing = [name for name, what in HEADERS.items() if re.search(what, text)]
    there = included(path)
    # (pybind11 and CUDA's own headers say what they bring)
    missing = [name for name in missing if name not in there and f"{name}.h" not in there]
    assert not missing, f"{path.name} names what these declare: {missing}"

"""The walk through the code, docs/walk.md: what it names is there, and rooms look downwards only."""

import ast
import re
from pathlib import Path

import pytest

import ddrm_fast

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ddrm_fast"
TEXT = (ROOT / "docs/walk.md").read_text()


def section(title):
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def steps():
    """(file, function) of every line of the way down; an empty cell is the file above."""
    found, file = [], None
    for cells in re.findall(r"^\| (`\S+`)? ?\| `(\S+)` \|", section("Down"), flags=re.MULTILINE):
        file = cells[0].strip("`") or file
        found.append((file, cells[1]))
    return found


def named():
    """(file, name) wherever a file is followed by a name."""
    return re.findall(r"`((?:ddrm_fast|csrc)/[\w/]+\.\w+)`,? `([\w.]+)`", TEXT)


def defined(tree, path):
    """Whether a module defines a dotted name."""
    first, *rest = path.split(".")
    for node in ast.walk(tree) if not rest else tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == first:
            return not rest or defined(node, ".".join(rest))
    return False


@pytest.mark.parametrize("file, name", sorted({*steps(), *named()}))
def test_what_the_walk_names_is_there(file, name):
    text = (ROOT / file).read_text()
    if file.endswith(".py"):
        assert defined(ast.parse(text), name)
    else:
        assert re.search(rf"\b{name}\b", text)


def test_the_walk_goes_from_the_face_to_the_kernel():
    names = [name.split(".")[-1] for _, name in steps()]
    assert names[0] == "restore" and names[-1] == "measured_weights" and len(names) == 17


def test_paths_exist():
    for path in re.findall(r"`((?:ddrm_fast|csrc|triton_kernels|tests)/[\w/.]*)`", TEXT):
        assert (ROOT / path).exists(), path


def test_each_step_calls_the_next_one():
    """By name: within Python, from file to file of the walk."""
    files = {}
    for file, name in steps():
        if file.endswith(".py"):
            files.setdefault(file, []).append(name.split(".")[-1])
    order = list(files)
    entries = {
        "ddrm_fast/samplers/loop.py": "run_batch",
        "ddrm_fast/samplers/stepper.py": "Stepper",
        "ddrm_fast/priors/prior.py": ".at(",
        "ddrm_fast/operators/block.py": ".step(",
        "ddrm_fast/ops/functions.py": "ops.block_step(",
        "ddrm_fast/ops/library.py": "_registered.block_step(",
        "ddrm_fast/ops/dispatch.py": "dispatch.choose(",
        "ddrm_fast/ops/cpp.py": "backend, name)(",
    }
    callers = {
        "ddrm_fast/operators/block.py": "ddrm_fast/samplers/stepper.py",
        "ddrm_fast/ops/cpp.py": "ddrm_fast/ops/library.py",
    }
    for before, file in zip(order, order[1:], strict=False):
        caller = callers.get(file, before)
        assert entries[file] in (ROOT / caller).read_text(), f"{caller} does not call {file}"
    assert "_C.block_step(" in (ROOT / "ddrm_fast/ops/cpp.py").read_text()
    assert "kernels().block_step(" in (ROOT / "csrc/bindings.cpp").read_text()


def rooms():
    """Room -> its row in the table, 0 at the top."""
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", section("The rooms"), flags=re.MULTILINE)
    return {name: k for k, row in enumerate(rows) for name in re.findall(r"`(\w+)`", row)}


def imports():
    """(importing file, its room, imported room), wherever in a file it stands."""
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE).with_suffix("").parts
        if "triton_kernels" in inside or inside == ("__init__",):
            continue  # the kernels are a package of their own; the face knows all
        package = ["ddrm_fast", *inside[:-1]]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                above = package[: len(package) - node.level + 1] if node.level else []
                where = [*above, *(node.module or "").split(".")]
                whole = [[*filter(None, where), alias.name] for alias in node.names]
            elif isinstance(node, ast.Import):
                whole = [alias.name.split(".") for alias in node.names]
            else:
                continue
            for parts in whole:
                if parts[0] != "ddrm_fast" or len(parts) == 1:
                    continue
                room = ddrm_fast._MODULES.get(parts[1], ddrm_fast._HOME.get(parts[1], parts[1]))
                room = room.partition(".")[0]
                if room != inside[0]:
                    yield path.relative_to(ROOT).as_posix(), inside[0], room


def test_rooms_look_downwards_only():
    row = rooms()
    outside = {"_C", "_cuda", "triton_kernels", "__version__"}  # compiled, or the package's face
    wrong = [
        f"{path}: {room} imports {other}"
        for path, room, other in imports()
        if other not in outside and row[other] <= row[room]
    ]
    assert not wrong, "\n".join(wrong)


def test_every_room_is_on_the_page_and_in_the_readme():
    there = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    there.discard("triton_kernels")
    assert there <= set(rooms())
    readme = (ROOT / "README.md").read_text()
    assert {name for name in there if f"ddrm_fast/{name}/" not in readme} == set()
    listed = re.findall(r"^    ((?:ddrm_fast|csrc|triton_kernels)/\S*)", readme, flags=re.MULTILINE)
    assert listed and all((ROOT / path).exists() for path in listed)

"""Files of the package's own find their reader, and the room of priors has no arrow up and no circle."""

import ast
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import ddrm_fast
from ddrm_fast.priors import Prior, load_prior, register_reader

PACKAGE = Path(ddrm_fast.__file__).parent
#: what stands on a level with priors or above it
ABOVE = (
    "samplers",
    "restoration",
    "large",
    "compat",
    "cli",
    "ddpm",
    "training",
    "problems",
    "bench",
)


def test_a_room_above_brings_its_own_reader(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_file({"gain": torch.tensor([0.5])}, path, {"format": "somebody.else/1"})
    with pytest.raises(ValueError, match="no network that is known here"):
        load_prior(path)
    register_reader("somebody.else/1", lambda file, name: Prior(torch.nn.Identity(), name=name))
    prior = load_prior(path)
    assert prior.name == str(path) and prior.precision == "auto"
    with pytest.raises(ValueError, match="^config: .* describes itself"):
        load_prior(path, {"num_heads": 2})


def _imports(path):
    """Modules of the package that a file imports anywhere in it, as dotted paths below the package."""
    here = path.relative_to(PACKAGE).with_suffix("").parts
    here = here[:-1] if here[-1] == "__init__" else here
    package = here if path.name == "__init__.py" else here[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            base = (*base, *(node.module or "").split(".")) if node.module else base
            for name in node.names:
                inner = PACKAGE.joinpath(*base, name.name)
                is_module = inner.with_suffix(".py").exists() or inner.is_dir()
                yield ".".join((*base, name.name) if is_module else base)


def _graph():
    files = [p for p in (PACKAGE / "priors").rglob("*.py") if p.name != "__init__.py"]
    return {".".join(p.relative_to(PACKAGE).with_suffix("").parts): set(_imports(p)) for p in files}


def test_priors_know_nothing_of_what_stands_above():
    for module, imported in _graph().items():
        up = [name for name in imported if name.split(".")[0] in ABOVE]
        assert not up, f"{module} imports {up}"


@pytest.mark.parametrize("start", ["prior", "load", "precision", "adapters", "readers"])
def test_priors_import_in_no_circle(start):
    graph, start = _graph(), f"priors.{start}"
    reached, waiting = set(), [start]
    while waiting:
        for name in graph.get(waiting.pop(), ()):
            assert name != start, f"{start} is imported by what it imports"
            if name not in reached:
                reached.add(name)
                waiting.append(name)
    assert reached

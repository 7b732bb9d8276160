"""Builds the .cu files of csrc/cuda for the processor, as a Python module for the tests.

The module lies in ``build/cuda_host`` under a name that depends on all sources, so that it is built
once and again when one of them changes.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CUDA = ROOT / "csrc" / "cuda"
NAME = "_cuda_host"
SOURCES = [*sorted(CUDA.glob("*.cu")), CUDA / "bindings.cpp", HERE / "blocks.cpp"]
# optimised just enough: what is compiled here is run for a few small pictures
FLAGS = "-std=c++17 -O1 -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno".split()
# a misaligned vector access is an illegal instruction
FLAGS += ["-fsanitize=alignment", "-fsanitize-undefined-trap-on-error"]
WARNINGS = "-Wall -Wextra -Werror -Wno-unknown-pragmas".split()


def missing() -> str | None:
    """Why the module cannot be built here, or None."""
    if not CUDA.is_dir():
        return f"the CUDA sources are not there: {CUDA}"
    if _compiler() is None:
        return "no C++ compiler is installed"
    if importlib.util.find_spec("pybind11") is None:
        return "pybind11 is not installed (pip install '.[test]')"
    return None


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "c++"))


def _digest(command: list[str], sources: list[Path]) -> str:
    digest = hashlib.sha256(" ".join([*command, sys.version]).encode())
    headers = [*CUDA.glob("*.h"), *HERE.glob("*.h"), *ROOT.glob("csrc/include/*/*.h")]
    for path in [*sources, *sorted(headers), ROOT / "csrc" / "binding_arguments.h"]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def load():
    """The module, built if it has to be."""
    path = build()
    spec = importlib.util.spec_from_file_location(NAME, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build() -> Path:
    """Compiles what is new; returns the path of the module.

    Raises:
        RuntimeError: the compiler refuses a source; the message holds what it says.
    """
    return _library(NAME, sysconfig.get_config_var("EXT_SUFFIX"), SOURCES)


def build_faults() -> Path:
    """The kernels with planted mistakes, as a library for ctypes."""
    return _library("faults", ".so", [HERE / "faults.cpp", HERE / "blocks.cpp"])


def _command() -> list[str]:
    import pybind11

    include = [HERE, CUDA, ROOT / "csrc", ROOT / "csrc" / "include"]
    system = [pybind11.get_include(), sysconfig.get_paths()["include"]]
    command = [_compiler(), *FLAGS, *WARNINGS, f"-DDDRM_FAST_CUDA_MODULE={NAME}"]
    command += [f"-I{path}" for path in include]
    return command + [word for path in system for word in ("-isystem", path)]


def _library(name: str, suffix: str, sources: list[Path]) -> Path:
    command = _command()
    folder = ROOT / "build" / "cuda_host" / _digest(command, sources)
    target = folder / f"{name}{suffix}"
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)

    def compile_one(source: Path) -> Path:
        result = folder / f"{source.stem}.{os.getpid()}.o"
        _run([*command, "-x", "c++", "-c", str(source), "-o", str(result)])
        return result

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, sources))
    unfinished = folder / f"{name}.{os.getpid()}.unfinished"
    _run([_compiler(), "-shared", *map(str, objects), "-o", str(unfinished)])
    os.replace(unfinished, target)
    for path in objects:
        path.unlink()
    return target


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")

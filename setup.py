"""Builds the extensions with CMake and Ninja; everything else is in pyproject.toml.

``ddrm_fast._C`` holds the CPU kernels, ``ddrm_fast._cuda`` the CUDA kernels where they are built.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# what CMake reads of the environment when a folder is configured for the first time, and never again
COMPILERS = ("CXX", "CXXFLAGS", "LDFLAGS", "CUDACXX", "CUDAFLAGS", "CUDAHOSTCXX")


class CMakeBuild(build_ext):
    """Runs CMake for both extensions; ``CMAKE_ARGS`` adds arguments.

    ``DDRM_FAST_CUDA`` (auto, on, off) says whether CUDA kernels are built, and
    ``DDRM_FAST_CUDA_ARCHITECTURES`` ("80 90") for which compute capabilities.

    An editable installation, and ``python setup.py build_ext --inplace``, put the modules beside
    the sources and keep the objects in ``build/native``: what did not change is not compiled again.
    """

    def run(self) -> None:
        beside_sources = self.inplace or self.editable_mode
        target = ROOT if beside_sources else Path(self.build_lib).resolve()
        temporary = Path(self.build_temp).resolve() / "cmake"
        folder = ROOT / "build" / "native" if beside_sources else temporary
        build(folder, target / "ddrm_fast", "Debug" if self.debug else "Release")


class BuildPython(build_py):
    """Copies the modules, to where nothing is left of an earlier build: what was renamed would stay."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib, "ddrm_fast"), ignore_errors=True)
        super().run()


def build(folder: Path, target: Path, kind: str) -> None:
    """Both extensions, compiled in ``folder`` and written to ``target``."""
    import pybind11

    cmake = program("cmake")
    tools = [
        cmake,
        "-G",
        "Ninja",
        "-S",
        str(ROOT),
        "-B",
        str(folder),
        f"-DCMAKE_BUILD_TYPE={kind}",
        f"-DCMAKE_MAKE_PROGRAM={program('ninja')}",
        # (pip and make call the same program by different names)
        f"-DPython_EXECUTABLE={os.path.realpath(sys.executable)}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        *os.environ.get("CMAKE_ARGS", "").split(),
    ]
    choices = [
        f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target}",
        f"-DDDRM_FAST_CUDA={os.environ.get('DDRM_FAST_CUDA', 'auto')}",
        f"-DDDRM_FAST_CUDA_ARCHITECTURES={os.environ.get('DDRM_FAST_CUDA_ARCHITECTURES', '')}",
    ]
    # A folder configured with other tools is begun anew: its cache names programs of an environment
    # that may be gone, and arguments that are no longer given.
    configured = folder / "configured-with.txt"
    environment = [f"{name}={os.environ.get(name, '')}" for name in COMPILERS]
    version = subprocess.run([cmake, "--version"], check=True, capture_output=True, text=True)
    with_these = "\n".join([*tools, *environment, version.stdout])
    if not configured.is_file() or configured.read_text() != with_these:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    subprocess.run([*tools, *choices], check=True)
    configured.write_text(with_these)
    subprocess.run([cmake, "--build", str(folder)], check=True)


def program(name: str) -> str:
    """Path of a program: of the build's own environment, else of the Python that runs this."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts")])
    found = shutil.which(name, path=path)
    if found is None:
        raise FileNotFoundError(f"{name} is needed to build ddrm_fast: pip install {name}")
    return found


packages = find_packages(include=["ddrm_fast", "ddrm_fast.*"])
setup(
    packages=sorted({*packages, "ddrm_fast.triton_kernels"}),
    package_dir={"ddrm_fast.triton_kernels": "triton_kernels"},
    ext_modules=[Extension("ddrm_fast._C", sources=[])],
    cmdclass={"build_ext": CMakeBuild, "build_py": BuildPython},
)

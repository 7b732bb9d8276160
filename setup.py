"""Builds the extensions with CMake and Ninja; everything else is in pyproject.toml.

``ddrm_fast._C`` holds the CPU kernels, ``ddrm_fast._cuda`` the CUDA kernels where they are built.
"""

import os
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


class CMakeBuild(build_ext):
    """Runs CMake for both extensions; ``CMAKE_ARGS`` adds arguments.

    ``DDRM_FAST_CUDA`` (auto, on, off) says whether CUDA kernels are built, and
    ``DDRM_FAST_CUDA_ARCHITECTURES`` ("80 90") for which compute capabilities.
    """

    def build_extension(self, ext: Extension) -> None:
        import pybind11

        target = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        build = Path(self.build_temp).resolve() / "cmake"
        build.mkdir(parents=True, exist_ok=True)
        configure = [
            "cmake",
            # an earlier build's cache names the ninja of an environment that is gone
            "--fresh",
            "-G",
            "Ninja",
            "-S",
            str(ROOT),
            "-B",
            str(build),
            f"-DCMAKE_BUILD_TYPE={'Debug' if self.debug else 'Release'}",
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DDDRM_FAST_CUDA={os.environ.get('DDRM_FAST_CUDA', 'auto')}",
            *os.environ.get("CMAKE_ARGS", "").split(),
        ]
        architectures = os.environ.get("DDRM_FAST_CUDA_ARCHITECTURES")
        if architectures:
            configure.append(f"-DDDRM_FAST_CUDA_ARCHITECTURES={architectures}")
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", str(build)], check=True)


packages = find_packages(include=["ddrm_fast", "ddrm_fast.*"])
setup(
    packages=[*packages, "ddrm_fast.triton_kernels"],
    package_dir={"ddrm_fast.triton_kernels": "triton_kernels"},
    ext_modules=[Extension("ddrm_fast._C", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)

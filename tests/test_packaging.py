"""What is built and shipped: archives from the sources, which GPUs are built for, what an edit compiles.

The wheel is built once, without optimisation, from the source archive alone.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import ddrm_fast

ROOT = Path(__file__).resolve().parents[1]
CUDA = ROOT / "csrc" / "cuda"

pybind11 = pytest.importorskip("pybind11", reason="a build needs pybind11")
if not (shutil.which("cmake") and shutil.which("ninja")):
    pytest.skip("a build needs cmake and ninja", allow_module_level=True)


def run(*command, cwd, **environment):
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def hook(name, out, cwd, **environment):
    """Runs a hook of the build backend; returns the path of what it built."""
    code = f"import setuptools.build_meta as backend; print(backend.{name}({str(out)!r}))"
    return out / run(sys.executable, "-c", code, cwd=cwd, **environment).splitlines()[-1]


def modules(folder, prefix=""):
    return {prefix + path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The source archive, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(hook("build_sdist", folder, ROOT)) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"ddrm_fast-{ddrm_fast.__version__}"


@pytest.fixture(scope="module")
def wheel(unpacked, tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    options = {"DDRM_FAST_CUDA": "off", "CMAKE_ARGS": "-DCMAKE_BUILD_TYPE=None"}
    return hook("build_wheel", out, unpacked, **options)


def test_the_source_archive_is_whole(unpacked):
    missing = [
        name
        for folder in ("ddrm_fast", "csrc", "triton_kernels")
        for name in modules(ROOT / folder, f"{folder}/")
        if not (unpacked / name).is_file()
    ]
    assert not missing
    for name in ("CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml", "ddrm_fast/py.typed"):
        assert (unpacked / name).is_file(), name
    assert not list(unpacked.rglob("*.so"))


def test_the_wheel_is_whole(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert modules(ROOT / "ddrm_fast", "ddrm_fast/") <= names
    assert modules(ROOT / "triton_kernels", "ddrm_fast/triton_kernels/") <= names
    data = {"py.typed", "priors/default.safetensors", "evaluation/report.html"}
    assert {f"ddrm_fast/{name}" for name in data} <= names
    libraries = {re.sub(r"\..*", "", name) for name in names if name.endswith(".so")}
    assert libraries == {"ddrm_fast/_C"}
    tops = {name.split("/")[0] for name in names}
    assert tops == {"ddrm_fast", f"ddrm_fast-{ddrm_fast.__version__}.dist-info"}


def test_the_wheel_runs_elsewhere(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import importlib.metadata, ddrm_fast, ddrm_fast.triton_kernels;"
        "print(ddrm_fast.__file__, ddrm_fast.__version__, importlib.metadata.version('ddrm_fast'),"
        "ddrm_fast.backends()['cpp'])"
    )
    said = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site")).split()
    version = ddrm_fast.__version__
    assert said == [str(tmp_path / "site" / "ddrm_fast" / "__init__.py"), version, version, "None"]


@pytest.mark.parametrize(
    ("edited", "objects"),
    [
        ("ddrm_fast/restoration.py", set()),
        ("csrc/cpu/known_step.cpp", {"portable", "avx2", "avx512"}),
        ("csrc/bindings.cpp", {"_C"}),
    ],
)
def test_an_edit_compiles_what_it_changes(wheel, unpacked, edited, objects):
    """A Python file nothing, a kernel one object for each instruction set."""
    (folder,) = unpacked.glob("build/temp.*/cmake")
    there = {path.name for path in folder.glob("CMakeFiles/*.dir")}
    here = {name for name in objects if {f"{name}.dir", f"ddrm_fast_{name}.dir"} & there}
    before = (unpacked / edited).stat()
    os.utime(unpacked / edited)
    told = run("ninja", "-n", "-v", cwd=folder)
    os.utime(unpacked / edited, ns=(before.st_atime_ns, before.st_mtime_ns))
    compiled = re.findall(r"CMakeFiles/(?:ddrm_fast_)?(\w+)\.dir/\S+\.o -c ", told)
    assert sorted(compiled) == sorted(here)


def test_a_build_for_one_instruction_set_compiles_one_object(unpacked, tmp_path):
    """And another name is refused before anything is compiled."""
    options = ["-DDDRM_FAST_CUDA=off", f"-DPython_EXECUTABLE={sys.executable}"]
    options += [f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", "-G", "Ninja", "-S", unpacked]
    isa = "neon" if platform.machine() in ("aarch64", "arm64") else "avx2"
    run("cmake", *options, f"-DDDRM_FAST_ISAS={isa}", "-B", tmp_path / "one", cwd=tmp_path)
    told = run("ninja", "-n", "-v", cwd=tmp_path / "one")
    assert re.findall(r"\S+/known_step\.cpp\.o -c", told) == [
        f"CMakeFiles/ddrm_fast_{isa}.dir/csrc/cpu/known_step.cpp.o -c"
    ]
    with pytest.raises(AssertionError, match="DDRM_FAST_ISAS: got 'avx3'"):
        run("cmake", *options, "-DDDRM_FAST_ISAS=avx3", "-B", tmp_path / "none", cwd=tmp_path)


FAKE_DRIVER = """
static int numbers[][2] = {{9, 0}, {8, 6}, {9, 0}};
int cuInit(unsigned flags) { return flags; }
int cuDeviceGetCount(int *count) { *count = 3; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == 75 ? numbers[device][0] : attribute == 76 ? numbers[device][1] : -1;
  return 0;
}
"""


@pytest.fixture
def driver(tmp_path):
    """A folder with a driver that knows three GPUs, two of them alike."""
    source = tmp_path / "driver.c"
    source.write_text(FAKE_DRIVER)
    run("cc", "-shared", "-fPIC", source, "-o", tmp_path / "libcuda.so.1", cwd=tmp_path)
    return tmp_path


def test_the_driver_is_asked_for_gpus(driver):
    said = run(sys.executable, CUDA / "gpus_here.py", cwd=driver, LD_LIBRARY_PATH=str(driver))
    assert said == "86 90\n"


def configured(tmp_path, *options, **environment):
    """What CMake says of the CUDA kernels."""
    import pybind11

    command = ["cmake", "-G", "Ninja", "-S", ROOT, "-B", tmp_path / "cmake", *options]
    command += [f"-DPython_EXECUTABLE={sys.executable}"]
    command += [f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"]
    said = run(*command, cwd=tmp_path, **environment)
    return [line for line in said.splitlines() if "ddrm_fast:" in line]


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU")
def test_without_a_gpu_no_cuda_kernels_are_built(tmp_path):
    assert "no NVIDIA GPU" in configured(tmp_path)[0]


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
def test_kernels_for_the_gpus_that_are_there(driver):
    assert configured(driver, LD_LIBRARY_PATH=str(driver))[-1].endswith("kernels for 86-real;90")


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
def test_kernels_for_the_gpus_that_are_named(driver):
    named = "-DDDRM_FAST_CUDA_ARCHITECTURES=80 100"
    for choice in ("auto", "on"):
        said = configured(driver, f"-DDDRM_FAST_CUDA={choice}", named, LD_LIBRARY_PATH=str(driver))
        assert said[-1].endswith("kernels for 80-real;100")

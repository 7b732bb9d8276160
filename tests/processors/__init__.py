"""The CPU kernels compiled for another processor and run there, or emulated: digests of what they make.

A program of ``bits.cpp`` and the kernels of one instruction set lies in ``build/processors`` under a name
that depends on all sources, so that it is built once and again when one of them changes.
"""

import hashlib
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CPU = ROOT / "csrc" / "cpu"
KERNELS = sorted(path for path in CPU.glob("*.cpp") if path.stem != "dispatch")
FLAGS = "-std=c++17 -O1 -ffp-contract=off -fno-math-errno -Wall -Wextra -Werror -Wno-psabi".split()


@dataclass(frozen=True)
class Processor:
    """How to build for a processor and run on it.

    Args:
        isa:
            Instruction set of the kernels: a namespace of ``csrc/cpu``.
        compiler:
            A C++ compiler.
        emulator:
            What runs the program; None: this machine does.
    """

    isa: str
    compiler: str
    emulator: str | None = None

    def missing(self) -> str | None:
        """Why this cannot be done here, or None."""
        for tool in filter(None, (self.compiler, self.emulator)):
            if shutil.which(tool) is None:
                return f"{tool} is not installed"
        return None

    def digests(self) -> list[str]:
        """A line for each result: kernel, number of the case, digest of the bits."""
        command = [*filter(None, (self.emulator,)), str(self._program())]
        lines = _run(command).splitlines()
        assert lines, "the program printed nothing"
        return lines

    def _program(self) -> Path:
        linked = ["-static"] if self.emulator else []
        include = [ROOT / "csrc", ROOT / "csrc" / "include", CPU]
        command = [self.compiler, *FLAGS, f"-DDDRM_FAST_ISA={self.isa}"]
        command += [f"-I{path}" for path in include]
        sources = [HERE / "bits.cpp", *KERNELS]
        headers = [*CPU.glob("*.h"), *(ROOT / "csrc" / "include").glob("*/*.h")]
        digest = hashlib.sha256(" ".join(command).encode())
        for path in [*sources, *sorted(headers)]:
            digest.update(path.read_bytes())
        folder = ROOT / "build" / "processors" / digest.hexdigest()[:16]
        target = folder / "bits"
        if target.is_file():
            return target
        folder.mkdir(parents=True, exist_ok=True)

        def compile_one(source: Path) -> Path:
            result = folder / f"{source.stem}.{os.getpid()}.o"
            _run([*command, "-c", str(source), "-o", str(result)])
            return result

        with ThreadPoolExecutor(2) as pool:
            objects = list(pool.map(compile_one, sources))
        unfinished = folder / f"bits.{os.getpid()}.unfinished"
        libraries = ["-pthread", "-ldl"]
        _run([self.compiler, *linked, *map(str, objects), "-o", str(unfinished), *libraries])
        os.replace(unfinished, target)
        for path in objects:
            path.unlink()
        return target


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout

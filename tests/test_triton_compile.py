"""Every Triton kernel becomes machine code for GPUs that this machine need not have."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ddrm_fast.ops import triton_available

ROOT = Path(__file__).parents[1]
ARCHITECTURES = [90, 80, 100]

MISSING = triton_available._installed()


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_kernels_compile_to_machine_code(tmp_path):
    """Cubins for sm_80, sm_90 and sm_100, without contraction, approximate arithmetic or spills.

    In a process of its own, and from scratch: cached results would prove nothing.
    """
    search = os.pathsep.join(p for p in sys.path if p)
    env = {**os.environ, "PYTHONPATH": search, "TRITON_CACHE_DIR": str(tmp_path)}
    script = Path(__file__).with_name("triton_compile.py")
    command = [sys.executable, "-P", str(script), *map(str, ARCHITECTURES)]
    run = subprocess.run(command, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-4000:]
    results = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    kernels = {
        name
        for path in Path(_folder()).glob("*.py")
        for name in re.findall(r"^def (\w+_kernel)\(", path.read_text(encoding="utf-8"), re.M)
    }
    made = {(result["kernel"], result["architecture"]) for result in results}
    assert len(kernels) == 14
    assert made == {(kernel, number) for kernel in kernels for number in ARCHITECTURES}
    for result in results:
        assert result["elf"] and result["cubin"] > 1000, result
        assert not result["changed"], f"a second launch would be refused: {result}"
        assert result["fused"] == 0 and result["approximate"] == 0, result
        assert not result["stack"], f"registers spill: {result}"


def _folder():
    """Where the installed kernels are (found without an import of Triton in this process)."""
    return importlib.util.find_spec("ddrm_fast.triton_kernels").submodule_search_locations[0]

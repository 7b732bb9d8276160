"""Memory that a step takes beyond what it is given: ``python benchmarks/memory.py [--size N]``.

Peak resident memory (Linux) while steps run, less that before them, in units of one picture (B, C, H, W)
of float32. The loop's two state buffers, the network's output, y and the operator's constants exist before
the step and are not counted; a transform operator's carried spectrum is, and so are the transforms' own
temporaries.
"""

import argparse
import ctypes
import gc
from pathlib import Path

import torch

from ddrm_fast.bench import OPERATORS, step_function


def resident(field: str) -> int:
    """VmRSS (now) or VmHWM (peak) of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def extra(name: str, size: int) -> float:
    """Pictures' worth of memory that steps of this operator take."""
    x = torch.randn(1, 3, size, size)
    run = step_function(OPERATORS[name](size), x.shape, start=False)
    gc.collect()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    for _ in range(3):
        run()
    return (resident("VmHWM") - before) / x.nbytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2048, help="height and width (default 2048)")
    size = parser.parse_args().size
    # M_MMAP_THRESHOLD: large blocks go back to the system at once, so that the peak shows each
    ctypes.CDLL(None).mallopt(-3, 65536)
    print("| step | pictures of memory beyond its arguments |\n|---|---:|")
    for name in OPERATORS:
        print(f"| {name} | {extra(name, size):.2f} |", flush=True)
    x = torch.randn(1, 3, size, size)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    torch.fft.irfft2(torch.fft.rfft2(x), s=(size, size))
    print(f"| bare rfft2 + irfft2 | {(resident('VmHWM') - before) / x.nbytes:.2f} |")


if __name__ == "__main__":
    main()

"""Compiles the Triton kernels to machine code, for architectures that this machine need not have.

A program of its own: kernels of a process that runs them in the interpreter cannot be compiled.
``python tests/triton_compile.py 90 80 100`` prints one JSON line for each kernel and architecture.

The launchers are called as on a GPU, but for the launch itself: what is compiled has the argument
types, the strides and the tile sizes of a real call.
"""

import concurrent.futures
import importlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
os.environ.pop("TRITON_INTERPRET", None)  # before triton is imported

import conformance  # noqa: E402
import triton  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from ddrm_fast.ops import noise_keys  # noqa: E402

TYPES = {
    torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.int64: "*i64",
    torch.uint8: "*u8",
}  # fmt: skip


def recorded_launches(module: str, arguments: tuple) -> list[tuple]:
    """What a launcher would launch: (kernel, arguments, keywords). "file:function" names it."""
    module, _, function = module.partition(":")
    launcher = importlib.import_module(f"ddrm_fast.triton_kernels.{module}")
    before, launches = launcher.launch, []
    launcher.launch = lambda kernel, programs, like, *args, **keywords: launches.append(
        (kernel, args, keywords)
    )
    try:
        getattr(launcher, function or module)(*arguments)
    finally:
        launcher.launch = before
    return launches


def source(kernel, arguments: tuple, constants: dict) -> ASTSource:
    """The kernel with the types of these arguments, specialised as Triton does at a launch."""
    signature, constexprs, attributes = {}, {}, {}
    for index, name in enumerate(kernel.arg_names):
        value = constants[name] if name in constants else arguments[index]
        is_one = type(value) is int and value == 1 and not kernel.params[index].do_not_specialize
        if name in constants or value is None or is_one:
            signature[name], constexprs[(index,)] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[name] = TYPES[value.dtype]
            if value.data_ptr() % 16 == 0:
                attributes[(index,)] = [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[name] = "fp32"
        else:
            signature[name] = "i32" if -(2**31) <= value < 2**31 else "i64"
            if value % 16 == 0 and not kernel.params[index].do_not_specialize:
                attributes[(index,)] = [["tt.divisibility", 16]]
    return ASTSource(fn=kernel, signature=signature, constexprs=constexprs, attrs=attributes)


def stack_bytes(cubin: bytes) -> int | None:
    """Local memory of a thread, where registers spill to; None where Triton came without ``cuobjdump``."""
    program = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not program.is_file():
        return None
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(program), "-res-usage", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return max(int(number) for number in re.findall(r"STACK:(\d+)", said))


def compile_one(name: str, launch_index: int, architecture: int) -> dict:
    """Compiles one launch of a case; the result is small enough to send to another process."""
    start = time.perf_counter()
    kernel, arguments, keywords = recorded_launches(*{**cases(), **smallest_cases()}[name])[
        launch_index
    ]
    constants = {k: v for k, v in keywords.items() if k != "num_warps"}
    options = {"num_warps": keywords["num_warps"], "enable_fp_fusion": False}
    compiled = triton.compile(
        source(kernel, arguments, constants),
        target=GPUTarget("cuda", architecture, 32),
        options=options,
    )
    ptx = compiled.asm["ptx"]
    folder = os.environ.get("DDRM_FAST_PTX")
    if folder:
        Path(folder, f"{name}-{launch_index}-{architecture}.ptx").write_text(ptx)
    return {
        "case": name,
        "kernel": kernel.__name__,
        "architecture": architecture,
        "cubin": len(compiled.asm["cubin"]),
        # Triton looks before every launch but the first, and refuses it
        "changed": [
            name
            for (name, _), (value, module) in kernel.used_global_vals.items()
            if module.get(name) != value
        ],
        "elf": compiled.asm["cubin"][:4] == b"\x7fELF",
        "fused": ptx.count("fma.rn.f32"),
        "approximate": ptx.count(".approx") + ptx.count("div.full"),
        "shared": compiled.metadata.shared,
        "stack": stack_bytes(compiled.asm["cubin"]),
        "seconds": time.perf_counter() - start,
    }


def _step(call: dict, noise=None) -> dict:
    call["keys"], call["noise"] = noise_keys(len(call["x_t"])), noise
    return call


def _arguments(call: dict, *names: str) -> tuple:
    return tuple(call.get(name) for name in names)


_POINTWISE = ("x_t", "out", "u", "s", "table", "step", "keys", "noise")
_KNOWN = ("x_next", "x_t", "out", "image", "mask", "table", "step", "keys", "noise")
_BLOCK = ("x_t", "out", "u", "s", "weights", "mask", "factor", "table", "step", "keys", "noise")
_ALIAS = (
    "x_t", "out", "u", "kernel", "s", "table", "step", "keys", "noise", "factor", "width",
)  # fmt: skip


def cases() -> dict[str, tuple[str, tuple]]:
    """Calls by name: every kernel, and every branch that is chosen when a kernel is compiled."""
    torch.manual_seed(0)
    shape = (2, 3, 64, 64)
    state, half = torch.zeros(shape), torch.zeros(2, 3, 64, 33, dtype=torch.complex64)
    table, step, keys = conformance.random_table(), conformance.STEP_1, noise_keys(2)
    one = torch.full((1, 1, 1, 1), 0.5)
    found = {
        "normal": ("normal", (state, keys, 3, 1)),
        "predict_x0": ("predict_x0", (state, state, state.half(), table, step)),
    }

    def pointwise(name, x0=None, **changes):
        call = _step(conformance.pointwise_call(shape, **changes))
        found[name] = "pointwise_step", (state, x0, *_arguments(call, *_POINTWISE))

    pointwise("pointwise mask, six channels in bfloat16", state,
              out=torch.zeros(2, 6, 64, 64, dtype=torch.bfloat16)[:, :3],
              s=torch.ones(1, 1, 64, 64))  # fmt: skip
    pointwise("pointwise one singular value", s=one)
    call = _step(conformance.pointwise_call(shape, u=None), state)
    call["x_t"] = call["out"] = None
    found["pointwise start, given noise"] = (
        "pointwise_step",
        (state, None, *_arguments(call, *_POINTWISE)),
    )

    for name, noise in (("known", None), ("known, given noise", state)):
        call = _step(conformance.known_call(shape), noise)
        found[name] = "known_step", _arguments(call, *_KNOWN)

    for name, size, factor, grey, mask, noise in (
        ("block 4", shape, 4, False, "none", None),
        ("block 4 grey and masked", shape, 4, True, "shared", None),
        ("block 1 grey", shape, 1, True, "none", None),
        ("block 3", (2, 3, 63, 63), 3, False, "none", None),
        ("block 128 grey", (1, 3, 128, 128), 128, True, "none", None),
    ):
        profile = conformance.block_profile(size, factor, grey, mask)
        call = _step(conformance.block_call(size, profile), noise)
        new = torch.zeros(size)
        found[name] = "block_step", (new, None, *_arguments(call, *_BLOCK))
        if factor == 4:
            given = (profile.s, profile.weights, profile.mask, factor)
            found[name + ", measure"] = "block_measure", (call["u"], new, *given)
            found[name + ", lift"] = "block_lift", (new, call["u"], *given)

    call = _step(conformance.spectral_call(shape))
    spectral = (*_POINTWISE, "width")
    found["spectral"] = "spectral_step", (half, *_arguments(call, *spectral))
    call = _step(conformance.spectral_call(shape, s=one), half)
    found["spectral given noise"] = "spectral_step", (half, *_arguments(call, *spectral))
    for factor in (2, 4):
        call = _step(conformance.alias_call(factor, shape))
        found[f"alias {factor}"] = "alias_step", (half, *_arguments(call, *_ALIAS))
    found["dct2"], found["idct2"] = ("dct2", (state, state, 1)), ("dct2:idct2", (state, state, 1))
    found["dct2 of groups"] = "dct2", (state, state, 4)
    found["idct2 of groups"] = "dct2:idct2", (state, state, 4)
    found["fwht"] = "fwht", (torch.zeros(1, 1, 256, 256),) * 2
    for name, size, output in (
        ("fwht step in one pass", (2, 3, 32, 64), torch.zeros(2, 6, 32, 64).bfloat16()[:, :3]),
        ("fwht step in two passes", (1, 1, 256, 256), torch.zeros(1, 1, 256, 256).half()),
        ("fwht step, the first in two passes", (1, 1, 64, 128), torch.zeros(1, 1, 64, 128)),
        ("fwht step of a large tile", (1, 1, 1024, 1024), torch.zeros(1, 1, 1024, 1024)),
    ):
        call = _step(conformance.fwht_call(size, s=torch.ones(1, 1, *size[2:]), out=output))
        found[name] = "fwht_step", (torch.zeros(size), *_arguments(call, *_POINTWISE))
    return found


def smallest_cases() -> dict[str, tuple[str, tuple]]:
    """A call of every launcher for one pixel, without a measurement or a state where it may lack.

    Arguments that are 1 become constants of the kernel: whatever it does with them has to work so.
    """
    shape = (1, 1, 1, 1)
    state, half = torch.zeros(shape), torch.zeros(shape, dtype=torch.complex64)
    profile = conformance.block_profile(shape, 1, True, "none")
    given = (profile.s, profile.weights, profile.mask, 1)
    table, step, keys = conformance.random_table(), conformance.STEP_1, noise_keys(1)
    small = torch.zeros(1, 1, 8, 4)
    fwht = _step(conformance.fwht_call((1, 1, 8, 4), u=None))
    pointwise = _step(conformance.pointwise_call(shape))
    known = _step(conformance.known_call(shape))
    spectral = _step(conformance.spectral_call(shape, u=None))
    block = _step(conformance.block_call(shape, profile))
    alias = _step(conformance.alias_call(1, shape))
    block["x_t"] = block["out"] = alias["x_t"] = alias["out"] = None
    return {
        "normal of one": ("normal", (state, keys, 1, 0)),
        "predict_x0 of one": ("predict_x0", (state, state, state, table, step)),
        "pointwise of one": ("pointwise_step", (state, None, *_arguments(pointwise, *_POINTWISE))),
        "known of one": ("known_step", _arguments(known, *_KNOWN)),
        "spectral of one": ("spectral_step", (half, *_arguments(spectral, *_POINTWISE, "width"))),
        "block of one": ("block_step", (state, state, *_arguments(block, *_BLOCK))),
        "alias of one": ("alias_step", (half, *_arguments(alias, *_ALIAS))),
        "measure one": ("block_measure", (state, state, *given)),
        "lift one": ("block_lift", (state, state, *given)),
        "dct2 of one": ("dct2", (state, state, 1)),
        "idct2 of one": ("dct2:idct2", (state, state, 1)),
        "fwht of one": ("fwht", (state, state)),
        "fwht step of 32": ("fwht_step", (small, *_arguments(fwht, *_POINTWISE))),
    }


def main(architectures: list[int]) -> None:
    """All cases for the first architecture, those of one pixel for the second, and one of each kernel
    for the others: enough to see that they compile, and quick."""
    jobs = []
    for place, architecture in enumerate(architectures):
        done = set()
        for name, case in (smallest_cases() if place == 1 else cases()).items():
            for index, (kernel, *_) in enumerate(recorded_launches(*case)):
                if place < 2 or kernel.__name__ not in done:
                    jobs.append((name, index, architecture))
                done.add(kernel.__name__)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count(), context) as pool:
        for result in pool.map(compile_one, *zip(*jobs, strict=True)):
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main([int(name) for name in sys.argv[1:]] or [90, 80, 100])

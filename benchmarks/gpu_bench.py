"""Times the kernels on a GPU: ``python benchmarks/gpu_bench.py --out FILE [--red FILE]``.

Each case is timed in turn with a device-to-device copy, with CUDA events, and reported as bytes a
second and as a part of what the copy reaches in the same run. What is read or written is larger than
any cache. An operation whose conformance tests are red is left out, with that as the reason; a case
that fails is recorded with its error and the next one runs.

Everything but what has to be compiled is timed first, so that a compiler which takes long costs no figure
of a kernel. ``--ahead`` compiles what will be compared with, into the compiler's cache, and times nothing.

``--rehearse`` runs everything on the CPU with tiny pictures: it shows that the script works, and its
figures mean nothing.
"""

import argparse
import gc
import json
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from gpu_verdicts import verdicts

from ddrm_fast import DDRM, Prior, operators, ops, restore
from ddrm_fast.bench import (
    LARGE,
    OPERATORS,
    TINY,
    Case,
    Ceilings,
    Clock,
    Sizes,
    StepInputs,
    against_copy,
    blur_case,
    kernel_cases,
    quantiles,
    rows,
)
from ddrm_fast.bench.table import Table, step_comparisons
from ddrm_fast.bench.timing import Run
from ddrm_fast.ops import Noise
from ddrm_fast.samplers import capture

MIB = 2**20


class Bench:
    """Runs cases and keeps what came out.

    Args:
        device:
            "cuda" or "cpu".
        backends:
            Names of the backends to time.
        red:
            Pairs "operation backend" that are wrong and so have no speed.
        until:
            Time at which no new case is begun.
    """

    def __init__(self, device: str, backends: list[str], red: set[str], until: float, rounds: int):
        self.device, self.backends, self.red = device, backends, red
        self.until, self.rounds, self.clock = until, rounds, Clock(device)
        self.table: list[dict] = []
        self.skipped: list[dict] = []

    def skip(self, name: str, why: str) -> None:
        self.skipped.append({"case": name, "why": why})

    def case(self, case: Case, copy: Callable[[], object], copy_bytes: int) -> None:
        """Times a case on every backend, its comparisons once."""
        name = f"{case.operation}: {case.name}"
        if time.monotonic() > self.until:
            return self.skip(name, "the time was over")
        row = {"operation": case.operation, "case": case.name, "bytes": case.bytes}
        row.update(flops=case.flops, target=case.target, backends={}, others={})
        for backend in self.backends:
            if f"{case.operation} {backend}" in self.red:
                self.skip(f"{name} on {backend}", "its conformance tests are red")
                continue
            try:
                with ops.use_backend(backend):
                    row["backends"][backend] = against_copy(
                        self.clock, case.run, case.bytes, copy, copy_bytes, self.rounds
                    )
            except Exception as error:
                self.skip(f"{name} on {backend}", _said(error))
        self.table.append(row)
        for other, run in case.others.items():
            self.compare(row, name, other, run)

    def compare(self, row: dict, name: str, other: str, run: Run) -> None:
        """Times what a row is compared with."""
        if time.monotonic() > self.until:
            return self.skip(f"{name}, {other}", "the time was over")
        try:
            for _ in range(3):
                run()
            row["others"][other] = quantiles([self.clock.time(run) for _ in range(7)])
        except Exception as error:
            self.skip(f"{name}, {other}", _said(error))

    def guarded(self, name: str, work: Callable[[], object]) -> None:
        """Runs a part; its failure is recorded and the next part runs."""
        try:
            work()
        except Exception as error:
            self.skip(name, _said(error))
            traceback.print_exc()
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def kernels(bench: Bench, sizes: Sizes) -> None:
    """Every fused operation, and the FFT blur step against its bare transforms."""
    source = torch.empty(sizes.batch, 3, sizes.side, sizes.side, device=bench.device).normal_()
    target = torch.empty_like(source)
    moved = 2 * source.numel() * source.element_size()

    def run_all() -> None:
        for case in kernel_cases(sizes, bench.device, ("eager",)):
            bench.guarded(
                f"{case.operation}: {case.name}",
                lambda case=case: bench.case(case, lambda: target.copy_(source), moved),
            )

    bench.guarded("kernels", run_all)
    bench.guarded(
        "blur step",
        lambda: bench.case(blur_case(sizes, bench.device), lambda: target.copy_(source), moved),
    )


def step_overhead(bench: Bench, side: int, replays: int) -> list[dict]:
    """What a step of the captured loop adds to the network's own time, batch 1, in seconds.

    The network is three convolutions; alone and together with the step it is a graph.
    """
    record = capture.record
    if bench.device == "cpu":
        bench.skip(
            "step overhead in a graph", "CUDA graphs need a GPU; its calls are timed instead"
        )
        record = _again
    shape, found = (1, 3, side, side), []
    layers = [torch.nn.Conv2d(*c, 3, padding=1) for c in ((3, 32), (32, 32), (32, 3))]
    network = torch.nn.Sequential(*layers).to(bench.device)
    noise = Noise(ops.noise_keys(1, device=bench.device))
    for backend in bench.backends:
        for name in ("denoising", "inpainting", "colorization", "super-resolution x4"):
            operator = OPERATORS[name](side)
            x_t = torch.randn(shape, device=bench.device)
            u, table = operator.prepare(operator.H(x_t)), rows().to(torch.device(bench.device))
            step = torch.full((1,), 10, device=bench.device)

            def alone(x_t=x_t):
                return network(x_t)

            def together(x_t=x_t, operator=operator, u=u, table=table, step=step):
                operator.step(x_t, network(x_t), u, table, step, noise, x_next=x_t)

            with ops.use_backend(backend), torch.no_grad():
                alone(), together()
                graphs = [record(run) for run in (alone, together)]
                pairs = [[bench.clock.time(g, replays) for g in graphs] for _ in range(15)]
            added = quantiles([both - network_alone for network_alone, both in pairs])
            found.append({"backend": backend, "operator": name, "side": side, "added": added})
    return found


def _again(run: Run) -> Run:
    """What stands for a graph where there are none."""
    return run


def whole_steps(bench: Bench, side: int) -> list[dict]:
    """DDRM steps at the largest size: time of three, and the memory beside the inputs."""
    table = []
    prior = Prior(lambda x, t: 0.1 * x, name="a tenth")
    for name in ("inpainting", "super-resolution x4", "blur (FFT)"):
        for backend in bench.backends:
            with ops.use_backend(backend):
                operator = OPERATORS[name](side)
                y = operator.H(torch.rand(1, 3, side, side, device=bench.device))

                def run(y=y, operator=operator):
                    restore(y, operator, 0.05, prior, DDRM(steps=4), keep_samples=False)

                run()  # what is compiled or planned at the first call
                if bench.device == "cuda":
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()
                    before = torch.cuda.memory_allocated()
                start = time.perf_counter()
                run()
                row = {"backend": backend, "operator": name, "side": side}
                if bench.device == "cuda":
                    torch.cuda.synchronize()
                    peak = torch.cuda.max_memory_allocated() - before
                    row["pictures"] = peak / (4 * 3 * side * side)
                    row["mebibytes"] = peak / MIB
                row["seconds"] = time.perf_counter() - start
                table.append(row)
    return table


def operator_steps(bench: Bench, sizes: Sizes) -> list[dict]:
    """A step of every operator beside eager PyTorch and the published sequence of operations."""
    table = Table(bench.device, 7)
    for name in OPERATORS:
        if time.monotonic() > bench.until:
            bench.skip(f"{name} step", "the time was over")
            continue
        table.steps([name], bench.backends, (sizes.batch, 3, sizes.side, sizes.side))
    for skipped in table.skipped:
        bench.skip(skipped["what"], skipped["why"])
    return table.rows


def compilations(sizes: Sizes, device: str) -> Iterator[tuple[str, str, Run]]:
    """Operation, case and the compiled reference of every row, in turn; steps of operators first.

    The strings are those of the rows.
    """
    shape = (sizes.batch, 3, sizes.side, sizes.side)
    for name in OPERATORS:
        inputs = StepInputs.make(OPERATORS[name](sizes.side), shape, device)
        yield f"{name} step", "", step_comparisons(inputs, shape, ("compiled",))["compiled"]
    for case in kernel_cases(sizes, device, ("compiled",)):
        if "compiled" in case.others:
            yield case.operation, case.name, case.others["compiled"]


def compare_compiled(bench: Bench, sizes: Sizes, steps: list[dict]) -> None:
    """Adds the compiled reference to the rows that there are."""
    rows = {(row["operation"], row.get("case", "")): row for row in [*steps, *bench.table]}
    for operation, case, run in compilations(sizes, bench.device):
        row, name = rows.get((operation, case)), f"{operation}: {case}".removesuffix(": ")
        if row is not None:
            bench.compare(row, name, "compiled", run)


def compile_ahead(sizes: Sizes, device: str) -> None:
    """Fills the compiler's cache; what cannot be compiled is said when it is to be timed."""
    for operation, case, run in compilations(sizes, device):
        try:
            run()
            print(f"compiled: {operation} {case}", flush=True)
        except Exception as error:
            print(f"not compiled: {operation} {case}: {_said(error)}", flush=True)


def loop_with_graph(bench: Bench, side: int) -> list[dict]:
    """A whole restoration of a small picture, with and without the captured loop."""
    table, ways = [], (False, True)
    if bench.device == "cpu":
        bench.skip("captured loop", "CUDA graphs need a GPU")
        ways = (False,)
    network = torch.nn.Conv2d(3, 3, 3, padding=1).to(bench.device)
    prior = Prior(lambda x, t: network(x), name="one convolution")
    y = torch.rand(1, 3, side, side, device=bench.device)
    for backend in bench.backends:
        for captured in ways:
            with ops.use_backend(backend):

                def run(captured=captured):
                    restore(y, operators.Denoising(), 0.1, prior, DDRM(100), capture=captured)

                run()
                seconds = quantiles([bench.clock.time(run) for _ in range(3)])
            table.append({"backend": backend, "captured": captured, "seconds": seconds})
    return table


def machine(device: str) -> dict:
    facts = {"torch": torch.__version__, "cuda": torch.version.cuda, "device": device}
    if device == "cuda":
        p = torch.cuda.get_device_properties(0)
        facts.update(
            gpu=p.name,
            capability=f"{p.major}.{p.minor}",
            multiprocessors=p.multi_processor_count,
            memory_gib=round(p.total_memory / 2**30, 1),
            l2_mib=round(getattr(p, "L2_cache_size", 0) / MIB, 1),
        )
    return facts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--ahead", action="store_true", help="compile and time nothing")
    parser.add_argument("--red", type=Path, help='JSON list of "operation backend" that are wrong')
    parser.add_argument("--seconds", type=float, default=110.0, help="no case begins after these")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--rehearse", action="store_true", help="tiny pictures on the CPU")
    options = parser.parse_args()
    device = "cpu" if options.rehearse else "cuda"
    if options.rehearse:
        torch.set_num_threads(1)  # tiny pictures: threads would wait for each other
    sizes = TINY if options.rehearse else LARGE
    names = ("cpp",) if options.rehearse else ("cuda", "triton")
    if options.ahead:
        return compile_ahead(sizes, device) or 0
    if options.out is None:
        parser.error("--out: has to be given")
    reasons = ops.backends()
    backends = [name for name in names if reasons[name] is None]
    red = set(json.loads(options.red.read_text())) if options.red else set()
    bench = Bench(device, backends, red, time.monotonic() + options.seconds, 15)
    record = {"machine": machine(device), "backends": reasons, "rehearsal": options.rehearse}

    def write() -> None:
        record.update(table=bench.table, skipped=bench.skipped)
        options.out.write_text(json.dumps(record, indent=1) + "\n")

    def part(name: str, work: Callable[[], object]) -> None:
        bench.guarded(name, lambda: record.update({name: work()}))
        write()

    write()
    small, whole = (16, 64) if options.rehearse else (256, sizes.whole_side)
    part("ceilings", lambda: asdict(Ceilings.measure(device, small=options.rehearse)))
    part("kernels", lambda: kernels(bench, sizes))
    part("step_overhead", lambda: step_overhead(bench, small, 2 if options.rehearse else 50))
    part("captured_loop", lambda: loop_with_graph(bench, small))
    part("whole_steps", lambda: whole_steps(bench, whole))
    part("operator_steps", lambda: operator_steps(bench, sizes))
    if options.no_compile:
        bench.skip("compiled references", "--no-compile leaves them out")
    else:
        steps = record.get("operator_steps") or []
        part("compiled", lambda: compare_compiled(bench, sizes, steps))
    part("verdicts", lambda: verdicts(record))
    for line in record.get("verdicts") or []:
        print(f"{line['what']}: {line['measured']}, asked for {line['asked']}")
    for row in bench.table:
        speeds = {n: f"{b['part_of_copy']['p50']:.2f} of copy" for n, b in row["backends"].items()}
        print(f"{row['operation']:16}{row['case']:48}{speeds}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

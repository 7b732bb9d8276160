"""What was asked of the GPU kernels beside what was measured: the bounds of docs/gpu.md."""

from collections.abc import Callable

STREAMS = ("pointwise_step", "block_step", "spectral_step", "alias_step")


def _percent(x: float) -> str:
    return f"{100 * x:.0f} %"


def _factor(x: float) -> str:
    return f"{x:.2f}"


def _microseconds(x: float) -> str:
    return f"{1e6 * x:.1f} microseconds"


def _line(
    what: str,
    asked: str,
    values: list[float],
    worst: Callable[[list[float]], float] = max,
    form: Callable[[float], str] = _factor,
) -> dict:
    measured = form(worst(values)) if values else "not measured"
    return {"what": what, "asked": asked, "measured": measured, "rows": len(values)}


def verdicts(record: dict) -> list[dict]:
    """A line for every bound: ``what``, ``asked``, ``measured`` (medians; the worst row) and ``rows``.

    Args:
        record:
            Of gpu_bench.py.
    """
    lines = []
    for backend in ("cuda", "triton"):
        lines += _of_backend(record, backend)
    ratios = [
        row["backends"]["triton"]["seconds"]["p50"] / row["backends"]["cuda"]["seconds"]["p50"]
        for row in record["table"]
        if row["operation"] == "fwht" and {"cuda", "triton"} <= set(row["backends"])
    ]
    return [*lines, _line("Walsh-Hadamard: Triton's time over CUDA's", "at most 1.1", ratios)]


def _of_backend(record: dict, backend: str) -> list[dict]:
    table = [row for row in record["table"] if backend in row["backends"]]

    def part(row: dict) -> float:
        return row["backends"][backend]["part_of_copy"]["p50"]

    def ratios(name: str, other: str) -> list[float]:
        return [
            row["backends"][backend]["seconds"]["p50"] / row["others"][other]["p50"]
            for row in table
            if row["case"].endswith(name) and other in row["others"]
        ]

    lines, streams = [], [row for row in table if row["target"] == "85 % of copy"]
    for operation in STREAMS:
        parts = [part(row) for row in streams if row["operation"] == operation]
        what = f"{operation}, {backend}: bytes a second, part of a copy's"
        lines.append(_line(what, "85 % (92 %)", parts, min, _percent))
    for name, other, asked in (
        ("whole FFT blur step", "rfft2 + irfft2", "at most 1.7 (1.5)"),
        ("noise given", "compiled", "at most 1"),
    ):
        lines.append(_line(f"{name}, {backend}: times {other}", asked, ratios(name, other)))
    planes = [1 / part(row) for row in table if row["target"] == "2.2 copies at 1024 x 1024"]
    lines.append(_line(f"Walsh-Hadamard, {backend}: copies", "at most 2.2", planes))
    added = [
        row["added"]["p50"]
        for row in record.get("step_overhead") or []
        if row["backend"] == backend
    ]
    what = f"step of the captured loop, {backend}: added to the network"
    lines.append(_line(what, "at most 15 microseconds", added, max, _microseconds))
    for name, asked in (
        # two state buffers and the network's output; two spectra more
        ("inpainting", "at most 3"),
        ("super-resolution x4", "at most 3"),
        ("blur (FFT)", "at most 5 and cuFFT's workspace"),
    ):
        pictures = [
            row["pictures"]
            for row in record.get("whole_steps") or []
            if row["backend"] == backend and row["operator"] == name and "pictures" in row
        ]
        what = f"memory beside y of a large step, {name}, {backend}: pictures"
        lines.append(_line(what, asked, pictures))
    return lines

"""Draws the stored figures of a GPU: ``python benchmarks/gpu_plot.py FILE``.

Bars of bytes a second beside what a copy reaches, a roofline, and tables in Markdown.
"""

import argparse
import json
from pathlib import Path

from ddrm_fast.bench import Ceilings, roofline
from ddrm_fast.bench.table import markdown as markdown_of_steps


def markdown(record: dict) -> str:
    """The table as people read it."""
    machine = record["machine"]
    lines = [
        f"{machine.get('gpu', machine['device'])}, PyTorch {machine['torch']}"
        + (" (a rehearsal on the CPU: these figures mean nothing)" if record["rehearsal"] else ""),
        "",
    ]
    if record.get("verdicts"):
        lines += ["| what | asked | measured (the worst) | rows |", "|---|---|---|---:|"]
        lines += [
            f"| {line['what']} | {line['asked']} | {line['measured']} | {line['rows']} |"
            for line in record["verdicts"]
        ]
    lines += [
        "",
        "| operation | case | backend | time | GB/s | of copy | p20 - p80 | flop/byte | GFLOP/s "
        "| time of others | target |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    for row in record["table"]:
        for backend, figures in row["backends"].items():
            seconds, part = figures["seconds"]["p50"], figures["part_of_copy"]
            against = ", ".join(
                f"{name}: {times['p50'] / seconds:.2f} x" for name, times in row["others"].items()
            )
            lines.append(
                f"| {row['operation']} | {row['case']} | {backend} | {1e3 * seconds:.3f} ms "
                f"| {figures['gigabytes_per_second']:.0f} | {100 * part['p50']:.0f} % "
                f"| {100 * part['p20']:.0f} - {100 * part['p80']:.0f} "
                f"| {row['flops'] / row['bytes']:.1f} | {row['flops'] / seconds / 1e9:.0f} | {against} "
                f"| {row['target'] or ''} |"
            )
    if record.get("ceilings"):
        found = Ceilings(**record["ceilings"])
        lines += [
            "",
            f"A copy reached {found.bytes_per_second / 1e9:.0f} GB/s, a float32 matrix product "
            f"{found.flops_per_second / 1e9:.0f} GFLOP/s: up to {found.ridge:.1f} operations a byte "
            "memory is the limit.",
        ]
    if record.get("operator_steps"):
        lines += ["", markdown_of_steps(record["operator_steps"])]
    for row in record.get("step_overhead") or []:
        lines.append(
            f"\nA captured step of {row['operator']} at {row['side']} x {row['side']}, batch 1, on "
            f"{row['backend']} adds {1e6 * row['added']['p50']:.1f} microseconds to the network."
        )
    for row in record.get("whole_steps") or []:
        if "pictures" in row:
            lines.append(
                f"\n{row['operator']} at {row['side']} x {row['side']} x 3 on {row['backend']}: "
                f"{row['mebibytes']:.0f} MiB beside y, {row['pictures']:.1f} pictures."
            )
    for skipped in record["skipped"]:
        lines.append(f"\nNot measured: {skipped['case']}: {skipped['why']}")
    return "\n".join(lines) + "\n"


def plot(record: dict, path: Path) -> bool:
    """Bars of bytes a second and the line of the copy; False where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    bars = [
        (f"{row['operation']}: {row['case']} ({backend})", figures)
        for row in record["table"]
        for backend, figures in row["backends"].items()
    ][::-1]
    if not bars:
        return False
    figure, axes = pyplot.subplots(figsize=(10, 0.3 * len(bars) + 1.5), layout="constrained")
    speeds = [figures["gigabytes_per_second"] for _, figures in bars]
    parts = [figures["part_of_copy"]["p50"] for _, figures in bars]
    drawn = axes.barh([name for name, _ in bars], speeds, color="#4477aa")
    axes.bar_label(drawn, [f" {100 * part:.0f} %" for part in parts], fontsize=7)
    copy = sorted(speed / part for speed, part in zip(speeds, parts, strict=True))[len(bars) // 2]
    axes.axvline(copy, color="#cc3311", linestyle="--", label="device-to-device copy")
    axes.set_xlabel("GB/s of the bytes that have to move")
    axes.tick_params(axis="y", labelsize=7)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="JSON of gpu_bench.py")
    options = parser.parse_args()
    record = json.loads(options.file.read_text())
    options.file.with_suffix(".md").write_text(markdown(record))
    drawn = plot(record, options.file.with_suffix(".png"))
    if record.get("ceilings"):
        path = options.file.with_name(options.file.stem + "-roofline.png")
        rows = [*record["table"], *(record.get("operator_steps") or [])]
        title = record["machine"].get("gpu", record["machine"]["device"])
        drawn &= roofline.draw(path, rows, Ceilings(**record["ceilings"]), title)
    if not drawn:
        print("no plot: matplotlib is not installed, or nothing was measured")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

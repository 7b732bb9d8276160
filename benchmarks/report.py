"""Runs the speed cases and writes the table: ``python benchmarks/report.py [--only TEXT]``.

Stores ratios, medians, machine, versions and commit in ``benchmarks/results/`` and prints them.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

import ddrm_fast

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def machine(benchmarks: dict) -> dict:
    """What the figures were measured on."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "processor": benchmarks["machine_info"].get("cpu", {}).get("brand_raw"),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ddrm_fast": ddrm_fast.__version__,
        "backends": {name: why or "available" for name, why in ddrm_fast.backends().items()},
        "commit": commit.stdout.strip() or None,
        "date": benchmarks["datetime"][:10],
    }


def rows(benchmarks: dict) -> list[dict]:
    table = []
    for entry in benchmarks["benchmarks"]:
        name = entry["param"] or "eager PyTorch denoising step, 1024"
        table.append({"case": name, "seconds": entry["stats"]["median"], **entry["extra_info"]})
    return table


def markdown(table: list[dict]) -> str:
    """The table as people read it."""
    lines = [
        "| case (float32, 3 channels, noise included) | time | floor | ratio | p20 - p80 | promise |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in table:
        milliseconds = f"{1e3 * row['seconds']:.2f} ms"
        if "ratio" not in row:
            lines.append(f"| {row['case']} | {milliseconds} | | | | |")
            continue
        promise = "" if row["limit"] is None else f"{row['limit']:.1f}"
        lines.append(
            f"| {row['case']} | {milliseconds} | {row['floor']} {1e3 * row['floor_seconds']:.2f} ms "
            f"| {row['ratio']:.2f} | {row['ratio_p20']:.2f} - {row['ratio_p80']:.2f} | {promise} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python benchmarks/report.py --only 1024 --name my-machine",
    )
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--name", default="cpu", help="name of the files in benchmarks/results/")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "benchmarks.json"
        arguments = [str(HERE / "test_speed.py"), "-q", f"--benchmark-json={path}"]
        arguments += ["--benchmark-columns=median", "-p", "no:cacheprovider"]
        status = pytest.main(
            [*arguments, *(["-k", f"correct or {options.only}"] if options.only else [])]
        )
        if status:
            return int(status)
        benchmarks = json.loads(path.read_text())
    record = {"machine": machine(benchmarks), "table": rows(benchmarks)}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{options.name}.json").write_text(json.dumps(record, indent=1) + "\n")
    text = markdown(record["table"])
    (RESULTS / f"{options.name}.md").write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Do the borders of windows show? Mask-shift, the joint loop and plain blending of independent windows.

Restores crops of scikit-image's photographs with the default prior and compares gradients across the
borders of windows with gradients beside them (:mod:`ddrm_fast.large.seams`), relative to the truth and to a
run over the whole picture, which has no windows at all: what it shows is the chance of so few lines.

    python benchmarks/seams.py --out benchmarks/results

Writes seams.json, seams.md and seams.jpg: a crop around a crossing of borders.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from skimage import data
from torch import Tensor

import ddrm_fast
from ddrm_fast import metrics, operators
from ddrm_fast.io import Panel, sheet
from ddrm_fast.large import Windows, restore_windows, windowed, windows_for
from ddrm_fast.large.seams import border_ratio
from ddrm_fast.operators import Operator
from ddrm_fast.operators.cuts import Cuts
from ddrm_fast.priors import Prior
from ddrm_fast.samplers import Sampler

#: picture, first row, first column
CROPS = (("astronaut", 0, 110), ("astronaut", 250, 230), ("chelsea", 20, 100), ("coffee", 60, 200))
WAYS = ("whole", "mask-shift", "mask-shift, no margin", "joint", "plain blend")


def pictures(size: int, count: int) -> Tensor:
    """Crops (count or fewer, 3, size, size) in [0, 1], of pictures that are large enough."""
    crops = []
    for name, top, left in CROPS[:count]:
        whole = torch.from_numpy(getattr(data, name)().copy()).permute(2, 0, 1)
        if min(whole.shape[1:]) < size:
            continue
        top, left = min(top, whole.shape[1] - size), min(left, whole.shape[2] - size)
        crops.append(whole[:, top : top + size, left : left + size].float() / 255)
    if not crops:
        raise SystemExit(f"--size: {size} is larger than every photograph")
    return torch.stack(crops)


TASKS = ("noise", "sr", "missing")


def task_of(name: str, size: int) -> tuple[str, Operator, float]:
    """Title, operator and noise."""
    missing = torch.rand(size, size, generator=torch.Generator().manual_seed(0)) < 0.7
    return {
        "noise": ("noise 0.2", operators.Denoising(), 0.2),
        "sr": ("super-resolution x4", operators.SuperResolution(4), 0.02),
        "missing": ("70 % missing", operators.Inpainting(~missing), 0.02),
    }[name]


def plain_blend(
    y: Tensor, operator: Operator, sigma_y: float, prior: Prior, sampler: Sampler, windows: Windows
) -> Tensor:
    """Every window by itself, with noise of its own; the mean where they overlap."""
    total, count = torch.zeros(y.shape[0], 3, *windows.picture), torch.zeros(windows.picture)
    for k, box in enumerate(windows):
        cuts = Cuts((box,) * len(y), tuple(range(len(y))))
        part = ddrm_fast.restore(
            operator.crop(y, cuts), operator.windows(cuts), sigma_y, prior, sampler, seed=1000 * k
        )
        total[:, :, *box.slices] += part.mean
        count[box.slices] += 1
    return total / count


def restored(
    way: str,
    y: Tensor,
    operator: Operator,
    sigma_y: float,
    prior: Prior,
    sampler: Sampler,
    window: int,
) -> Tensor:
    """One sample of every picture."""
    problem = (y, operator, sigma_y)
    shape = operator.image_shape(y)
    if way == "whole":
        return ddrm_fast.restore(*problem, prior, sampler).mean
    if way == "joint":
        tiles = windowed(prior, window, window // 2, halo=window // 8)
        return ddrm_fast.restore(*problem, tiles, sampler).mean
    if way == "plain blend":
        windows = windows_for(operator, shape, window, margin=0)
        return plain_blend(*problem, prior, sampler, windows)
    margin = 0 if way.endswith("no margin") else None
    return restore_windows(*problem, prior, sampler, window=window, margin=margin).mean


def measure(arguments: argparse.Namespace) -> tuple[list[dict], list[list[Panel]]]:
    """A row for every task and way, and a row of pictures for every task."""
    truth = pictures(arguments.size, arguments.pictures)
    prior = ddrm_fast.load_prior()
    sampler = ddrm_fast.DDRM(steps=arguments.steps)
    rows, panels = [], []
    for name in arguments.tasks:
        task, operator, sigma_y = task_of(name, arguments.size)
        y = ddrm_fast.degrade(truth, operator, sigma_y, seed=1)
        crossing = arguments.window // 2 * 3  # rows and columns end here in every way
        corner = slice(crossing - 48, crossing + 48)
        row, whole = [Panel(truth[0, :, corner, corner], f"{task}\ntruth")], None
        for way in WAYS:
            x = restored(way, y, operator, sigma_y, prior, sampler, arguments.window)
            whole = x if way == "whole" else whole
            margin = 0 if way in ("mask-shift, no margin", "plain blend", "joint") else None
            windows = windows_for(operator, truth.shape[1:], arguments.window, margin=margin)
            ratio, natural, chance = (
                border_ratio(z, windows, operator.grid) for z in (x, truth, whole)
            )
            rows.append(
                {
                    "task": task,
                    "way": way,
                    "against truth": round(ratio / natural - 1, 4),
                    "against whole": round(ratio / chance - 1, 4),
                    "psnr": round(metrics.psnr(x, truth), 2),
                }
            )
            print(rows[-1], flush=True)
            row.append(
                Panel(x[0, :, corner, corner], f"{way}\n{100 * (ratio / chance - 1):+.1f} %")
            )
        panels.append(row)
    return rows, panels


def table(rows: list[dict], note: str) -> str:
    """Markdown."""
    lines = [note, "", "| task | way | against truth | against a whole run | PSNR |",
             "|---|---|---:|---:|---:|"]  # fmt: skip
    for row in rows:
        lines.append(
            f"| {row['task']} | {row['way']} | {100 * row['against truth']:+.1f} % | "
            f"{100 * row['against whole']:+.1f} % | {row['psnr']:.2f} dB |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), metavar="DIR")
    parser.add_argument("--size", type=int, default=256, metavar="N", help="of the pictures (256)")
    parser.add_argument("--window", type=int, default=128, metavar="N", help="(128)")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="(20)")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help="(all)")
    parser.add_argument("--pictures", type=int, default=4, metavar="N", help="1 to 4 (4)")
    arguments = parser.parse_args()
    rows, panels = measure(arguments)
    note = (
        f"{arguments.pictures} pictures of {arguments.size} x {arguments.size}, windows of "
        f"{arguments.window} with a stride of half, DDRM with {arguments.steps} steps, default prior. Excess "
        "of the mean absolute gradient on borders of windows over that beside them (20 offsets, or as many "
        "as blocks of the measurement allow)."
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "seams.json").write_text(
        json.dumps({"note": note, "rows": rows}, indent=1) + "\n"
    )
    (arguments.out / "seams.md").write_text(table(rows, note))
    sheet(arguments.out / "seams.jpg", panels)


if __name__ == "__main__":
    main()

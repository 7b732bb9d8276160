"""Do the borders of windows show? Mask-shift, the joint loop and plain blending of independent windows.

Restores photographs with the default prior and compares gradients across the borders of windows with
gradients beside them (:mod:`ddrm_fast.large.seams`), relative to the truth and to a run over the whole
picture, which has no windows at all: what that shows against the truth is the chance of so few lines.
Standard errors are those of the jackknife over pictures.

    python benchmarks/seams.py --folder photographs --out benchmarks/results

Writes NAME.json, NAME.md and NAME.jpg: the middle of the first picture, where borders cross.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor

import ddrm_fast
from ddrm_fast import operators
from ddrm_fast.evaluation import metrics
from ddrm_fast.io import SUFFIXES, Panel, read_picture, sheet
from ddrm_fast.large import Windows, restore_windows, windowed, windows_for
from ddrm_fast.large.seams import border_ratio
from ddrm_fast.operators import Operator
from ddrm_fast.operators.cuts import Cuts
from ddrm_fast.priors import Prior
from ddrm_fast.samplers import Sampler

WAYS = ("whole", "mask-shift", "mask-shift, published", "joint", "plain blend")


def pictures(folder: Path | None, size: int, count: int) -> Tensor:
    """Middles (count or fewer, 3, size, size) in [0, 1], of pictures that are large enough.

    Of scikit-image's photographs first, then of the folder. The latter are made smaller as far as can be:
    the blocks of JPEG, 8 x 8, would be borders of the truth itself where windows have theirs.
    """
    crops = []
    paths = sorted(folder.iterdir()) if folder is not None else []
    photographs = (
        _shrunk(read_picture(path).pixels, size)
        for path in paths
        if path.suffix.lower() in SUFFIXES
    )
    examples = (
        torch.from_numpy(getattr(data, name)().copy()).permute(2, 0, 1).float() / 255
        for name in ("astronaut", "chelsea", "coffee")
    )
    for source in (examples, photographs):
        for whole in source:
            if whole.shape[0] == 3 and min(whole.shape[1:]) >= size and len(crops) < count:
                top, left = ((n - size) // 2 for n in whole.shape[1:])
                crops.append(whole[:, top : top + size, left : left + size])
    if not crops:
        raise SystemExit(f"--size: {size} is larger than every photograph")
    return torch.stack(crops)


def _shrunk(x: Tensor, size: int) -> Tensor:
    """A picture whose shorter side is ``size``, or what it was if that is less."""
    height, width = x.shape[1:]
    if min(height, width) <= size:
        return x
    sides = [round(n * size / min(height, width)) for n in (height, width)]
    small = F.interpolate(x[None], sides, mode="bicubic", antialias=True, align_corners=False)
    return small[0].clamp(0, 1)


TASKS = ("noise", "sr", "missing")


def task_of(name: str, size: int) -> tuple[str, Operator, float, Sampler]:
    """Title, operator, noise, and the sampler that the command line takes for it."""
    missing = torch.rand(size, size, generator=torch.Generator().manual_seed(0)) < 0.7
    title, operator, sigma_y = {
        "noise": ("noise 0.2", operators.Denoising(), 0.2),
        "sr": ("super-resolution x4", operators.SuperResolution(4), 0.02),
        "missing": ("70 % missing", operators.Inpainting(~missing), 0.02),
    }[name]
    usual = {"steps": 50, "eta": 1.0} if name == "missing" else {}
    return title, operator, sigma_y, ddrm_fast.DDRM(**usual)


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
    published = {"margin": 0, "gradient": None} if way.endswith("published") else {}
    return restore_windows(*problem, prior, sampler, window=window, **published).mean


def excess(x: Tensor, reference: Tensor, windows: Windows, grid: int) -> tuple[float, float]:
    """What borders of windows have more than in the reference, and its standard error over pictures."""

    def of(rows: list[int]) -> float:
        ratio, usual = (border_ratio(z[rows], windows, grid) for z in (x, reference))
        return ratio / usual - 1

    everything = list(range(len(x)))
    left = torch.tensor(
        [of(everything[:k] + everything[k + 1 :]) for k in everything if len(x) > 1]
    )
    error = math.sqrt((len(x) - 1) * float(left.var(correction=0))) if len(x) > 1 else math.nan
    return round(of(everything), 4), round(error, 4)


def measure(arguments: argparse.Namespace, truth: Tensor) -> tuple[list[dict], list[list[Panel]]]:
    """A row for every task and way, and a row of pictures for every task."""
    prior = ddrm_fast.load_prior()
    rows, panels = [], []
    middle = slice(max(0, arguments.size // 2 - 64), arguments.size // 2 + 64)
    for name in arguments.tasks:
        task, operator, sigma_y, sampler = task_of(name, arguments.size)
        y = ddrm_fast.degrade(truth, operator, sigma_y, seed=1)
        row, whole = [Panel(truth[0, :, middle, middle], f"{task}\ntruth")], None
        for way in ("whole", *(way for way in arguments.ways if way != "whole")):
            x = restored(way, y, operator, sigma_y, prior, sampler, arguments.window)
            whole = x if way == "whole" else whole
            margin = None if way in ("whole", "mask-shift") else 0
            windows = windows_for(operator, truth.shape[1:], arguments.window, margin=margin)
            rows.append(
                {
                    "task": task,
                    "way": way,
                    "against truth": excess(x, truth, windows, operator.grid),
                    "against whole": excess(x, whole, windows, operator.grid),
                    "psnr": round(metrics.psnr(x, truth), 2),
                }
            )
            print(rows[-1], flush=True)
            more = 100 * rows[-1]["against truth"][0]
            row.append(Panel(x[0, :, middle, middle], f"{way}\n{more:+.1f} %"))
        panels.append(row)
    return rows, panels


def table(rows: list[dict], note: str) -> str:
    """Markdown."""
    lines = [note, "", "| task | way | against truth | against a whole run | PSNR |",
             "|---|---|---:|---:|---:|"]  # fmt: skip
    for row in rows:
        truth, whole = (
            f"{100 * value:+.1f} ± {100 * error:.1f} %"
            for value, error in (row["against truth"], row["against whole"])
        )
        lines.append(f"| {row['task']} | {row['way']} | {truth} | {whole} | {row['psnr']:.2f} dB |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), metavar="DIR")
    parser.add_argument("--name", default="seams", help="of the files (seams)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="of photographs (none)")
    parser.add_argument("--size", type=int, default=192, metavar="N", help="of the pictures (192)")
    parser.add_argument("--window", type=int, default=96, metavar="N", help="(96)")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help="(all)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="(all)")
    parser.add_argument("--pictures", type=int, default=4, metavar="N", help="at most (4)")
    arguments = parser.parse_args()
    truth = pictures(arguments.folder, arguments.size, arguments.pictures)
    rows, panels = measure(arguments, truth)
    note = (
        f"{len(truth)} pictures of {arguments.size} x {arguments.size}, windows of {arguments.window} with a "
        "stride of half, DDRM with the settings of the command line, default prior. Excess of the mean "
        "absolute gradient on borders of windows over that beside them (20 offsets, or as many as blocks of "
        "the measurement allow); its standard error over pictures."
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / f"{arguments.name}.json").write_text(
        json.dumps({"note": note, "rows": rows}, indent=1) + "\n"
    )
    (arguments.out / f"{arguments.name}.md").write_text(table(rows, note))
    sheet(arguments.out / f"{arguments.name}.jpg", panels)


if __name__ == "__main__":
    main()

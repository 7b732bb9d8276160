"""Fits the error bars of a prior on some pictures, and measures them on others.

    python benchmarks/uncertainty.py --fit pictures/ --measure others/ --work work/ --out figures.json

Samples of the default plan are drawn for every case from crops of both sets (kept in ``--work``: a later
call goes on), the maps are fitted on the first set alone and written beside the prior's weights, and
coverage, interval score and rank correlation are measured on the second, as a table and as JSON.

Interval score (Gneiting and Raftery, 2007) at 95 %: width + 40 times what an error lies outside, in 1/255;
beside it that of a constant bar, calibrated on the same pictures as the maps.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ddrm_fast import load_prior
from ddrm_fast.evaluation import error_bars as bars
from ddrm_fast.evaluation.cases import Case
from ddrm_fast.problems import Problem, degradation, pad, padded_size
from ddrm_fast.restoration import Restoration, degrade, restore
from ddrm_fast.samplers.plans import kind_of, plan

CASES = {
    **{f"noise-{level}": Case("noise", level / 255) for level in (5, 15, 25, 50, 100)},
    **{
        f"sr{factor}{name}": Case("sr", sigma, {"factor": str(factor)})
        for factor in (2, 4)
        for name, sigma in (("", 0.0), ("-noise", 0.05))
    },
    "bicubic4": Case("bicubic", 0.0, {"factor": "4"}),
    "inpaint-50": Case("inpaint", 0.0, {"mask": "random:0.5"}),
    "inpaint-20": Case("inpaint", 0.0, {"mask": "random:0.2"}),
    "inpaint-80": Case("inpaint", 0.0, {"mask": "random:0.8"}),
    "blur": Case("blur", 0.05, {"kernel": "gaussian:2"}),
    "blur-weak-noise": Case("blur", 0.01, {"kernel": "gaussian:2"}),
    "blur-motion": Case("blur", 0.01, {"kernel": "motion:15,30"}),
    "blockcs-25": Case("blockcs", 0.0, {"ratio": "4"}),
}
COUNTS = (2, 4, 8)
SKIMAGE = (
    "astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "retina", "immunohistochemistry",
)  # fmt: skip


def crops(folders: list[Path], skimage: bool, side: int, most: int) -> list[torch.Tensor]:
    """Crops at random places, the same in every run; pictures spread evenly over a folder."""
    pictures = []
    for folder in folders:
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".png", ".webp"))
        spread = np.linspace(0, len(files) - 1, min(most, len(files))).round().astype(int)
        for path in (files[number] for number in spread):
            with Image.open(path) as image:
                pictures.append(np.asarray(image.convert("RGB")))
    if skimage:
        from skimage import data

        pictures += [getattr(data, name)()[..., :3] for name in SKIMAGE]
    rng, found = np.random.default_rng(0), []
    for picture in pictures:
        if min(picture.shape[:2]) < side:
            continue
        top, left = (int(rng.integers(n - side + 1)) for n in picture.shape[:2])
        crop = picture[top : top + side, left : left + side]
        found.append(torch.from_numpy(crop.copy()).permute(2, 0, 1).float() / 255)
    return found


def drawn(case: Case, clean: list[torch.Tensor], prior, batch: int = 8) -> dict[str, np.ndarray]:
    """Features and errors of every pixel, for each number of samples, and the plain spread."""
    found: dict[str, list[torch.Tensor]] = {}
    size = tuple(clean[0].shape[1:])
    padded = padded_size(case.task, case.options, size)
    for first in range(0, len(clean), batch):
        x = torch.stack(clean[first : first + batch])
        made = degradation(case.task, (3, *padded), case.options, seed=first, crop=size)
        y = degrade(pad(x, padded), made.operator(), case.sigma, first)
        problem = Problem.of(y, made.operator(), case.sigma)
        sampler = plan(problem, samples=True).sampler
        samples = restore(
            y, made.operator(), case.sigma, prior, sampler, num_samples=max(COUNTS), seed=first
        ).samples
        for count in COUNTS:
            some = samples[:count]
            result = Restoration(some, some.mean(0), some.std(0, correction=1))
            seen = bars.features(result.mean, result.std, problem, count)
            error = (result.mean - pad(x, padded)).abs()
            for name, value in (("seen", seen), ("error", error), ("std", result.std)):
                cut = value[..., : size[0], : size[1]].half()
                found.setdefault(f"{name}-{count}", []).append(cut)
    return {name: torch.cat(parts).numpy() for name, parts in found.items()} | {
        "kind": np.array(kind_of(problem))
    }


def collected(
    arguments, which: str, clean: list[torch.Tensor], prior
) -> Iterator[tuple[str, dict]]:
    arguments.work.mkdir(parents=True, exist_ok=True)
    for name, case in CASES.items():
        path = arguments.work / f"{which}-{name}.npz"
        if not path.exists():
            np.savez(path.with_suffix(".part.npz"), **drawn(case, clean, prior))
            path.with_suffix(".part.npz").rename(path)
            print(f"{which}: {name}", flush=True)
        yield name, dict(np.load(path))


def pixels(found: dict, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features (n, 12), errors (n, 3) and spreads (n, 3) of all pixels."""
    seen, error, std = (
        torch.from_numpy(found[f"{name}-{count}"]).float() for name in ("seen", "error", "std")
    )
    return tuple(x.permute(0, 2, 3, 1).flatten(0, 2) for x in (seen, error, std))


def fitted(sets: dict[str, dict], level: float, most: int = 200_000) -> dict[str, list[float]]:
    """Weights by kind; every case of a kind and number of samples counts alike."""
    by_kind: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    generator = torch.Generator().manual_seed(0)
    for found in sets.values():
        for count in COUNTS:
            seen, error, _ = pixels(found, count)
            rows = torch.randint(len(seen), (most // 4,), generator=generator)
            channel = torch.randint(3, (len(rows),), generator=generator)
            by_kind.setdefault(str(found["kind"]), []).append((seen[rows], error[rows, channel]))
    return {
        kind: bars.fit(torch.cat([s for s, _ in parts]), torch.cat([e for _, e in parts]), level)
        for kind, parts in by_kind.items()
    }


def ranks(x: torch.Tensor) -> torch.Tensor:
    return x.argsort().argsort().double()


def measured(found: dict, maps: dict, constant: float, count: int) -> dict[str, float]:
    """Shares in %, scores in 1/255."""
    seen, error, std = pixels(found, count)
    widths = {
        level: bars.half_width(seen.T[None, :, :, None], torch.tensor(w))[0, 0].expand(-1, 3)
        for level, w in maps.items()
    }
    flat = seen[:, 2] < seen[:, 2].median()

    def inside(width, rows=slice(None)) -> float:
        return round(100 * float((error[rows] <= width[rows]).double().mean()), 1)

    def score(width) -> float:
        width = torch.as_tensor(width)
        return 255 * float((2 * width + 40 * (error - width).clamp(min=0)).mean())

    some = torch.randperm(error.numel(), generator=torch.Generator().manual_seed(0))[:100_000]
    truth = ranks(error.flatten()[some])
    rank = [
        float(torch.corrcoef(torch.stack([truth, ranks(x.flatten()[some])]))[0, 1])
        for x in (std, widths["0.95"].contiguous())
    ]
    return {
        "std inside 2": inside(2 * std),
        **{f"inside {level}": inside(width) for level, width in widths.items()},
        "flat 0.68": inside(widths["0.68"], flat), "detailed 0.68": inside(widths["0.68"], ~flat),
        "flat 0.95": inside(widths["0.95"], flat), "detailed 0.95": inside(widths["0.95"], ~flat),
        "score": round(score(widths["0.95"]), 2), "constant": round(score(constant), 2),
        "rank of std": round(rank[0], 3), "rank": round(rank[1], 3),
        "std over error": round(float(std.square().mean().sqrt() / error.square().mean().sqrt()), 3),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fit", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--measure", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="what is drawn")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the figures")
    parser.add_argument("--side", type=int, default=64, help="of a crop, in pixels (64)")
    parser.add_argument("--most", type=int, default=40, help="pictures of a folder to fit on (40)")
    arguments = parser.parse_args()
    prior = load_prior("default")
    sets = {}
    for which, folders in (("fit", arguments.fit), ("measure", arguments.measure)):
        most = arguments.most if which == "fit" else 10**6
        clean = crops(folders, which == "fit", arguments.side, most)
        sets[which] = dict(collected(arguments, which, clean, prior))
        sets[which + " crops"] = len(clean)
    maps: dict[str, dict[str, list[float]]] = {}
    for level in bars.LEVELS:
        for kind, weights in fitted(sets["fit"], level).items():
            maps.setdefault(kind, {})[str(level)] = weights
    facts = {"crops": [sets["fit crops"], sets["measure crops"]], "side": arguments.side}
    print("written:", bars.write_maps(maps, facts))
    rows = {}
    for name, found in sets["measure"].items():
        _, error, _ = pixels(sets["fit"][name], 4)
        constant = float(error.flatten().double().quantile(0.95)) if error.numel() < 2**24 else 0.0
        rows[name] = measured(found, maps[str(found["kind"])], constant, 4)
        print(name, rows[name])
    arguments.out.write_text(json.dumps({**facts, "samples": 4, "cases": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

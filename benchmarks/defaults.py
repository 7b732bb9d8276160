"""What the defaults are worth: PSNR of the estimate and of a sample of every kind of task, and their calls.

    python benchmarks/defaults.py photos/ --crop 160 --out benchmarks/results/defaults.json

Pictures are cropped at their centre. Beside the plans of `ddrm_fast.samplers.plans`: DDRM with 20 uniform
timesteps, the published protocol. The noise of measurement and samples is that of seed 0.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from tqdm import tqdm

from ddrm_fast import DDRM, degrade, load_prior, operators, restore
from ddrm_fast.evaluation.metrics import psnr
from ddrm_fast.io import read_picture, write_json
from ddrm_fast.problems import Problem
from ddrm_fast.samplers import Drawing
from ddrm_fast.samplers.plans import plan


def tasks(side: int) -> dict[str, tuple[operators.Operator, float]]:
    """Degradations of pictures of this side, and their noise."""
    scattered = torch.rand(1, side, side, generator=torch.Generator().manual_seed(0))
    hole = torch.ones(1, side, side, dtype=torch.bool)
    middle = slice(side // 2 - side // 10, side // 2 + side // 10)
    hole[:, middle, middle] = False
    gaussian, motion = operators.gaussian_kernel(2.0), operators.motion_kernel(15, 30)
    found: dict[str, tuple[operators.Operator, float]] = {
        f"noise {level} / 255": (operators.Denoising(), level / 255) for level in (2, 8, 25, 50)
    }
    return found | {
        "SR x2": (operators.SuperResolution(2), 0.0),
        "SR x2, noise 0.05": (operators.SuperResolution(2), 0.05),
        "SR x4": (operators.SuperResolution(4), 0.0),
        "SR x4, noise 0.05": (operators.SuperResolution(4), 0.05),
        "bicubic x4": (operators.BicubicDownscaling(4, (side, side)), 0.0),
        "50 % missing": (operators.Inpainting(scattered > 0.5), 0.0),
        "80 % missing": (operators.Inpainting(scattered > 0.8), 0.0),
        "Bayer": (operators.Inpainting(operators.bayer_mask(side, side)), 0.0),
        "a hole": (operators.Inpainting(hole), 0.0),
        "Gaussian blur, noise 0.01": (operators.Blur(gaussian), 0.01),
        "Gaussian blur, noise 0.05": (operators.Blur(gaussian), 0.05),
        "motion blur, noise 0.01": (operators.Blur(motion), 0.01),
        "motion blur, noise 0.05": (operators.Blur(motion), 0.05),
        "blocks, 25 %": (operators.BlockCS(16, 4), 0.0),
        "colour lost": (operators.Colorization(), 0.0),
    }


def measure(x: torch.Tensor, operator: operators.Operator, sigma_y: float, prior) -> dict:
    """PSNR and calls of one degradation, mean over the pictures (B, 3, H, W)."""
    y = degrade(x, operator, sigma_y)
    row: dict = {}

    def put(name: str, sampler, num_samples: int | None) -> None:
        found = restore(y, operator, sigma_y, prior, sampler, num_samples=num_samples).mean
        row[name] = round(sum(map(psnr, found, x)) / len(x), 2)

    put("estimate", None, None)
    put("sample", None, 1)
    put("mean of 4", None, 4)
    put("uniform sample", DDRM(20), 1)
    problem = Problem.of(y, operator, sigma_y)
    for name, samples in (("estimate", False), ("sample", True)):
        chosen = plan(problem, samples)
        row[f"calls of {name}"] = Drawing(prior, chosen.sampler).steps
    row["by"] = repr(plan(problem).sampler)
    return row


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="photographs that were not trained on")
    parser.add_argument("--crop", type=int, default=160, help="side (160), a multiple of 16")
    parser.add_argument("--prior", default="default")
    parser.add_argument("--out", type=Path, default=Path("defaults.json"))
    arguments = parser.parse_args()
    side, pictures = arguments.crop, []
    for path in sorted(arguments.folder.iterdir()):
        pixels = read_picture(path).pixels
        top, left = ((n - side) // 2 for n in pixels.shape[1:])
        if min(top, left) >= 0 and pixels.shape[0] == 3:
            pictures.append(pixels[:, top : top + side, left : left + side])
    x, prior = torch.stack(pictures), load_prior(arguments.prior)
    rows = {}
    for name, (operator, sigma_y) in tqdm(tasks(side).items(), unit="task"):
        rows[name] = measure(x, operator, sigma_y, prior)
        write_json(arguments.out, {"pictures": len(x), "crop": side, "rows": rows})
    columns = ("estimate", "sample", "mean of 4", "uniform sample")
    print(f"| task | calls | {' | '.join(columns)} |")
    print("|---|---:|" + "---:|" * len(columns))
    for name, row in json.loads(arguments.out.read_text())["rows"].items():
        calls = f"{row['calls of estimate']}, {row['calls of sample']}"
        print(f"| {name} | {calls} | {' | '.join(f'{row[c]:.2f}' for c in columns)} |")


if __name__ == "__main__":
    main()

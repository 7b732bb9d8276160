"""Denoising quality of the default prior against non-local means.

PSNR at noise levels 5 to 200 of 255, on a folder of pictures. Non-local means (Buades,
Coll and Morel, 2005; scikit-image's implementation) is told the true noise level and gets, for
every noise level, the filter strength h that is best on average over the pictures.

    python benchmarks/denoise_quality.py weights.safetensors pictures/ --json quality.json
    python benchmarks/denoise_quality.py weights.safetensors --skimage --middle 256 --no-nlm
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data
from skimage.restoration import denoise_nl_means

from ddrm_fast.priors.weights import load_denoiser

LEVELS = (5, 15, 25, 50, 100, 200)
STRENGTHS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.95, 1.1, 1.3, 1.6, 2.0)
SKIMAGE = ("astronaut", "chelsea", "coffee", "rocket")


def load_pictures(
    folder: Path | None, patterns: str, skimage: bool, side: int | None = None
) -> dict[str, np.ndarray]:
    """Pictures by name, float32 (H, W, 3) in [0, 1]; with a side only the square in their middle."""
    pictures = {}
    paths = (
        [path for pattern in patterns.split(",") for path in folder.glob(pattern)] if folder else []
    )
    for path in sorted(paths):
        with Image.open(path) as image:
            pictures[path.stem] = np.asarray(image.convert("RGB"), np.float32) / 255
    if skimage:
        for name in SKIMAGE:
            pictures[f"skimage {name}"] = np.float32(getattr(data, name)()) / 255
    return pictures if side is None else {name: middle(x, side) for name, x in pictures.items()}


def middle(picture: np.ndarray, side: int) -> np.ndarray:
    """The square in the middle of a picture, or what of it there is."""
    top, left = (max(0, (length - side) // 2) for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def psnr(estimate: np.ndarray, clean: np.ndarray) -> float:
    """PSNR in dB of pictures in [0, 1]; the estimate is clipped to that range."""
    error = np.mean((np.clip(estimate, 0, 1).astype(np.float64) - clean) ** 2)
    return float(-10 * np.log10(error))


def noisy(clean: np.ndarray, level: int, index: int) -> np.ndarray:
    """The picture plus white noise of standard deviation level / 255, not clipped."""
    noise = np.random.default_rng([level, index]).standard_normal(clean.shape, dtype=np.float32)
    return clean + level / 255 * noise


def non_local_means(picture: np.ndarray, level: int, strength: float) -> np.ndarray:
    """scikit-image's non-local means, patches of 5 x 5 searched over 13 x 13, h = strength sigma."""
    sigma = level / 255
    return denoise_nl_means(
        picture, h=strength * sigma, sigma=sigma, patch_size=5, patch_distance=6,
        fast_mode=True, channel_axis=-1,
    )  # fmt: skip


def network(model, picture: np.ndarray, level: int) -> np.ndarray:
    """The denoiser, which works in [-1, 1]: noise doubles with the range."""
    x = torch.from_numpy(picture).permute(2, 0, 1)[None] * 2 - 1
    with torch.no_grad():
        out = model(x, torch.tensor([2 * level / 255]))
    return ((out[0].permute(1, 2, 0) + 1) / 2).numpy()


def measure(model, pictures: dict[str, np.ndarray], with_nlm: bool) -> list[dict]:
    """One row per noise level: mean PSNR of each method, and the PSNR of every picture."""
    rows = []
    for level in LEVELS:
        inputs = {
            name: noisy(clean, level, index) for index, (name, clean) in enumerate(pictures.items())
        }
        start = time.perf_counter()
        ours = {name: psnr(network(model, inputs[name], level), pictures[name]) for name in inputs}
        seconds = time.perf_counter() - start
        row = {
            "sigma": level,
            "noisy": np.mean([psnr(inputs[name], pictures[name]) for name in inputs]),
            "network": np.mean(list(ours.values())),
            "network_per_picture": ours,
            "network_seconds": seconds,
        }
        if with_nlm:
            row |= best_non_local_means(inputs, pictures, level)
            row["gain"] = row["network"] - row["nlm"]
        rows.append(row)
    return rows


def best_non_local_means(inputs: dict, pictures: dict, level: int) -> dict:
    """Mean PSNR of non-local means at its best strength; strengths are tried in order."""
    best: dict = {"nlm": -np.inf}
    for strength in STRENGTHS:
        each = {
            name: psnr(non_local_means(inputs[name], level, strength), pictures[name])
            for name in inputs
        }
        mean = np.mean(list(each.values()))
        if mean < best["nlm"]:
            break
        best = {"nlm": mean, "nlm_h_over_sigma": strength, "nlm_per_picture": each}
    return best


def table(title: str, rows: list[dict]) -> str:
    """The rows as text."""
    lines = [title, f"{'sigma':>6} {'noisy':>7} {'nlm':>7} {'network':>8} {'gain':>6}"]
    for row in rows:
        nlm, gain = row.get("nlm", np.nan), row.get("gain", np.nan)
        lines.append(
            f"{row['sigma']:6d} {row['noisy']:7.2f} {nlm:7.2f} {row['network']:8.2f} {gain:+6.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", help="file that the training exported")
    parser.add_argument("folder", nargs="?", type=Path, help="folder of clean pictures")
    parser.add_argument(
        "--pattern", default="*.png", help="which files, such as *.jpg,*.webp (*.png)"
    )
    parser.add_argument("--skimage", action="store_true", help="add scikit-image's photographs")
    parser.add_argument(
        "--middle", type=int, metavar="SIDE", help="measure on the square in the middle (all of it)"
    )
    parser.add_argument("--no-nlm", action="store_true", help="leave non-local means out")
    parser.add_argument("--threads", type=int, help="CPU threads (all)")
    parser.add_argument("--json", type=Path, help="where to store the results")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    pictures = load_pictures(
        arguments.folder, arguments.pattern, arguments.skimage, arguments.middle
    )
    if not pictures:
        parser.error("no pictures: give a folder or --skimage")
    model = load_denoiser(arguments.weights)
    rows = measure(model, pictures, not arguments.no_nlm)
    step = model.training_summary.get("step")
    print(table(f"{len(pictures)} pictures, PSNR in dB, weights of step {step}", rows))
    if arguments.json:
        result = {"weights": model.sha256, "training": model.training_summary, "levels": rows}
        arguments.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

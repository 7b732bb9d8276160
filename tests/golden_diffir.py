"""The golden files of the published DiffIR code, and how close is close enough for them.

Those that are not in this folder's `golden/diffir` are read from a folder `shared/golden/diffir` beside the
repository where there is one.
"""

import json
from pathlib import Path

import numpy as np
import torch

from ddrm_fast.diffir import DiffIRConfig, build

HERE = Path(__file__).resolve().parent / "golden" / "diffir"
BESIDE = Path(__file__).resolve().parents[2] / "shared" / "golden" / "diffir"
TASKS = {
    "RealSR": "super_resolution",
    "SRGAN": "super_resolution",
    "demotionblur": "deblurring",
    "inpainting": "inpainting",
}


def folders():
    return [folder for folder in (HERE, BESIDE) if folder.is_dir()]


def networks():
    """Paths of the files that hold a whole network, each name once."""
    found = {}
    for folder in reversed(folders()):
        found |= {path.stem: path for path in folder.glob("*_S[12].npz")}
    return [found[name] for name in sorted(found)]


def read(path):
    """Arrays as tensors, and the meta data."""
    with np.load(path) as file:
        meta = json.loads(str(file["meta"])) if "meta" in file else None
        return {k: torch.from_numpy(file[k]) for k in file if file[k].dtype.kind in "fiu"}, meta


def weights(arrays, prefix="sd."):
    return {k.removeprefix(prefix): x for k, x in arrays.items() if k.startswith(prefix)}


def config(meta):
    return DiffIRConfig.published(
        TASKS[meta["variant"]], int(meta["kind"].removeprefix("DiffIRS")), meta["config"]
    )


def network(path):
    """A network with the file's weights, in evaluation mode; the file's arrays; its meta data."""
    arrays, meta = read(path)
    made = build(config(meta))
    made.load_state_dict(weights(arrays), strict=False)
    return made.eval().requires_grad_(False), arrays, meta


def assert_golden(actual, expected, floor=0.0, rel=1e-5):
    """Relative to the largest number 1e-5, or twice the floor that the file states."""
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    error = (actual.detach().double() - expected.double()).abs().max()
    allowed = max(rel * float(expected.abs().max()), 2 * floor)
    assert error <= allowed, f"error {float(error):.3g}, allowed {allowed:.3g}"

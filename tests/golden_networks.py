"""Published networks in miniature: tests/golden/unet, computed by the official code."""

import json
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parent / "golden" / "unet"
OFFICIAL = 1e-5  # relative distance to the official outputs


class Golden:
    """One file: weights, inputs, outputs and the published configuration."""

    def __init__(self, name):
        with np.load(GOLDEN / f"{name}.npz") as file:
            arrays = {key: file[key] for key in file.files}
        self.config = json.loads(str(arrays.pop("meta")))["config"]
        tensors = {key: torch.from_numpy(value) for key, value in arrays.items()}
        self.weights = {k.removeprefix("sd."): x for k, x in tensors.items() if k.startswith("sd.")}
        self.arrays = {k: x for k, x in tensors.items() if not k.startswith("sd.")}

    def __getitem__(self, name):
        return self.arrays[name]

    def save(self, folder, name="network.pt"):
        path = folder / name
        torch.save(self.weights, path)
        return path


def distance(result, expected):
    return float((result - expected).norm() / expected.norm())


def heads_of(config):
    """What the weights do not tell."""
    names = ("num_heads", "num_head_channels", "num_heads_upsample", "use_new_attention_order")
    return {name: config[name] for name in names}

"""The golden files of the published code, and the drop-in objects that they describe.

``DDRM_FAST_GOLDEN`` names a folder with the full files, where every place of every state is stored.
"""

import json
import math
import os
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from ddrm_fast.compat import ddnm, ddrm
from ddrm_fast.operators.separable import bicubic_kernel

FOLDER = Path(os.environ.get("DDRM_FAST_GOLDEN", Path(__file__).parent / "golden"))


def names(folder: str, kind: str) -> list[str]:
    """Names of all files of a kind ("op", "traj", "simplified"), without the kind's prefix."""
    found = sorted((FOLDER / folder).glob(f"{kind}_*.npz"))
    return [path.stem.removeprefix(f"{kind}_") for path in found]


@cache
def load(name: str) -> dict:
    """The arrays of a file as tensors, and its ``meta`` as a dictionary."""
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = dict(file)
    data = {k: torch.from_numpy(v) for k, v in arrays.items() if v.dtype.kind != "U"}
    data["meta"] = json.loads(str(arrays["meta"]))
    return data


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative L2 distance; equal zeros are at distance 0, NaN is at distance infinity."""
    assert actual.shape == expected.shape, f"{tuple(actual.shape)}, not {tuple(expected.shape)}"
    error = float((actual.double() - expected.double()).norm())
    norm = float(expected.double().norm())
    if math.isnan(error) or math.isnan(norm):
        return math.inf
    return 0.0 if error == 0 else error / norm if norm > 0 else math.inf


def worst(states: list[torch.Tensor], run: dict, name: str) -> float:
    """The largest relative distance of any state from the golden ones, over the places that are stored."""
    if name in run:
        pairs = zip(states, run[name], strict=True)
    else:
        at = run["places"].long()
        pairs = zip((x.flatten(1)[:, at] for x in states), run[f"{name}_at"], strict=True)
    return max(relative(actual, expected) for actual, expected in pairs)


def gaussian_taps(taps: int, sigma: float) -> torch.Tensor:
    kernel = torch.exp(-0.5 * ((torch.arange(taps) - taps // 2) / sigma) ** 2)
    return kernel / kernel.sum()


def _svd(data: dict, suffix: str = "") -> tuple:
    return tuple(data[f"svd_{part}{suffix}"] for part in "UsV")


def build(folder: str, name: str, aligned: bool = True):
    """The drop-in object of an operator file, with the decomposition that the file records."""
    module = ddrm if folder == "ddrm" else ddnm
    data = load(f"{folder}/op_{name.replace('_ordered', '')}")
    meta = load(f"{folder}/op_{name}")["meta"]
    kind, n = meta["cls"], meta["n"]
    own = {} if folder == "ddrm" else {"aligned": aligned}
    if kind == "Denoising":
        return module.Denoising(3, n, "cpu")
    if kind == "Inpainting":
        return module.Inpainting(3, n, data["missing_indices"], "cpu")
    if kind == "SuperResolution":
        ratio = math.isqrt(data["x"].shape[1] * n * n // data["y"].shape[1])
        return module.SuperResolution(3, n, ratio, "cpu", basis=data.get("V_small"), **own)
    if kind == "Colorization":
        return module.Colorization(n, "cpu", basis=data.get("V_small"), **own)
    if kind == "WalshHadamardCS":
        return module.WalshHadamardCS(3, n, 4, data["perm"], "cpu", **own)
    if kind == "CS":
        return module.CS(3, n, meta["scale"], "cpu", basis=data["V_kept"])
    if kind == "GeneralH":
        return module.GeneralH(data["A"], basis=_svd(data))
    if kind == "SRConv":
        kernel = bicubic_kernel(4).float()
        return module.SRConv(kernel, 3, n, "cpu", stride=4, basis=_svd(data))
    ordered = meta["variant"] == "ordered"
    if kind == "Deblurring2D":
        kernels = gaussian_taps(9, 1.0), gaussian_taps(9, 20.0)
        basis = _svd(data, "1"), _svd(data, "2")
        return module.Deblurring2D(
            *kernels, 3, n, "cpu", ordered=ordered, basis=basis, order=data["coef_perm"]
        )
    kernel = torch.full((9,), 1 / 9) if "uni" in name else gaussian_taps(5, 10.0)
    basis = _svd(data)
    return module.Deblurring(
        kernel, 3, n, "cpu", ordered=ordered, basis=basis, order=data["coef_perm"], **own
    )


def network(common: dict):
    """The closed form that the published runs used: exact for the Gaussian N(m, F* diag(S) F)."""
    abar, m, S = (common[name].double() for name in ("abar", "m", "S"))

    def model(x, t, classes=None):
        a = abar[t.long()].view(-1, 1, 1, 1)
        centred = torch.fft.fft2(x.double() - a.sqrt() * m)
        eps = (1 - a).sqrt() * torch.fft.ifft2(centred / (a * S + 1 - a)).real
        return eps.to(x.dtype)

    return model


def travel_config(T: int, length: int = 1, repeat: int = 1, timesteps: int = 1000):
    """The part of the published configuration that the solvers read."""
    travel = SimpleNamespace(T_sampling=T, travel_length=length, travel_repeat=repeat)
    return SimpleNamespace(
        diffusion=SimpleNamespace(num_diffusion_timesteps=timesteps), time_travel=travel
    )

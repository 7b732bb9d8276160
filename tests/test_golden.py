"""Whole sampling runs of the published code, with its noise, on this package's own operators."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ddrm_fast import DDNM, DDRM, DDNMPlus, Prior, Schedule, ops
from ddrm_fast import operators as O
from ddrm_fast.samplers import run

FOLDER = Path(__file__).parent / "golden"


def load(name):
    return dict(np.load(FOLDER / f"{name}.npz"))


def tensor(array):
    return torch.from_numpy(np.asarray(array))


class GoldenPrior(Prior):
    """The closed form that the published runs used: exact for the Gaussian N(m, F* diag(S) F)."""

    def __init__(self, common):
        abar = tensor(common["abar"]).double()
        self.table, self.m, self.S = (
            abar,
            tensor(common["m"]).double(),
            tensor(common["S"]).double(),
        )
        super().__init__(self.eps, "eps", Schedule(abar))

    def eps(self, x, t):
        a = self.table[t.long()].view(-1, 1, 1, 1)
        centred = torch.fft.fft2(x.double() - a.sqrt() * self.m)
        return ((1 - a).sqrt() * torch.fft.ifft2(centred / (a * self.S + 1 - a)).real).to(x.dtype)


def interleaved(vector, size):
    """(B, n * C) with the channel fastest -> (B, C, n)."""
    return vector.view(len(vector), size, 3).transpose(1, 2)


def denoising(folder, y):
    return O.Denoising(), y.view(len(y), 3, 32, 32)


def inpainting(folder, y):
    known = tensor(load(f"{folder}/op_inpainting{'_random' if folder == 'ddrm' else ''}")["mask"])
    n = known.shape[0]
    image = torch.zeros(len(y), n * n, 3, dtype=y.dtype)
    image[:, known.flatten().bool()] = y.view(len(y), -1, 3)
    return O.Inpainting(known), image.mT.reshape(len(y), 3, n, n)


def colorization(folder, y):
    n = int(y.shape[1] ** 0.5)
    return O.Colorization((0.3333, 0.3334, 0.3333)), y.view(len(y), 1, n, n)


def super_resolution(factor):
    def build(folder, y):
        n = int((y.shape[1] // 3) ** 0.5)
        return O.SuperResolution(factor), y.view(len(y), 3, n, n)

    return build


def walsh_hadamard(name):
    def build(folder, y):
        m = y.shape[1] // 3
        kept = tensor(load(f"{folder}/{name}")["perm"])[:m]
        return O.WalshHadamardCS((32, 32), kept=kept), interleaved(y, m).contiguous()

    return build


def bicubic(folder, y):
    return O.BicubicDownscaling(4, (32, 32), rcond=0), y.view(len(y), 3, 8, 8)


def block_cs(folder, y):
    kept = tensor(load("ddnm/op_cs_block")["V_kept"]).double()
    complement = torch.linalg.svd(kept)[0][:, kept.shape[1] :]
    basis = torch.cat((kept, complement), dim=1)
    operator = O.BlockCS(32, keep=kept.shape[1], basis=basis)
    return operator, y.view(len(y), 3, 1, 1, kept.shape[1])


def blur_of_low_rank(folder, y):
    """The published blur sets 1-D singular values below 3e-2 to 0."""
    data = load("ddrm/op_deblur_uni")
    s = tensor(data["svd_s"]).double()
    s = torch.where(s < 3e-2, 0.0, s)
    matrix = tensor(data["svd_U"]).double() * s @ tensor(data["svd_V"]).double().mT
    return O.Separable(matrix, matrix, rcond=1e-5), y.view(len(y), 3, 32, 32)


DDRM_RUNS = {
    "denoising__s0.05": denoising,
    "denoising__s0.1_eB0.7_eA0.85_eC0.85_K10": denoising,
    "inpainting_random__s0": inpainting,
    "inpainting_random__s0.05": inpainting,
    "colorization__s0.05": colorization,
    "sr2__s0.05": super_resolution(2),
    "cs4__s0.05": walsh_hadamard("op_cs4"),
    "sr_bicubic4__s0.05": bicubic,
    "deblur_uni_ordered__s0": blur_of_low_rank,
}

DDNM_RUNS = {
    "inpainting__ddnmplus_s0.05_eta0.85_T10_1_1": inpainting,
    "sr4_aligned__ddnmplus_s0.1_eta0.85_T10_1_1": super_resolution(4),
    "colorization_aligned__ddnmplus_s0.05_eta0.85_T10_1_1": colorization,
    "cs_wh4_aligned__ddnmplus_s0.05_eta0.85_T10_1_1": walsh_hadamard("op_cs_wh4"),
    "cs_block__ddnm_s0_eta0.85_T10_1_1": block_cs,
    "sr_bicubic4__ddnm_s0_eta0.85_T10_1_1": bicubic,
}


def compare(folder, name, build, sampler, sigma_y, dtype):
    trajectory = load(f"{folder}/traj_{name}")
    size = trajectory["x_t"].shape[-1]
    common = load(f"{folder}/common_n{size}" + ("b1" if folder == "ddrm" else ""))
    y = tensor(trajectory["y"]).to(dtype)
    operator, y = build(folder, y)
    z_T, z = tensor(common["z_T"]), tensor(common["z"])
    states, clean = [], []

    def record(info):
        states.append(info.x_next.clone())
        clean.append(info.x0.clone())

    run(
        operator,
        GoldenPrior(common),
        sampler,
        y,
        torch.tensor([sigma_y], dtype=torch.float64),
        ops.noise_keys(len(y)),
        callback=record,
        noise=lambda k: z_T if k == 0 else z[k - 1],
    )
    limit = 2e-5 if dtype == torch.float64 else 1e-4
    for actual, expected in (
        (states, trajectory["x_t"][1:]),
        (clean, trajectory["x0_t"]),
    ):
        assert len(actual) == len(expected)
        for step, (a, e) in enumerate(zip(actual, tensor(expected), strict=True)):
            error = float((a - e).double().norm() / e.double().norm())
            assert error <= limit, f"step {step}: relative error {error:.2e}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", DDRM_RUNS)
def test_ddrm(name, dtype):
    meta = json.loads(str(load(f"ddrm/traj_{name}")["meta"]))
    seq = load(f"ddrm/traj_{name}")["seq"].tolist()
    sampler = DDRM(
        seq[::-1], meta["etaA"], meta["etaB"], eta_c=meta["etaC"], start_scale="published"
    )
    compare("ddrm", name, DDRM_RUNS[name], sampler, meta["sigma_0"], dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", DDNM_RUNS)
def test_ddnm(name, dtype):
    data = load(f"ddnm/traj_{name}")
    meta = json.loads(str(data["meta"]))
    times = data["pairs"][:, 0].tolist()
    kind = DDNMPlus if "ddnmplus" in name else DDNM
    sampler = kind(times, meta["eta"])
    compare("ddnm", name, DDNM_RUNS[name], sampler, meta["sigma_y"], dtype)


def test_uniform_timesteps():
    sequences = load("runner_sequences")
    for name, expected in sequences.items():
        if "_timesteps" not in name:
            continue
        T, steps = (int(part) for part in name.removeprefix("N").split("_timesteps"))
        assert Schedule.linear(T).steps(steps) == expected.tolist()[::-1]

"""Whole sampling runs of the drop-in modules against those of the published code, with its noise."""

import pytest
import torch
from golden_compat import FOLDER, build, load, names, network, relative, travel_config, worst

from ddrm_fast.compat import ddnm, ddrm

LIMIT = 1e-4


def test_all_runs_are_here():
    assert len(names("ddrm", "traj")) == 28
    assert len(names("ddnm", "traj")) == 29
    assert len(names("ddnm", "simplified")) == 7


def _ddrm(name: str, x: torch.Tensor, **keywords):
    run = load(f"ddrm/traj_{name}")
    meta = run["meta"]
    common = load(f"ddrm/{meta['common'].removesuffix('.npz')}")
    H = build("ddrm", meta["operator"].removeprefix("op_").removesuffix(".npz"))
    if meta["guided"]:
        template = common["cls_template"]
        keywords["cls_fn"] = lambda x, t, y: 0.02 * (template[y] - x)
        keywords["classes"] = torch.arange(len(run["y"]))
    return ddrm.efficient_generalized_steps(
        x if x is not None else H.Vt(common["z_T"]).view(common["z_T"].shape),
        run["seq"].tolist(),
        network(common),
        common["betas"],
        H,
        run["y"],
        meta["sigma_0"],
        meta["etaB"],
        meta["etaA"],
        meta["etaC"],
        noise=lambda k: common["z"][k],
        **keywords,
    )


@pytest.mark.parametrize("name", names("ddrm", "traj"))
def test_ddrm(name):
    run = load(f"ddrm/traj_{name}")
    states, clean = _ddrm(name, None)
    assert worst(states, run, "x_t") <= LIMIT
    assert worst(clean, run, "x0_t") <= LIMIT


@pytest.mark.parametrize(
    "name", ["denoising__s0.05", "inpainting_random__s0", "cs4__s0.05", "deblur_uni_ordered__s0"]
)
def test_initial_coefficients_in_the_published_order(name):
    """The first argument that the published run had, where its basis is known."""
    run = load(f"ddrm/traj_{name}")
    if "x_T_arg" not in run:
        pytest.skip(f"{FOLDER} has no x_T_arg of this run")
    states, _ = _ddrm(name, run["x_T_arg"])
    assert worst(states, run, "x_t") <= LIMIT


def test_equality_belongs_to_the_null_space():
    """sigma_0 is the float32 sigma of one step of this run: the drop-in sees exactly that one as a tie."""
    run = load("ddrm/traj_denoising__equality")
    meta = run["meta"]
    sampler = ddrm.DDRMWeights(meta["etaB"], meta["etaA"], meta["etaC"])
    abar = load("ddrm/common_n32b1")["abar"]
    tied = [t for t in run["seq"].tolist() if _tied(sampler, float(abar[t]), meta["sigma_0"])]
    assert len(tied) == 1


def _tied(sampler, abar: float, sigma_0: float) -> bool:
    low, high = sampler.tie(abar, sigma_0)
    return low <= 1.0 < high


@pytest.mark.parametrize("name", names("ddnm", "traj"))
def test_ddnm(name):
    run = load(f"ddnm/traj_{name}")
    meta = run["meta"]
    common = load(f"ddnm/{meta['common'].removesuffix('.npz')}")
    operator = meta["operator"].removeprefix("op_").removesuffix(".npz")
    A = build("ddnm", operator, aligned=meta["aligned"])
    keywords = {
        "config": travel_config(meta["T_sampling"], meta["travel_length"], meta["travel_repeat"]),
        "noise": lambda k: common["z"][k],
        "keep": True,
    }
    if meta["guided"]:
        template = common["cls_template"]
        keywords["cls_fn"] = lambda x, t, y: 0.02 * (template[y % 3] - x)
    first = (common["z_T"], network(common), common["betas"], meta["eta"], A, run["y"])
    if meta["algo"] == "ddnm":
        states, clean = ddnm.ddnm_diffusion(*first, **keywords)
    else:
        states, clean = ddnm.ddnm_plus_diffusion(*first, meta["sigma_y"], **keywords)
    assert worst(states, run, "x_t") <= LIMIT
    assert worst(clean, run, "x0_t") <= LIMIT


@pytest.mark.parametrize("name", names("ddnm", "simplified"))
def test_simplified(name):
    run = load(f"ddnm/simplified_{name}")
    meta = run["meta"]
    A, Ap = ddnm.simplified_operators(meta["deg"], meta["deg_scale"], run.get("mask"))
    for actual, expected in (
        (A(run["x"]), "y"),
        (Ap(run["y"]), "Ap_y"),
        (A(Ap(run["y"])), "A_Ap_y"),
        (Ap(run["q"]), "Ap_q"),
    ):
        assert relative(actual, run[expected]) <= 1e-5
    config = travel_config(meta["T_sampling"], meta["travel_length"], meta["travel_repeat"])
    states, clean = ddnm.simplified_ddnm_plus(
        run["z_T"],
        network(run),
        load("ddnm/common_n32")["betas"],
        meta["eta"],
        A,
        Ap,
        run["y"],
        meta["sigma_y"],
        config,
        official=True,
        noise=lambda k: run["z"][k],
        keep=True,
    )
    assert worst(states, run, "x_t") <= LIMIT
    assert worst(clean, run, "x0_t") <= LIMIT


def test_schedules():
    schedules = {k: v for k, v in load("ddnm/schedule_jump").items() if k.startswith("T")}
    checked = 0
    for name, expected in schedules.items():
        if name.endswith("pairs"):
            continue
        T, length, repeat = (int(part.strip("Tlenrp")) for part in name.split("_"))
        assert ddnm.get_schedule_jump(T, length, repeat) == expected.tolist()
        visited = [-1 if t < 0 else t * (1000 // T) for t in expected.tolist()]
        pairs = schedules[f"{name}_pairs"].tolist()
        assert [list(pair) for pair in zip(visited, visited[1:], strict=False)] == pairs
        checked += 1
    assert checked == 9


@pytest.mark.parametrize("module", [ddrm, ddnm])
def test_compute_alpha(module):
    common = load("ddrm/common_n32b1")
    t = torch.tensor([-1, 0, 500, 999])
    actual = module.compute_alpha(common["betas"], t)
    assert actual.shape == (4, 1, 1, 1) and actual[0] == 1
    assert torch.equal(actual.flatten()[1:], common["abar"][t[1:]])

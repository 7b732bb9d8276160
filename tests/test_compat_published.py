"""The switch for the published noise, against recorded noisy runs of the official code."""

from pathlib import Path

import pytest
from golden_compat import build, load, names, network, travel_config, worst

from ddrm_fast.compat import ddnm


def _noisy():
    """Recorded noisy runs with the published Lambda_noise."""
    chosen = []
    for name in names("ddnm", "traj"):
        meta = load(f"ddnm/traj_{name}")["meta"]
        if meta["algo"] != "ddnm" and not meta["aligned"]:
            chosen.append(name)
    return chosen


LIMIT = 1e-4
NOISY = _noisy()


@pytest.fixture
def switched():
    ddnm.published_noise()
    yield
    ddnm.published_noise(False)


def _run(name):
    run = load(f"ddnm/traj_{name}")
    meta = run["meta"]
    common = load(f"ddnm/{meta['common'].removesuffix('.npz')}")
    operator = meta["operator"].removeprefix("op_").removesuffix(".npz")
    keywords = {
        "config": travel_config(meta["T_sampling"], meta["travel_length"], meta["travel_repeat"]),
        "noise": lambda k: common["z"][k],
        "keep": True,
    }
    if meta["guided"]:
        template = common["cls_template"]
        keywords["cls_fn"] = lambda x, t, y: 0.02 * (template[y % 3] - x)
    states, clean = ddnm.ddnm_plus_diffusion(
        common["z_T"], network(common), common["betas"], meta["eta"], build("ddnm", operator, aligned=None),
        run["y"], meta["sigma_y"], **keywords,
    )  # fmt: skip
    return max(worst(states, run, "x_t"), worst(clean, run, "x0_t"))


@pytest.mark.parametrize("name", NOISY)
def test_noisy_runs_are_the_published_ones(switched, name):
    assert _run(name) <= LIMIT


def test_without_the_switch_some_follow_the_paper():
    """Where V is not the identity the published noise is another one."""
    others = [name for name in NOISY if name.startswith(("sr", "colorization", "cs_wh"))]
    assert others and all(_run(name) > 100 * LIMIT for name in others)


def test_what_a_constructor_says_goes_before(switched):
    aligned = ddnm.SuperResolution(3, 8, 2, "cpu", aligned=True)
    assert aligned._is_aligned and not ddnm.SuperResolution(3, 8, 2, "cpu")._is_aligned
    ddnm.published_noise(False)
    assert ddnm.SuperResolution(3, 8, 2, "cpu")._is_aligned
    assert not ddnm.SuperResolution(3, 8, 2, "cpu", aligned=False)._is_aligned


@pytest.mark.parametrize("name", names("ddnm", "simplified"))
def test_the_path_without_svd(switched, name):
    """As three lines in the published script call it: nothing but its own arguments."""
    run = load(f"ddnm/simplified_{name}")
    meta = run["meta"]
    A, Ap = ddnm.simplified_operators(meta["deg"], meta["deg_scale"], run.get("mask"))
    config = travel_config(meta["T_sampling"], meta["travel_length"], meta["travel_repeat"])
    arguments = (
        run["z_T"], network(run), load("ddnm/common_n32")["betas"], meta["eta"], A, Ap, run["y"],
        meta["sigma_y"], config,
    )  # fmt: skip
    states, clean = ddnm.simplified_ddnm_plus(*arguments, noise=lambda k: run["z"][k], keep=True)
    assert worst(states, run, "x_t") <= LIMIT and worst(clean, run, "x0_t") <= LIMIT


def test_the_guide_names_the_switch():
    folder = Path(__file__).parent.parent
    for name in ("README.md", "docs/porting.md", "docs/fidelity.md"):
        assert "published_noise()" in (folder / name).read_text(), name
    assert "published_noise" in ddnm.__all__

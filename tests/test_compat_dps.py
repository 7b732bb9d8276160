"""The published DPS and MCG: operators, noise, masks, schedules, predictions and whole runs as recorded."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from golden_dps import GOLDEN, noise_of, toy_network

from ddrm_fast.compat import dps

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the recorded runs are not here")
OPERATORS = sorted(path.stem.removeprefix("op_") for path in GOLDEN.glob("op_*.npz"))
RUNS = sorted(path.stem.removeprefix("traj_") for path in GOLDEN.glob("traj_*.npz"))


def read(name):
    file = np.load(GOLDEN / f"{name}.npz")
    arrays = {key: torch.from_numpy(file[key]) for key in file.files if key != "meta"}
    return arrays, json.loads(str(file["meta"]))


def operator_of(name, arrays, meta, **more):
    """As the configuration of the file makes it, and keywords of its calls."""
    shape, kind = tuple(arrays["x"].shape), meta.get("class") or meta["operator"]
    mask = {"mask": arrays["mask"].float()[None, None]} if "mask" in arrays else {}
    settings = {
        "super_resolution": lambda: {"in_shape": shape, "scale_factor": int(name[2])},
        "gaussian_blur": lambda: {"kernel_size": len(arrays["kernel64"]), "intensity": 3.0},
        "motion_blur": lambda: {
            "kernel_size": len(arrays["kernel64"]), "intensity": 0.5, "kernel": arrays["kernel64"],
        },
        "inpainting": dict,
        "phase_retrieval": lambda: {"oversample": meta["pad"] / 32},
    }[kind]()  # fmt: skip
    return dps.get_operator(kind, device="cpu", **settings, **more), mask


KINDS = {
    "sr": "super_resolution", "gb": "gaussian_blur", "mb": "motion_blur", "in": "inpainting",
    "ph": "phase_retrieval",
}  # fmt: skip


def made(name, **more):
    arrays, meta = read(f"op_{name}")
    meta["class"] = KINDS[name[:2]]
    if name.startswith("phase"):
        meta["pad"] = (arrays["Ax"].shape[-1] - arrays["x"].shape[-1]) // 2
    operator, mask = operator_of(name, arrays, meta, **more)
    return operator, mask, arrays


@torch.no_grad()
def close(found, expected, tolerance=2e-6):
    scale = max(1.0, float(expected.abs().max()))
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= tolerance * scale


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name):
    operator, mask, arrays = made(name)
    x = arrays["x"].requires_grad_()
    found = operator.forward(x, **mask)
    close(found, arrays["Ax"])
    (gradient,) = torch.autograd.grad(found, x, arrays["y"])
    close(gradient, arrays["vjp_y"])
    x = arrays["x"].detach()
    if "transpose_y" in arrays:
        close(operator.transpose(arrays["y"], **mask), arrays["transpose_y"])
    if "ortho_x" in arrays:
        close(operator.ortho_project(x, **mask), arrays["ortho_x"])
    if "project_xy" in arrays:
        close(operator.project(data=x, measurement=arrays["y"], **mask), arrays["project_xy"])


@pytest.mark.parametrize("name", [n for n in OPERATORS if not n.startswith("phase")])
def test_corrected_operators(name):
    """The transpose is the adjoint, and the projection goes to the measurement, or towards it."""
    operator, mask, arrays = made(name, corrected=True)
    x, y = arrays["x"], arrays["y"]
    close(operator.transpose(y, **mask), arrays["vjp_y"], 1e-5)
    put = operator.project(data=x, measurement=y, **mask)
    before, after = (
        torch.linalg.vector_norm(y * mask.get("mask", 1.0) - operator.forward(v, **mask))
        for v in (x, put)
    )
    assert after < (1e-3 if name[:2] in ("sr", "in") else 1.0) * before


def test_centred_transform():
    from ddrm_fast.operators.nonlinear import centred_amplitude

    arrays, meta = read("fft2_m")
    for height, width in meta["sizes"]:
        size = f"{height}x{width}"
        expected = torch.complex(arrays[f"{size}.fft_re"], arrays[f"{size}.fft_im"]).abs()
        close(centred_amplitude(arrays[f"{size}.x"], 0), expected)


def test_masks():
    arrays, meta = read("masks")
    for name, facts in meta["masks"].items():
        np.random.seed(facts["np_seed"])
        known = dps.mask_generator(**facts["mask_opt"])(torch.zeros(1, 3, facts["n"], facts["n"]))
        assert torch.equal(known[0, 0], arrays[name].float()), name
        assert torch.equal(known[0, 0], known[0, 2])


def test_noise_models(monkeypatch):
    arrays, meta = read("noise_models")
    x = arrays["x"]
    monkeypatch.setattr(torch, "randn_like", lambda v, **_: arrays["n"])
    for sigma in meta["sigmas"]:
        assert torch.equal(dps.get_noise("gaussian", sigma=sigma)(x), arrays[f"gaussian_{sigma}"])
    for name, facts in meta["poisson"].items():
        np.random.seed(facts["np_seed"])
        y = dps.get_noise("poisson", rate=facts["rate"])(x)
        assert y.dtype == torch.float64
        close(y, arrays[f"{name}_y64"], 1e-12)
    assert dps.get_noise("clean")(x) is x


def sampler_of(**settings):
    usual = {
        "sampler": "ddpm", "steps": 1000, "noise_schedule": "linear", "model_mean_type": "epsilon",
        "model_var_type": "learned_range", "dynamic_threshold": False, "clip_denoised": True,
        "rescale_timesteps": False, "timestep_respacing": "",
    }  # fmt: skip
    return dps.create_sampler(**{**usual, **settings})


def test_schedules():
    arrays, meta = read("schedules")
    for tag, facts in meta["tags"].items():
        keys = ("steps", "noise_schedule", "timestep_respacing", "rescale_timesteps")
        process = sampler_of(**{key: facts[key] for key in keys})
        assert process.timestep_map == arrays[f"{tag}.timestep_map"].tolist()
        for name in (
            "betas", "alphas_cumprod", "alphas_cumprod_prev", "alphas_cumprod_next", "posterior_variance",
            "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2",
        ):  # fmt: skip
            expected = arrays[f"{tag}.{name}_64"].numpy()
            assert np.allclose(getattr(process, name), expected, rtol=1e-9, atol=1e-15), (tag, name)
        t = torch.arange(process.num_timesteps)
        assert torch.equal(process.model_times(t).double(), arrays[f"{tag}.t_model"].double())


@pytest.mark.parametrize("respacing", [20, 100, 1000])
def test_predictions(respacing):
    arrays, meta = read(f"pmv_{respacing}")
    x, t = arrays["x"], arrays["t"].long()
    for case in meta["cases"]:
        mean, variance, clip, *threshold = case.split(".")
        process = sampler_of(
            model_mean_type=mean, model_var_type=variance, clip_denoised=clip == "clip",
            dynamic_threshold=bool(threshold), timestep_respacing=respacing,
        )  # fmt: skip
        assert torch.equal(process.model_times(t), arrays["t_model"].long())
        found = process.p_mean_variance(lambda x, t: arrays["model_out"], x, t)
        for name in ("pred_xstart", "mean", "variance", "log_variance"):
            if f"{case}.{name}" not in arrays:
                continue
            expected = arrays[f"{case}.{name}"]
            expected = of_pictures(expected, x)
            same = torch.isinf(expected) & (found[name] == expected)
            close(torch.where(same, 0.0, found[name]), torch.where(same, 0.0, expected), 4e-6)
    close(process.q_sample(x, t, arrays["q_noise"]), arrays["q_sample"])
    for name, value in zip(
        ("mean", "variance", "log_variance"),
        process.q_posterior_mean_variance(x, arrays["q_noise"], t), strict=True,
    ):  # fmt: skip
        expected = arrays[f"q_posterior_{name}"]
        close(value, of_pictures(expected, x))


def of_pictures(values, x):
    """One number for each picture, or one for each pixel, at every pixel."""
    return values.view(-1, 1, 1, 1).expand_as(x) if values.dim() == 1 else values


class MCGRepo(dps.ConditioningMethod):
    """The loop of the MCG repository, for inpainting: scale 1, the mask on both sides."""

    def conditioning(
        self, x_t, measurement, noisy_measurement=None, x_prev=None, x_0_hat=None, mask=None
    ):
        gradient, norm = self.grad_and_value(x_prev, x_0_hat, measurement, mask=mask)
        return (1 - mask) * (x_t - gradient) + mask * noisy_measurement, norm


@pytest.mark.parametrize("name", RUNS)
def test_runs(name):
    arrays, meta = read(f"traj_{name}")
    common, _ = read(meta["common"].removesuffix(".npz"))
    operator_name = meta["operator"].removesuffix(".npz").removeprefix("op_")
    method = meta["conditioning"]
    paper = name.endswith("_paper")
    operator, mask, _ = made(operator_name, **({"corrected": True} if paper else {}))
    noise = (
        dps.get_noise("poisson", rate=1)
        if meta["noise"] == "poisson"
        else dps.get_noise("gaussian", sigma=0.05)
    )
    settings = {"num_sampling": meta["num_sampling"]} if method == "ps+" else {}
    if method == "mcgrepo":
        conditioning = MCGRepo(operator, noise)
    else:
        conditioning = dps.get_conditioning_method(
            method.split()[0], operator, noise, scale=meta["scale"], **settings
        )
    if method == "ps+":
        conditioning.uniform = arrays["u"].__getitem__
    function = partial(conditioning.conditioning, **mask) if mask else conditioning.conditioning
    process = sampler_of(
        sampler=meta["sampler"], model_var_type=meta["model_var_type"],
        clip_denoised=meta["clip_denoised"], timestep_respacing=meta["respacing"],
        **({"eta": meta["eta"] or 0.0} if meta["sampler"] == "ddim" else {}),
    )  # fmt: skip
    y = arrays["y"] if "y" in arrays else arrays["y_64"]
    saved, states, seen = arrays["saved_steps"].tolist(), {}, []

    def network(x, t):
        seen.append(int(t[0]))
        return toy_network(common, meta["kappa"])(x, t)

    def keep(state):
        if state.index in saved:
            states[state.index] = state.x_next.clone()

    result = process.p_sample_loop(
        network, common["x_T"], y, function, progress=False, noise=noise_of(common["z"]), callback=keep,
        measurement_noise=noise_of(arrays["z_y"]) if "z_y" in arrays else None,
    )  # fmt: skip
    assert seen == arrays["t_model"].tolist() and set(states) == set(saved)
    assert torch.equal(result, states[saved[-1]])
    floor = float(arrays["floor"][:, 0].max())
    for place, index in enumerate(saved):
        error = float((states[index] - arrays["x_t"][place + 1]).abs().max())
        # float32 against float32: each is as far from float64 as the floor says
        assert error <= 4 * floor + 2e-6, (name, index, error)


def small_problem(batch, **more):
    """Two steps of pictures of 8 x 8 by a network that looks at neighbours."""
    torch.manual_seed(0)
    x = torch.rand(batch, 3, 8, 8) * 2 - 1
    operator = dps.get_operator("super_resolution", in_shape=(1, 3, 8, 8), scale_factor=2)
    noise = dps.get_noise("gaussian", sigma=0.05)
    z = torch.randn(6, batch, 3, 8, 8)

    def network(x, t):
        return torch.tanh(x + 0.1 * x.roll(1, -1))

    def drawn(rows, method="ps", **settings):
        made = dps.get_conditioning_method(method, operator, noise, **settings)
        process = sampler_of(model_var_type="fixed_small", timestep_respacing=5, **more)
        return process.p_sample_loop(
            network, z[0][rows], operator.forward(x)[rows], made.conditioning, progress=False,
            noise=lambda k: z[k + 1][rows], measurement_noise=lambda k: torch.zeros(len(z[0][rows]), 3, 4, 4),
        )  # fmt: skip

    return drawn


@pytest.mark.parametrize("method", ["ps", "ps+", "mcg"])
def test_pictures_of_a_batch(method, monkeypatch):
    """Published, they share a norm; corrected, each is what it is alone."""
    monkeypatch.setattr(torch, "rand_like", torch.zeros_like)
    drawn = small_problem(3, corrected=method == "mcg")
    rows = slice(1, 2)
    together = drawn(slice(None), method, corrected=True)[rows]
    assert torch.allclose(together, drawn(rows, method, corrected=True), atol=1e-6)
    assert not torch.allclose(drawn(slice(None), method)[rows], drawn(rows, method), atol=1e-3)


def test_recording_and_own_conditioning(tmp_path):
    """Every tenth state is a file; a function of one's own sees what the published loop hands on."""
    process = sampler_of(model_var_type="fixed_large", timestep_respacing=12)
    seen = []

    def conditioning(x_t, measurement, noisy_measurement, x_prev, x_0_hat):
        loss = (measurement - x_0_hat.mean(dim=1, keepdim=True)).square().sum()
        x_t = x_t - 0.1 * torch.autograd.grad(loss, x_prev)[0]
        seen.append(float(loss))
        return x_t, loss

    y = torch.zeros(2, 1, 8, 8)
    torch.manual_seed(3)
    start = torch.randn(2, 3, 8, 8)

    def run():
        torch.manual_seed(5)
        return process.p_sample_loop(
            lambda x, t: x, start, y, conditioning, record=True, save_root=tmp_path, progress=False
        )

    first = run()
    names = sorted(path.name for path in (tmp_path / "progress").iterdir())
    assert names == ["x_0000.png", "x_0010.png"] and len(seen) == 12
    assert torch.equal(first, run()) and not start.requires_grad


@pytest.mark.parametrize("kind", ["ddpm", "ddim"])
@pytest.mark.parametrize("mean", ["epsilon", "start_x", "previous_x"])
def test_single_steps_are_those_of_the_loop(kind, mean, monkeypatch):
    """`p_sample` and the fused step, without a measurement."""
    process = sampler_of(
        sampler=kind, model_mean_type=mean, model_var_type="learned", timestep_respacing=6,
        dynamic_threshold=mean == "start_x",
    )  # fmt: skip
    torch.manual_seed(0)
    x, z = torch.randn(1, 3, 8, 8), torch.randn(6, 1, 3, 8, 8)

    def network(x, t):
        return torch.cat((0.5 * torch.tanh(x), -1 - x.abs().clamp(max=1)), dim=1)

    vanilla = dps.get_conditioning_method("vanilla", None, None)
    found = process.p_sample_loop(
        network, x, torch.zeros(1), vanilla.conditioning, progress=False, noise=lambda k: z[k]
    )
    for k in range(6):
        monkeypatch.setattr(torch, "randn_like", lambda v, k=k: z[k])
        x = process.p_sample(network, x, torch.tensor([5 - k]))["sample"]
    assert torch.allclose(found, x, atol=2e-5)


def test_a_model_needs_its_weights(tmp_path):
    settings = {
        "image_size": 64, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,2",
        "learn_sigma": True, "num_head_channels": 32,
    }  # fmt: skip
    with pytest.raises(FileNotFoundError, match="model_path: no file"):
        dps.create_model(**settings, model_path=str(tmp_path / "none.pt"))
    model = dps.create_model(**settings, random_weights=True)
    path = tmp_path / "model.pt"
    torch.save(model.state_dict(), path)
    again = dps.create_model(**settings, model_path=str(path))
    x = torch.randn(1, 3, 16, 16)
    assert torch.equal(model(x, torch.tensor([3])), again(x, torch.tensor([3])))
    assert again(x, torch.tensor([3])).shape == (1, 6, 16, 16)
    with pytest.raises(ValueError, match=r"model_path: .* holds the weights of another network"):
        dps.create_model(**{**settings, "num_channels": 64}, model_path=str(path))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: dps.get_operator("sr"), "^operator: got 'sr', expected one of noise, super_res"),
        (lambda: dps.get_noise("salt"), "^noise: got 'salt'"),
        (lambda: dps.get_noise("poisson", rate=0), "^rate: expected a number > 0"),
        (lambda: dps.get_conditioning_method("dps", None, None), "^conditioning method: got 'dps'"),
        (lambda: dps.get_operator("nonlinear_blur", opt_yml_path="x.yml"), "^blur_model: expected a module"),
        (lambda: dps.get_operator("inpainting").forward(torch.zeros(1, 3, 8, 8)), "^mask: expected"),
        (lambda: dps.mask_generator("both", (1, 2), (0.1, 0.2)), "^mask_type: expected one of"),
        (lambda: dps.mask_generator("box"), "^mask_len_range: expected two numbers"),
        (lambda: sampler_of(model_var_type="small"), "^model_var_type: expected one of fixed_small"),
        (lambda: sampler_of(timestep_respacing="ddim999"), "^section_counts: no whole stride"),
        (lambda: sampler_of(timestep_respacing=1001), "^section_counts: a section of 1000"),
    ],
)  # fmt: skip
def test_refusals(call, words):
    with pytest.raises((ValueError, NameError), match=words):
        call()

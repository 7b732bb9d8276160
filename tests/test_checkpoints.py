"""What wrappings and settings of checkpoints mean: the right weights, betas and times, or a refusal.

The wrappings and names are those of published training programs; the networks are the golden ones.
"""

import math

import pytest
import torch
from golden_networks import OFFICIAL, Golden, distance

import ddrm_fast
from ddrm_fast import Schedule, load_prior
from ddrm_fast.priors.networks.guided import GuidedConfig, GuidedUNet

DDPM = Golden("ddpm")
OTHER = {name: 0.5 * x for name, x in DDPM.weights.items()}  # as trained, not the mean


def _prefixed(weights, *prefixes):
    return {"".join(prefixes) + name: x for name, x in weights.items()}


def _output(path, config=None):
    prior = load_prior(path, config)
    prior.precision = "float32"
    return prior.network(DDPM["x"], DDPM["t"]), prior


def _is_official(out):
    return distance(out, DDPM["out"]) < OFFICIAL


OPTIMISER = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}
BOTH = {
    "DDIM's list": [_prefixed(OTHER, "module."), OPTIMISER, 7, 1000, DDPM.weights],
    "model and ema": {"model": OTHER, "ema": DDPM.weights, "step": 3},
    "state_dict_ema": {"state_dict": OTHER, "state_dict_ema": _prefixed(DDPM.weights, "module.")},
    "ema_state_dict": {"model_state_dict": OTHER, "ema_state_dict": DDPM.weights, "epoch": 1},
    "params_ema": {"params": OTHER, "params_ema": DDPM.weights},
    "shadow": {"state_dict": OTHER, "ema": {"decay": 0.999, "shadow": DDPM.weights}},
    "shadow_params": {
        "model": _prefixed(OTHER, "module."),
        "ema": {"decay": 0.9, "num_updates": 4, "shadow_params": list(DDPM.weights.values())},
    },
    "a module of two": {
        "step": torch.tensor(5), "initted": torch.tensor(True),
        **_prefixed(OTHER, "online_model.", "model."), **_prefixed(DDPM.weights, "ema_model.", "model."),
    },
    "a module within": {"model": OTHER, "ema": _prefixed(DDPM.weights, "ema_model.")},
    "decay beside": {"model": OTHER, "ema": {"module": DDPM.weights, "decay": torch.tensor(0.9)}},
    "a part of the weights": {
        "model": {**OTHER, **{k: DDPM.weights[k] for k in ("conv_in.weight", "conv_in.bias")}},
        "ema": {k: x for k, x in DDPM.weights.items() if not k.startswith("conv_in")},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", BOTH)
def test_the_running_mean_is_taken_and_said(tmp_path, name):
    path = tmp_path / "model.pt"
    torch.save(BOTH[name], path)
    with pytest.warns(UserWarning, match="model.pt: takes the running mean of the weights"):
        out, prior = _output(path)
    assert _is_official(out) and "running mean" in prior.notes[0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "config", [{"ema": True}, {"model": {"ema": True, "ch": 32}, "training": {}}]
)
def test_which_weights_can_be_asked_for(tmp_path, config):
    path = tmp_path / "model.pt"
    torch.save(BOTH["DDIM's list"], path)
    assert _is_official(_output(path, config)[0])
    out, prior = _output(path, {"ema": False})
    assert not _is_official(out) and not prior.notes
    torch.save(DDPM.weights, path)
    assert _is_official(_output(path)[0]) and _is_official(_output(path, {"ema": False})[0])
    with pytest.raises(ValueError, match="^config: ema is True, but there is no running mean"):
        load_prior(path, {"ema": True})
    with pytest.raises(ValueError, match="^config: ema is 'yes', expected True or False"):
        load_prior(path, {"ema": "yes"})


def test_a_mean_in_an_unknown_form_is_not_passed_over(tmp_path):
    path = tmp_path / "model.pt"
    for mean in ({"shadow_params": [torch.zeros(3)]}, {"other.weight": torch.zeros(3)}):
        torch.save({"model": DDPM.weights, "ema": mean}, path)
        with pytest.raises(ValueError, match=r"model\.pt: there is a running mean .* not known"):
            load_prior(path)
        assert _is_official(_output(path, {"ema": False})[0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "content",
    [
        _prefixed(DDPM.weights, "_orig_mod."),
        _prefixed(DDPM.weights, "module.", "_orig_mod."),
        _prefixed(DDPM.weights, "_orig_mod.", "module.", "model."),
        _prefixed(DDPM.weights, "model.", "_orig_mod."),
        {"model_state_dict": _prefixed(DDPM.weights, "module."), "loss": torch.tensor(0.3), "epoch": 2},
        {"state_dict": {"module": DDPM.weights}},
        {"ema": DDPM.weights},
        {**_prefixed(DDPM.weights, "model."), "betas": torch.zeros(1000), "loss.weight": torch.ones(2)},
        [DDPM.weights, OPTIMISER, 7, 1000],
        (DDPM.weights,),
    ],
    ids=lambda content: type(content).__name__,
)  # fmt: skip
def test_wrappings(tmp_path, content):
    path = tmp_path / "model.ckpt"
    torch.save(content, path)
    out, prior = _output(path)
    assert _is_official(out) and not prior.notes


# settings


def _script(name):
    """The options of guided-diffusion's scripts: all of model_and_diffusion_defaults()."""
    config = Golden(name).config
    side = config["image_size"]
    return {
        "image_size": side,
        "num_channels": config["model_channels"],
        "num_res_blocks": config["num_res_blocks"],
        "num_heads": config["num_heads"],
        "num_heads_upsample": config["num_heads_upsample"],
        "num_head_channels": config["num_head_channels"],
        "attention_resolutions": ",".join(str(side // f) for f in config["attention_resolutions"]),
        "channel_mult": ",".join(map(str, config["channel_mult"])),
        "dropout": 0.0,
        "class_cond": config["num_classes"] is not None,
        "use_checkpoint": False,
        "use_scale_shift_norm": config["use_scale_shift_norm"],
        "resblock_updown": config["resblock_updown"],
        "use_fp16": False,
        "use_new_attention_order": config["use_new_attention_order"],
        "learn_sigma": config["out_channels"] == 6,
        "diffusion_steps": 1000,
        "noise_schedule": "linear",
        "timestep_respacing": "",
        "use_kl": False,
        "predict_xstart": False,
        "rescale_timesteps": False,
        "rescale_learned_sigmas": False,
    }


def _yaml(name):
    """The same in the sections of a DDRM or DDNM file; it gives the channels of eps alone."""
    script = _script(name)
    model = ("num_channels", "num_heads", "num_res_blocks", "attention_resolutions", "learn_sigma",
             "use_scale_shift_norm", "use_fp16", "resblock_updown", "num_heads_upsample",
             "num_head_channels", "image_size", "class_cond", "use_new_attention_order")  # fmt: skip
    return {
        "data": {"dataset": "ImageNet", "image_size": 32, "channels": 3, "rescaled": True,
                 "logit_transform": False, "num_workers": 8},
        "model": {"type": "openai", "in_channels": 3, "out_channels": 3, "dropout": 0.0,
                  "resamp_with_conv": Golden(name).config["conv_resample"], "var_type": "fixedsmall",
                  **{k: script[k] for k in model}},
        "diffusion": {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02,
                      "num_diffusion_timesteps": 1000},
        "sampling": {"batch_size": 1, "last_only": True},
        "time_travel": {"T_sampling": 100},
    }  # fmt: skip


@pytest.mark.parametrize("form", [_script, _yaml])
@pytest.mark.parametrize("name", ["unet_imagenet_style", "unet_class_cond", "unet_plain_new_order"])
def test_settings_by_the_names_that_people_have(tmp_path, form, name):
    golden = Golden(name)
    prior = load_prior(golden.save(tmp_path), form(name))
    arguments = [golden[k] for k in ("x", "t", "y") if k in golden.arrays]
    assert distance(prior.network(*arguments), golden["out"]) < OFFICIAL
    assert torch.equal(prior.schedule.alphas_cumprod, Schedule.linear().alphas_cumprod)


def test_settings_of_a_classifiers_script(tmp_path):
    golden = Golden("classifier_attention")
    config = {
        "image_size": 32, "classifier_use_fp16": False, "classifier_width": 32, "classifier_depth": 1,
        "classifier_attention_resolutions": "16", "classifier_use_scale_shift_norm": True,
        "classifier_resblock_updown": True, "classifier_pool": "attention", "num_head_channels": 32,
        "use_new_attention_order": False, "classifier_scale": 1.0,
    }  # fmt: skip
    classifier = ddrm_fast.load_classifier(golden.save(tmp_path), config)
    assert distance(classifier(golden["x"], golden["t"]), golden["logits"]) < OFFICIAL
    with pytest.raises(ValueError, match="^config: classifier_|^config: model_channels is 64"):
        ddrm_fast.load_classifier(tmp_path / "network.pt", {**config, "classifier_width": 64})


def _ddim():
    """A file of DDIM, for the golden DDPM."""
    return {
        "data": {"dataset": "CELEBA", "image_size": 32, "channels": 3, "rescaled": True},
        "model": {"type": "simple", "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 2],
                  "num_res_blocks": 1, "attn_resolutions": [16], "dropout": 0.1, "var_type": "fixedlarge",
                  "ema_rate": 0.9999, "resamp_with_conv": True},
        "diffusion": {"beta_schedule": "quad", "beta_start": 0.001, "beta_end": 0.03,
                      "num_diffusion_timesteps": 500},
        "training": {"batch_size": 64}, "optim": {"lr": 0.0002}, "sampling": {"batch_size": 32},
    }  # fmt: skip


def test_settings_of_a_ddim_file(tmp_path):
    """The betas of its diffusion section, whatever T; timesteps as they are."""
    out, prior = _output(DDPM.save(tmp_path), _ddim())
    assert _is_official(out)
    expected = torch.cumprod(1 - torch.linspace(0.001**0.5, 0.03**0.5, 500).double() ** 2, 0)
    assert torch.allclose(prior.schedule.alphas_cumprod, expected, rtol=1e-4)
    for kind, made in (("sigmoid", Schedule.sigmoid), ("linear", Schedule.linear)):
        config = {"beta_schedule": kind, "beta_start": 0.001, "beta_end": 0.03}
        schedule = load_prior(DDPM.save(tmp_path), config).schedule
        assert torch.equal(schedule.alphas_cumprod, made(1000, 0.001, 0.03).alphas_cumprod)
    constant = load_prior(
        DDPM.save(tmp_path), {"beta_schedule": "const", "beta_end": 0.03}
    ).schedule
    assert torch.equal(constant.alphas_cumprod, Schedule.constant(1000, 0.03).alphas_cumprod)


def test_rescaled_timesteps(tmp_path):
    """Improved-diffusion with 4,000 steps: the network is shown t / 4, on its own betas."""
    golden = Golden("unet_plain")
    config = {**golden.config, "diffusion_steps": 4000, "noise_schedule": "cosine"}
    path = golden.save(tmp_path)
    with pytest.raises(
        ValueError, match="with 4000 timesteps the weights do not tell rescale_timesteps"
    ):
        load_prior(path, config)
    prior = load_prior(path, {**config, "rescale_timesteps": True})
    assert prior.schedule.T == 4000
    plain = load_prior(path, {**config, "rescale_timesteps": False})
    shown = []
    for loaded, factor in ((prior, 0.25), (plain, 1.0)):
        loaded.module.register_forward_pre_hook(lambda module, inputs: shown.append(inputs[1]))
        loaded(golden["x"], torch.tensor([3.0, 3999.0]))
        assert shown.pop().tolist() == [3 * factor, 3999 * factor]
    assert distance(prior.network(golden["x"], 4 * golden["t"]), golden["out"]) < OFFICIAL


@pytest.mark.parametrize(
    "config, prediction",
    [
        ({"predict_xstart": True}, "x0"),
        ({"predict_xstart": False}, "eps"),
        ({"model_mean_type": "start_x"}, "x0"),
        ({"model_mean_type": "epsilon", "model_var_type": "fixed_small"}, "eps"),
    ],
)
def test_predictions(tmp_path, config, prediction):
    golden = Golden("unet_plain")
    assert load_prior(golden.save(tmp_path), {**golden.config, **config}).prediction == prediction


@pytest.mark.parametrize(
    "name, config, message",
    [
        ("unet_plain", {"heads": 2}, "unknown heads"),
        ("ddpm", {"num_heads": 2}, "unknown num_heads"),
        ("ddpm", {"model": {"chs": 32}}, "unknown chs"),
        ("ddpm", {"ddpm": {"ch": 32}}, "unknown ddpm"),
        ("unet_plain", {"learn_sigma": True}, "learn_sigma is True, but the weights give 3 channels for 3"),
        ("unet_imagenet_style", {"learn_sigma": False}, "learn_sigma is False.*6 channels"),
        ("unet_plain", {"model_var_type": "learned_range"}, "model_var_type is 'learned_range'"),
        ("unet_plain", {"class_cond": True}, "class_cond is True, but the weights have no classes"),
        ("unet_class_cond", {"class_cond": False}, "class_cond is False, but the weights have 10"),
        ("unet_plain", {"num_channels": 64}, "num_channels is 64, but elsewhere it is 32"),
        ("unet_plain", {"num_channels": 64, "model_channels": 64}, "model_channels is 64.*say 32"),
        ("unet_plain", {"attention_resolutions": "8"}, r"attention_resolutions is \(8,\)"),
        ("unet_plain", {"channel_mult": "1,3"}, r"channel_mult is \(1, 3\)"),
        ("unet_plain", {"channel_mult": "one"}, "channel_mult is 'one', expected numbers"),
        ("unet_plain", {"type": "simple"}, "type is that of DDPM's Model"),
        ("ddpm", {"type": "openai"}, "type is that of guided-diffusion's"),
        ("ddpm", {"type": "ncsnpp"}, "type is 'ncsnpp', expected one of"),
        ("ddpm", {"data": {"rescaled": False}}, "data.rescaled is False.*expected"),
        ("ddpm", {"data": {"logit_transform": True}}, "data.logit_transform"),
        ("ddpm", {"model": {"attn_resolutions": [8]}, "data": {"image_size": 32}}, "attn_resolutions is"),
        ("ddpm", {"beta_schedule": "cubic"}, "beta_schedule is 'cubic', expected one of linear, quad"),
        ("ddpm", {"beta_schedule": "linear", "noise_schedule": "linear"}, ".*both given"),
        ("ddpm", {"noise_schedule": "cosine", "beta_start": 0.1}, "beta_start goes with beta_schedule"),
        ("ddpm", {"beta_end": 2}, "beta_end is 2, expected a number between 0 and 1"),
        ("ddpm", {"num_diffusion_timesteps": 0}, "diffusion_steps is 0"),
        ("unet_plain", {"model_mean_type": "previous_x"}, "model_mean_type is 'previous_x'"),
        ("unet_plain", {"predict_xstart": True, "model_mean_type": "epsilon"}, ".*contradict each other"),
    ],
)  # fmt: skip
def test_settings_that_are_unknown_or_wrong(tmp_path, name, config, message):
    golden = Golden(name)
    base = {k: v for k, v in golden.config.items() if k not in config} if name != "ddpm" else {}
    with pytest.raises(ValueError, match=f"^config: {message}"):
        load_prior(golden.save(tmp_path), {**base, **config} if base else config)


# what a file is


def _guided(**changes):
    settings = {
        "in_channels": 3, "model_channels": 32, "out_channels": 3, "num_res_blocks": 1,
        "attention_resolutions": (), "channel_mult": (1, 2), "num_heads": 1,
    }  # fmt: skip
    return GuidedUNet(GuidedConfig(**{**settings, **changes})).eval()


def test_a_network_without_attention_needs_no_heads(tmp_path):
    network = _guided(middle_attention=False)
    torch.save(network.state_dict(), tmp_path / "plain.pt")
    prior = load_prior(tmp_path / "plain.pt")
    x, t = torch.randn(1, 3, 8, 8), torch.tensor([5.0])
    assert torch.allclose(prior.network(x, t), network(x, t), atol=1e-5)
    torch.save(_guided().state_dict(), tmp_path / "middle.pt")
    with pytest.raises(ValueError, match="num_heads or num_head_channels"):
        load_prior(tmp_path / "middle.pt")


@pytest.mark.parametrize("out", [3, 6])
def test_super_resolution_networks_are_called_what_they_are(tmp_path, out):
    torch.save(
        _guided(in_channels=6, out_channels=out).state_dict(), tmp_path / "64_256_upsampler.pt"
    )
    for config in (None, {"large_size": 256, "small_size": 64}):
        with pytest.raises(ValueError, match=r"upsampler\.pt: guided-diffusion's SuperResModel"):
            load_prior(tmp_path / "64_256_upsampler.pt", config)


@pytest.mark.parametrize(
    "weights, message",
    [
        ({"model.diffusion_model." + k: v for k, v in Golden("unet_plain").weights.items()}
         | {"first_stage_model.encoder.conv_in.weight": torch.ones(1)}, "latent diffusion model"),
        ({"model.init_conv.weight": torch.ones(1), "model.time_mlp.1.weight": torch.ones(1),
          "betas": torch.ones(3)}, "denoising-diffusion-pytorch.*docs/adding-a-prior.md"),
        ({"model.map_layer0.weight": torch.ones(1)}, "a network of EDM.*docs/adding-a-prior.md"),
        ({"inner_model.timestep_embed.weight": torch.ones(1)}, "a network of k-diffusion"),
        ({"conv_in.weight": torch.ones(1), "down_blocks.0.attentions.0.attn2.to_q.weight": torch.ones(1)},
         "UNet2DConditionModel, a network that is led by text"),
    ],
)  # fmt: skip
def test_networks_of_another_kind_are_named(tmp_path, weights, message):
    torch.save(weights, tmp_path / "file.pt")
    with pytest.raises(ValueError, match=rf"file\.pt: .*{message}"):
        load_prior(tmp_path / "file.pt")


def test_pickles_and_objects_are_refused_with_the_way_out(tmp_path):
    (tmp_path / "edm-ffhq.pkl").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"edm-ffhq\.pkl: a pickle, such as EDM publishes"):
        load_prior(tmp_path / "edm-ffhq.pkl")
    with pytest.raises(
        ValueError, match="^name_or_path: expected a name, a path or a pipeline.*got int"
    ):
        load_prior(3)


def test_zero_terminal_snr():
    """Lin et al. 2024, algorithm 1, written out; the first level stays, the last holds nothing."""
    schedule = Schedule.linear(50, 0.01, 0.1)
    ended = schedule.to_zero_snr()
    first, last = schedule.abar(0), schedule.abar(49)
    assert ended.abar(0) == pytest.approx(first) and ended.abar(49) == 0
    for t in (7, 30):
        root = math.sqrt(schedule.abar(t)) - math.sqrt(last)
        root *= math.sqrt(first) / (math.sqrt(first) - math.sqrt(last))
        assert ended.abar(t) == pytest.approx(root**2, rel=1e-12)
    with pytest.raises(ValueError, match="^steps: abar is 0 at timestep 49"):
        ended.steps([49, 7])
    assert ended.steps([49, 7], from_pure_noise=True) == [49, 7]

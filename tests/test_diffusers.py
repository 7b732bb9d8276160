"""Networks of diffusers, against the real package: folders, files, pipelines, schedulers, refusals."""

import json
import shutil

import pytest
import torch

diffusers = pytest.importorskip("diffusers")

from safetensors.torch import load_file, save_file  # noqa: E402

from ddrm_fast.priors import from_diffusers, load_prior, wrap_diffusers  # noqa: E402
from ddrm_fast.priors.networks.guided import GuidedConfig, GuidedUNet  # noqa: E402

SHAPE = {
    "sample_size": 16, "in_channels": 3, "out_channels": 3, "block_out_channels": (8, 16),
    "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 4,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}  # fmt: skip
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(5)
    return diffusers.UNet2DModel(**SHAPE).eval()


@pytest.fixture
def pipe(unet, tmp_path):
    """A pipeline's folder whose scheduler is not the default one."""
    scheduler = diffusers.DDPMScheduler(
        num_train_timesteps=200, beta_start=1e-3, beta_end=0.05, prediction_type="v_prediction"
    )
    diffusers.DDPMPipeline(unet, scheduler).save_pretrained(tmp_path / "pipe")
    return tmp_path / "pipe"


def _same(prior, unet, scheduler=None):
    """Whether the prior's network is this one, and its schedule that of the scheduler."""
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([3.0, 150.0])
    with torch.no_grad():
        expected = unet(x, t.long()).sample
        assert torch.allclose(prior.network(x, t), expected, rtol=1e-3, atol=1e-4)
    if scheduler is not None:
        abar = scheduler.alphas_cumprod.double()
        assert torch.allclose(prior.schedule.alphas_cumprod, abar, rtol=2e-4, atol=1e-9)
    return True


def test_every_door_reads_the_scheduler(pipe, unet):
    """The pipeline's folder, its unet, the file in that, the pipeline in memory and its parts."""
    pipeline = diffusers.DDPMPipeline.from_pretrained(pipe)
    for prior in (
        load_prior(pipe),
        load_prior(pipe / "unet"),
        load_prior(pipe / "unet" / WEIGHTS),
        load_prior(pipeline),
        wrap_diffusers(pipeline.unet, pipeline.scheduler),
        wrap_diffusers(pipeline.unet, pipeline.scheduler.config),
    ):
        assert prior.prediction == "v" and prior.schedule.T == 200 and prior.channels == 3
        assert _same(prior, unet, pipeline.scheduler)


def test_no_scheduler_no_guess(pipe, unet):
    shutil.rmtree(pipe / "scheduler")
    settings = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"}
    for path in (pipe, pipe / "unet", pipe / "unet" / WEIGHTS):
        with pytest.raises(ValueError, match=r"unet: no scheduler_config\.json .* give config="):
            load_prior(path)
    for path in (pipe, pipe / "unet"):
        prior = load_prior(path, {"scheduler": settings})
        assert prior.prediction == "x0" and _same(prior, unet, diffusers.DDPMScheduler(**settings))
        with pytest.raises(ValueError, match="^config: .* describes itself"):
            load_prior(path, {"num_heads": 3})
    config = json.loads((pipe / "unet" / "config.json").read_text())
    prior = load_prior(pipe / "unet" / WEIGHTS, {**config, "scheduler": settings})
    assert prior.prediction == "x0"
    with pytest.raises(ValueError, match="^config: unknown num_heads for"):
        load_prior(pipe / "unet" / WEIGHTS, {**config, "num_heads": 3, "scheduler": settings})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 100},
        {"beta_schedule": "sigmoid"},
        {"trained_betas": [0.1, 0.2, 0.5]},
    ],
)
@pytest.mark.parametrize("zero_snr", [False, True])
def test_schedules(unet, settings, zero_snr):
    """Every betas of the real schedulers; with a zero terminal SNR the last step holds nothing."""
    scheduler = diffusers.DDPMScheduler(**settings, rescale_betas_zero_snr=zero_snr)
    schedule = wrap_diffusers(unet, scheduler).schedule
    abar = scheduler.alphas_cumprod.double()
    assert torch.allclose(schedule.alphas_cumprod, abar, rtol=1e-3, atol=1e-6)
    last = schedule.T - 1
    if zero_snr:
        assert schedule.abar(last) == 0
        with pytest.raises(ValueError, match=f"^steps: abar is 0 at timestep {last}"):
            schedule.steps([last, 0])
    else:
        assert schedule.steps([last, 0]) == [last, 0]


def test_zero_snr_restores_and_draws(unet):
    """A network of v starts in pure noise; restoration begins below it."""
    from ddrm_fast import DDPM, DDRM, operators, restore, sample

    scheduler = diffusers.DDIMScheduler(
        num_train_timesteps=40, beta_start=0.01, beta_end=0.2, rescale_betas_zero_snr=True,
        prediction_type="v_prediction",
    )  # fmt: skip
    prior = wrap_diffusers(unet, scheduler)
    drawn = sample(prior, (1, 3, 16, 16), DDPM(40))
    assert drawn.isfinite().all()
    y = torch.rand(1, 3, 16, 16)
    assert restore(y, operators.Denoising(), 0.1, prior, DDRM(4)).mean.isfinite().all()


@pytest.mark.parametrize("format", ["safetensors", "bin"])
def test_variants_of_the_weights(pipe, unet, format):
    """fp16 alone is found by itself; beside plain weights it is taken when it is asked for."""
    folder = pipe / "unet"
    half = diffusers.UNet2DModel(**SHAPE).eval()
    half.load_state_dict({k: 0.5 * x for k, x in unet.state_dict().items()})
    half.save_pretrained(folder, variant="fp16", safe_serialization=format == "safetensors")
    assert _same(load_prior(pipe), unet) and _same(from_diffusers(pipe, "fp16"), half)
    (folder / WEIGHTS).unlink()
    assert _same(load_prior(pipe), half) and _same(load_prior(folder), half)


def test_the_mean_of_a_training(pipe, unet):
    """A checkpoint of diffusers' training script: unet and unet_ema, the scheduler one folder up."""
    folder = pipe / "checkpoint-500"
    raw = diffusers.UNet2DModel(**SHAPE)
    raw.save_pretrained(folder / "unet")
    unet.save_pretrained(folder / "unet_ema")
    scheduler = json.loads((pipe / "scheduler" / "scheduler_config.json").read_text())
    with pytest.warns(UserWarning, match=r"the running mean of the weights \(unet_ema\)"):
        prior = load_prior(folder, {"scheduler": scheduler})
    assert _same(prior, unet)


def test_old_names_of_attention_in_a_single_file(pipe, unet):
    path = pipe / "unet" / WEIGHTS
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    weights = {}
    for name, x in load_file(path).items():
        for new, before in old.items():
            name = name.replace(new, before)
        weights[name] = x
    assert any(".proj_attn." in name for name in weights)
    save_file(weights, path)
    assert _same(load_prior(path), unet)


@pytest.mark.parametrize("part", ["vae", "vqvae"])
def test_latent_pipelines_are_refused(pipe, part):
    index = json.loads((pipe / "model_index.json").read_text())
    (pipe / "model_index.json").write_text(json.dumps({**index, part: ["diffusers", "VQModel"]}))
    for path in (pipe, pipe / "unet", pipe / "unet" / WEIGHTS):
        with pytest.raises(ValueError, match=f"a latent pipeline \\(it has {part}\\)"):
            load_prior(path)

    class Latent:
        unet = scheduler = object()

    setattr(Latent, part, object())
    with pytest.raises(ValueError, match=f"^Latent: a latent pipeline \\(it has {part}\\)"):
        load_prior(Latent())


def test_conditional_networks_are_refused_in_clear_words(tmp_path):
    model = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=3, out_channels=3, block_out_channels=(8, 16), layers_per_block=1,
        norm_num_groups=4, cross_attention_dim=8, attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    model.save_pretrained(tmp_path / "unet")
    for path in (tmp_path / "unet", tmp_path / "unet" / WEIGHTS):
        with pytest.raises(ValueError, match="holds a UNet2DConditionModel.*led by text"):
            load_prior(path)
    with pytest.raises(ValueError, match="UNet2DConditionModel"):
        wrap_diffusers(model, diffusers.DDPMScheduler())


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"in_channels": 6}, "takes 6 channels and gives 3"),
        ({"time_embedding_type": "fourier"}, "is told noise levels, not timesteps"),
        ({"class_embed_type": "timestep"}, "class_embed_type is 'timestep'"),
    ],
)
def test_networks_that_want_something_else(changes, message):
    with pytest.raises(ValueError, match=message):
        wrap_diffusers(diffusers.UNet2DModel(**{**SHAPE, **changes}), diffusers.DDPMScheduler())


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler"])
def test_schedulers_without_betas_are_refused(unet, name):
    scheduler = getattr(diffusers, name)()
    for given in (scheduler, dict(scheduler.config) | {"_class_name": name}):
        with pytest.raises(ValueError, match=f"^scheduler: {name} has no betas"):
            wrap_diffusers(unet, given)
    with pytest.raises(ValueError, match="^scheduler: expected a scheduler .* got int"):
        wrap_diffusers(unet, 3)


def test_classes_reach_the_network():
    model = diffusers.UNet2DModel(**SHAPE, num_class_embeds=4).eval()
    prior = wrap_diffusers(model, diffusers.DDPMScheduler())
    x, t, labels = torch.randn(2, 3, 16, 16), torch.tensor([3.0, 5.0]), torch.tensor([0, 3])
    with torch.no_grad():
        assert prior.num_classes == 4
        assert torch.equal(prior(x, t, labels), model(x, t.long(), class_labels=labels).sample)


def test_a_guided_network_beside_a_scheduler_is_none_of_diffusers(tmp_path):
    config = GuidedConfig(3, 32, 3, 1, (), (1,), num_heads=1)
    torch.save(GuidedUNet(config).state_dict(), tmp_path / "net.pt")
    with pytest.raises(ValueError, match="^config: unknown scheduler"):
        load_prior(tmp_path / "net.pt", {"scheduler": {}, "num_heads": 1})


class Coarse(torch.nn.Module):
    """A network whose clean image leaves [-1, 1] at every step."""

    def forward(self, x, t):
        return 0.3 * x + 0.2 * torch.cos(3 * x)


@pytest.mark.parametrize("kept", [True, False], ids=["use_clipped_model_output=False", "True"])
def test_both_ways_of_clipping_are_those_of_its_ddim(kept):
    """Twenty steps of its DDIM scheduler against ours from the same noise, network and betas."""
    from ddrm_fast import DDIM, Prior, ops, sample
    from ddrm_fast.samplers import Clip, ClipKeepingNoise

    scheduler = diffusers.DDIMScheduler(clip_sample=True)  # its defaults, clipping too
    scheduler.set_timesteps(20)
    network = Coarse()
    x = torch.cat([ops.normal(ops.noise_keys(1, s), 3, 8, 8, stream=0) for s in (4, 5)])
    results = {}
    for clips in (True, False):
        state = x.clone()
        for t in scheduler.timesteps:
            out = network(state, t)
            state = scheduler.step(out, t, state, use_clipped_model_output=clips).prev_sample
        results[clips] = ((state + 1) / 2).clamp(0, 1)
    edit = ClipKeepingNoise() if kept else Clip()
    drawn = sample(Prior(network), (2, 3, 8, 8), DDIM(20), seed=torch.tensor([4, 5]), edits=[edit])
    assert torch.allclose(drawn, results[not kept], atol=1e-4)
    assert not torch.allclose(results[True], results[False], atol=1e-2)


def test_its_ddpm_clips_as_ours_does():
    """The mean of a step of its DDPM scheduler is that of the clipped image and x_t."""
    from ddrm_fast.ddpm import Process, Reverse

    scheduler = diffusers.DDPMScheduler(clip_sample=True, variance_type="fixed_small")
    x, out = 2 * torch.randn(1, 3, 8, 8), torch.randn(1, 3, 8, 8)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    stepped = scheduler.step(out, 500, x, generator=generator).prev_sample
    reverse = Reverse(Process(wrap_diffusers(_Stub(), scheduler).schedule))
    step = reverse(out, x, torch.tensor([500]), clip=True)
    assert torch.allclose(stepped, step.mean + (0.5 * step.log_variance).exp() * noise, atol=1e-4)


class _Stub:
    config = type("Config", (), {"in_channels": 3})
    dtype = torch.float32


def test_clipping_that_keeps_the_noise_is_for_drawing():
    from ddrm_fast import DDRM, Prior, operators, restore, sample
    from ddrm_fast.samplers import Clip, ClipKeepingNoise, DPMSolver, Heun

    prior, y = Prior(Coarse()), torch.rand(1, 3, 8, 8)
    with pytest.raises(ValueError, match="for drawing from a prior, but there is a measurement"):
        restore(y, operators.Denoising(), 0.1, prior, DDRM(3), edits=[ClipKeepingNoise()])
    with pytest.raises(
        ValueError, match="one network call a step, and alone; got clipping beside it"
    ):
        sample(prior, (1, 3, 8, 8), edits=[ClipKeepingNoise(), Clip()])
    with pytest.raises(ValueError, match="one network call a step, and alone; got DPM-Solver"):
        sample(prior, (1, 3, 8, 8), DPMSolver(4), edits=[ClipKeepingNoise()])
    with pytest.raises(ValueError, match="one network call a step, and alone; got Heun"):
        sample(prior, (1, 3, 8, 8), Heun(4), edits=[ClipKeepingNoise()])

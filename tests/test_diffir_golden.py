"""DiffIR against what the published code computed: modules, diffusion, whole networks, padding, names."""

import json

import golden_diffir as golden
import numpy as np
import pytest
import torch
from golden_diffir import HERE, assert_golden

from ddrm_fast import ops
from ddrm_fast.diffir import PRESETS, DiffIRConfig, blocks, build, encoder, padding
from ddrm_fast.diffir.diffusion import Denoiser, VectorDiffusion, betas, tables
from ddrm_fast.diffir.recognise import config_of

each_network = pytest.mark.parametrize("path", golden.networks(), ids=lambda path: path.stem)
CONFIGS = json.loads((HERE / "configs.json").read_text())["configs"]
BLOCKS, BLOCKS_META = golden.read(HERE / "modules_blocks.npz")
CPEN, CPEN_META = golden.read(HERE / "modules_cpen.npz")
DDPM, DDPM_META = golden.read(HERE / "ddpm.npz")


@pytest.fixture(params=["cpp", "reference"])
def backend(request):
    if ops.backends()[request.param] is not None:
        pytest.skip(ops.backends()[request.param])
    with ops.use_backend(request.param):
        yield


def _attention(meta):
    return blocks.Attention(meta["dim"], meta["num_heads"], meta["bias"])


def _feedforward(meta):
    return blocks.FeedForward(meta["dim"], meta["ffn_expansion_factor"], meta["bias"])


def _block(meta):
    return blocks.TransformerBlock(
        meta["dim"], meta["num_heads"], meta["ffn_expansion_factor"], meta["bias"],
        meta["LayerNorm_type"],
    )  # fmt: skip


MAKE = {
    "layernorm": lambda meta: blocks.LayerNorm(meta["dim"], meta["LayerNorm_type"]),
    "attention": _attention,
    "feedforward": _feedforward,
    "block": _block,
    "downsample": lambda meta: blocks.Downsample(meta["n_feat"]),
    "upsample": lambda meta: blocks.Upsample(meta["n_feat"]),
    "patch": lambda meta: blocks.OverlapPatchEmbed(meta["in_c"], meta["embed_dim"], meta["bias"]),
    "upsampler": lambda meta: blocks.Upsampler(meta["scale"], meta["n_feat"]),
    "resblock": lambda meta: encoder.ResBlock(meta["n_feats"]),
}


@torch.no_grad()
@pytest.mark.parametrize("tag", BLOCKS_META["modules"])
def test_modules(tag, backend):
    meta, kind = BLOCKS_META["modules"][tag], tag.split("_")[0]
    module = MAKE[kind](meta)
    state = golden.weights(BLOCKS, f"{tag}.sd.")
    absent, unknown = module.load_state_dict(state, strict=False)
    plain = meta.get("modulation") == "none"
    assert not unknown and absent == (["kernel.0.weight"] if plain else [])
    x, vector = BLOCKS[f"{tag}.x"], BLOCKS.get(f"{tag}.k_v")
    if kind == "block":
        out = module(x, vector)
    elif kind in ("attention", "feedforward") and not plain:
        k1, k2 = module.kernel(vector)[:, :, None, None].chunk(2, dim=1)
        out = module(x * k1 + k2)
    else:
        out = module(x)
    assert_golden(out, BLOCKS[f"{tag}.out"])


def test_normalisation_takes_the_modulation_in():
    """norm(x) k1 + k2 in one: what a block does instead of two passes."""
    for kind in ("WithBias", "BiasFree"):
        norm = blocks.LayerNorm(10, kind)
        norm.load_state_dict(golden.weights(BLOCKS, f"layernorm_{kind}.sd."))
        x, modulation = BLOCKS[f"layernorm_{kind}.x"], torch.randn(2, 20)
        k1, k2 = modulation[:, :, None, None].chunk(2, dim=1)
        expected = BLOCKS[f"layernorm_{kind}.out"] * k1 + k2
        assert_golden(norm(x, modulation), expected)


@torch.no_grad()
@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("case", CPEN_META["cases"])
def test_encoder(case, stage):
    meta, tag = CPEN_META["cases"][case], f"S{stage}_{case}"
    fold = 4 // meta["scale"] if meta["scale"] else 4
    module = encoder.CPEN(
        meta[f"in_channels_S{stage}"], meta["n_encoder_res"], fold, meta["n_feats"]
    )
    module.load_state_dict(golden.weights(CPEN, f"{tag}.sd."))
    gt = CPEN[f"{tag}.gt"] if stage == 1 else None
    assert_golden(module(CPEN[f"{tag}.x"], gt), CPEN[f"{tag}.out"])


@pytest.mark.parametrize("name", DDPM_META["schedules"])
def test_schedules(name):
    meta = DDPM_META["schedules"][name]
    beta = betas(meta["beta_schedule"], meta["timesteps"], meta["linear_start"], meta["linear_end"])
    np.testing.assert_allclose(beta, DDPM[f"{name}.betas_64"].numpy(), rtol=1e-14)
    for table, values in tables(beta).items():
        expected = DDPM[f"{name}.{table}"]
        assert_golden(torch.tensor(values).float(), expected, rel=2e-7)


@torch.no_grad()
def test_denoiser_and_a_step():
    meta = DDPM_META["denoise"]
    module = Denoiser(meta["n_denoise_res"], meta["timesteps"], meta["n_feats"])
    module.load_state_dict(golden.weights(DDPM, "denoise.sd."))
    z, c, t = DDPM["denoise.x"], DDPM["denoise.c"], DDPM["denoise.t"]
    x0 = module(z, t, c)
    assert_golden(x0, DDPM["denoise.out"])
    chain = VectorDiffusion(
        module, None, meta["timesteps"], meta["linear_start"], meta["linear_end"]
    )
    for row, step in enumerate(t.tolist()):
        mean = chain.mean(DDPM["step.model_out"][row], z[row], step)
        assert_golden(mean, DDPM["step.mean"][row])


@torch.no_grad()
@each_network
def test_networks(path, backend):
    network, arrays, meta = golden.network(path)
    seen = {}
    for name in ("encoder_level1", "latent", "decoder_level1"):
        getattr(network.G, name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: output})
        )
    if meta["kind"] == "DiffIRS1":
        out = network(arrays["x"], arrays["gt"])
        assert_golden(network.E(arrays["x"], arrays["gt"]), arrays["ipr"], meta["floor_ipr"])
        assert sum(p.numel() for p in network.parameters()) == meta["params"]
    else:
        out = network(arrays["x"], x_T=arrays["x_T"])
    assert_golden(out, arrays["out"], meta["floor"])
    for name, x in seen.items():
        assert_golden(x, arrays[f"stage.{name}"], meta["floor"])
    if "inpainted" in arrays:
        mask, image = arrays["mask"].float(), arrays.get("image", arrays.get("gt"))
        assert_golden(mask * out + (1 - mask) * image, arrays["inpainted"], meta["floor"])
    assert list(network.state_dict()) == meta["keys"]
    assert config_of(golden.weights(arrays), "file") == golden.config(meta)


SECOND = [path for path in golden.networks() if path.stem.endswith("S2")]


@torch.no_grad()
@pytest.mark.parametrize("path", SECOND, ids=lambda path: path.stem)
def test_the_chain_of_the_vector(path):
    network, arrays, meta = golden.network(path)
    c = network.condition(arrays["x"])
    assert_golden(c, arrays["c"], meta["floor_ipr"])
    states, outputs = network.diffusion.chain(arrays["x_T"], c)
    assert_golden(torch.stack(states), arrays["ipr_steps"], meta["floor_ipr"])
    assert_golden(torch.stack(outputs), arrays["x0_steps"], meta["floor_ipr"])
    assert_golden(network.prior(c, arrays["x_T_other"]), arrays["ipr_other"], meta["floor_ipr"])
    network.train()
    _, states = network(arrays["x"], arrays["train_ipr_S1"], noise=arrays["train_noise"])
    assert_golden(torch.stack(states), arrays["train_ipr_list"], meta["floor_ipr"])


@torch.no_grad()
def test_sides_that_are_no_multiple():
    network, arrays, meta = golden.network(HERE / "realsr_x4_S2.npz")
    expected = arrays["odd_out"]
    out = network(padding.pad(arrays["odd_x"], network.config), x_T=arrays["odd_x_T"])
    assert_golden(out[..., : expected.shape[2], : expected.shape[3]], expected, meta["floor"])


def _map(height, width, multiple, repeat_edge):
    rows = padding.reflected(height, padding.padded_size(height, multiple), repeat_edge)
    columns = padding.reflected(width, padding.padded_size(width, multiple), repeat_edge)
    return rows[:, None] * width + columns


def test_padding_maps():
    arrays, meta = golden.read(HERE / "padding.npz")
    maps = 0
    for name, expected in arrays.items():
        kind, *parts = name.split("_")
        if not parts or not parts[0].startswith("h"):
            continue
        height, width, multiple = (int(part.lstrip("hwindomul")) for part in parts)
        assert torch.equal(_map(height, width, multiple, kind == "symmetric").int(), expected), name
        maps += 1
    assert maps == 6
    for row in arrays["table"].tolist():
        entry = dict(zip(meta["columns"], row, strict=True))
        for side in ("h", "w"):
            got = padding.padded_size(entry[side], entry["window"])
            assert got == entry[f"padded_{side}"]
    for height, width, modulo, *expected in arrays["table_symmetric"].tolist():
        assert [padding.padded_size(n, modulo) for n in (height, width)] == expected
    for height, width, scale, window in arrays["fails"].tolist():
        config = DiffIRConfig("super_resolution", scale=scale)
        x = torch.rand(1, 3, height, width)
        padded = padding.pad(x, config)
        assert padded.shape[2] % window == padded.shape[3] % window == 0
        assert torch.equal(padded[..., :height, :width], x)


@pytest.mark.parametrize("entry", CONFIGS, ids=lambda entry: entry["tag"])
def test_published_configurations(entry):
    """Names, their order and shapes, number of parameters; and what the names alone tell."""
    stage = int(entry["stage"][1])
    config = DiffIRConfig.published(golden.TASKS[entry["variant"]], stage, entry["config"])
    assert config.with_stage(2) in PRESETS.values()
    with np.load(HERE / "full_size_keys.npz") as file:
        names = [str(name) for name in file[entry["keys"] + ".names"]]
        shapes = [tuple(n for n in row if n) for row in file[entry["keys"] + ".shapes"].tolist()]
    with torch.device("meta"):
        network = build(config)
    assert list(network.state_dict()) == names
    assert [tuple(x.shape) for x in network.state_dict().values()] == shapes
    assert sum(p.numel() for p in network.parameters()) == entry["params"]["total"]
    found = {
        name: torch.empty(shape, device="meta")
        for name, shape in zip(names, shapes, strict=True)
        if not name.startswith("diffusion.")
    }
    assert config_of(found, "names") == config

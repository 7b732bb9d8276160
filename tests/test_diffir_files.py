"""DiffIR networks from files: every wrapping, what is missing or of another variant, no code run."""

import pickle

import golden_diffir as golden
import pytest
import safetensors.torch
import torch
from golden_diffir import HERE

from ddrm_fast import diffir
from ddrm_fast.diffir.files import single_weights
from ddrm_fast.diffir.recognise import own_names


@pytest.fixture(scope="module")
def second():
    network, arrays, _ = golden.network(HERE / "deblur_S2.npz")
    return network, arrays


def _same(loaded, network):
    ours, theirs = loaded.state_dict(), network.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert loaded.config == network.config
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"params": state},
        lambda state: {"params": {k: 2 * x for k, x in state.items()}, "params_ema": state},
        lambda state: {"params_ema": {"module." + k: x for k, x in state.items()}},
        lambda state: {"state_dict": {"generator." + k: x for k, x in state.items()}},
        lambda state: {k: x for k, x in state.items() if not k.startswith("diffusion.")},
    ],
    ids=["plain", "params", "running mean first", "module.", "generator.", "each name once"],
)
def test_wrappings(second, here, wrap):
    network, _ = second
    torch.save(wrap(dict(network.state_dict())), "weights.pth")
    _same(diffir.load("weights.pth"), network)
    assert diffir.is_diffir("weights.pth")


def test_all_stages_and_tasks_load(here):
    for name in ("realsr_x4_S2", "realsr_x1_S1", "inpainting_S1"):
        network, _, _ = golden.network(HERE / f"{name}.npz")
        torch.save({"params": network.state_dict()}, "weights.pth")
        _same(diffir.load("weights.pth"), network)


def test_own_format(second, here):
    network, _ = second
    diffir.save("own.safetensors", network.config, single_weights(network), {"steps": 3})
    before = open("own.safetensors", "rb").read()
    _same(diffir.load("own.safetensors"), network)
    diffir.save("own.safetensors", network.config, single_weights(network), {"steps": 3})
    assert open("own.safetensors", "rb").read() == before
    damaged = bytearray(before)
    damaged[-1] ^= 1
    open("own.safetensors", "wb").write(damaged)
    with pytest.raises(ValueError, match=r"own\.safetensors: is damaged.*SHA-256"):
        diffir.load("own.safetensors")


def test_what_is_missing_is_named(second, here):
    state = own_names(second[0].state_dict(), "x")
    torch.save({k: x for k, x in state.items() if k != "denoise.resmlp.0.bias"}, "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth: .*missing: denoise\.resmlp\.0\.bias"):
        diffir.load("a.pth")
    torch.save({k: x for k, x in state.items() if "encoder_level2.0" not in k}, "b.pth")
    with pytest.raises(ValueError, match=r"b\.pth: G\.encoder_level2 has the blocks \[1\]"):
        diffir.load("b.pth")
    torch.save({k: x for k, x in state.items() if k != "G.output.weight"}, "c.pth")
    with pytest.raises(ValueError, match=r"c\.pth: G\.output\.weight is missing"):
        diffir.load("c.pth")
    torch.save({**state, "G.extra": torch.ones(1)}, "d.pth")
    with pytest.raises(ValueError, match=r"unknown: G\.extra"):
        diffir.load("d.pth")


def test_other_variants_are_named(second, here):
    state = own_names(second[0].state_dict(), "x")
    other = dict(state)
    other["condition.E.0.weight"] = torch.zeros(64, 64, 3, 3)
    torch.save(other, "mixed.pth")
    with pytest.raises(ValueError, match=r"the encoder sees 64 channels.*two variants"):
        diffir.load("mixed.pth")
    name = "G.latent.0.attn.qkv.weight"
    torch.save({**state, name: torch.zeros(192, 65, 1, 1)}, "shape.pth")
    with pytest.raises(ValueError, match=rf"shapes: {name} \(192, 65, 1, 1\) instead of"):
        diffir.load("shape.pth")
    torch.save(state, "small.pth")
    with pytest.raises(ValueError, match=r"is not deblurring: dim 8 instead of 48"):
        diffir.load("small.pth", "deblurring")
    with pytest.raises(ValueError, match=r"is not inpainting: task 'deblurring' instead of 'inp"):
        diffir.load("small.pth", "inpainting")
    with pytest.raises(ValueError, match="preset: got 'deblur', expected one of"):
        diffir.load("small.pth", "deblur")
    twin = dict(second[0].state_dict())
    twin["diffusion.model.resmlp.0.bias"] = twin["denoise.resmlp.0.bias"] + 1
    torch.save(twin, "twin.pth")
    with pytest.raises(ValueError, match="are one tensor, but their values differ"):
        diffir.load("twin.pth")


class _Evil:
    def __reduce__(self):
        return (open, ("ran", "w"))


def test_damaged_and_foreign_files(second, here, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        diffir.load("none.pth")
    torch.save(second[0].state_dict(), "whole.pth")
    whole = open("whole.pth", "rb").read()
    open("cut.pth", "wb").write(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.pth: not a readable checkpoint"):
        diffir.load("cut.pth")
    with open("code.pth", "wb") as file:
        pickle.dump({"params": _Evil()}, file)
    with pytest.raises(ValueError, match=r"code\.pth: not a readable checkpoint"):
        diffir.load("code.pth")
    assert not (tmp_path / "ran").exists()
    safetensors.torch.save_file({"conv_in.weight": torch.ones(2)}, "other.safetensors")
    with pytest.raises(ValueError, match="holds no DiffIR network, but weights such as conv_in"):
        diffir.load("other.safetensors")
    assert not diffir.is_diffir("other.safetensors") and not diffir.is_diffir("none.pth")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"task": "denoising"}, "task: got 'denoising'"),
        ({"stage": 3}, "stage: got 3"),
        ({"num_blocks": (1, 2)}, r"num_blocks: got \(1, 2\), expected four"),
        ({"heads": (1, 2, 4, 7)}, "heads: got .*divisors"),
        ({"scale": 2}, "scale: got 2, but deblurring keeps the size"),
        ({"task": "super_resolution", "scale": 3}, "scale: got 3, expected 1, 2 or 4"),
        ({"LayerNorm_type": "None"}, "LayerNorm_type: got 'None'"),
        ({"ffn_expansion_factor": 0.001}, "ffn_expansion_factor"),
        ({"dim": 0}, "dim: got 0"),
        ({"dim": 7, "heads": (1, 1, 1, 1)}, "dim: got 7, expected an even number"),
        ({"linear_end": 1.0}, "linear_end: got 1.0"),
    ],
)
def test_configurations_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        diffir.DiffIRConfig(**{"task": "deblurring", **changes})


def test_published_arguments_are_checked():
    with pytest.raises(ValueError, match="window: unknown"):
        diffir.DiffIRConfig.published("deblurring", 2, {"window": 8})
    with pytest.raises(ValueError, match="dual_pixel_task"):
        diffir.DiffIRConfig.published("deblurring", 2, {"dual_pixel_task": True})


def test_inputs_are_checked(second):
    network, arrays = second
    x = arrays["x"]
    with pytest.raises(ValueError, match=r"x: got sides \(23, 16\), expected multiples of 8"):
        network(x[:, :, 1:])
    with pytest.raises(ValueError, match=r"x: got shape .*expected \(B, 3, H, W\)"):
        network(torch.cat([x, x[:, :1]], dim=1))
    with pytest.raises(ValueError, match=r"x_T: got shape \(1, 256\), expected \(2, 256\)"):
        network(x, x_T=arrays["x_T"][:1])
    with pytest.raises(ValueError, match="x: got torch.uint8"):
        network(x.byte())
    first, arrays, _ = golden.network(HERE / "inpainting_S1.npz")
    with pytest.raises(ValueError, match=r"expected \(B, 4, H, W\) \(the picture and a mask\)"):
        first(arrays["x"][:, :3], arrays["gt"])
    with pytest.raises(ValueError, match=r"gt: got shape .*expected \(2, 3, 16, 24\)"):
        first(arrays["x"], arrays["gt"][..., :8])


def test_start_vectors_are_our_noise():
    first = diffir.start_vectors(3, seed=5)
    assert first.shape == (3, 256) and not torch.equal(first[0], first[1])
    assert torch.equal(diffir.start_vectors(1, seed=5, sample=2)[0], first[2])
    assert not torch.equal(diffir.start_vectors(3, seed=6), first)
    many = diffir.start_vectors(400)
    assert abs(float(many.mean())) < 0.02 and abs(float(many.std()) - 1) < 0.02

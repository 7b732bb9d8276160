"""Published networks: the official outputs, recognition of their weights, refusals, guidance.

The arrays in tests/golden/unet were computed by the official code; their names are the official ones.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_networks import GOLDEN, OFFICIAL, Golden, distance, heads_of
from PIL import Image

import ddrm_fast
from ddrm_fast import DDRM, Prior, Schedule, operators
from ddrm_fast.cli import main
from ddrm_fast.priors.networks.guided import GuidedClassifier, GuidedConfig, GuidedUNet
from ddrm_fast.priors.networks.layers import timestep_embedding
from ddrm_fast.priors.published.recognise import ddpm_config, guided_config

UNETS = ["unet_imagenet_style", "unet_class_cond", "unet_plain", "unet_plain_new_order"]
CLASSIFIERS = ["classifier_attention", "classifier_adaptive"]
DDPMS = ["ddpm", "ddpm_avgpool"]


@pytest.mark.parametrize("name", UNETS)
@pytest.mark.parametrize("given", ["everything", "heads"])
def test_guided_networks_give_the_official_output(tmp_path, name, given):
    golden = Golden(name)
    config = golden.config if given == "everything" else heads_of(golden.config)
    prior = ddrm_fast.load_prior(golden.save(tmp_path), config)
    labels = golden["y"] if "y" in golden.arrays else None
    arguments = [golden["x"], golden["t"]] + ([] if labels is None else [labels])
    assert distance(prior.network(*arguments), golden["out"]) < OFFICIAL
    assert (
        prior.network(arguments[0], arguments[1].long(), *arguments[2:]).shape[1]
        == (golden.config["out_channels"])
    )
    assert prior.prediction == "eps" and prior.channels == 3
    assert prior.num_classes == golden.config["num_classes"]


@pytest.mark.parametrize("name", DDPMS)
@pytest.mark.parametrize("given", [True, False])
def test_ddpm_networks_give_the_official_output(tmp_path, name, given):
    golden = Golden(name)
    prior = ddrm_fast.load_prior(golden.save(tmp_path), golden.config if given else None)
    assert distance(prior.network(golden["x"], golden["t"]), golden["out"]) < OFFICIAL


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_give_the_official_logits_and_gradient(tmp_path, name):
    golden = Golden(name)
    classifier = ddrm_fast.load_classifier(golden.save(tmp_path), golden.config)
    assert distance(classifier(golden["x"], golden["t"]), golden["logits"]) < OFFICIAL
    gradient = ddrm_fast.classifier_guidance(classifier)(golden["x"], golden["t"], golden["y"])
    assert distance(gradient, golden["grad"]) < OFFICIAL
    twice = ddrm_fast.classifier_guidance(classifier, 2.0)(golden["x"], golden["t"], golden["y"])
    assert torch.equal(twice, 2 * gradient)


def test_time_embeddings_are_the_official_ones():
    with np.load(GOLDEN / "timestep_embeddings.npz") as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files if name != "meta"}
    compared = 0
    for name, expected in arrays.items():
        kind, _, width = name.partition("_dim")
        if kind not in ("guided", "ddpm"):
            continue
        result = timestep_embedding(arrays["t"], int(width), cosine_first=kind == "guided")
        for row, official in zip(result, expected, strict=True):
            assert distance(row, official) < OFFICIAL, name
        compared += 1
    assert compared == 6


@pytest.mark.parametrize("conv_resample", [True, False])
@pytest.mark.parametrize("resblock_updown", [True, False])
@pytest.mark.parametrize("blocks, factors", [(1, (1, 2)), (2, (1, 1, 2)), (3, (2,)), (2, (0.5, 1))])
def test_every_shape_is_read_off_the_weights(blocks, factors, resblock_updown, conv_resample):
    config = GuidedConfig(
        in_channels=3, model_channels=64, out_channels=6, num_res_blocks=blocks,
        attention_resolutions=(1,), channel_mult=factors, num_head_channels=32,
        use_scale_shift_norm=True, resblock_updown=resblock_updown and len(factors) > 1,
        conv_resample=conv_resample or resblock_updown or len(factors) == 1,
    )  # fmt: skip
    weights = GuidedUNet(config).state_dict()
    given = {"num_head_channels": 32, "use_new_attention_order": False}
    assert guided_config(weights, given, "it") == config


@pytest.mark.parametrize("pool", ["spatial", "spatial_v2", "adaptive", "attention"])
def test_every_classifier_is_read_off_its_weights(pool):
    config = GuidedConfig(
        in_channels=3, model_channels=32, out_channels=5, num_res_blocks=2,
        attention_resolutions=(2,), channel_mult=(1, 2), num_head_channels=32, pool=pool,
        image_size=16 if pool == "attention" else None,
    )  # fmt: skip
    classifier = GuidedClassifier(config).eval()
    given = {"num_head_channels": 32, "use_new_attention_order": False}
    assert guided_config(classifier.state_dict(), given, "it") == config
    assert classifier(torch.randn(2, 3, 16, 16), torch.tensor([3.0, 4.0])).shape == (2, 5)


@pytest.mark.parametrize("name", ["unet_class_cond", "ddpm"])
def test_loaded_networks_lie_in_channels_last_memory(tmp_path, name):
    """The sampler calls them so; the output stays the official one, in either layout."""
    golden = Golden(name)
    config = None if name == "ddpm" else heads_of(golden.config)
    prior = ddrm_fast.load_prior(golden.save(tmp_path), config)
    prior.precision = "float32"
    given = []
    prior.module.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    labels = golden["y"].long() if "y" in golden.arrays else None

    def outputs():
        weights = [p for p in prior.module.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]
        layout = torch.channels_last if prior.channels_last else torch.contiguous_format
        assert weights and all(p.is_contiguous(memory_format=layout) for p in weights)
        given.clear()
        assert distance(prior(golden["x"], golden["t"], labels), golden["out"]) < OFFICIAL
        assert given[0].is_contiguous(memory_format=layout) and torch.equal(given[0], golden["x"])
        return given[0].stride(1)

    assert prior.channels_last and outputs() == 1
    assert prior.arrange(channels_last=False) is prior and outputs() > 1


def test_wrappings_of_checkpoints(tmp_path):
    golden = Golden("ddpm")
    wrapped = {"module." + name: x for name, x in golden.weights.items()}
    for content in ([wrapped, {"step": 3}], {"state_dict": wrapped}, wrapped):
        torch.save(content, tmp_path / "model.ckpt")
        prior = ddrm_fast.load_prior(tmp_path / "model.ckpt")
        assert distance(prior.network(golden["x"], golden["t"]), golden["out"]) < OFFICIAL


def test_a_preset_tells_what_the_weights_do_not(tmp_path):
    """The published 64 x 64 network's name stands for cosine betas and heads of 64 channels."""
    config = GuidedConfig(
        in_channels=3, model_channels=64, out_channels=6, num_res_blocks=1,
        attention_resolutions=(1, 2), channel_mult=(1, 2), num_head_channels=64,
        use_new_attention_order=True, num_classes=7,
    )  # fmt: skip
    network = GuidedUNet(config).eval()
    torch.save(network.state_dict(), tmp_path / "64x64_diffusion.pt")
    prior = ddrm_fast.load_prior(tmp_path / "64x64_diffusion.pt")
    x, t, labels = torch.randn(2, 3, 8, 8), torch.tensor([5.0, 900.0]), torch.tensor([0, 6])
    network.to(memory_format=torch.channels_last)  # as loaded networks lie
    assert torch.equal(prior.network(x, t, labels), network(x, t, labels))
    cosine = Schedule.cosine().alphas_cumprod
    assert torch.equal(prior.schedule.alphas_cumprod, cosine)


def test_restoration_for_a_class(tmp_path):
    golden = Golden("unet_class_cond")
    prior = ddrm_fast.load_prior(golden.save(tmp_path), heads_of(golden.config))
    y = torch.rand(1, 3, 16, 16)

    def restored(label, prior=prior, **options):
        return ddrm_fast.restore(
            y, operators.SuperResolution(2), 0.1, prior, DDRM(steps=3),
            labels=torch.tensor([label]), clip_x0=True, **options,
        ).mean  # fmt: skip

    assert not torch.equal(restored(1), restored(2))
    strong = ddrm_fast.classifier_free(prior, 3.0, null_label=0)
    assert not torch.equal(restored(1, strong), restored(1))
    classifier = Golden("classifier_attention")
    gradient = ddrm_fast.classifier_guidance(
        ddrm_fast.load_classifier(classifier.save(tmp_path), classifier.config), 5.0
    )
    assert not torch.equal(restored(1, guidance=gradient), restored(1))


def test_guidance_without_a_classifier(tmp_path):
    golden = Golden("unet_class_cond")
    prior = ddrm_fast.load_prior(golden.save(tmp_path), heads_of(golden.config))
    x, t, labels, null = golden["x"], golden["t"], golden["y"].long(), torch.tensor([3, 3])

    def guided(scale):
        return ddrm_fast.classifier_free(prior, scale, null_label=3).network(x, t, labels)

    with_label, without = prior.network(x, t, labels), prior.network(x, t, null)
    for scale in (0.0, 1.0, 2.5):
        expected = (1 - scale) * without + scale * with_label
        assert distance(guided(scale), expected) < OFFICIAL


def test_guidance_needs_classes_and_whole_labels(tmp_path):
    for prior in (ddrm_fast.load_prior(), ddrm_fast.load_prior("gaussian"), Prior(lambda x, t: x)):
        with pytest.raises(ValueError, match="^prior: .* has no classes"):
            ddrm_fast.classifier_free(prior, 2.0, null_label=3)
    with pytest.raises(ValueError, match=r"^classifier: expected a function .*, got NoneType"):
        ddrm_fast.classifier_guidance(None)
    golden = Golden("classifier_adaptive")
    classifier = ddrm_fast.load_classifier(golden.save(tmp_path), golden.config)
    labels = torch.tensor([0.0, 1.5])
    with pytest.raises(ValueError, match="^labels: got torch.float32, expected whole numbers"):
        ddrm_fast.classifier_guidance(classifier)(golden["x"], golden["t"], labels)
    conditional = Prior(lambda x, t, labels: x, num_classes=2)
    y = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match="^labels: expected whole numbers, got torch.float32"):
        ddrm_fast.restore(y, operators.Denoising(), 0.1, conditional, labels=labels)


def test_a_guided_prior_is_of_the_same_kind():
    """Adapters with classes keep their own class, and what the precision check found is forgotten."""
    prior = ddrm_fast.DenoiserPrior(lambda x, sigma, labels=None: 0.5 * x, (-1.0, 1.0))
    prior.num_classes, prior._fastest["cpu"] = 2, "bfloat16"
    guided = ddrm_fast.classifier_free(prior, 2.0, null_label=1)
    assert type(guided) is type(prior) and guided.num_classes == 2 and not guided._fastest
    x, t, labels = torch.rand(1, 3, 4, 4), torch.tensor([9.0]), torch.tensor([0])
    assert distance(guided(x, t, labels), prior(x, t)) < OFFICIAL
    assert prior._fastest == {"cpu": "bfloat16"} and prior.name == "denoiser"


@pytest.mark.parametrize("draw", ["restore", "sample"])
def test_guidance_is_a_function(draw):
    """A scale without a classifier is none."""
    calls = []
    prior = Prior(lambda x, t: calls.append(1) or x)
    with pytest.raises(ValueError, match=r"guidance: expected a function .*, got 2\.5"):
        if draw == "restore":
            y = torch.rand(1, 3, 8, 8)
            ddrm_fast.restore(y, operators.Denoising(), 0.1, prior, guidance=2.5)
        else:
            ddrm_fast.sample(prior, (1, 3, 8, 8), guidance=2.5)
    assert not calls


def test_labels_are_checked(tmp_path):
    golden = Golden("unet_class_cond")
    prior = ddrm_fast.load_prior(golden.save(tmp_path), heads_of(golden.config))
    y = torch.rand(1, 3, 8, 8)
    for labels, message in ((None, "labels: .* classes"), (torch.tensor([10]), "0 to 9")):
        with pytest.raises(ValueError, match=message):
            ddrm_fast.restore(y, operators.Denoising(), 0.1, prior, labels=labels)
    classifier = Golden("classifier_adaptive")
    gradient = ddrm_fast.classifier_guidance(
        ddrm_fast.load_classifier(classifier.save(tmp_path), classifier.config)
    )
    x, t = classifier["x"], classifier["t"]
    with pytest.raises(ValueError, match="labels: got none"):
        gradient(x, t, None)
    with pytest.raises(ValueError, match="expected 0 to 9"):
        gradient(x, t, torch.tensor([0, 10]))
    with pytest.raises(ValueError, match="labels: got none"):
        ddrm_fast.classifier_free(prior, 2.0, 0).network(x, t)
    with pytest.raises(ValueError, match="null_label: .* knows no label 10"):
        ddrm_fast.classifier_free(prior, 2.0, 10).network(x, t, torch.tensor([0, 1]))
    unconditional = Golden("unet_plain")
    plain = ddrm_fast.load_prior(unconditional.save(tmp_path), unconditional.config)
    with pytest.raises(ValueError, match="unconditional"):
        plain.network(x, t, torch.tensor([0, 1]))


def test_refusals(tmp_path):
    golden = Golden("unet_plain")
    path = golden.save(tmp_path)
    with pytest.raises(ValueError, match="num_heads or num_head_channels"):
        ddrm_fast.load_prior(path)
    with pytest.raises(ValueError, match="use_new_attention_order"):
        ddrm_fast.load_prior(path, {"num_heads": 2})
    with pytest.raises(ValueError, match="config: model_channels is 64.*say 32"):
        ddrm_fast.load_prior(path, {**golden.config, "model_channels": 64})
    with pytest.raises(ValueError, match="config: attention_resolutions"):
        ddrm_fast.load_prior(path, {**golden.config, "attention_resolutions": [4]})
    with pytest.raises(ValueError, match="config: unknown heads"):
        ddrm_fast.load_prior(path, {**golden.config, "heads": 2})
    with pytest.raises(ValueError, match="noise_schedule"):
        ddrm_fast.load_prior(path, {**golden.config, "noise_schedule": "quadratic"})
    for T in (-1, 19, 2.5, True):
        with pytest.raises(ValueError, match=f"^config: diffusion_steps is {T!r}, .* at least 20"):
            ddrm_fast.load_prior(path, {**golden.config, "diffusion_steps": T})
    for load in (ddrm_fast.load_prior, ddrm_fast.load_classifier):
        with pytest.raises(ValueError, match="^config: got 'x', expected a dict"):
            load(path, "x")
    for name in ("default", "gaussian", tmp_path):
        with pytest.raises(ValueError, match="^config: .* describes itself, expected none"):
            ddrm_fast.load_prior(name, {"num_heads": 2})
    with pytest.raises(ValueError, match="multiples of 2"):
        ddrm_fast.load_prior(path, golden.config).network(torch.zeros(1, 3, 7, 8), torch.zeros(1))
    with pytest.raises(ValueError, match="config: ch_mult"):
        weights = Golden("ddpm").weights
        ddpm_config(weights, {"ch_mult": [1, 4]}, "it")
    classifier = Golden("classifier_attention")
    with pytest.raises(ValueError, match="load_classifier"):
        ddrm_fast.load_prior(classifier.save(tmp_path, "c.pt"), classifier.config)
    with pytest.raises(ValueError, match="num_res_blocks"):
        ddrm_fast.load_classifier(tmp_path / "c.pt", heads_of(classifier.config))
    with pytest.raises(ValueError, match="holds no classifier"):
        ddrm_fast.load_classifier(path)
    loaded = ddrm_fast.load_classifier(tmp_path / "c.pt", classifier.config)
    with pytest.raises(ValueError, match="32"):
        loaded(torch.zeros(1, 3, 16, 16), torch.zeros(1))


@pytest.mark.parametrize(
    "name, heads, message",
    [
        (
            "unet_class_cond",
            {"num_head_channels": 24},
            "num_head_channels is 24.*32.* channels wide",
        ),
        ("unet_class_cond", {"num_heads": 5}, "num_heads is 5.*32.* channels wide"),
        ("unet_class_cond", {"num_heads": 0}, "num_heads is 0"),
        ("unet_class_cond", {"num_heads": "2"}, "num_heads is '2'"),
        ("unet_class_cond", {"num_heads": 2, "num_heads_upsample": 3}, "num_heads_upsample is 3"),
        ("classifier_attention", {"num_head_channels": 24}, "num_head_channels is 24"),
    ],
)
def test_heads_that_do_not_divide_the_widths(tmp_path, name, heads, message):
    golden = Golden(name)
    path = golden.save(tmp_path)
    other = {k: v for k, v in golden.config.items() if not k.startswith("num_head")}
    load = ddrm_fast.load_classifier if "classifier" in name else ddrm_fast.load_prior
    with pytest.raises(ValueError, match=f"^config: {message}.*expected a divisor of each"):
        load(path, {**other, **heads})


def test_files_that_are_no_network(tmp_path):
    path = Golden("ddpm").save(tmp_path)
    truncated = tmp_path / "truncated.pt"
    truncated.write_bytes(path.read_bytes()[:5000])
    foreign = tmp_path / "foreign.ckpt"
    foreign.write_text("a diary")
    for file in (truncated, foreign):
        with pytest.raises(ValueError, match=f"{file.name}: not a readable"):
            ddrm_fast.load_prior(file)
    torch.save({"a.weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="no network that is known here.*a.weight"):
        ddrm_fast.load_prior(tmp_path / "other.pt")
    torch.save(3, tmp_path / "number.pt")
    with pytest.raises(ValueError, match="holds no weights"):
        ddrm_fast.load_prior(tmp_path / "number.pt")
    for name in ("google/ddpm-celebahq-256", "a/b"):
        place = f"Nothing is downloaded: .* https://huggingface.co/{name} and give its path"
        with pytest.raises(FileNotFoundError, match=place):
            ddrm_fast.load_prior(name)
    for name in ("none", "folder/none.pt", "/some/where"):
        with pytest.raises(FileNotFoundError, match="known names: default, gaussian$"):
            ddrm_fast.load_prior(name)
    with pytest.raises(FileNotFoundError, match="found through https://"):
        ddrm_fast.load_prior(tmp_path / "256x256_diffusion_uncond.pt")
    weights = dict(Golden("ddpm").weights)
    del weights["mid.attn_1.q.weight"]
    torch.save(weights, path)
    with pytest.raises(ValueError, match=r"(?s)do not fit.*mid.attn_1.q.weight"):
        ddrm_fast.load_prior(path)


class Shell:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path(self.target),))

    def __init__(self, target):
        self.target = str(target)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    torch.save({"state_dict": {}, "args": Shell(tmp_path / "ran")}, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match=r"bad.pt: not a readable checkpoint"):
        ddrm_fast.load_prior(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["linear", "quad", "const", "jsd", "sigmoid"])
def test_schedules_are_the_published_ones(kind):
    made = {
        "linear": Schedule.linear, "quad": Schedule.quadratic, "const": Schedule.constant,
        "jsd": Schedule.jsd, "sigmoid": Schedule.sigmoid,
    }[kind]()  # fmt: skip
    with np.load(GOLDEN.parent / "schedules.npz") as file:
        betas = torch.from_numpy(file[kind])
    expected = torch.cumprod(1 - betas, 0)
    assert torch.allclose(made.alphas_cumprod, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("T", [100, 250, 1000, 4000])
def test_named_schedules_of_guided_diffusion(T):
    with np.load(GOLDEN.parent / "schedules.npz") as file:
        linear, cosine = (torch.from_numpy(file[f"{k}_{T}"]) for k in ("linear", "cosine"))
    expected = torch.cumprod(1 - cosine, 0)
    assert torch.allclose(Schedule.cosine(T).alphas_cumprod, expected, rtol=1e-9, atol=1e-15)
    made = Schedule.linear(T, 0.1 / T, 20 / T).alphas_cumprod
    assert torch.allclose(made, torch.cumprod(1 - linear, 0), rtol=1e-9, atol=1e-15)


def test_a_prior_of_ones_own_with_classes():
    prior = Prior(lambda x, t, labels: x * labels.view(-1, 1, 1, 1), num_classes=3)
    y = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match="labels"):
        ddrm_fast.restore(y, operators.Denoising(), 0.1, prior)


def test_command_line_with_a_class(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save("a.png")
    network, classifier = Golden("unet_class_cond"), Golden("classifier_attention")
    network.save(tmp_path)
    classifier.save(tmp_path, "classifier.pt")
    Path("network.json").write_text(json.dumps(heads_of(network.config)))
    Path("classifier.json").write_text(json.dumps(classifier.config))
    restore = ["restore", "a.png", "--task", "noise", "--sigma", "0.1", "--steps", "2", "--quiet"]
    restore += ["--prior", "network.pt", "--prior-config", "network.json", "--clip-x0"]
    restore += ["--samples", "1", "--out"]
    guide = ["--classifier", "classifier.pt", "--classifier-config", "classifier.json"]
    runs = {
        "one": ["--label", "1"],
        "two": ["--label", "2"],
        "guided": ["--label", "1", *guide, "--guidance", "9"],
        "free": ["--label", "1", "--null-label", "3", "--guidance", "4"],
    }
    pictures = set()
    for out, options in runs.items():
        assert main([*restore, out, *options]) == 0
        (sample,) = Path(out).rglob("*sample-1.png")
        pictures.add(sample.read_bytes())
    assert len(pictures) == len(runs)
    (record,) = Path("guided").rglob("*.json")
    assert json.loads(record.read_text())["parameters"]["guidance"] == 9
    for options, message in (
        ([], "--label: network.pt wants a class, 0 to 9"),
        (["--label", "10"], "--label: got 10, expected 0 to 9"),
        (["--label", "1", "--guidance", "2"], "--guidance: needs --classifier"),
        (["--label", "1", *guide[2:]], "--classifier-config: needs --classifier"),
        (["--label", "1", *guide, "--guidance", "-1"], "--guidance: got '-1'"),
        (["--label", "1", "--null-label", "10"], "--null-label: network.pt knows no label 10"),
        (["--label", "1", *guide[:2], "--classifier-config", "a.png"], "not readable as JSON"),
        (["--label", "1", "--classifier", "network.pt"], "holds no classifier"),
    ):
        assert main([*restore, "refused", *options]) != 0
        assert message in capsys.readouterr().err
    restore[restore.index("--prior") + 1] = "default"
    del restore[restore.index("--prior-config") : restore.index("--prior-config") + 2]
    for options in (guide, ["--null-label", "3"]):
        assert main([*restore, "refused", *options]) != 0
        assert f"{options[0]}: needs --label" in capsys.readouterr().err
    assert not Path("refused").exists() or not list(Path("refused").rglob("*.png"))

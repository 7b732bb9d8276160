"""Networks of the command line: priors that need a configuration, classes, guidance, devices."""

import json

import numpy as np
import pytest
import torch
from cli_cases import fails, picture
from test_published import Golden, heads_of

import ddrm_fast
from ddrm_fast.cli import main

SHORT = {"noise_schedule": "cosine", "diffusion_steps": 8, "rescale_timesteps": False}


@pytest.fixture
def network(here):
    """A class-conditional network of guided-diffusion, a classifier, and their configurations."""
    golden, classifier = Golden("unet_class_cond"), Golden("classifier_adaptive")
    golden.save(here)
    classifier.save(here, "classifier.pt")
    (here / "network.json").write_text(json.dumps({**heads_of(golden.config), **SHORT}))
    (here / "classifier.json").write_text(json.dumps(classifier.config))
    return golden


CONFIG = ["--prior-config", "network.json"]
SAMPLE = ["sample", "network.pt", "--size", "16", "--count", "2", "--steps", "2", "--device", "cpu"]
GUIDE = ["--classifier", "classifier.pt", "--classifier-config", "classifier.json"]


def test_sample_takes_what_restore_takes(here, network, capsys):
    runs = {
        "any": [],
        "one": ["--label", "1"],
        "guided": ["--label", "1", *GUIDE, "--guidance", "9"],
        "free": ["--label", "1", "--null-label", "3", "--guidance", "4"],
        "each": [*GUIDE],
    }
    drawn = set()
    for name, options in runs.items():
        assert main([*SAMPLE, *CONFIG, "--out", f"{name}.png", *options]) == 0
        drawn.add((here / f"{name}.png").read_bytes())
    assert len(drawn) == len(runs)
    for options, message in (
        (["--label", "10"], "--label: got 10, expected 0 to 9"),
        (["--guidance", "2"], "--guidance: needs --classifier or --null-label"),
        (["--device", "abacus"], "--device: got 'abacus'"),
        (["--label", "1", "--null-label", "x"], "--null-label: got 'x'"),
    ):
        assert message in fails(capsys, *SAMPLE, *CONFIG, "--out", "no.png", *options)
    assert not (here / "no.png").exists()


def test_bound_takes_a_configuration(here, network, capsys):
    pixels = torch.arange(2 * 8 * 8 * 3) % 256
    arrays = pixels.reshape(2, 8, 8, 3).to(torch.uint8).numpy()
    np.savez("pictures.npz", images=arrays, labels=np.array([0, 7]))
    bound = ["bound", "network.pt", "pictures.npz", "--size", "8", "--quiet", "--device", "cpu"]
    assert main([*bound, *CONFIG, "--json", "bound.json"]) == 0
    found = json.loads((here / "bound.json").read_text())
    prior = ddrm_fast.load_prior("network.pt", {**heads_of(network.config), **SHORT})
    reverse = ddrm_fast.ddpm.Reverse(ddrm_fast.ddpm.Process(prior.schedule), "eps", "small")
    x0, labels = torch.from_numpy(arrays).permute(0, 3, 1, 2) / 127.5 - 1, torch.tensor([0, 7])

    def mean(x_t, t, labels):
        return prior.network(x_t, t, labels)[:, :3]

    terms = ddrm_fast.ddpm.bound(mean, reverse, x0, labels)
    assert found["total"] == pytest.approx(float(terms.total.mean()), rel=1e-4)
    assert "--device: got 'abacus'" in fails(capsys, *bound, "--device", "abacus")
    assert "--json: /proc/" in fails(capsys, *bound, "--json", "/proc/nope/a.json")


@pytest.mark.parametrize(
    "command",
    [
        ["sample", "network.pt", "--out", "a.png"],
        ["bound", "network.pt", "."],
        ["restore", "a.png", "--task", "noise", "--sigma", "0.1", "--prior", "network.pt"],
    ],
    ids=lambda command: command[0],
)
def test_what_the_weights_do_not_tell_is_asked_for_by_option(here, network, capsys, command):
    picture("a.png")
    line = fails(capsys, *command)
    assert "the weights do not tell num_heads" in line and "--prior-config FILE.json" in line
    assert "config=" not in line
    (here / "wrong.json").write_text(json.dumps({"num_heads": 5, "use_new_attention_order": False}))
    wrong = fails(capsys, *command, "--prior-config", "wrong.json")
    assert "--prior-config: num_heads is 5" in wrong
    missing = fails(capsys, *command, "--prior-config", "nofile.json")
    assert "--prior-config: nofile.json: no such file" in missing
    (here / "list.json").write_text("[1]")
    line = fails(capsys, *command, "--prior-config", "list.json")
    assert "--prior-config: list.json holds a list, expected an object" in line


def test_classes_that_a_prior_does_not_know(here, network, capsys):
    picture("a.png")
    restore = ["restore", "a.png", "--task", "noise", "--sigma", "0.1", "--steps", "2", "--quiet"]
    for options in (["--label", "2"], ["--null-label", "3", "--label", "2"]):
        assert "--label: got 2, but default knows no classes" in fails(capsys, *restore, *options)
    line = fails(capsys, *restore, "--label", "2", "--null-label", "3", *GUIDE)
    assert "--null-label: default knows no classes" in line
    assert not (here / "restored").exists()


def test_a_classifier_guides_a_network_without_classes(here, network, capsys):
    """The class is the classifier's; the network is called without it."""
    golden = Golden("unet_plain")
    golden.save(here, "plain.pt")
    (here / "plain.json").write_text(json.dumps({**golden.config, **SHORT}))
    sample = ["sample", "plain.pt", "--prior-config", "plain.json", *SAMPLE[2:]]
    assert main([*sample, "--out", "plain.png"]) == 0
    assert main([*sample, "--out", "guided.png", "--label", "1", *GUIDE, "--guidance", "9"]) == 0
    assert (here / "plain.png").read_bytes() != (here / "guided.png").read_bytes()
    assert "--classifier: needs --label" in fails(capsys, *sample, "--out", "no.png", *GUIDE)


def test_grids_are_png_files(here, capsys):
    sample = ["sample", "gaussian", "--size", "8", "--out"]
    assert "--out: got s.foo, expected a name that ends in .png" in fails(capsys, *sample, "s.foo")
    assert "--out: /proc/nope" in fails(capsys, *sample, "/proc/nope/s.png")
    assert not list(here.iterdir())

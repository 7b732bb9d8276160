"""Measures that look through a network: closed forms, what is missing, no download unasked."""

import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn

from ddrm_fast.evaluation import perceptual
from ddrm_fast.evaluation.perceptual import (
    ALEXNET,
    INCEPTION,
    Features,
    Unavailable,
    extractor,
    load_inception,
    load_lpips,
    set_measures,
)

torchmetrics = pytest.importorskip("torchmetrics")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder of weights, and a download that ends the test."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *a: pytest.fail("a download"))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def packages(monkeypatch):
    """As if every package were installed."""
    monkeypatch.setattr(perceptual, "find_spec", lambda name: name)


def features(count, seed, size=5, classes=4):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(size, size, generator=generator, dtype=torch.float64)
    pooled = torch.randn(count, size, generator=generator, dtype=torch.float64) @ mix + seed
    return Features(pooled, torch.randn(count, classes, generator=generator, dtype=torch.float64))


def frechet(a, b):
    """Dowson and Landau (1982), with a matrix square root."""
    (ma, sa), (mb, sb) = ((x.mean(0), np.cov(x, rowvar=False)) for x in (a, b))
    return ((ma - mb) ** 2).sum() + np.trace(sa + sb - 2 * sqrtm(sa @ sb).real)


def unbiased_mmd(a, b):
    """Gretton et al. (2012), lemma 6, one pair after the other; cubic kernel of Binkowski et al."""

    def mean(x, y, same):
        pairs = [(i, j) for i in range(len(x)) for j in range(len(y)) if not (same and i == j)]
        return np.mean([(x[i] @ y[j] / x.shape[1] + 1) ** 3 for i, j in pairs])

    return mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)


def test_set_measures_are_their_closed_forms():
    restored, clean = features(110, 1), features(110, 0)
    found = set_measures(restored, clean)
    a, b = restored.pooled.numpy(), clean.pooled.numpy()
    assert found["fid"] == pytest.approx(frechet(a, b), rel=1e-9)
    assert found["kid"] == pytest.approx(unbiased_mmd(a, b), rel=1e-9)
    assert found["kid_std"] == 0  # one subset: all pictures
    assert set_measures(clean, clean)["fid"] == pytest.approx(0, abs=1e-6)


def test_fid_of_known_gaussians():
    """Moments that the samples have exactly: |m|^2 + sum (sqrt a - sqrt b)^2."""
    x = torch.randn(200, 3, dtype=torch.float64)
    x = x - x.mean(0)
    white = x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    std_a, std_b, mean = (torch.tensor(v) for v in ([1.0, 2, 3], [2.0, 2, 0.5], [3.0, 0, 4]))
    a, b = Features(white * std_a + mean, x), Features(white * std_b, x)
    expected = 25 + 1 + 0 + 6.25
    assert set_measures(a, b)["fid"] == pytest.approx(expected, rel=1e-9)


def test_inception_score_of_sure_and_of_unsure_classes():
    pooled = features(200, 0).pooled
    unsure = set_measures(Features(pooled, torch.zeros(200, 4).double()), Features(pooled, pooled))
    assert unsure["inception_score"] == pytest.approx(1, abs=1e-9)
    sure = 1e3 * torch.eye(4).double()[torch.arange(4000) % 4]
    many = Features(features(4000, 0).pooled, sure)
    score = set_measures(many, many)["inception_score"]
    # 10 splits of 400: each misses the 4 of the whole by about 3 classes / (2 * 400)
    assert 3.95 < score <= 4


def test_kid_of_more_than_a_thousand_is_a_mean_over_subsets():
    restored, clean = features(1200, 1), features(1300, 0)
    before = torch.random.get_rng_state()
    found = set_measures(restored, clean)
    assert torch.equal(before, torch.random.get_rng_state())
    assert found == set_measures(restored, clean)
    a, b = restored.pooled, clean.pooled
    kernel = [(x @ y.T / 5 + 1) ** 3 for x, y in ((a, a), (b, b), (a, b))]
    means = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in kernel[:2]]
    exact = float(sum(means) - 2 * kernel[2].mean())
    assert found["kid_std"] > 0
    assert found["kid"] == pytest.approx(exact, abs=found["kid_std"])


def test_too_few_pictures_for_a_set():
    with pytest.raises(ValueError, match="got 99 pictures, expected at least 100"):
        set_measures(features(100, 0), features(99, 0))


class Means(nn.Module):
    """A network in closed form: the mean of each colour, as levels."""

    def forward(self, x):
        assert x.dtype == torch.uint8 and x.shape[1] == 3
        means = x.double().mean(dim=(2, 3))
        return means, means


def test_pictures_reach_the_network_as_eight_bits_and_three_colours():
    extract = extractor(Means())
    grey = torch.tensor([0.0, 0.2, 1.3, -0.4]).view(4, 1, 1, 1).expand(4, 1, 5, 6)
    found = extract(grey)
    torch.testing.assert_close(found.pooled[:, 0], torch.tensor([0.0, 51, 255, 0]).double())
    assert torch.equal(found.pooled, found.pooled[:, :1].expand(-1, 3))
    both = Features.together([found, extract(grey[:2])])
    assert both.pooled.shape == (6, 3) and both.logits.shape == (6, 3)


@pytest.mark.parametrize(("load", "network"), [(load_lpips, ALEXNET), (load_inception, INCEPTION)])
def test_says_what_is_missing(hub, packages, monkeypatch, load, network):
    with pytest.raises(Unavailable) as caught:
        load()
    said = str(caught.value)
    for part in (network.measures, str(hub / network.path.name), network.url, "--download"):
        assert part in said
    monkeypatch.setattr(perceptual, "find_spec", lambda name: None)
    for download in (False, True):  # without its packages nothing is fetched for it
        with pytest.raises(Unavailable, match="torchvision.*ddrm_fast.perceptual"):
            load(download=download)


def test_set_measures_say_that_torchmetrics_is_missing(monkeypatch):
    monkeypatch.setattr(perceptual, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="needs torchmetrics"):
        set_measures(features(100, 0), features(100, 0))


def test_download_only_where_asked_and_checked_by_its_digest(hub, packages, monkeypatch):
    asked = []

    def download(url, path, prefix):
        asked.append((url, prefix))
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(Unavailable, match="cannot be downloaded.*no route to host"):
        ALEXNET.require(download=True)
    assert asked == [(ALEXNET.url, "7be5be79")]
    ALEXNET.path.write_bytes(b"weights")
    ALEXNET.require(download=True)  # they are there
    ALEXNET.require(download=False)
    assert len(asked) == 1


def test_a_package_that_cannot_be_imported(hub, packages, monkeypatch):
    """A torchvision for another build of torch raises RuntimeError when it is imported."""
    INCEPTION.path.parent.mkdir(parents=True)
    INCEPTION.path.write_bytes(b"weights")

    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(perceptual, "import_module", broken)
    with pytest.raises(Unavailable, match="nms does not exist.*build for this torch"):
        load_inception()


class Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_weights_are_tensors_and_nothing_is_executed(hub, packages, tmp_path, monkeypatch):
    """The packages ask torch.load for everything; they get tensors."""
    monkeypatch.chdir(tmp_path)

    def network(name, layers, path):
        torch.load(path, weights_only=False)

    module = SimpleNamespace(FeatureExtractorInceptionV3=network)
    monkeypatch.setattr(perceptual, "import_module", lambda name: module)
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    INCEPTION.path.parent.mkdir(parents=True)
    for content in (pickle.dumps(Evil(), protocol=2), b"not weights at all"):
        INCEPTION.path.write_bytes(content)
        with pytest.raises(Unavailable, match="6726825d.pth is damaged or not Inception v3"):
            load_inception()
    assert not (tmp_path / "executed").exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    with pytest.raises(Unavailable):
        load_inception()
    assert os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "0"


def torchvision_or_skip():
    try:
        import torchvision
    except Exception as error:  # also where it is the build for another torch
        pytest.skip(f"torchvision cannot be imported: {error}")
    return torchvision


@torch.no_grad()
def test_lpips_is_its_formula(hub):
    """Zhang et al. (2018), eq. 1, with random weights of AlexNet and the published ones of the layers."""
    torchvision = torchvision_or_skip()
    alexnet = torchvision.models.alexnet(weights=None).eval()
    hub.mkdir(parents=True)
    torch.save(alexnet.state_dict(), ALEXNET.path)
    x, y = torch.rand(2, 3, 40, 48)
    measured = load_lpips()
    folder = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models"
    layers = torch.load(folder / "alex.pth", map_location="cpu")
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    pair = torch.stack((x, y)) * 2 - 1
    h, expected, layer = (pair - shift.view(3, 1, 1)) / scale.view(3, 1, 1), 0.0, 0
    for step in alexnet.features[:-1]:
        h = step(h)
        if isinstance(step, nn.ReLU):
            unit = h / (h.square().sum(1, keepdim=True).sqrt() + 1e-10)
            weights = layers[f"lin{layer}.model.1.weight"].view(-1, 1, 1)
            expected += float((weights * (unit[0] - unit[1]).square()).sum(0).mean())
            layer += 1
    assert measured(x, y) == pytest.approx(expected, rel=1e-4)
    assert measured(x, x) == 0
    assert measured(x, y) == pytest.approx(expected, rel=1e-4)  # nothing is carried over
    assert measured(torch.rand(1, 31, 31), torch.rand(1, 31, 31)) > 0


def test_inception_loads(hub, monkeypatch):
    """Random weights under the published name."""
    torchvision_or_skip()
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    network = module.FeatureExtractorInceptionV3
    with monkeypatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *a, **k: {})
        patch.setattr(nn.Module, "load_state_dict", lambda *a, **k: None)
        fresh = network("inception-v3-compat", ["2048", "logits_unbiased"])
    hub.mkdir(parents=True)
    torch.save(fresh.state_dict(), INCEPTION.path)
    picture = torch.rand(1, 1, 20, 30)
    found = load_inception()(picture)
    assert found.pooled.shape == (1, 2048) and found.logits.shape == (1, 1008)
    pooled, logits = fresh((picture * 255).round().to(torch.uint8).expand(-1, 3, -1, -1))
    torch.testing.assert_close(found.pooled, pooled.double())
    torch.testing.assert_close(found.logits, logits.double())

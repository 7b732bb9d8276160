"""The recipes of docs/adding-a-prior.md, on exact stand-ins with the interface of each package."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import ddrm_fast
from ddrm_fast import DDRM, DenoiserPrior, Prior, Schedule, operators, restore

GUIDE = Path(__file__).parent.parent / "docs" / "adding-a-prior.md"
POWER = 0.25  # variance of a pixel


def _blocks():
    """The code of the section, by the name of the package that leads it."""
    text = GUIDE.read_text().split("## Networks that their own package builds")[1].split("\n## ")[0]
    names = re.findall(r"^\[([\w-]+)\]\(", text, flags=re.MULTILINE)
    codes = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    return dict(zip(names, codes, strict=True))


def _run(name, **given):
    namespace = {
        "torch": torch,
        "Prior": Prior,
        "DenoiserPrior": DenoiserPrior,
        "Schedule": Schedule,
    }
    namespace |= given
    exec(_blocks()[name], namespace)
    return namespace["prior"]


def _exact(x, sigma):
    return x * POWER / (POWER + sigma.view(-1, 1, 1, 1) ** 2)


def _check(prior, labels=None):
    """The posterior mean at several levels, and a restoration."""
    x = torch.randn(2, 3, 8, 8)
    for sigma in (0.05, 0.5, 3.0):
        expected = _exact(x, torch.full((2,), sigma))
        assert torch.allclose(prior.denoise(x, sigma, labels), expected, atol=0.02 * sigma + 1e-3)
    y = torch.rand(2, 3, 8, 8)
    result = restore(y, operators.Denoising(), 0.1, prior, DDRM(3), labels=labels)
    assert result.mean.isfinite().all()


class Unet(torch.nn.Module):
    """Called as lucidrains' Unet, with whole timesteps."""

    channels = 3

    def __init__(self, objective, schedule):
        super().__init__()
        self.objective, self.abar = objective, schedule.alphas_cumprod

    def forward(self, x, time, x_self_cond=None):
        assert time.dtype == torch.int64
        abar = self.abar[time].float().view(-1, 1, 1, 1)
        x0 = _exact(x / abar.sqrt(), ((1 - abar) / abar).sqrt().flatten())
        eps = (x - abar.sqrt() * x0) / (1 - abar).sqrt()
        outputs = {
            "pred_noise": eps,
            "pred_x0": x0,
            "pred_v": abar.sqrt() * eps - (1 - abar).sqrt() * x0,
        }
        return outputs[self.objective]


@pytest.mark.parametrize("objective", ["pred_noise", "pred_x0", "pred_v"])
def test_lucidrains(objective):
    betas = torch.linspace(1e-4, 0.02, 1000)
    schedule = Schedule.from_betas(betas)
    diffusion = SimpleNamespace(
        model=Unet(objective, schedule), betas=betas, objective=objective, channels=3
    )
    trainer = SimpleNamespace(ema=SimpleNamespace(ema_model=diffusion))
    prior = _run("denoising-diffusion-pytorch", trainer=trainer)
    assert prior.channels == 3 and prior.schedule.T == 1000
    _check(prior)


class Edm:
    """Called as EDM's networks: D(x, sigma[, one-hot labels])."""

    img_channels, label_dim = 3, 4

    def __call__(self, x, sigma, class_labels=None):
        if class_labels is not None:
            assert class_labels.shape == (len(x), 4) and (class_labels.sum(1) == 1).all()
        return _exact(x, sigma)


def test_edm():
    first, second = _blocks()["EDM"].split("# with classes")
    namespace = {"torch": torch, "DenoiserPrior": DenoiserPrior, "net": Edm()}
    exec(first, namespace)
    _check(namespace["prior"])
    prior = _run("EDM", net=Edm())
    assert prior.num_classes == 4 and prior.sigma_range[0] == pytest.approx(0.002)
    _check(prior, torch.tensor([0, 3]))


def test_k_diffusion():
    """Its preconditioning (Karras et al. 2022, table 1) around an inner model, written out."""
    data = POWER**0.5

    def inner(x, sigma):
        noise = sigma.view(-1, 1, 1, 1)
        skip, out = data**2 / (noise**2 + data**2), noise * data / (noise**2 + data**2).sqrt()
        noisy = x * (noise**2 + data**2).sqrt()
        return (_exact(noisy, sigma) - skip * noisy) / out

    def denoiser(x, sigma):
        noise = sigma.view(-1, 1, 1, 1)
        skip, out = data**2 / (noise**2 + data**2), noise * data / (noise**2 + data**2).sqrt()
        return inner(x / (noise**2 + data**2).sqrt(), sigma) * out + x * skip

    prior = _run("k-diffusion", denoiser=denoiser, config={"model": {"sigma_min": 0.01}})
    assert prior.sigma_range[0] == pytest.approx(0.01)
    _check(prior)


def test_every_recognised_package_has_a_recipe(tmp_path):
    files = {
        "denoising-diffusion-pytorch": dict.fromkeys(
            ("init_conv.weight", "time_mlp.1.weight"), torch.ones(1)
        ),
        "EDM": {"map_layer0.weight": torch.ones(1)},
        "k-diffusion": {"inner_model.timestep_embed.weight": torch.ones(1)},
    }  # fmt: skip
    assert set(files) == set(_blocks())
    for name, weights in files.items():
        torch.save(weights, tmp_path / "file.pt")
        with pytest.raises(ValueError, match=rf"{name}, which .* docs/adding-a-prior\.md"):
            ddrm_fast.load_prior(tmp_path / "file.pt")

"""Every Python block of README and docs runs as it stands, in its order, page by page.

What a reader has and a test has not (a photograph, a checkpoint, a cluster) is made small by the function of
its page in ``NEEDS``; where something of the package is stood in for, the call is held against its signature.
"""

import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_cases import PIXELWISE
from torch import nn

import ddrm_fast
from ddrm_fast import Prior, diffir, operators
from ddrm_fast.io import Picture, write_picture
from ddrm_fast.ops import dispatch
from ddrm_fast.registry import EDITS, SAMPLERS, TASKS

ROOT = Path(__file__).parent.parent
#: pages that another test runs: (that test, why)
ELSEWHERE = {
    "docs/deepinv.md": (
        "tests/test_deepinv.py",
        "needs deepinv, without which that file is skipped",
    ),
}


def blocks(path):
    """(line, code) of every Python block."""
    text = (ROOT / path).read_text()
    found = re.finditer(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [(text[: match.start()].count("\n") + 2, match[1]) for match in found]


PAGES = [
    path
    for path in ["README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
    if blocks(path)
]


def run(path, namespace):
    """Executes the blocks of a page in one namespace; errors name the page and its line."""
    for line, code in blocks(path):
        exec(compile("\n" * (line - 1) + code, str(ROOT / path), "exec"), namespace)
    return namespace


@pytest.fixture(autouse=True)
def left_as_it_was(monkeypatch, here):
    """An empty folder; what the examples register is gone after them."""
    for registry in (TASKS, SAMPLERS, EDITS):
        for name in ("_entries", "_aliases"):
            monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    monkeypatch.setattr(dispatch, "_BACKENDS", dict(dispatch._BACKENDS))
    yield
    dispatch.forget()


def stand_in(monkeypatch, module, name, result):
    """A function that checks how it is called, and gives ``result`` of its first argument."""
    signature = inspect.signature(getattr(module, name))

    def called(*args, **keywords):
        return result(*signature.bind(*args, **keywords).args)

    monkeypatch.setattr(module, name, called)


def photo(monkeypatch, here):
    """A photograph of the reader's."""
    x = torch.rand(3, 6, 8).repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)
    write_picture("photo.jpg", Picture(x))
    return {}


def checkpoints(monkeypatch, here):
    """Networks of the reader's own; published ones and folders are stood in for by small ones."""

    def network(x_t, t, labels=None):
        return 0.3 * x_t

    class Classifier(nn.Module):
        def forward(self, x_t, t):
            return x_t.mean((2, 3)) @ torch.ones(3, 1000)

    def prior(name, *_):
        name = name if isinstance(name, str) else "pipeline"
        assert Path(name).suffix in (".pt", ".ckpt", "")
        return Prior(network, num_classes=1001 if name.endswith("256x256_diffusion.pt") else None)

    stand_in(monkeypatch, ddrm_fast, "load_prior", prior)
    stand_in(monkeypatch, ddrm_fast, "load_classifier", lambda *_: Classifier())
    unet = nn.Conv2d(3, 3, 1)
    unet.config, unet.dtype = SimpleNamespace(in_channels=3, out_channels=3), torch.float32
    operator = operators.SuperResolution(2)

    def denoiser(x, sigma, labels=None):
        return x

    denoiser.img_channels, denoiser.label_dim = 3, 10
    diffusion = SimpleNamespace(
        model=unet, objective="pred_v", betas=torch.linspace(1e-4, 2e-2, 1000), channels=3
    )
    return {
        "pipeline": SimpleNamespace(unet=unet, scheduler=None), "net": denoiser, "denoiser": denoiser,
        "trainer": SimpleNamespace(ema=SimpleNamespace(ema_model=diffusion)),
        "config": {"model": {"sigma_min": 0.01}},
        "torch": torch, "my_unet": lambda x, t: 0.3 * x, "my_denoiser": lambda x, sigma: x,
        "unet": unet, "scheduler": SimpleNamespace(config={"beta_schedule": "linear"}),
        "y": torch.rand(1, 3, 4, 4), "operator": operator,
    }  # fmt: skip


def cluster(monkeypatch, here):
    """Workers are stood in for by this process."""
    from ddrm_fast.machine import workers

    class Here:
        def __init__(self, make, layout, tries=3):
            self.work = make()

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def run(self, items):
            yield from enumerate(map(self.work, items))

    for name, member in inspect.getmembers(workers.Pool, inspect.isfunction):
        if name in ("__init__", "run"):
            own = list(inspect.signature(getattr(Here, name)).parameters)
            assert own == list(inspect.signature(member).parameters)
    stand_in(monkeypatch, workers, "connect", lambda *_: lambda: None)
    stand_in(monkeypatch, workers, "layout", lambda *_: workers.Layout)
    monkeypatch.setattr(workers, "Pool", Here)
    return {"make": lambda: lambda item: 2 * item, "items": [1, 2, 3]}


def script(monkeypatch, here):
    """What a script for the published code has."""
    return {
        "x_true": torch.rand(1, 3, 32, 32), "device": torch.device("cpu"),
        "model": lambda x, t: 0.3 * x, "betas": torch.linspace(1e-4, 2e-2, 1000),
    }  # fmt: skip


def deblurring(monkeypatch, here):
    """A published checkpoint, and a batch to restore."""
    config = diffir.DiffIRConfig(
        "deblurring", dim=8, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1, n_encoder_res=1
    )
    network = diffir.build(config).eval()
    stand_in(monkeypatch, diffir, "load", lambda *_: network)
    return {"y": torch.rand(2, 3, 20, 28)}


#: page -> what its reader has
NEEDS = {
    "README.md": photo,
    "docs/index.md": photo,
    "docs/adding-a-prior.md": checkpoints,
    "docs/diffir.md": deblurring,
    "docs/many-pictures.md": cluster,
    "docs/porting.md": script,
}


@pytest.mark.parametrize("path", [path for path in PAGES if path not in ELSEWHERE])
def test_the_blocks_of_a_page_run(path, monkeypatch, here):
    needs = NEEDS.get(path, lambda *_: {})
    made = run(path, {"__name__": "page", **needs(monkeypatch, here)})
    check = CHECKS.get(path)
    if check is not None:
        check(made, here)


def test_pages_that_run_elsewhere_do():
    for path, (test, why) in ELSEWHERE.items():
        assert path in PAGES and why
        assert Path(path).name in (ROOT / test).read_text()


def readme(made, here):
    assert made["result"].samples.shape == (8, 1, 3, 24, 32)
    assert (here / "restored.png").exists()


def edits(made, here):
    """What each page says of its classes."""
    y, operator, prior = made["y"], made["operator"], made["prior"]
    one = ddrm_fast.restore(
        y[1:], operator, 0.05, prior, ddrm_fast.DDRM(4), seed=1,
        edits=[made["Towards"](made["towards"].target[1:])],
    )  # fmt: skip
    torch.testing.assert_close(made["both"].mean[1:], one.mean)
    x = torch.rand(1, 3, 8, 8)
    y = operators.SuperResolution(2).H(x)
    sampler = ddrm_fast.DDIM(50)

    def residual(edits):
        drawn = ddrm_fast.restore(y, operator, 0.0, prior, sampler, edits=edits, clamp=False)
        return float((operator.H(drawn.mean) - y).norm())

    assert residual([made["DPS"](1.5)]) < 0.3 * residual([])


def operator(made, here):
    """The map alone, restored with by a gradient through the network."""
    over = made["Overexposed"](2.0)
    assert over.parameters == {"gain": 2.0}
    y = ddrm_fast.degrade(torch.full((1, 3, 8, 8), 0.3), over)
    (dps,) = (code for _, code in blocks("docs/adding-an-edit.md") if "class DPS" in code)
    dps = dps[: dps.index("ddrm_fast.restore")]
    own = {"Edit": ddrm_fast.Edit, "torch": torch}
    exec(dps, own)
    drawn = ddrm_fast.restore(
        y, over, 0.0, ddrm_fast.load_prior("gaussian"), ddrm_fast.DDIM(50), edits=[own["DPS"](1.5)]
    )
    assert float((over.H(drawn.mean) - y).abs().mean()) < 0.1  # 0.34 without
    with pytest.raises(ValueError, match=r"^sampler: DDRM works in the singular basis, and"):
        ddrm_fast.restore(y, over, 0.0, PIXELWISE, ddrm_fast.DDRM(5))
    cosines = made["CosineCS"](torch.rand(6, 8) > 0.5)
    assert (
        type(cosines)(**cosines.parameters).singulars((1, 6, 8)).equal(cosines.singulars((1, 6, 8)))
    )


#: page -> what its blocks should have made
CHECKS = {
    "README.md": readme,
    "docs/adding-an-edit.md": edits,
    "docs/adding-an-operator.md": operator,
}

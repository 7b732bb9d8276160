"""The code in the documentation runs as it stands."""

import re
from pathlib import Path

import pytest
import torch

from ddrm_fast import Prior, degrade, operators, restore
from ddrm_fast.registry import SAMPLERS, TASKS

DOCS = Path(__file__).parent.parent / "docs"


def run_blocks(name: str) -> dict:
    """Executes a document's Python blocks in order; returns their namespace."""
    text = (DOCS / name).read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert blocks
    namespace: dict = {}
    exec("\n".join(blocks), namespace)
    return namespace


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What the examples register is gone after a test."""
    for registry in (TASKS, SAMPLERS):
        for name in ("_entries", "_aliases"):
            monkeypatch.setattr(registry, name, dict(getattr(registry, name)))


def test_operator_example():
    kept = torch.rand(6, 8) > 0.4
    operator = run_blocks("adding-an-operator.md")["CosineCS"](kept)
    x = torch.rand(1, 2, 6, 8, dtype=torch.float64)
    y = operator.H(x)
    torch.testing.assert_close(operator.H(operator.H_pinv(y)), y)
    torch.testing.assert_close(operator.V(operator.Vt(x)), x)
    result = restore(y.float(), operator, prior="gaussian", end_on_measurement=True, clamp=False)
    torch.testing.assert_close(operator.H(result.mean), y.float(), rtol=1e-4, atol=1e-4)


def test_sampler_example():
    sampler = run_blocks("adding-a-sampler.md")["Anneal"](steps=5, trust=1.0)
    x = torch.rand(1, 3, 8, 8)
    operator = operators.SuperResolution(2)
    prior = Prior(lambda x_t, t: torch.zeros_like(x_t))
    result = restore(degrade(x, operator), operator, prior=prior, sampler=sampler, clamp=False)
    torch.testing.assert_close(operator.H(result.mean), operator.H(x), rtol=1e-4, atol=1e-4)


def test_any_size_example():
    made = run_blocks("any-size.md")
    for name in ("by_windows", "jointly", "small_first"):
        assert made[name].mean.shape == (1, 3, 48, 64)


@pytest.mark.parametrize(
    "path", sorted(DOCS.parent.glob("docs/*.md")) + [DOCS.parent / "README.md"]
)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name}: {target}"

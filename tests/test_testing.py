"""What others test their own operators, samplers and backends with: it passes ours, and can fail."""

from dataclasses import dataclass, replace

import pytest
import torch

from ddrm_fast import DDIM, DDNM, DDPM, DDRM, DDNMPlus, testing
from ddrm_fast.ops import dispatch, reference
from ddrm_fast.ops.dispatch import Backend, register_backend
from ddrm_fast.registry import SAMPLERS
from ddrm_fast.samplers import Branch, Weights


@pytest.mark.parametrize("sampler", [DDRM(eta=0.7, eta_b=0.9, eta_c=0.5), DDNMPlus(eta=0.6)])
def test_samplers_keep_the_laws(sampler):
    assert testing.check_sampler(sampler) == ["weights", "shapes", "moments"]


@pytest.mark.parametrize("sampler", [DDNM(), DDIM(eta=0.5), DDPM(steps=20)], ids=repr)
def test_other_samplers_keep_the_laws(sampler):
    sigma_y = 0.0 if isinstance(sampler, DDNM) else 0.25
    testing.check_sampler(sampler, sigma_y=sigma_y, laws=["weights", "moments"])


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_registry_says_what_the_classes_say(name):
    assert testing.check_entry(name).name == name


@dataclass(frozen=True)
class Broken:
    """A sampler that one argument breaks."""

    steps: int = 6
    end: float = 1.0
    noise: float = 1.0

    def start(self, abar, sigma_y):
        return Weights.everywhere(Branch(d0=self.noise))

    def weights(self, abar, abar_next, sigma_y):
        if abar_next == 1:
            return Weights.everywhere(Branch(a0=self.end))
        return Weights.everywhere(Branch(a0=abar_next**0.5, d0=1 - abar_next))


def test_a_wrong_sampler_breaks_the_law():
    testing.check_sampler(Broken(), laws=["weights", "shapes"])
    with pytest.raises(AssertionError, match=r"weights .*the last step is 0.5 x0"):
        testing.check_sampler(Broken(end=0.5), laws=["weights"])
    with pytest.raises(AssertionError, match="is not finite|NaN"):
        testing.check_sampler(Broken(noise=float("nan")), laws=["weights"])


def test_the_law_of_moments_sees_another_sampler(monkeypatch):
    """Draws of one sampler against the recursion of another."""
    from ddrm_fast.testing import samplers

    true = samplers.recursion
    monkeypatch.setattr(
        samplers, "recursion", lambda s, *a: true(replace(s, eta=0.0, eta_c=0.5), *a)
    )
    with pytest.raises(AssertionError, match="moments"):
        testing.check_sampler(DDRM(eta=0.7, eta_c=0.5), laws=["moments"])


def test_the_compiled_backend_conforms():
    """All of the matrix on the quickest variant; the files beside this one say more of each operation."""
    variant = testing.variants_of("cpp")[-1]
    names = [case.name for case in testing.cases()]
    assert len(names) == len(set(names)) > 200
    with testing.in_use(variant) as device:
        for case in testing.cases():
            case.run(device)


class _Module:
    """The reference, but for one operation that is off by a little."""

    def __init__(self, factor):
        self.factor = factor

    def __getattr__(self, name):
        return getattr(reference, name)

    def predict_x0(self, x0, *arguments):
        reference.predict_x0(x0, *arguments)
        x0.mul_(self.factor)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(dispatch, "_BACKENDS", dict(dispatch._BACKENDS))

    def register(factor):
        name = f"mine-{factor}"
        import sys

        monkeypatch.setitem(sys.modules, name, _Module(factor))
        register_backend(Backend(name, name, lambda: None, lambda device, dtype: None))
        return name

    yield register
    dispatch.forget()


def test_a_backend_of_ones_own(registered):
    assert len(testing.check_backend(registered(1.0), "predict_x0")) == 2
    with pytest.raises(AssertionError, match=r"2 of 2 differ:\nmine-1.001: predict_x0, clip None"):
        testing.check_backend(registered(1.001), "predict_x0")
    with pytest.raises(ValueError, match="^only: got 'x-ray'"):
        testing.check_backend("reference", "x-ray")


def test_close_is_close():
    x = torch.ones(3, dtype=torch.float64)
    testing.assert_close(x.float(), x, 1e-6)
    for wrong in (x * (1 + 1e-5), x.index_fill(0, torch.tensor([1]), float("nan")), x[:2]):
        with pytest.raises(AssertionError):
            testing.assert_close(wrong, x, 1e-6)

"""Wrong kinds at the public doors: the argument is named, what came and what was expected."""

import math

import pytest
import torch
from fuzz_calls import fuzz

import ddrm_fast
from ddrm_fast import DDRM, Problem, operators
from ddrm_fast.machine.arguments import WrongKind, checked
from ddrm_fast.priors import Schedule

Y, OPERATOR = torch.rand(1, 3, 4, 4), operators.SuperResolution(2)
PRIOR = ddrm_fast.load_prior("gaussian")


def run(**changes):
    arguments = {"y": Y, "operator": OPERATOR, "sigma_y": 0.1, "prior": PRIOR, "sampler": DDRM(2)}
    return ddrm_fast.restore(**(arguments | changes))


PLAUSIBLE = {
    "a sampler's class": (lambda: run(sampler=DDRM), r"^sampler: .*DDRM"),
    "a task's name": (lambda: ddrm_fast.degrade(torch.rand(1, 3, 8, 8), "sr"), r"^operator: got 'sr'"),
    "a number as y": (lambda: run(y=torch.tensor(0.5)), r"^y: expected \(B, C"),
    "a side": (lambda: operators.BicubicDownscaling(4, 256), r"^size: got 256, expected \("),
    "another side": (lambda: operators.WalshHadamardCS(256, 4), r"^size: got 256, expected \("),
    "no channels": (
        lambda: operators.GeneralOperator(torch.eye(12), (3, 4)),
        r"^image_shape: expected \(C, H, W\), got \(3, 4\)",
    ),
    "NaN degrees": (lambda: operators.motion_kernel(5, math.nan), r"^angle: expected degrees"),
    "infinite blur": (lambda: operators.gaussian_kernel(math.inf), r"^sigma: expected > 0, at most"),
    "one number as origin": (lambda: run(origin=5), r"^origin: got 5, expected \("),
    "halves of pixels": (lambda: run(origin=(0.5, 0.5)), r"^origin: expected whole numbers"),
    "a truth value": (lambda: run(num_samples=True), r"^num_samples: .*True"),
    "a truth value as seed": (lambda: run(seed=True), r"^seed: .*True"),
    "a file as mask": (lambda: operators.Inpainting("m.png"), r"^mask: got 'm.png', expected a tensor"),
    "None as a number": (lambda: DDRM(eta=None), r"^eta: got None, expected a number"),
    "a long seed": (lambda: operators.BlockCS(4, keep=4, seed=2**70), r"^seed: got 1180591620717411303424"),
    "no masks": (lambda: operators.Inpainting(torch.ones(0, 1, 8, 8)), r"^mask: .*\(0, 1, 8, 8\)"),
    "no gains": (lambda: operators.Gain(torch.ones(0, 1, 8, 8)), r"^gain: .*\(0, 1, 8, 8\)"),
    "complex gain": (lambda: operators.Gain(1j * torch.ones(8, 8)), r"^gain: expected real numbers"),
    "complex kernel": (lambda: operators.Blur(1j * torch.ones(3, 3)), r"^kernel: expected real"),
    "complex matrix": (
        lambda: operators.GeneralOperator(1j * torch.eye(12), (3, 2, 2)), r"^matrix: expected real"
    ),
    "complex noise": (lambda: run(sigma_y=torch.tensor(0.1 + 0.1j)), r"^sigma_y: expected a number"),
    "before the clean image": (lambda: Schedule.linear(10).abar(-2), r"^t: expected -1 to 9, got -2"),
    "no timesteps": (lambda: Schedule.cosine(0), r"^T: got 0, expected a whole number from 1"),
    "NaN kernel": (lambda: operators.Blur(torch.full((3, 3), math.nan)), r"^kernel: has NaN"),
    "huge kernel": (
        lambda: operators.Blur(torch.full((3, 3), 1e300, dtype=torch.float64)),
        r"^kernel: expected numbers up to 1e\+18, got 1e\+300",
    ),
    "NaN weights": (lambda: operators.Colorization((math.nan, 1, 1)), r"^weights: expected finite"),
    "huge weights": (lambda: operators.Colorization((1e300, 1, 1)), r"^weights: expected finite"),
    "an empty name": (lambda: ddrm_fast.load_prior(""), r"^name_or_path: got ''"),
    "a list as y": (lambda: run(y=[[1.0]]), r"^y: "),
    "no operator": (lambda: Problem.of(Y, "sr", 0.1), r"^operator: expected an Operator, got str"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAUSIBLE)
def test_plausible_mistakes(name):
    call, said = PLAUSIBLE[name]
    with pytest.raises(ValueError, match=said):
        call()


def test_a_function_speaks_first():
    """What it says itself is what one reads; what it does not explain, its annotations do."""

    @checked
    def third(values: list[float], count: int, scale: float | None = None) -> float:
        if count < 0:
            raise ValueError(f"count: expected 0 or more, got {count}")
        return values[count] * (1.0 if scale is None else scale)

    assert third([1.0, 2.0], 1) == 2.0 and third([1.0], 0, scale=2) == 2.0
    with pytest.raises(ValueError, match=r"^count: expected 0 or more, got -1"):
        third([1.0], -1)
    with pytest.raises(WrongKind, match=r"^count: got 'x', expected a whole number"):
        third([1.0], "x")
    with pytest.raises(WrongKind, match=r"^values: got 5, expected a list, each a number"):
        third(5, 0)
    with pytest.raises(WrongKind, match=r"^scale: got the class int .*, expected a number or None"):
        third([1.0], 0, int)
    with pytest.raises(IndexError):  # nothing is wrong with the kinds
        third([1.0], 3)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'count'"):
        third([1.0])
    assert issubclass(WrongKind, TypeError) and issubclass(WrongKind, ValueError)


def test_wrong_calls_are_answered():
    """A share of `python tests/fuzz_calls.py 10000`."""
    leaks, examples, good = fuzz(3000, seed=3)
    assert not leaks, "\n".join(f"{leak}\n  {examples[leak]}" for leak in leaks)
    assert good == 3000

"""What the default prior cannot restore is said before it tries, once, and kept in the record."""

import json
import warnings

import pytest
import torch
from cli_cases import picture, scene
from small_cases import PIXELWISE

import ddrm_fast
from ddrm_fast import Problem, operators
from ddrm_fast.cli import main
from ddrm_fast.samplers.doubts import WIDE, doubts
from ddrm_fast.samplers.holes import Holes

PRIOR = ddrm_fast.load_prior("default")


def holed(side, size=70):
    mask = torch.ones(size, size)
    mask[5 : 5 + side, 8 : 8 + side] = 0
    return operators.Inpainting(mask)


def of(operator, size=70):
    x = torch.rand(1, 3, size, size)
    return Problem.of(operator.H(x), operator, 0.01)


@pytest.mark.parametrize("side", [0, 1, 7, 64])
def test_the_widest_hole(side):
    mask = torch.ones(2, 3, 66, 64)
    mask[1, :, 2 : 2 + side, :side] = 0
    mask[0, :2] = 0  # a channel is left
    holes = Holes(mask)
    assert (
        holes.widest() == side and holes.any(side + 1) is False and (side == 0 or holes.any(side))
    )


def test_colour_and_wide_holes_are_doubted():
    assert "which colour things have" in doubts(of(operators.Colorization()), PRIOR)[0]
    (said,) = doubts(of(holed(WIDE)), PRIOR)
    assert f"a square of {WIDE} x {WIDE} pixels" in said and "adding-a-prior" in said
    for operator in (operators.Denoising(), holed(WIDE - 1), operators.SuperResolution(2)):
        assert doubts(of(operator), PRIOR) == []
    assert doubts(of(operators.Colorization()), PIXELWISE) == []  # of others nothing is known


def test_python_is_warned():
    operator = operators.Colorization()
    y = operator.H(torch.rand(1, 3, 16, 16))
    with pytest.warns(UserWarning, match="which colour things have") as seen:
        ddrm_fast.restore(y, operator, 0.01, PRIOR, ddrm_fast.DDRM(2))
    assert seen[0].filename == __file__
    with pytest.warns(UserWarning, match="which colour things have") as seen:
        ddrm_fast.large.restore_windows(y, operator, 0.01, PRIOR, ddrm_fast.DDRM(2), window=8)
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ddrm_fast.restore(y, operators.Colorization(), 0.01, PIXELWISE, ddrm_fast.DDRM(2))


def test_the_shell_says_it_and_its_record_keeps_it(here, capsys):
    picture("a.png", scene(1))
    line = ["restore", "a.png", "--task", "color", "--sigma", "0.01", "--steps", "2", "--quiet"]
    assert main(line) == 0
    said = capsys.readouterr().err
    assert said.count("which colour things have") == 1 and "ddrm-fast restore:" in said
    (kept,) = json.loads((here / "restored/a.json").read_text())["doubts"]
    assert kept in said
    picture("b.png", scene(3))
    assert main(["restore", "b.png", "--task", "noise", *line[4:]]) == 0
    assert "doubts" not in json.loads((here / "restored/b.json").read_text())

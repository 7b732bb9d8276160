"""How long a run takes is said before it starts."""

from dataclasses import replace

import pytest
import torch
from cli_cases import picture, scene
from small_cases import PIXELWISE

import ddrm_fast
from ddrm_fast import DDRM, Drawing, Problem, Travel, operators
from ddrm_fast.cli import main
from ddrm_fast.large import duration as estimates


def problem(batch=2, side=40):
    return Problem.of(torch.rand(batch, 3, side, side), operators.Denoising(), 0.1)


def test_calls_and_pixels_are_counted(monkeypatch):
    seen = []

    def half_a_second(prior, shape, device):
        seen.append(shape)
        return 0.5

    monkeypatch.setattr(estimates, "seconds_of_a_call", half_a_second)
    drawing = Drawing(PIXELWISE, DDRM(5), num_samples=3)
    found = estimates.estimate(problem(), drawing)
    assert (found.calls, found.pixels, found.seconds) == (5 * 2 * 3, 1600, 15.0)
    assert seen == [(3, 40, 40)]  # a network that may take one size alone
    found = estimates.estimate(problem(), drawing, overlap=4)
    assert (found.calls, found.pixels, found.seconds) == (30, 6400, 60.0)
    called = []

    def counted(x, t):
        called.append(t)
        return PIXELWISE.network(x, t)

    again = Drawing(replace(PIXELWISE, network=counted), DDRM(4), travel=Travel(2, 2))
    expected = estimates.estimate(problem(1), again)
    ddrm_fast.draw(problem(1), again)
    assert expected.calls == len(called) > 4
    assert estimates.estimate(problem(), drawing, least=30 * 1600 + 1) is None
    prior = ddrm_fast.load_prior("default")
    found = estimates.estimate(problem(1, 512), Drawing(prior))  # the plan for noise: one call
    assert seen[-1] == (3, 256, 256) and (found.calls, found.seconds) == (1, 2.0)


def test_a_call_is_timed():
    assert estimates.seconds_of_a_call(PIXELWISE, (3, 8, 8), torch.device("cpu")) > 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (89, "89 s"),
        (91, "1.5 min"),
        (600, "10 min"),
        (5500, "1.5 h"),
        (40000, "11 h"),
    ],
)
def test_in_words(seconds, words):
    assert estimates.in_words(seconds) == words
    said = str(estimates.Estimate(seconds, 10, 24_000_000))
    assert said == f"about {words}: 10 network calls on 24.0 megapixels"


def test_the_shell_says_it_of_long_runs(here, capsys, monkeypatch):
    picture("a.png", scene(3))
    line = ["restore", "a.png", "--task", "noise", "--sigma", "0.1", "--prior", "gaussian"]
    assert main(line) == 0
    assert "network call" not in capsys.readouterr().err
    monkeypatch.setattr(estimates, "QUICK", 1)
    assert main([*line, "--steps", "4", "--out", "b"]) == 0
    assert "a.png: about 1 s: 4 network calls on 0.0 megapixels" in capsys.readouterr().err
    assert main([*line, "--steps", "4", "--out", "c", "--quiet"]) == 0
    assert "network call" not in capsys.readouterr().err
    assert main([*line, "--steps", "4", "--out", "d", "--window", "16", "--stride", "8"]) == 0
    assert "4 network calls" in capsys.readouterr().err

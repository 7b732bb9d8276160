"""Time travel, RePaint and ILVR: paths, and whole runs against recursions written from the papers."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from plain_runs import ilvr, network, plain_run, repaint
from small_cases import OPERATORS, restore_small, seeded

from ddrm_fast import DDPM, DDRM, ILVR, Prior, RePaint, Schedule, Travel, ops
from ddrm_fast.operators import Inpainting, SuperResolution
from ddrm_fast.samplers import Branch, run
from ddrm_fast.samplers.loop import planned
from ddrm_fast.samplers.travel import network_calls, visits

TIMES = [900, 700, 500, 350, 200, 60]


def test_paths_are_the_published_ones():
    golden = np.load(Path(__file__).parent / "golden" / "ddnm" / "schedule_jump.npz")
    names = [name for name in golden.files if re.fullmatch(r"T\d+_len\d+_rep\d+", name)]
    assert len(names) == 9
    for name in names:
        T, length, repeat = map(int, re.findall(r"\d+", name))
        assert Travel(length, repeat).path(T) == golden[name].tolist()
        skip, pairs = 1000 // T, golden[f"{name}_pairs"].tolist()
        visited = [place * skip for place in range(T)][::-1]
        assert [list(move) for move in visits(visited, Travel(length, repeat))] == pairs


@pytest.mark.parametrize("length, repeat", [(1, 1), (7, 1), (6, 3), (10, 5)])
def test_travel_that_is_none(length, repeat):
    """One pass, or stretches that are longer than the run."""
    usual = list(zip(TIMES, [*TIMES[1:], -1], strict=True))
    assert visits(TIMES, Travel(length, repeat)) == usual == visits(TIMES, None)


def test_numbers_of_network_calls():
    """As the paper of DDNM counts them, and RePaint's 250 steps with jumps of ten, ten times."""
    prior = Prior(network)
    for sampler, travel, calls in (
        (DDRM(100), Travel(2, 2), 198),
        (DDRM(100), Travel(10, 3), 280),
        (RePaint(), None, 250 + 24 * 9 * 10),
        (RePaint(), Travel(1, 1), 250),
    ):
        assert network_calls(planned(prior, sampler, travel)) == calls


def _compare(sampler, step, operator, shape, path):
    y = operator.H(seeded(*shape, seed=2))
    times = [TIMES[5 - place] if place >= 0 else -1 for place in path]
    noise = lambda k: seeded(*shape, seed=100 + k)  # noqa: E731
    expected = plain_run(step, operator, y, list(zip(times, times[1:], strict=False)), noise)
    states = []
    run(
        operator, Prior(network), sampler, y, torch.zeros(1, dtype=torch.float64),
        ops.noise_keys(shape[0]), noise=noise,
        callback=lambda info: states.append(info.x_next.clone()),
    )  # fmt: skip
    assert len(states) == len(expected) == len([t for t in np.diff(path) if t < 0])
    for state, plain in zip(states, expected, strict=True):
        torch.testing.assert_close(state, plain, rtol=1e-5, atol=1e-5)  # the table is float32
    torch.testing.assert_close(operator.H(states[-1]), y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_repaint_is_that_of_the_paper(channels):
    operator = Inpainting(seeded(channels, 8, 8) > 0.2)
    path = [5, 4, 3, 2, 3, 4, 3, 2, 3, 4, 3, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1, 0, -1]
    _compare(RePaint(TIMES, "small", 2, 3), repaint, operator, (2, 3, 8, 8), path)


@pytest.mark.parametrize("name", OPERATORS)
def test_ilvr_is_that_of_the_paper(name):
    operator, shape = OPERATORS[name]
    _compare(ILVR(TIMES), ilvr, operator, (2, *shape), [5, 4, 3, 2, 1, 0, -1])


def test_large_variances():
    """Of the ancestral part: beta where the small one is the posterior's."""
    level = torch.zeros(1).double()
    for sampler in (RePaint(variance="large"), ILVR(variance="large")):
        weights = sampler.weights(0.3, 0.5, level)
        assert weights.null == DDPM(variance="large").weights(0.3, 0.5, level).null
        assert weights.null.d0 == pytest.approx(1 - 0.3 / 0.5)
        assert weights.low == weights.high == Branch(c1=math.sqrt(0.5), d0=0.5)


@pytest.mark.parametrize("sampler", [RePaint, ILVR])
def test_learned_variances_are_refused(sampler):
    with pytest.raises(ValueError, match="^variance: expected 'small' or 'large', got 'learned'"):
        sampler(variance="learned")


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
def test_lengths_are_whole(value):
    for make, name in (
        (lambda: Travel(value, 2), "travel.length"),
        (lambda: Travel(2, value), "travel.repeat"),
        (lambda: RePaint(jump_length=value), "jump_length"),
        (lambda: RePaint(jump_n_sample=value), "jump_n_sample"),
    ):
        with pytest.raises(ValueError, match=rf"^{name}: expected an integer >= 1, got {value!r}"):
            make()


def test_travel_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"^travel: expected a Travel\(length, repeat\), got \(2"):
        restore_small(travel=(2, 2))


def test_the_callers_travel_takes_the_place_of_the_samplers():
    prior = Prior(network, schedule=Schedule.linear())
    mask = Inpainting(seeded(8, 8) > 0)
    sampler = RePaint(TIMES, jump_length=1, jump_n_sample=2)
    other = restore_small(operator=mask, prior=prior, sampler=sampler, travel=Travel())
    plain = restore_small(operator=mask, prior=prior, sampler=ILVR(TIMES))
    assert torch.equal(other.mean, plain.mean)
    own = restore_small(operator=mask, prior=prior, sampler=sampler)
    assert not torch.equal(own.mean, plain.mean)


def test_noise_belongs_to_the_move():
    """The counter is that of the moves, never t: a stretch that is sampled again sees other noise."""
    y, keys = torch.rand(2, 3, 8, 8), ops.noise_keys(2, 9)
    arguments = (SuperResolution(2), Prior(network), DDRM(TIMES), y[..., ::2, ::2].contiguous())
    level, drawn = torch.tensor([0.1], dtype=torch.float64), []

    def noise(k):
        drawn.append(k)
        return ops.normal(keys, 3, 8, 8, iteration=k, stream=0)

    own = run(*arguments, level, keys, travel=Travel(3, 2))
    given = run(*arguments, level, keys, travel=Travel(3, 2), noise=noise)
    assert drawn == list(range(6 + 2 * 3 + 1))
    assert torch.equal(own, given)


def test_learned_variances_travel_too():
    """A network whose variances are the smallest ones draws as the fixed small ones do."""

    def outputs(x_t, t, labels=None):
        return torch.cat((network(x_t, t), -torch.ones_like(x_t)), dim=1)

    y, level = torch.rand(2, 3, 8, 8), torch.zeros(1).double()
    results = [
        run(
            SuperResolution(1), Prior(outputs), DDPM(TIMES, variance), y, level,
            ops.noise_keys(2, 9), travel=Travel(2, 2),
        )
        for variance in ("learned", "small")
    ]  # fmt: skip
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)

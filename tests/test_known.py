"""Known pixels, holds and time travel in whole runs, on every operator."""

import functools
import math

import pytest
import torch
from plain_runs import ABAR, ddim, ddnm, network, plain_run
from small_cases import GAUSSIAN, OPERATORS, PICTURE, PIXELWISE, measured, pictures, seeded
from tqdm import tqdm

from ddrm_fast import (
    DDIM,
    DDNM,
    DDPM,
    DDRM,
    DDNMPlus,
    Hold,
    Known,
    Prior,
    Schedule,
    Travel,
    ops,
    restore,
)
from ddrm_fast.operators import Colorization, Denoising, Inpainting, SuperResolution
from ddrm_fast.samplers import run

TIMES = [900, 700, 500, 350, 200, 60]


def _noise(shape):
    """White noise of every move, the same for both sides."""
    return lambda k: seeded(*shape, seed=100 + k)


def _some_known(shape, seed=3):
    batch, channels, *size = shape
    image = seeded(*shape, seed=seed)
    mask = seeded(batch, channels, *size, seed=seed + 1) > 0.3
    return Known(mask, torch.where(mask, image, float("nan")))


def _holds(shape):
    """Two of them, and not of one basis."""
    grey = Colorization((0.2, 0.5, 0.3))
    picture = Inpainting(seeded(*shape[2:], seed=9) > 1)
    image = seeded(*shape, seed=11)
    return [Hold(grey, grey.H(image)[:1]), Hold(picture, picture.H(image))]


def _states(operator, y, sampler, shape, dtype=torch.float64, **keywords):
    seen = []
    result = run(
        operator, Prior(network), sampler, y.to(dtype), torch.zeros(1, dtype=torch.float64),
        ops.noise_keys(shape[0]), noise=_noise(shape),
        callback=lambda info: seen.append(info.x_next.clone()), **keywords,
    )  # fmt: skip
    assert torch.equal(result, seen[-1])
    return seen


@pytest.mark.parametrize("what", ["known", "holds", "travel", "all, clipped"])
@pytest.mark.parametrize("name", OPERATORS)
def test_runs_are_those_of_plain_pytorch(name, what):
    """DDNM without noise needs H and H_pinv alone, so the same run can be written for every operator."""
    operator, (channels, *size) = OPERATORS[name]
    shape = (2, channels, *size)
    y = operator.H(seeded(*shape, seed=2))
    everything = what.startswith("all")
    clip = (-1.0, 1.0) if everything else None
    known = _some_known(shape) if what == "known" or everything else None
    holds = _holds(shape) if what == "holds" or everything else []
    moves = list(zip(TIMES, [*TIMES[1:], -1], strict=True))
    travel = None
    if what == "travel" or everything:
        # places 5 .. 0; up from 2 by 2 once, and from 0 by 2 once
        travel = Travel(2, 2)
        path = [5, 4, 3, 2, 3, 4, 3, 2, 1, 0, 1, 2, 1, 0, -1]
        times = [TIMES[5 - place] if place >= 0 else -1 for place in path]
        moves = list(zip(times, times[1:], strict=False))
    expected = plain_run(
        ddnm(0.7), operator, y, moves, _noise(shape),
        clip=everything, holds=holds, known=known, known_step=ddim(0.7),
    )  # fmt: skip
    states = _states(
        operator, y, DDNM(TIMES, 0.7), shape, clip=clip, known=known, holds=holds, travel=travel
    )
    assert len(states) == len(expected)
    for state, plain in zip(states, expected, strict=True):
        torch.testing.assert_close(state, plain, rtol=1e-5, atol=1e-5)  # the table is float32


@pytest.mark.parametrize("name", OPERATORS)
def test_the_kernels_run_them_too(name):
    """Everything at once in float32, on the compiled kernels, against float64."""
    operator, (channels, *size) = OPERATORS[name]
    shape = (2, channels, *size)
    y = operator.H(seeded(*shape, seed=2))
    known, holds = _some_known(shape), _holds(shape)
    keywords = {"clip": (-1.0, 1.0), "travel": Travel(2, 2)}
    sampler = DDNM(TIMES, 0.7)
    exact = _states(operator, y, sampler, shape, known=known, holds=holds, **keywords)
    known = Known(known.mask, known.image.float())
    holds = [Hold(hold.operator, hold.measurement.float()) for hold in holds]
    states = _states(
        operator, y, sampler, shape, torch.float32, known=known, holds=holds, **keywords
    )
    for state, expected in zip(states, exact, strict=True):
        error = (state - expected).norm() / expected.norm()
        assert error < 1e-5, float(error)


@pytest.mark.parametrize("end_on_measurement", [False, True])
@pytest.mark.parametrize("name", OPERATORS)
def test_restored_pictures_have_the_known_pixels_exactly(name, end_on_measurement):
    operator, y = measured(name)
    shape = OPERATORS[name][1]
    mask = seeded(1, *shape, seed=4) > 0
    image = pictures(2, *shape)
    keywords = {"sampler": DDNMPlus(steps=3), "end_on_measurement": end_on_measurement}
    result = restore(
        y, operator, 0.1, GAUSSIAN, num_samples=2,
        known=Known(mask, torch.where(mask, image, float("nan"))), **keywords,
    ).samples  # fmt: skip
    everywhere = mask.expand(result.shape)
    assert torch.equal(result[everywhere], image.expand(result.shape)[everywhere])
    plain = restore(y, operator, 0.1, GAUSSIAN, num_samples=2, **keywords).samples
    assert not torch.equal(result[~everywhere], plain[~everywhere])


@pytest.mark.parametrize("name", OPERATORS)
def test_nothing_known_changes_nothing(name):
    operator, y = measured(name)
    shape = OPERATORS[name][1]
    nothing = Known(torch.zeros(1, 1, *shape[1:], dtype=torch.bool), torch.full((1, *shape), 9.0))
    arguments = (y, operator, 0.1, GAUSSIAN, DDRM(steps=4))
    assert torch.equal(restore(*arguments, known=nothing).mean, restore(*arguments).mean)


def test_the_loop_ends_on_known_pixels_too():
    """Also where its result is pulled to the measurement."""
    image, mask = seeded(2, 3, 8, 8, dtype=torch.float32), seeded(1, 1, 8, 8) > 0
    arguments = (Denoising(), PIXELWISE, DDRM(steps=3), PICTURE, torch.tensor([0.1]).double())
    for end in (False, True):
        result = run(
            *arguments, ops.noise_keys(2), known=Known(mask, image), end_on_measurement=end
        )
        everywhere = mask.expand(2, 3, 8, 8)
        assert torch.equal(result[everywhere], image[everywhere])


@pytest.mark.parametrize(
    "sampler", [DDRM(steps=3), DDNM(steps=3), DDNMPlus(steps=3), DDIM(steps=3), DDPM(steps=3)],
    ids=lambda sampler: type(sampler).__name__,
)  # fmt: skip
def test_all_known_is_the_image(sampler):
    """In the loop's own range, whatever the sampler: its last step gives the image itself."""
    image = seeded(2, 3, 8, 8, dtype=torch.float32)
    everything = Known(torch.ones(1, 1, 8, 8, dtype=torch.bool), image)
    level = torch.tensor([0.1], dtype=torch.float64)
    keys = ops.noise_keys(2)
    result = run(Denoising(), PIXELWISE, sampler, PICTURE, level, keys, known=everything)
    assert torch.equal(result, image)


def test_known_pixels_with_learned_variances():
    """The noise of a variance that the network learned reaches known pixels like all others."""

    def outputs(x_t, t, labels=None):
        return torch.cat((0.3 * x_t, torch.tanh(x_t)), dim=1)

    shape, (t, t_next) = (1, 3, 8, 8), (700, 300)
    prior, image = Prior(outputs, schedule=Schedule.linear()), seeded(*shape)
    known = Known(torch.ones(1, 1, 8, 8, dtype=torch.bool), image)
    seen = []
    run(
        Denoising(), prior, DDPM([t, t_next], "learned"), image, torch.zeros(1).double(),
        ops.noise_keys(1), noise=_noise(shape), known=known,
        callback=lambda info: seen.append(info.x_next.clone()),
    )  # fmt: skip
    start, z = _noise(shape)(0), _noise(shape)(1)
    abar, abar_next = float(ABAR[t]), float(ABAR[t_next])
    alpha = abar / abar_next
    beta, small = 1 - alpha, (1 - abar_next) / (1 - abar) * (1 - alpha)
    # the state that an x0 of `image` and the network's noise would come from
    state = math.sqrt(abar) * image + math.sqrt(1 - abar) * 0.3 * start
    mean = math.sqrt(abar_next) * beta * image + math.sqrt(alpha) * (1 - abar_next) * state
    share = (torch.tanh(start) + 1) / 2
    variance = small ** (1 - share) * beta**share
    torch.testing.assert_close(
        seen[0], mean / (1 - abar) + variance.sqrt() * z, rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(seen[1], image)


def test_a_window_with_known_pixels_is_that_of_the_whole_picture():
    """With a network that looks at one pixel at a time: noise and known pixels belong to their place."""
    y, image = pictures(1, 3, 12, 16), pictures(1, 3, 12, 16)
    mask = seeded(1, 1, 12, 16) > 0.2
    arguments = {"operator": Denoising(), "sigma_y": 0.1, "prior": PIXELWISE, "seed": 5}
    arguments["sampler"] = DDRM(steps=4)
    whole = restore(y=y, known=Known(mask, image), **arguments).mean
    part = (..., slice(3, 11), slice(5, 14))
    window = restore(
        y=y[part].contiguous(), known=Known(mask[part], image[part]), origin=(3, 5), **arguments
    ).mean
    assert torch.equal(window, whole[part])


@pytest.mark.parametrize("name", ["denoising", "blur"])
def test_batches_do_not_matter(name):
    """Known pixels and holds of their own for every picture, drawn two, three and six at a time."""
    operator, y = measured(name, batch=3)
    shape = (3, *OPERATORS[name][1])
    image, mask = pictures(*shape), seeded(*shape) > 0
    grey = Colorization()
    arguments = {"y": y, "operator": operator, "sigma_y": 0.1, "prior": GAUSSIAN}
    arguments.update(sampler=DDRM(steps=3), num_samples=2, travel=Travel(1, 2))
    arguments.update(known=Known(mask, image), holds=[Hold(grey, grey.H(pictures(*shape)))])
    expected = restore(**arguments).samples
    for size in (2, 6):
        torch.testing.assert_close(restore(**arguments, batch_size=size).samples, expected)


@pytest.mark.parametrize("clip", [False, True], ids=["free", "clipped"])
def test_held_measurements_are_those_of_the_picture(clip):
    """Units: a hold is given for [0, 1] pictures, also where H(1) is not 1."""
    operator, low = Inpainting(seeded(8, 8) > 0.5), SuperResolution(4, (0.1, 0.2, 0.3))
    small = low.H(pictures(2, 3, 8, 8))
    seen = []
    restore(
        operator.H(pictures(2, 3, 8, 8)), operator, 0.1, PIXELWISE, DDRM(steps=4),
        holds=[Hold(low, small)], clip_x0=clip, callback=lambda info: seen.append(info.x0.clone()),
    )  # fmt: skip
    assert len(seen) == 4
    for x0 in seen:
        torch.testing.assert_close(low.H((x0 + 1) / 2), small)


def test_progress_and_callbacks_count_network_calls(capsys, monkeypatch):
    """Moves back up call no network: nothing is told of them."""
    monkeypatch.setattr("ddrm_fast.restoration.tqdm", functools.partial(tqdm, mininterval=0))
    calls, seen = [], []

    def counted(x_t, t, labels=None):
        calls.append(float(t[0]))
        return 0.3 * x_t

    restore(
        PICTURE, Denoising(), 0.1, Prior(counted), DDRM(TIMES), travel=Travel(2, 3), progress=True,
        callback=lambda info: seen.append((info.index, info.total, info.t, info.t_next)),
    )  # fmt: skip
    # six steps, and two more for each of two returns from each of two places
    assert len(calls) == 14
    assert [t for _, _, t, _ in seen] == calls
    assert [(index, total) for index, total, _, _ in seen] == [(k, 14) for k in range(14)]
    assert "14/14" in capsys.readouterr().err

"""Runs whose steps are replayed: the same pictures, and errors where there is nothing to replay.

Without a GPU the recorded step is replayed by running it again, with the arguments that it was
recorded with: whatever changes from step to step has to come from the device's own counter.
"""

import pytest
import torch
from conformance import move
from small_cases import (
    FAST,
    GAUSSIAN,
    OPERATORS,
    PICTURE,
    PIXEL_BASED,
    PIXELWISE,
    measured,
    pictures,
    restore_small,
)

from ddrm_fast import DDRM, DDNMPlus, Hold, Known, Travel, restore
from ddrm_fast.operators import Blur, Colorization, Denoising
from ddrm_fast.samplers import capture

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def recorded(monkeypatch):
    """Counts recordings and replays; on the CPU a recording is the function itself."""
    counts = {"recordings": 0, "replays": 0}
    record = capture.record if DEVICE == "cuda" else lambda advance: advance

    def counted(advance):
        counts["recordings"] += 1
        replay = record(advance)

        def run():
            counts["replays"] += 1
            replay()

        return run

    monkeypatch.setattr(capture, "record", counted)
    if DEVICE == "cpu":
        monkeypatch.setattr("ddrm_fast.samplers.loop.check_capture", lambda *arguments: None)
    return counts


@pytest.mark.parametrize("clip", [False, True], ids=["free", "clipped"])
@pytest.mark.parametrize("name", OPERATORS)
def test_replayed_steps_draw_the_same_pictures(recorded, name, clip):
    operator, y = measured(name)
    arguments = {"y": y.to(DEVICE), "operator": operator, "sigma_y": 0.1, "prior": GAUSSIAN}
    arguments.update(sampler=DDRM(steps=5), num_samples=2, clip_x0=clip)
    expected = restore(**arguments)
    assert recorded == {"recordings": 0, "replays": 0}
    result = restore(**arguments, capture=True)
    # one recording and four replays for each of the two samples; the first step runs by itself
    assert recorded == {"recordings": 2, "replays": 8}
    assert torch.equal(result.samples, expected.samples)
    assert not torch.equal(result.samples[0], result.samples[1])


@pytest.mark.parametrize("what", ["known", "holds", "travel"])
@pytest.mark.parametrize("name", OPERATORS)
def test_replayed_steps_with_more_to_do(recorded, name, what):
    """Known pixels, holds, moves back up: two graphs where the run goes both ways."""
    operator, y = measured(name)
    shape = OPERATORS[name][1]
    arguments = {"y": y.to(DEVICE), "operator": operator, "sigma_y": 0.1, "prior": GAUSSIAN}
    arguments["sampler"] = DDRM(steps=5)
    image = pictures(2, *shape).to(DEVICE)
    if what == "known":
        arguments["known"] = Known(image > 0.5, image)
    if what == "holds":
        arguments["holds"] = [Hold(Colorization(), Colorization().H(image))]
    if what == "travel":
        arguments["travel"] = Travel(2, 2)
    expected = restore(**arguments).samples
    result = restore(**arguments, capture=True).samples
    travels = what == "travel"
    # up by two from places 2 and 0: four moves up, four more down
    assert recorded == {"recordings": 1 + travels, "replays": 12 if travels else 4}
    if travels and name not in PIXEL_BASED:  # coefficients are made anew, not carried
        torch.testing.assert_close(result, expected)
    else:
        assert torch.equal(result, expected)


@pytest.mark.skipif(DEVICE == "cuda", reason="counts what a graph does without Python")
def test_a_recorded_step_does_not_know_what_came_before(recorded, monkeypatch):
    """A graph is replayed after steps and after moves up: each time with the same transforms."""
    forward, counted, replays = Blur._forward, [], []
    monkeypatch.setattr(Blur, "_forward", lambda self, x: counted.append(x) or forward(self, x))
    record = capture.record

    def watched(advance):
        replay = record(advance)

        def run():
            before = len(counted)
            replay()
            replays.append((advance.__name__, len(counted) - before))

        return run

    monkeypatch.setattr(capture, "record", watched)
    operator, y = measured("blur")
    restore(y.to(DEVICE), operator, 0.1, GAUSSIAN, DDRM(steps=5), travel=Travel(2, 2), capture=True)
    assert replays.count(("down", 2)) == 8 and replays.count(("up", 0)) == 4 and len(replays) == 12


@pytest.mark.parametrize("sampler", [DDNMPlus(steps=4), DDRM(steps=1)], ids=["DDNM+", "one step"])
def test_replayed_steps_of_other_samplers(recorded, sampler):
    y = PICTURE.to(DEVICE)
    expected = restore_small(y, sampler=sampler)
    assert torch.equal(restore_small(y, sampler=sampler, capture=True).samples, expected.samples)
    assert recorded["replays"] == sampler.steps - 1


def test_callbacks_see_every_replayed_step(recorded):
    def watched(**keywords):
        seen = []

        def callback(info):
            fields = (info.x_t, info.x0, info.x_next)
            times = (info.index, info.total, info.t, info.t_next)
            seen.append((times, *(x.clone() for x in fields)))

        restore_small(PICTURE.to(DEVICE), callback=callback, **keywords)
        return seen

    for keywords in ({}, {"travel": Travel(2, 2)}):
        pairs = zip(watched(capture=True, **keywords), watched(**keywords), strict=True)
        for replayed, usual in pairs:
            assert replayed[0] == usual[0]
            for x, expected in zip(replayed[1:], usual[1:], strict=True):
                assert torch.equal(x, expected)


@pytest.mark.skipif(DEVICE == "cuda", reason="there is a GPU to capture on")
def test_capture_needs_a_gpu():
    with pytest.raises(ValueError, match="^capture: needs tensors on a GPU, got cpu"):
        restore_small(capture=True)


def test_what_runs_on_the_host_cannot_be_captured():
    """The check itself, for tensors that say they are on a GPU."""

    class OnGpu:
        device = torch.device("cuda", 0)
        dtype = torch.float64  # that only the reference backend takes

    with pytest.raises(ValueError, match="does not go together with guidance, learned variances"):
        capture.check_capture(OnGpu, ["guidance", "learned variances"])
    with pytest.raises(ValueError, match="the reference backend reads the step on the host"):
        capture.check_capture(OnGpu, [])


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
@pytest.mark.parametrize("host", ["guidance", "noise"])
def test_host_functions_are_refused_on_a_gpu(host):
    from ddrm_fast.samplers import run

    keys = torch.zeros(1, 4, dtype=torch.int64, device=DEVICE)
    with pytest.raises(ValueError, match=f"does not go together with {host}"):
        run(
            Denoising(), PIXELWISE, FAST, move(PICTURE[:1], DEVICE), torch.tensor([0.1]), keys,
            capture=True, **{host: lambda *arguments: None},
        )  # fmt: skip

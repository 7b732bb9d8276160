"""Mask-shift restoration: the same picture for every order of waves, and windows that continue."""

import itertools

import pytest
import torch
from small_cases import FAST, MARKOV, PIXELWISE, pictures, seeded

from ddrm_fast import DDNM, DDRM, DDNMPlus, Hold, Prior, Travel, degrade, restore
from ddrm_fast.large import (
    InMemory,
    Memory,
    mask_shift,
    overlaps,
    restore_windows,
    waves,
    windows_for,
    windows_of,
)
from ddrm_fast.operators import (
    BicubicDownscaling,
    BlockCS,
    Blur,
    Colorization,
    Denoising,
    Gain,
    GeneralOperator,
    Inpainting,
    SeparableBlur,
    SeparableDecimation,
    SuperResolution,
    WalshHadamardCS,
    gaussian_kernel,
    motion_kernel,
)
from ddrm_fast.operators.cuts import Box, Cuts
from ddrm_fast.problems import Problem
from ddrm_fast.samplers import Drawing

SIZE = (20, 28)
MASKS = torch.rand(2, 1, *SIZE, generator=torch.Generator().manual_seed(3)) > 0.4
SPLIT = {
    "denoising": Denoising(),
    "masks of their own": Inpainting(MASKS),
    "gain": Gain(torch.linspace(0.0, 1.5, SIZE[0] * SIZE[1]).view(SIZE)),
    "colorization": Colorization(),
    "super-resolution": SuperResolution(2),
    "old photo": SuperResolution(2, (0.2, 0.5, 0.3), MASKS[1, 0]),
    "block cs": BlockCS(4, 4),
}
PIXEL_BASED = [name for name in SPLIT if name != "block cs"]
WEIGHT = 0.1 * seeded(3, 3, 5, 5, dtype=torch.float32)


def neighbours(x_t, t, labels=None):
    """A network that sees 5 x 5 pixels, one picture at a time: whatever else is in the batch."""
    return torch.cat([torch.nn.functional.conv2d(x[None], WEIGHT, padding=2) for x in x_t])


CONVOLUTION = Prior(neighbours)


def measured(name, batch=2):
    operator = SPLIT[name]
    return operator, degrade(pictures(batch, 3, *SIZE), operator, 0.05)


def windowed_samples(y, operator, prior=CONVOLUTION, sampler=FAST, **keywords):
    keywords = {"window": 8, "num_samples": 2, "seed": 7, "clamp": False, **keywords}
    return restore_windows(y, operator, 0.05, prior, sampler, **keywords).samples


def cuts_of(*corners, size=(8, 12)):
    return Cuts(
        tuple(Box(*corner, *size) for corner in corners), tuple(k % 2 for k in range(len(corners)))
    )


@pytest.mark.parametrize("name", SPLIT)
def test_the_operator_of_windows_measures_windows(name):
    operator, x = SPLIT[name], pictures(2, 3, *SIZE)
    cuts = cuts_of((0, 0), (4, 16), (12, 8))
    part = operator.windows(cuts)
    y = operator.crop(operator.H(x), cuts)
    torch.testing.assert_close(part.H(cuts.of(x)), y)
    assert part.image_shape(y) == (3, 8, 12)


@pytest.mark.parametrize(
    "operator, reflected",
    [
        (Blur(gaussian_kernel(0.6)), False),
        (Blur(gaussian_kernel(0.6), "reflect"), True),
        (BicubicDownscaling(2, (40, 48)), True),
        (SeparableDecimation(torch.tensor([0.1, 0.2, 0.3, 0.25, 0.15]), 2, size=(40, 48)), True),
        (SeparableBlur(torch.tensor([0.1, 0.5, 0.4]), size=(40, 48), boundary="reflect"), True),
    ],
    ids=repr,
)
def test_windows_of_a_filter_are_exact_but_for_the_margin(operator, reflected):
    x, edge = pictures(2, 3, 40, 48), operator.margin // operator.grid
    cuts = cuts_of((0, 0), (8, 16), (12, 8), (16, 24), size=(24, 24))
    error = operator.windows(cuts).H(cuts.of(x)) - operator.crop(operator.H(x), cuts)
    for row, box in enumerate(cuts.boxes):
        outside = (box.top == 0, box.bottom == 40, box.left == 0, box.right == 48)
        top, bottom, left, right = (0 if reflected and out else edge for out in outside)
        height, width = error.shape[2:]
        inside = error[row, :, top : height - bottom, left : width - right]
        assert inside.numel() and float(inside.abs().max()) < 5e-4  # rcond
        assert float(error[row].abs().max()) > 5e-3
    assert operator.windows(cuts).image_shape(operator.crop(operator.H(x), cuts)) == (3, 24, 24)


@pytest.mark.parametrize("name", SPLIT)
def test_batches_change_no_bit(name):
    operator, y = measured(name)
    one_by_one = windowed_samples(y, operator, batch=1)
    for batch in (3, 100):
        assert torch.equal(windowed_samples(y, operator, batch=batch), one_by_one)


@pytest.mark.parametrize("name", PIXEL_BASED)
@pytest.mark.parametrize("sampler", [FAST, DDNM(steps=4), DDNMPlus(steps=4)], ids=repr)
def test_windows_of_a_pixelwise_network_make_the_whole_picture(name, sampler):
    """Then neighbours say nothing, so noise, operator and known pixels have to fit bit for bit."""
    operator, y = measured(name)
    whole = restore(y, operator, 0.05, PIXELWISE, sampler, num_samples=2, seed=7, clamp=False)
    for order in ("rows", "columns", "snake"):
        windows = windowed_samples(
            y, operator, PIXELWISE, sampler, order=order, stride=(6, 4), gradient=None
        )
        assert torch.equal(windows, whole.samples)


def drawing(prior=CONVOLUTION, sampler=FAST, seeds=(3,)):
    return Drawing(prior, sampler, seed=torch.tensor(seeds))


def in_memory(operator, y):
    return InMemory(Problem.of(y, operator, 0.05))


def run_in_order(operator, y, wave_list, batch):
    """Mask-shift over a canvas that starts as noise; waves may be shuffled inside."""
    windows = windows_of(SIZE, 8, 4)
    canvas = Memory(torch.rand(1, 1, 3, *SIZE))
    draw = drawing()
    finished = list(
        mask_shift(
            in_memory(operator, y),
            canvas,
            windows,
            draw,
            batch=batch,
            waves=wave_list,
        )
    )
    assert sum(wave.pixels for wave in finished) == SIZE[0] * SIZE[1]
    assert [wave.number for wave in finished] == list(range(len(wave_list)))
    return canvas.pixels


def test_the_order_of_the_waves_changes_no_bit():
    """One by one; waves by paste and by overlap; windows of a wave in another order."""
    operator, y = measured("super-resolution", batch=1)
    windows = windows_of(SIZE, 8, 4)
    sequential = [[k] for k in range(len(windows))]
    expected = run_in_order(operator, y, sequential, 1)
    by_paste, by_overlap = waves(windows), waves(windows, overlaps(windows))
    reversed_waves = [wave[::-1] for wave in by_paste]
    for wave_list, batch in itertools.product((by_paste, by_overlap, reversed_waves), (1, 2, 64)):
        assert torch.equal(run_in_order(operator, y, wave_list, batch), expected)


def test_workers_that_share_a_wave_change_no_bit():
    """Two canvases, each given every second window of a wave; their pixels are exchanged after it."""
    operator, y = measured("old photo", batch=1)
    windows = windows_of(SIZE, 8, 4)
    expected = run_in_order(operator, y, waves(windows), 64)
    draw = drawing()
    canvas = Memory(torch.zeros(1, 1, 3, *SIZE))
    for wave in waves(windows):
        before = canvas.pixels.clone()
        after = []
        for part in (wave[::2], wave[1::2]):
            own = Memory(before.clone())
            for _ in mask_shift(in_memory(operator, y), own, windows, draw, waves=[part]):
                pass
            after.append((part, own))
        for part, own in after:
            for k in part:
                box = windows.kept(k)
                canvas.write(box, 0, 0, own.read(box, 0, 0))
    assert torch.equal(canvas.pixels, expected)


def test_a_run_goes_on_at_a_wave():
    operator, y = measured("denoising", batch=1)
    windows = windows_of(SIZE, 8, 4)
    found = waves(windows)
    draw = drawing()
    expected = run_in_order(operator, y, found, 4)
    canvas = Memory(torch.rand(1, 1, 3, *SIZE))
    for wave in mask_shift(in_memory(operator, y), canvas, windows, draw):
        if wave.number == 2:
            break
    left = list(mask_shift(in_memory(operator, y), canvas, windows, draw, first=3))
    assert [wave.number for wave in left] == list(range(3, len(found)))
    assert torch.equal(canvas.pixels, expected)


def test_padding_repeats_windows_and_changes_no_bit():
    seen = []

    def network(x_t, t, labels=None):
        seen.append(len(x_t))
        return neighbours(x_t, t)

    operator, y = measured("denoising", batch=1)
    windows = windows_of(SIZE, 8, 4)
    draw = drawing(Prior(network), DDRM(steps=2))
    plain, padded = (Memory(torch.zeros(1, 1, 3, *SIZE)) for _ in range(2))
    list(mask_shift(in_memory(operator, y), plain, windows, draw, batch=6))
    assert 3 in seen
    seen.clear()
    list(mask_shift(in_memory(operator, y), padded, windows, draw, batch=6, pad=True))
    assert set(seen) == {1, 2, 4}
    assert torch.equal(plain.pixels, padded.pixels)


def test_windows_see_what_their_neighbours_fixed():
    """The network's input at known pixels is their value noised to the level of the step."""
    operator, y = measured("denoising", batch=1)
    states = []

    def network(x_t, t, labels=None):
        states.append(x_t.clone())
        return neighbours(x_t, t)

    prior = Prior(network)
    sampler = DDNM(steps=5, eta=0.0)  # no fresh noise: a x0 + b eps
    samples = windowed_samples(
        y, operator, prior, sampler, num_samples=1, window=(20, 16), stride=(20, 12), margin=0,
        gradient=None,
    )  # fmt: skip
    times = prior.schedule.steps(5)
    assert len(states) == 2 * len(times)
    second, fixed = states[len(times) :], 2 * samples[0, 0, :, :, 12:16] - 1
    for step in range(1, len(times)):
        abar = prior.schedule.abar(times[step])
        before = second[step - 1]
        expected = abar**0.5 * fixed + (1 - abar) ** 0.5 * neighbours(before, None)[0, :, :, :4]
        torch.testing.assert_close(second[step][0, :, :, :4], expected, rtol=1e-4, atol=1e-4)


def test_holds_are_cut_with_the_windows():
    operator, y = measured("denoising", batch=1)
    low = pictures(1, 3, 5, 7)
    hold = Hold(SuperResolution(4), low)
    whole = restore(
        y, operator, 0.05, PIXELWISE, DDNM(steps=4), seed=7, clamp=False, holds=[hold]
    ).samples
    cut = windowed_samples(
        y, operator, PIXELWISE, DDNM(steps=4), num_samples=1, holds=[hold], stride=4
    )
    assert torch.allclose(cut, whole, atol=1e-5)


def test_time_travel_goes_through():
    operator, y = measured("super-resolution")
    travel = Travel(2, 2)
    whole = restore(
        y, operator, 0.05, PIXELWISE, FAST, num_samples=2, seed=7, clamp=False, travel=travel
    )
    windows = windowed_samples(y, operator, PIXELWISE, travel=travel, gradient=None)
    assert torch.equal(windows, whole.samples)


@pytest.mark.parametrize(
    "operator",
    [Blur(gaussian_kernel(0.6), "reflect"), BicubicDownscaling(2, (40, 56))],
    ids=repr,
)
def test_windows_of_a_filter_explain_the_measurement(operator):
    """As well as a run over the whole picture does, with a prior that is exact for both."""
    smooth = torch.nn.functional.interpolate(pictures(1, 3, 5, 7), scale_factor=8, mode="bicubic")
    y = degrade(smooth.clamp(0, 1), operator, 0.01)
    sampler = DDNMPlus(steps=30)
    whole = restore(y, operator, 0.01, MARKOV, sampler).mean
    windows = restore_windows(y, operator, 0.01, MARKOV, sampler, window=24).mean
    residual = [float((operator.H(x) - y).square().mean().sqrt()) for x in (whole, windows)]
    assert residual[1] < 1.05 * residual[0] < 0.03
    assert windows_for(operator, (3, 40, 56), 24).margin >= operator.margin >= 2


def test_result_is_that_of_restore():
    operator, y = measured("denoising")
    result = restore_windows(y, operator, 0.05, CONVOLUTION, FAST, window=8, num_samples=3)
    assert result.samples.shape == (3, 2, 3, *SIZE)
    assert torch.allclose(result.mean, result.samples.mean(0))
    assert torch.allclose(result.std, result.samples.std(0))
    assert 0 <= float(result.samples.min()) and float(result.samples.max()) <= 1
    one = restore_windows(y, operator, 0.05, CONVOLUTION, FAST, window=8)
    assert torch.equal(one.samples, result.samples[:1]) and not one.std.any()


def test_steps_report_all_pixels(capsys):
    operator, y = measured("denoising")
    advanced = []
    windows = windows_of(SIZE, 8, 4)
    draw = drawing(seeds=(3, 4))
    canvas = Memory(torch.zeros(1, 2, 3, *SIZE))
    planes = [(0, 0), (1, 0)]
    list(
        mask_shift(
            in_memory(operator, y),
            canvas,
            windows,
            draw,
            planes,
            after_step=advanced.append,
        )
    )
    assert sum(advanced) == pytest.approx(2 * SIZE[0] * SIZE[1])
    restore_windows(y, operator, 0.05, CONVOLUTION, FAST, window=8, progress=True)
    shown = capsys.readouterr().err
    assert "MP/s" in shown or "s/MP" in shown
    assert "0.00/0.00 MP" in shown


@pytest.mark.parametrize(
    "operator",
    [
        WalshHadamardCS((16, 16), 4),
        SeparableDecimation(torch.ones(3) / 3, 2, size=(16, 16), boundary="zero"),
        GeneralOperator(seeded(5, 48, dtype=torch.float32), (3, 4, 4)),
    ],
    ids=repr,
)
def test_measurements_of_the_whole_plane_are_refused(operator):
    size = (4, 4) if isinstance(operator, GeneralOperator) else (16, 16)
    y = degrade(pictures(1, 3, *size), operator)
    with pytest.raises(
        ValueError, match=r"does not split over windows.*large.windowed.*--large joint"
    ):
        restore_windows(y, operator, prior=CONVOLUTION, window=2)


def test_blurs_without_symmetry_are_refused():
    operator = Blur(motion_kernel(5, 30.0))
    y = degrade(pictures(1, 3, 16, 16), operator)
    with pytest.raises(ValueError, match=r"edges, and boundary .*symmetry.*--large joint, keeps"):
        restore_windows(y, operator, prior=CONVOLUTION, window=12)


@pytest.mark.parametrize(
    "keywords, message",
    [
        ({"window": 9}, "window: expected multiples of 2"),
        ({"window": 32}, "window: 32 x 32 is larger than the picture of 20 x 28"),
        ({"stride": 3}, "stride: expected multiples of 2"),
        ({"stride": 10}, "stride: 10 is larger than the window"),
        ({"batch": 0}, "batch: expected an integer >= 1, got 0"),
        ({"num_samples": 0}, "num_samples: expected an integer >= 1, got 0"),
        ({"sampler": 5}, "sampler: expected"),
        ({"travel": 3}, "travel: expected"),
        ({"gradient": 0}, "gradient: expected a number > 0 or None, got 0"),
        ({"gradient": "steep"}, "gradient: expected a number > 0 or None, got 'steep'"),
        ({"holds": [Hold(SuperResolution(4), torch.rand(1, 3, 4, 4))]}, "holds"),
        ({"prior": Prior(neighbours, channels=1)}, "prior: custom is for 1 channels"),
    ],
)
def test_wrong_arguments(keywords, message):
    operator, y = measured("super-resolution")
    with pytest.raises(ValueError, match=message):
        windowed_samples(y, operator, **keywords)


def test_no_operator_and_no_numbers():
    with pytest.raises(ValueError, match="operator: expected an Operator, got int"):
        restore_windows(torch.rand(1, 3, 8, 8), 3)
    with pytest.raises(ValueError, match="y: has 1 NaN"):
        y = torch.rand(1, 3, 8, 8)
        y[0, 0, 0, 0] = float("nan")
        restore_windows(y, Denoising(), prior=CONVOLUTION, window=4)


def test_a_network_that_makes_nan_is_named():
    operator, y = measured("denoising")
    with pytest.raises(FloatingPointError, match="the network of broken"):
        windowed_samples(y, operator, Prior(lambda x, t: x * float("nan"), name="broken"))


def test_small_singular_values_are_those_of_the_whole_picture():
    """A block that is nearly dark counts as not measured, also in a window of nothing brighter."""
    mask = torch.full((8, 8), 1e-4)
    mask[0, 0] = 1.0
    operator = SuperResolution(2, mask=mask)
    y = degrade(pictures(1, 3, 8, 8), operator)
    whole = restore(y, operator, 0.01, PIXELWISE, FAST, seed=7, clamp=False).samples
    cut = restore_windows(
        y, operator, 0.01, PIXELWISE, FAST, seed=7, clamp=False, window=4, gradient=None
    )
    assert torch.equal(cut.samples, whole)

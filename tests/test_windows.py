"""Windows of large pictures and the waves in which they can run."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ddrm_fast.large import Windows, overlaps, pastes, waves, windows_for, windows_of
from ddrm_fast.operators import Blur, Denoising, SuperResolution
from ddrm_fast.operators.cuts import Box, Cuts

GEOMETRY = Path(__file__).parent / "golden" / "hq" / "geometry.npz"
CASES = [
    ((16, 16), 8, 4, "rows"),
    ((19, 26), 8, 4, "rows"),
    ((19, 26), 8, 4, "columns"),
    ((26, 19), 8, 5, "snake"),
    ((20, 8), (8, 8), (3, 3), "rows"),
    ((17, 23), (8, 6), (5, 2), "snake"),
    ((12, 12), 8, 4, (3, 0, 2, 1)),
    ((16, 16), 8, 8, "rows"),
]


def published_sizes():
    with np.load(GEOMETRY) as file:
        names = sorted({name.rpartition("_")[0] for name in file.files if name != "meta"})
        return [tuple(map(int, re.findall(r"\d+", name))) for name in names]


@pytest.mark.parametrize("size", published_sizes())
def test_geometry_is_the_published_one(size):
    height, width = size
    with np.load(GEOMETRY) as file:
        boxes = file[f"H{height}_W{width}_boxes"]
        pasted = file[f"H{height}_W{width}_pastes"].reshape(-1, 9)
    windows = windows_of((height, width), 256)
    ours = [(box.top, box.bottom, box.left, box.right) for box in windows]
    assert ours == [tuple(box) for box in boxes.tolist()]
    for k in range(len(windows)):
        known = torch.zeros(256, 256, dtype=torch.bool)
        for _, top, bottom, left, right, *_ in pasted[pasted[:, 0] == k].tolist():
            known[top:bottom, left:right] = True
        assert torch.equal(windows.known(k), known)


@pytest.mark.parametrize("picture, size, stride, order", CASES)
def test_every_pixel_is_fixed_once_and_never_early(picture, size, stride, order):
    """Run in waves, in the worst order inside each: what is known was fixed in an earlier wave."""
    windows = windows_of(picture, size, stride, order)
    fixed_in = torch.full(picture, -1)
    fixed_by = torch.full(picture, -1)
    for number, wave in enumerate(waves(windows)):
        for k in reversed(wave):
            rows, columns = windows[k].slices
            known = windows.known(k)
            assert bool((fixed_in[rows, columns][known] >= 0).all())
            assert bool((fixed_in[rows, columns][known] < number).all())
            assert bool((fixed_by[rows, columns][~known] == -1).all())
            assert windows.new(k) == int((~known).sum())
            fixed_in[rows, columns] = torch.where(known, fixed_in[rows, columns], number)
            fixed_by[rows, columns] = torch.where(known, fixed_by[rows, columns], k)
    assert bool((fixed_in >= 0).all())


@pytest.mark.parametrize("picture, size, stride, order", CASES)
def test_sources_are_those_who_fixed_the_known_pixels(picture, size, stride, order):
    windows = windows_of(picture, size, stride, order)
    first = torch.full(picture, len(windows))
    for k in reversed(range(len(windows))):
        first[windows[k].slices] = k
    for k, sources in enumerate(pastes(windows)):
        seen = first[windows[k].slices][windows.known(k)]
        assert sources == sorted(set(seen.tolist()))


def test_waves_of_2048_x_2048():
    windows = windows_of((2048, 2048), 256, 128)
    assert len(windows) == 225
    by_overlap = waves(windows, overlaps(windows))
    assert (len(by_overlap), max(map(len, by_overlap))) == (43, 8)
    by_paste = waves(windows)
    assert (len(by_paste), max(map(len, by_paste))) == (29, 15)
    by_default = windows_for(Denoising(), (3, 2048, 2048), 256)
    assert (by_default.margin, by_default.stride) == (64, (128, 128))
    with_margin = waves(by_default)
    assert (len(with_margin), max(map(len, with_margin))) == (43, 8)
    for found in (by_overlap, by_paste, with_margin):
        assert sorted(k for wave in found for k in wave) == list(range(225))


def test_a_window_depends_on_its_upper_right_neighbour_by_overlap_alone():
    windows = windows_of((16, 16), 8, 4)  # 3 x 3 windows
    assert overlaps(windows)[4] == [0, 1, 2, 3]
    assert pastes(windows)[4] == [0, 1, 3]


def test_a_snake_runs_one_by_one():
    windows = windows_of((16, 16), 8, 4, "snake")
    assert [len(wave) for wave in waves(windows)] == [1] * 9
    assert windows[3].left == 8 and windows[5].left == 0


def test_a_margin_is_left_to_the_neighbours():
    windows = windows_of((20, 14), 8, 4, margin=1)
    assert windows.kept(0) == Box(0, 0, 7, 7)
    assert windows.kept(len(windows) - 1) == Box(13, 7, 7, 7)
    covered = torch.zeros(20, 14, dtype=torch.bool)
    for k in range(len(windows)):
        assert windows.new(k) > 0
        covered[windows.kept(k).slices] = True
    assert bool(covered.all())


def test_default_stride_is_half_a_window_on_the_grid():
    assert windows_of((64, 64), 16).stride == (8, 8)
    assert windows_of((66, 66), 18, grid=6).stride == (6, 6)
    assert windows_of((64, 64), 16, margin=6).stride == (4, 4)
    assert windows_of((64, 64), (64, 16)).starts == ([0], [0, 8, 16, 24, 32, 40, 48])


def test_cuts_of_a_batch():
    x = torch.arange(2 * 1 * 8 * 8).view(2, 1, 8, 8)
    cuts = Cuts((Box(0, 0, 4, 4), Box(4, 2, 4, 4)), (1, 0))
    assert torch.equal(cuts.of(x), torch.stack((x[1, :, :4, :4], x[0, :, 4:, 2:6])))
    assert torch.equal(cuts.of(x[:1]), torch.stack((x[0, :, :4, :4], x[0, :, 4:, 2:6])))
    small = torch.arange(16).view(1, 1, 4, 4)
    assert torch.equal(cuts.of(small, 2)[1], small[0, :, 2:4, 1:3])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (((64, 64), 65), "window: 65 x 65 is larger than the picture of 64 x 64"),
        (((64, 32), (48, 48)), "larger than the picture"),
        (((64, 64), 16, 17), "stride: 17 is larger than the window of 16"),
        (((64, 64), 0), "window: expected an integer >= 1"),
        (((64, 64), (8, 8, 8)), r"window: expected an integer >= 1 or \(rows, columns\)"),
        (((64, 64), 16, -4), "stride: expected an integer >= 1"),
        (((64, 64), 16, 8, "spiral"), "order: expected one of rows, columns, snake"),
        (((64, 64), 48, 16, (0, 1, 1, 3)), "order: expected a permutation of 0 to 3"),
    ],
)
def test_wrong_windows(arguments, message):
    with pytest.raises(ValueError, match=message):
        windows_of(*arguments)


@pytest.mark.parametrize(
    "keywords, message",
    [
        ({"picture": (66, 64), "window": 16, "grid": 4}, "picture: expected multiples of 4"),
        ({"picture": (64, 64), "window": 18, "grid": 4}, "window: expected multiples of 4"),
        ({"picture": (64, 64), "window": 16, "stride": 6, "grid": 4}, "stride: expected multiples"),
        ({"picture": (64, 64), "window": 16, "stride": 16, "margin": 1}, "at most 14 are kept"),
        (
            {"picture": (64, 64), "window": 16, "margin": 8},
            "margin: 8 .* of 16, expected at most 7",
        ),
        ({"picture": (64, 64), "window": 16, "margin": 40}, "margin: 40 .* of 16, expected at"),
        ({"picture": (64, 64), "window": 16, "margin": -1}, "margin: expected an integer >= 0"),
    ],
)
def test_windows_that_do_not_fit_the_measurement(keywords, message):
    with pytest.raises(ValueError, match=message):
        windows_of(**keywords)


def test_windows_refuse_sides_that_are_no_integers():
    with pytest.raises(ValueError, match="picture: expected integers >= 1"):
        Windows((0, 8), (8, 8), (4, 4))


def test_windows_smaller_than_what_a_blur_leaves_to_neighbours():
    blur = Blur(torch.ones(21, 21) / 441, "reflect")
    with pytest.raises(ValueError, match="^window: 20 is too small for .* 10 pixels .* than 20$"):
        windows_for(blur, (3, 64, 64), 20)
    assert windows_for(blur, (3, 64, 64), 22).margin == 10
    assert len(windows_for(blur, (3, 20, 64), (20, 32))) == 4  # one row of windows: no such edges


@pytest.mark.parametrize(
    "operator, window, stride, margin",
    [
        (Denoising(), 16, None, 4),
        (Denoising(), 16, 12, 2),
        (Denoising(), 16, 16, 0),
        (Denoising(), (64, 16), None, 4),  # one row of windows: rows share nothing
        (SuperResolution(3), 18, None, 3),
        (SuperResolution(4), 24, None, 4),
    ],
)
def test_default_margin_is_half_of_what_windows_share(operator, window, stride, margin):
    size = 64 if operator.grid != 3 else 66
    windows = windows_for(operator, (3, size, size), window, stride)
    assert windows.margin == margin

"""Whether borders of windows show."""

import pytest
import torch
from small_cases import MARKOV, seeded

from ddrm_fast import DDRM, degrade, restore
from ddrm_fast.large import restore_windows, windows_for, windows_of
from ddrm_fast.large.restore import GRADIENT
from ddrm_fast.large.seams import border_ratio, seam
from ddrm_fast.operators import Inpainting

WINDOWS = windows_of((64, 96), 32, 16)


def smooth(height, width):
    """Waves of many lengths without any grid."""
    x = seeded(1, 2, height, width)
    return torch.nn.functional.avg_pool2d(x, 5, 1, 2)


def test_a_slope_has_no_borders():
    rows, columns = torch.arange(64.0), torch.arange(96.0)
    assert border_ratio(3 * rows[:, None] + columns, WINDOWS) == pytest.approx(1)
    assert seam(rows[:, None] - columns, rows[:, None] + columns, WINDOWS) == pytest.approx(0)


def test_the_ratio_of_jumps_is_found():
    """Jumps of 1 everywhere, of 2.5 across borders."""
    x = torch.zeros(64, 96)
    for axis in (0, 1):
        jumps = torch.ones(x.shape[axis])
        jumps[WINDOWS.borders(axis)] = 2.5
        x += jumps.cumsum(0).view((-1, 1) if axis == 0 else (1, -1))
    assert border_ratio(x, WINDOWS) == pytest.approx(2.5)
    assert seam(x, smooth(64, 96), WINDOWS) > 1


def test_borders_are_where_windows_stop_to_be_kept():
    assert WINDOWS.borders(0) == [16, 32, 48]
    assert windows_of((64, 64), 32, 16, margin=4).borders(1) == [20, 28, 36, 44]
    assert windows_of((70, 70), 32, 16).borders(0) == [16, 32, 38, 48, 64]


def test_a_measurement_by_blocks_is_compared_with_its_blocks():
    x = torch.rand(16, 24).repeat_interleave(4, 0).repeat_interleave(4, 1)
    assert border_ratio(x, WINDOWS) > 2
    assert abs(border_ratio(x, WINDOWS, grid=4) - 1) < 0.2


def test_windows_that_ignore_each_other_show_and_mask_shift_does_not():
    """Nearly nothing is measured, so a window alone has grey values of its own."""
    measured = torch.rand(64, 96, generator=torch.Generator().manual_seed(0)) < 0.02
    operator = Inpainting(measured)
    y = degrade(torch.full((4, 3, 64, 96), 0.5), operator)
    prior, sampler = MARKOV, DDRM(steps=40)
    whole = restore(y, operator, 0.0, prior, sampler, clamp=False).mean

    def excess(stride, margin, gradient=None):
        x = restore_windows(
            y, operator, 0.0, prior, sampler, window=32, stride=stride, margin=margin, batch=12,
            clamp=False, gradient=gradient,
        ).mean  # fmt: skip
        return seam(x, whole, windows_for(operator, (3, 64, 96), 32, stride, margin=margin))

    assert excess(32, 0) > 1  # nothing in common
    assert excess(16, 0) > 0.15
    assert abs(excess(16, 4)) < 0.03
    assert excess(16, 0, GRADIENT) < excess(16, 0) / 2


@pytest.mark.parametrize(
    "x, windows, message",
    [
        (torch.zeros(3, 64, 95), WINDOWS, "x: expected pictures of 64 x 96, got 64 x 95"),
        (torch.zeros(3, 32, 32), windows_of((32, 32), 32), "windows: have no borders inside"),
    ],
)
def test_pictures_that_do_not_fit(x, windows, message):
    with pytest.raises(ValueError, match=message):
        border_ratio(x, windows)

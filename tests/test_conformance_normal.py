"""Normals of every backend against float64 normals of the same counters."""

import pytest
import torch
from conformance import run_on, some_keys
from tolerances import NORMAL, assert_close

from ddrm_fast import ops
from ddrm_fast.ops import philox


@pytest.mark.parametrize(
    "size",
    [
        (1, 1, 1), (3, 1, 137), (2, 137, 1), (1, 3, 2100), (3, 16, 16), (4, 5, 7), (1, 2, 66),
        (0, 3, 3),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("origin", [(0, 0), (7, 1), (2**31, 2**31 + 2), (5, 2**32 - 3)], ids=str)
def test_normal_matches(device, size, origin):
    channels, height, width = size
    seeds = torch.tensor([0, -1, 2**40 + 17])
    keys = ops.noise_keys(3, seeds, torch.tensor([0, 5, 2**30]), origin)
    for iteration, stream in ((0, 0), (2**24 - 1, 255), (17, 1)):
        call = {"keys": keys, "channels": channels, "height": height, "width": width}
        call.update(iteration=iteration, stream=stream)
        expected = philox.normal_field(keys, channels, height, width, iteration, stream)
        assert_close(run_on(device, ops.normal, call), expected, 0.0, NORMAL)


def test_normal_matches_for_no_images(device):
    assert ops.normal(some_keys(0).to(device), 3, 4, 5).shape == (0, 3, 4, 5)

"""The generator of dead-leaves pictures."""

import numpy as np
import pytest

from ddrm_fast.training.data.dead_leaves import DeadLeavesConfig, dead_leaves

SMALL = DeadLeavesConfig(size=48)


def test_same_seed_same_picture():
    first, again = dead_leaves(3, 1, SMALL), dead_leaves(3, 1, SMALL)
    assert first.shape == (48, 48, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again)


def test_other_seed_or_index_other_picture():
    base = dead_leaves(3, 1, SMALL)
    assert not np.array_equal(base, dead_leaves(4, 1, SMALL))
    assert not np.array_equal(base, dead_leaves(3, 2, SMALL))


def test_pictures_have_contrast_edges_and_flat_parts():
    pictures = np.stack([dead_leaves(0, i, SMALL) for i in range(12)]).astype(float)
    assert pictures.std(axis=(1, 2)).mean() > 15
    steps = np.abs(np.diff(pictures, axis=2)).max(axis=3)
    assert (steps > 40).mean() > 0.005
    assert (steps < 6).mean() > 0.2
    assert 60 < pictures.mean() < 200


@pytest.mark.parametrize("oversampling", [1, 3])
def test_oversampling(oversampling):
    config = DeadLeavesConfig(size=20, oversampling=oversampling)
    assert dead_leaves(0, 0, config).shape == (20, 20, 3)


@pytest.mark.parametrize(
    "values",
    [{"size": 4}, {"oversampling": 0}, {"smallest": 0.0}, {"smallest": 500.0}, {"layers": 0.0}],
)
def test_config_refusals(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        DeadLeavesConfig(**values)


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed"):
        dead_leaves(-1)

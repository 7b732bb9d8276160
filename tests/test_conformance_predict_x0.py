"""`predict_x0` on every backend against the float64 reference fed the same numbers."""

import pytest
import torch
from conformance import (
    LAYOUTS,
    OUTPUTS,
    SHAPES,
    STEP_1,
    check,
    layouts,
    random_images,
    random_table,
    sampler_table,
)

from ddrm_fast import DDRM, ops


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("clip", [None, (-0.8, 0.9)], ids=["free", "clipped"])
def test_predict_x0_matches(device, layout, clip):
    shape = (2, 3, 5, 37)
    for dtype in OUTPUTS:
        call = {"x_t": random_images(shape), "out": layouts(shape, dtype)[layout], "step": STEP_1}
        for call["table"] in (random_table(clip=clip), random_table(2, clip=clip)):
            result = check(device, ops.predict_x0, call)
            assert clip is None or (float(result.min()), float(result.max())) == pytest.approx(clip)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_predict_x0_matches_for_samplers(device, shape, prediction):
    table = sampler_table(DDRM(), prediction=prediction)
    for step in (1, 10, 20):
        call = {"x_t": random_images(shape), "out": random_images(shape), "table": table}
        call["step"] = torch.tensor([step])
        check(device, ops.predict_x0, call)

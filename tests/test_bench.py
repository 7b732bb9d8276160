"""The registry of benchmarks: what is timed is right, and what is left out is said."""

import pytest
import torch

from ddrm_fast import ops
from ddrm_fast.bench import OPERATORS, TINY, PublishedStep, StepInputs, disagreement, rows
from ddrm_fast.bench.steps import MIDDLE, SIGMA_Y, STEPS
from ddrm_fast.bench.table import Table, markdown
from ddrm_fast.ops import Noise
from ddrm_fast.ops import rows as columns
from ddrm_fast.priors.schedule import Schedule, pairs


@pytest.mark.parametrize("name", OPERATORS)
def test_steps_that_are_timed_are_right(name):
    assert disagreement(OPERATORS[name](32), 32) < 1e-5


@pytest.mark.parametrize("name", OPERATORS)
def test_the_published_operations_take_the_same_step(name):
    """Given the same noise, in float64: what is compared computes the same picture."""
    shape, schedule = (2, 3, 32, 32), Schedule.linear()
    inputs = StepInputs.make(OPERATORS[name](32), shape, dtype=torch.float64)
    t, t_next = pairs(schedule.steps(STEPS))[MIDDLE - 1]
    published = PublishedStep(
        inputs.operator, inputs.operator.H(inputs.x_t), shape[1:], SIGMA_Y,
        schedule.abar(t), schedule.abar(t_next),
    )  # fmt: skip
    z = torch.randn(shape, dtype=torch.float64)
    with ops.use_backend("reference"):
        expected = inputs.run(z)
    result = published(inputs.x_t, inputs.out, z)
    # the table of rows is float32
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=2e-5)
    assert torch.equal(published.kept[0], result) and published.kept[1].shape == shape


def test_rows_of_the_middle_draw_noise():
    """What is timed makes noise, and both branches of the measured directions are there."""
    row = rows().table[MIDDLE, 0]
    assert row[columns.NULL + 2] > 0 and 0 < row[columns.THR] < 1


def test_a_table_of_this_machine():
    table = Table("cpu", rounds=2)
    backends = table.backends()
    assert "cpp" in backends and "reference" not in backends
    left_out = {skipped["what"]: skipped["why"] for skipped in table.skipped}
    assert "compared with" in left_out["backend reference on cpu"]
    assert left_out["backend cuda on cpu"]
    table.steps(["denoising", "blur (FFT)"], ["cpp"], (1, 3, 32, 32))
    table.kernels(TINY, ["cpp"], ())
    assert {row["operation"] for row in table.rows} > {"denoising step", "fwht: 32 x 32"}
    first = table.rows[0]
    assert first["bytes"] == 4 * (4 * 3 * 32 * 32 + 1) and set(first["others"]) == {
        "eager",
        "published",
    }
    text = markdown(table.rows)
    heads, _, line = text.splitlines()[:3]
    assert heads.startswith(
        "| operation | shape | dtype | backend | time | GB/s | of copy | flop/byte | x eager"
    )
    assert line.startswith("| denoising step | 1 x 3 x 32 x 32 | float32 | cpp | ")
    assert all(row.count("|") == heads.count("|") for row in text.splitlines())


def test_a_backend_that_was_asked_for():
    table = Table("cpu", rounds=1)
    assert table.backends("reference") == ["reference"] and not table.skipped


def test_wrong_steps_have_no_speed(monkeypatch):
    table = Table("cpu", rounds=1)
    monkeypatch.setattr("ddrm_fast.bench.table.disagreement", lambda *a, **k: float("nan"))
    table.steps(["denoising"], ["cpp"], (1, 3, 32, 32))
    assert not table.rows and "it is wrong" in table.skipped[0]["why"]


def test_a_case_that_fails_is_said(monkeypatch):
    table = Table("cpu", rounds=1)

    def broken(size):
        raise RuntimeError("out of memory")

    monkeypatch.setitem(OPERATORS, "denoising", broken)
    table.steps(["denoising", "inpainting"], ["cpp"], (1, 3, 32, 32))
    assert table.skipped == [{"what": "denoising on cpu", "why": "RuntimeError: out of memory"}]
    assert [row["operation"] for row in table.rows] == ["inpainting step"]


def test_noise_inside_is_drawn(monkeypatch):
    """A step that is timed makes its own noise."""
    inputs = StepInputs.make(OPERATORS["denoising"](32), (1, 3, 32, 32))
    given = inputs.operator.step(
        inputs.x_t, inputs.out, inputs.u, inputs.rows, inputs.step,
        Noise(inputs.keys, torch.zeros_like(inputs.x_t)),
    )  # fmt: skip
    assert not torch.equal(inputs.run(), given)

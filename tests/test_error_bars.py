"""Error bars hold what they say, and say where they are not calibrated."""

import json
import shutil

import pytest
import torch
from small_cases import PIXELWISE

import ddrm_fast
from ddrm_fast import Problem, operators
from ddrm_fast.evaluation import error_bars as bars
from ddrm_fast.priors.load import DEFAULT
from ddrm_fast.restoration import Restoration


def errors_of(seen, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(len(seen), generator=generator).abs()


@pytest.mark.parametrize(("level", "exact"), [(0.68, 0.99446), (0.95, 1.95996)])
def test_fit_finds_the_quantile_of_every_group(level, exact):
    """Errors whose size follows from the features: the bar is that size times the normal's quantile."""
    generator = torch.Generator().manual_seed(0)
    spread, detail = (4 * torch.rand(40_000, generator=generator) - 6 for _ in range(2))
    zero = torch.zeros_like(spread)
    powers = [zero + 1, spread, detail, spread**2, spread * detail, detail**2]
    seen = torch.stack([*powers, *[zero] * 6], dim=1)
    scale = (0.7 * spread + 0.2 * detail + 0.5).exp()
    weights = torch.tensor(bars.fit(seen, errors_of(seen, scale, 1), level), dtype=torch.float64)
    fresh = errors_of(seen, scale, 2)
    half = (seen.double() @ weights).exp()
    for rows in (spread < -4, spread > -4, detail < -4, detail > -4):
        assert float((fresh <= half)[rows].double().mean()) == pytest.approx(level, abs=0.015)
    assert float((half / scale).log().mean().exp()) == pytest.approx(exact, rel=0.03)


def result_of(shape=(2, 3, 12, 10), count=4):
    samples = torch.rand(count, *shape, generator=torch.Generator().manual_seed(5))
    return Restoration(samples, samples.mean(0), samples.std(0))


def test_features_are_means_around_each_pixel():
    result = result_of()
    problem = Problem.of(torch.rand(2, 3, 6, 5), operators.SuperResolution(2), 0.1)
    seen = bars.features(result.mean, result.std, problem, 4)
    assert seen.shape == (2, 12, 12, 10)
    for y, x in ((0, 0), (5, 4), (11, 2)):
        rows, columns = slice(max(y - 2, 0), y + 3), slice(max(x - 2, 0), x + 3)
        spread = result.std[1, :, rows, columns].square().mean().sqrt().log()
        window = result.mean[1, :, rows, columns]
        detail = window.var(dim=(1, 2), correction=0).mean().sqrt().log()
        assert torch.allclose(seen[1, 1, y, x], spread, atol=1e-5)
        assert torch.allclose(seen[1, 2, y, x], detail, atol=1e-4)
        expected = [spread**2, spread * detail, detail**2]
        assert torch.allclose(seen[1, 3:6, y, x], torch.stack(expected), atol=1e-3)
    constants = torch.tensor([0.1, 1 / 4, 4]).log()
    assert torch.allclose(seen[0, 6:9, 3, 3], constants)
    own = result.std[0, :, 3, 3].square().mean().sqrt().log()
    others = torch.stack([own, constants[0] * constants[1], constants[0] * seen[0, 1, 3, 3]])
    assert torch.allclose(seen[0, 9:, 3, 3], others, atol=1e-5)


def test_the_measured_share_counts_directions():
    mask = torch.zeros(8, 8)
    mask[:2] = 1
    for operator, share in (
        (operators.Inpainting(mask), 1 / 4),
        (operators.SuperResolution(2), 1 / 4),
        (operators.Denoising(), 1.0),
        (operators.BlockCS(4, keep=4), 1 / 4),
    ):
        problem = Problem.of(operator.H(torch.rand(1, 3, 8, 8)), operator, 0.1)
        assert bars.measured_share(problem) == pytest.approx(share)


def test_the_shipped_maps_belong_to_the_shipped_weights():
    """So new weights without new maps are seen here."""
    maps = bars.calibration(ddrm_fast.load_prior("default"))
    assert maps is not None and not set(maps) & set(bars.MEANINGLESS)
    assert {"noise", "low resolution", "missing pixels", "blur", "block sensing"} <= set(maps)
    assert all(set(of_kind) == {"0.68", "0.95"} for of_kind in maps.values())


def test_bars_of_the_default_prior():
    prior = ddrm_fast.load_prior("default")
    x = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    x = torch.nn.functional.interpolate(x, 32, mode="bicubic").clamp(0, 1)
    operator = operators.SuperResolution(2)
    y = ddrm_fast.degrade(x, operator, 0.05)
    result = ddrm_fast.restore(y, operator, 0.05, prior, num_samples=3)
    found = ddrm_fast.error_bars(result, Problem.of(y, operator, 0.05), prior)
    assert found.calibrated and found.why == "calibrated for low resolution"
    assert found.half_68.shape == x.shape and bool((found.half_68 > 0).all())
    assert bool((found.half_68 < found.half_95).double().mean() > 0.99)
    assert float((found.half_95 > 2 * result.std).double().mean()) > 0.5  # the spread is too small


@pytest.mark.parametrize(
    ("operator", "said"),
    [
        (operators.Denoising(), "custom: nobody measured its errors for noise"),
        (operators.Colorization(), "colours are chance"),
    ],
)
def test_other_bars_are_the_spread_and_say_so(operator, said):
    result = result_of()
    problem = Problem.of(operator.H(result.mean), operator, 0.1)
    found = bars.error_bars(result, problem, PIXELWISE)
    assert not found.calibrated and said in found.why
    assert torch.equal(found.half_68, result.std) and torch.equal(found.half_95, 2 * result.std)


def test_maps_of_other_weights_are_not_used(tmp_path):
    weights = tmp_path / "mine.safetensors"
    shutil.copy(DEFAULT, weights)
    assert bars.calibration(ddrm_fast.load_prior(str(weights))) is None
    stored = json.loads(bars.beside(DEFAULT).read_text())
    bars._read.cache_clear()
    bars.beside(weights).write_text(json.dumps(stored | {"sha256": "of others"}))
    assert bars.calibration(ddrm_fast.load_prior(str(weights))) is None
    bars._read.cache_clear()
    bars.beside(weights).write_text(json.dumps(stored))
    assert bars.calibration(ddrm_fast.load_prior(str(weights))) is not None


def test_one_sample_has_no_bars():
    problem = Problem.of(torch.rand(1, 3, 8, 8), operators.Denoising(), 0.1)
    one = result_of((1, 3, 8, 8), 1)
    for result in (one, Restoration(None, one.mean, one.std)):
        with pytest.raises(ValueError, match=r"^result: got . samples, expected two or more"):
            bars.error_bars(result, problem, PIXELWISE)


def test_coverage_counts():
    truth, mean = torch.zeros(3, 16, 16), torch.zeros(3, 16, 16)
    mean[:, :, 8:] = torch.rand(3, 16, 8, generator=torch.Generator().manual_seed(0))
    half = torch.full_like(mean, 0.5)
    found = bars.coverage(bars.ErrorBars(half, half, True, ""), mean, 0.5 * mean, truth)
    inside = (mean <= 0.5).double()
    assert found["inside_68"] == found["inside_95"] == round(100 * float(inside.mean()), 2)
    assert found["inside_95_flat"] > found["inside_95"] > found["inside_95_detailed"]
    outside = (mean - 0.5).clamp(min=0).mean()
    assert found["score"] == pytest.approx(1 + 40 * float(outside), rel=1e-4)
    assert found["spread"] == 0.5 and found["calibrated"] is True

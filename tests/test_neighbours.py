"""Known pixels that say what they know to those beside them."""

import pytest
import torch
from small_cases import PICTURE, PIXELWISE, pictures, restore_small, seeded

from ddrm_fast import DDRM, Known, Prior, ops, restore
from ddrm_fast.operators import Colorization, Denoising, Gain, Inpainting, SuperResolution
from ddrm_fast.samplers import run
from ddrm_fast.samplers.edits import neighbours
from ddrm_fast.samplers.edits.neighbours import extended

SIZE = (18, 23)
KNOWN = torch.zeros(1, 1, *SIZE, dtype=torch.bool)
KNOWN[..., :6, :] = KNOWN[..., :7] = KNOWN[..., :11, 17:] = True


def solved(values, mask, screening):
    """The same by dense linear algebra, of one plane: (screening - Laplacian) e = 0 where unknown."""
    height, width = values.shape
    place = torch.arange(height * width).view(height, width)
    matrix = torch.zeros(height * width, height * width, dtype=torch.float64)
    for a, b in ((place[1:], place[:-1]), (place[:, 1:], place[:, :-1])):
        a, b = a.flatten(), b.flatten()
        for i, j in ((a, b), (b, a)):
            matrix[i, j] -= 1
            matrix[i, i] += 1
    matrix += torch.diag(screening.expand(height, width).flatten())
    fixed = mask.flatten()
    matrix[fixed] = torch.eye(height * width, dtype=torch.float64)[fixed]
    return torch.linalg.solve(matrix, torch.where(fixed, values.flatten(), 0)).view(height, width)


@pytest.mark.parametrize("screening", [1e-3, 0.1, 3.0, "map"])
def test_the_field_beside_known_values_is_the_dense_solution(monkeypatch, screening):
    """Enough sweeps reach it from any start."""
    monkeypatch.setattr(neighbours, "SWEEPS", 4000)
    values = seeded(2, 3, *SIZE)
    given = 3 * torch.rand(1, 3, *SIZE, dtype=torch.float64) if screening == "map" else None
    given = torch.full((1, 1, 1, 1), screening, dtype=torch.float64) if given is None else given
    found = extended(torch.where(KNOWN, values, torch.nan), KNOWN, given)
    for row in range(2):
        for channel in range(3):
            plane = given[0, min(channel, given.shape[1] - 1)]
            expected = solved(values[row, channel], KNOWN[0, 0], plane)
            torch.testing.assert_close(found[row, channel], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("screening, bound", [(1e-3, 0.2), (0.1, 0.15), (3.0, 0.01)])
def test_few_sweeps_are_close_to_it_beside_known_values(screening, bound):
    """What is wrong is smooth: a few pixels from the known ones it is a small part of the field."""
    smooth = torch.nn.functional.interpolate(seeded(1, 1, 4, 4), SIZE, mode="bicubic")
    found = extended(smooth, KNOWN, torch.full((1, 1, 1, 1), screening, dtype=torch.float64))
    expected = solved(smooth[0, 0], KNOWN[0, 0], torch.tensor(screening, dtype=torch.float64))
    near = torch.nn.functional.max_pool2d(KNOWN.double(), 7, 1, 3)[0, 0].bool() & ~KNOWN[0, 0]
    error = (found[0, 0] - expected)[near].norm() / expected[near].norm()
    assert float(error) < bound


def test_a_constant_stays_one_and_pixels_that_are_certain_stay_as_they_are():
    values = torch.full((1, 3, *SIZE), 0.7)
    sure = torch.zeros(1, 1, *SIZE)
    sure[..., -1, 9] = 1e8
    found = extended(values, KNOWN, sure)
    assert torch.equal(found.masked_select(KNOWN), torch.full_like(found, 0.7).masked_select(KNOWN))
    assert float(found[..., -1, 9].abs().max()) < 1e-7
    assert float((found[..., 7, 8:16] - 0.7).abs().max()) < 0.1
    assert float(found.max()) <= 0.7 + 1e-6 and float(found.min()) >= 0


def test_every_picture_of_a_batch_is_by_itself():
    values, screening = (
        seeded(3, 3, *SIZE),
        torch.tensor([0.01, 0.1, 1.0]).view(3, 1, 1, 1).double(),
    )
    together = extended(values, KNOWN.expand(3, 1, *SIZE), screening)
    for row in range(3):
        alone = extended(values[row : row + 1], KNOWN, screening[row : row + 1])
        assert torch.equal(together[row : row + 1], alone)


@pytest.mark.parametrize(
    "operator, expected",
    [
        (Denoising(), 4.0),
        (Gain(torch.full((8, 8), 0.5)), 1.0),
        (SuperResolution(2), 0.0),
        (Colorization(), 0.0),
    ],
    ids=repr,
)
def test_what_a_measurement_says_of_a_pixel(operator, expected):
    sigma = torch.tensor([0.5], dtype=torch.float64)
    assert bool((operator.certainty(sigma, (3, 8, 8), PICTURE) == expected).all())


def test_a_measurement_without_noise_is_certain():
    mask = torch.arange(64).view(8, 8) % 2 == 0
    sure = Inpainting(mask).certainty(torch.zeros(1, dtype=torch.float64), (3, 8, 8), PICTURE)
    assert torch.equal(sure, 1e8 * mask.float()[None, None])


def test_a_step_is_that_of_the_corrected_clean_image():
    """One step of DDRM at a time, from the equations: x0 + e, eps of it, then known pixels."""
    shape, sigma_y, gradient = (1, 3, *SIZE), 0.2, 0.1
    operator = Denoising()
    image, y = seeded(*shape), seeded(*shape, seed=2)
    noise = [seeded(*shape, seed=50 + k) for k in range(3)]
    prior = Prior(lambda x_t, t: 0.3 * x_t)
    sampler = DDRM(steps=[400, 20], eta=0.85)
    seen = []
    result = run(
        operator, prior, sampler, y, torch.tensor([sigma_y], dtype=torch.float64),
        ops.noise_keys(1), noise=lambda k: noise[k], known=Known(KNOWN, image, gradient),
        callback=lambda info: seen.append((info.x_t.clone(), info.x0.clone(), info.x_next.clone())),
    )  # fmt: skip
    x_t, clean, x_next = seen[0]
    abar, after = prior.schedule.abar(400), prior.schedule.abar(20)
    x0 = (x_t - (1 - abar) ** 0.5 * 0.3 * x_t) / abar**0.5
    state, measured = abar / (1 - abar), sigma_y**-2
    news = (image - x0) * state / (state + measured)
    screening = torch.full((1, 1, 1, 1), gradient**2 * (state + measured), dtype=torch.float64)
    expected = torch.where(KNOWN, image, x0 + extended(news, KNOWN, screening))
    torch.testing.assert_close(clean, expected, rtol=1e-5, atol=1e-5)
    eps = (x_t - abar**0.5 * expected) / (1 - abar) ** 0.5
    sigma = ((1 - after) / after) ** 0.5
    assert sigma < sigma_y
    ddim = sigma * ((1 - 0.85**2) ** 0.5 * eps + 0.85 * noise[1])
    k = sigma * (1 - 0.85**2) ** 0.5 / sigma_y
    free = (1 - k) * expected + k * y + 0.85 * sigma * noise[1]
    expected = after**0.5 * torch.where(KNOWN, image + ddim, free)
    torch.testing.assert_close(x_next, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(result.masked_select(KNOWN), image.masked_select(KNOWN))


def test_restore_takes_the_gradient_of_pictures_from_0_to_1():
    image = pictures(1, 3, 8, 8)
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[..., :3] = True
    operator, sampler = Denoising(), DDRM(steps=3)
    sigma = torch.tensor([0.4], dtype=torch.float64)
    arguments = (2 * image - 1, sigma, ops.noise_keys(1))
    known = Known(mask, 2 * image - 1, 0.5)
    expected = (run(operator, PIXELWISE, sampler, *arguments, known=known) + 1) / 2
    for gradient, same in ((0.25, True), (0.5, False), (None, False)):
        known = Known(mask, image, gradient)
        found = restore(image, operator, 0.2, PIXELWISE, sampler, known=known, clamp=False).mean
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6) is same


@pytest.mark.parametrize("gradient", [0.0, -1, float("inf"), float("nan"), True, "steep"])
def test_gradients_that_are_none(gradient):
    mask = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"known\.gradient: expected a number > 0 or None, got"):
        restore_small(known=Known(mask, PICTURE, gradient))

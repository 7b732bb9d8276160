"""What `restore` does with a network: predictions, clipping, precision, labels, guidance."""

import pytest
import torch
from small_cases import (
    FAST,
    GAUSSIAN,
    OPERATORS,
    PIXELWISE,
    SCHEDULE,
    measured,
    pictures,
    pixelwise,
    restated,
)

from ddrm_fast import Prior, restore
from ddrm_fast.operators import Denoising


@pytest.mark.parametrize("name", OPERATORS)
def test_predictions_of_every_kind_restore_the_same_picture(name):
    """The Gaussian network as eps, x0 and v."""
    operator, y = measured(name)
    x0, v = (Prior(lambda x, t, p=p: restated(GAUSSIAN(x, t), x, t, p), p) for p in ("x0", "v"))
    for clip in (False, True):
        expected = restore(y, operator, 0.05, GAUSSIAN, FAST, clip_x0=clip).mean
        for prior in (x0, v):
            result = restore(y, operator, 0.05, prior, FAST, clip_x0=clip).mean
            assert torch.allclose(result, expected, atol=1e-4), prior.prediction


@pytest.mark.parametrize("name", OPERATORS)
def test_clipped_predictions_are_in_the_range_of_pictures(name):
    operator, y = measured(name)
    seen = []

    def callback(info):
        seen.append((info.x0.min(), info.x0.max()))

    free = restore(y, operator, 0.05, PIXELWISE, FAST, callback=callback).mean
    assert max(high for _, high in seen) > 1
    seen.clear()
    clipped = restore(y, operator, 0.05, PIXELWISE, FAST, clip_x0=True, callback=callback).mean
    assert all(low >= -1 and high <= 1 for low, high in seen)
    assert not torch.allclose(free, clipped, atol=1e-3)


@pytest.mark.parametrize("name", ["inpainting", "super-resolution", "blur", "decimation"])
@pytest.mark.parametrize("clip", [False, True], ids=["free", "clipped"])
def test_variances_of_the_network_are_not_read(name, clip):
    operator, y = measured(name)
    plain = restore(y, operator, 0.05, PIXELWISE, FAST, clip_x0=clip).mean
    junk = torch.full((2, 3, *OPERATORS[name][1][1:]), torch.nan)
    learned = Prior(lambda x, t: torch.cat((pixelwise(x, t), junk), dim=1))
    assert torch.equal(restore(y, operator, 0.05, learned, FAST, clip_x0=clip).mean, plain)
    strided = Prior(lambda x, t: pixelwise(x, t).to(memory_format=torch.channels_last))
    assert torch.equal(restore(y, operator, 0.05, strided, FAST, clip_x0=clip).mean, plain)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["inpainting", "super-resolution", "blur", "decimation"])
def test_networks_may_answer_in_half_precision(name, dtype):
    operator, y = measured(name)
    half = Prior(lambda x, t: (0.3 * x).to(dtype))
    rounded = Prior(lambda x, t: (0.3 * x).to(dtype).float())
    for clip in (False, True):
        result = restore(y, operator, 0.05, half, FAST, clip_x0=clip)
        assert result.mean.dtype == torch.float32
        expected = restore(y, operator, 0.05, rounded, FAST, clip_x0=clip).mean
        assert torch.equal(result.mean, expected)


def test_what_a_network_is_given():
    """x_t float32, t float32 [B], descending; no labels unless there are some."""
    calls = []

    def network(*arguments):
        calls.append(arguments)
        return 0.3 * arguments[0]

    restore(pictures(2, 3, 4, 4), Denoising(), 0.1, Prior(network), FAST)
    assert [len(arguments) for arguments in calls] == [2] * 5
    for (x_t, t), expected in zip(calls, (800, 600, 400, 200, 0), strict=True):
        assert x_t.shape == (2, 3, 4, 4) and x_t.dtype == t.dtype == torch.float32
        assert t.tolist() == [expected, expected]


def test_labels_reach_the_network_and_stay_with_their_picture():
    labels = torch.tensor([3, 1, 2])

    def network(x_t, t, labels):
        seen.append(labels.tolist())
        return 0.3 * x_t + 0.1 * labels.view(-1, 1, 1, 1)

    prior, y, seen = Prior(network), pictures(3, 3, 4, 4), []
    whole = restore(y, Denoising(), 0.1, prior, FAST, labels=labels, num_samples=2).samples
    assert seen == [[3, 1, 2]] * 10
    seen.clear()
    split = restore(
        y, Denoising(), 0.1, prior, FAST, labels=labels, num_samples=2, batch_size=2
    ).samples
    assert seen == [[3, 1]] * 5 + [[2, 3]] * 5 + [[1, 2]] * 5
    assert torch.equal(split, whole)


# guidance


def _guided_by_hand(prediction, gradient):
    """A network whose eps is eps - sqrt(1 - abar) gradient, whatever it predicts."""

    def network(x_t, t):
        out = 0.3 * x_t
        a = SCHEDULE.alphas_cumprod[t.long()].view(-1, 1, 1, 1)
        root, noise = a.sqrt(), (1 - a).sqrt()
        x = x_t.double()
        if prediction == "eps":
            eps = out.double()
        else:
            eps = (x - root * out) / noise if prediction == "x0" else noise * x + root * out
        eps = eps - noise * gradient(x_t, t, None).double()
        return restated(eps, x, t, prediction).float()

    return Prior(network, prediction)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("name", ["inpainting", "super-resolution", "blur"])
def test_guidance_is_added_to_eps(name, prediction):
    operator, y = measured(name)

    def gradient(x_t, t, labels):
        return 0.2 * torch.cos(x_t) * (t.view(-1, 1, 1, 1) / 1000)

    prior = Prior(lambda x, t: 0.3 * x, prediction)
    result = restore(y, operator, 0.05, prior, FAST, guidance=gradient).mean
    by_hand = restore(y, operator, 0.05, _guided_by_hand(prediction, gradient), FAST).mean
    without = restore(y, operator, 0.05, prior, FAST).mean
    assert torch.allclose(result, by_hand, atol=1e-4)
    assert not torch.allclose(result, without, atol=1e-3)


def test_guidance_is_evaluated_at_the_state():
    """At x_t itself, after the network and for the same t and labels; variances pass by."""
    labels, asked, guided = torch.tensor([4, 5]), [], []

    def network(x_t, t, labels):
        asked.append((x_t.clone(), t.clone(), labels))
        return torch.cat((0.3 * x_t, torch.full_like(x_t, torch.nan)), dim=1)

    def gradient(x_t, t, labels):
        guided.append((x_t.clone(), t.clone(), labels))
        return torch.zeros_like(x_t)

    y = pictures(2, 3, 4, 4)
    result = restore(y, Denoising(), 0.1, Prior(network), FAST, labels=labels, guidance=gradient)
    assert len(asked) == len(guided) == 5
    for network_call, gradient_call in zip(asked, guided, strict=True):
        for a, b in zip(network_call, gradient_call, strict=True):
            assert torch.equal(a, b)
    assert torch.equal(result.mean, restore(y, Denoising(), 0.1, PIXELWISE, FAST).mean)

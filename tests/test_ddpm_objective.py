"""Losses: what they are made of, what moves with them, and that they estimate the bound."""

import math

import pytest
import torch

from ddrm_fast import Schedule
from ddrm_fast.ddpm import Objective, Process, Reverse, bound
from ddrm_fast.ddpm.reverse import PREDICTIONS

PROCESS = Process(Schedule.cosine(12))
X0 = torch.randint(0, 256, (5, 3, 4, 4), generator=torch.Generator().manual_seed(0)) / 127.5 - 1
NOISE = torch.randn(X0.shape, generator=torch.Generator().manual_seed(1))
T = torch.tensor([0, 1, 5, 10, 11])


def network(x, t):
    return 0.4 * x + 0.01 * t.view(-1, 1, 1, 1)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_simple_is_the_mean_squared_error_of_the_prediction(prediction):
    found = Objective(Reverse(PROCESS, prediction))(network, X0, T, NOISE)
    for i, t in enumerate(T.tolist()):
        abar = PROCESS.schedule.abar(t)
        signal, noise = math.sqrt(abar), math.sqrt(1 - abar)
        x_t = signal * X0[i] + noise * NOISE[i]
        target = {
            "eps": NOISE[i],
            "x0": X0[i],
            "v": signal * NOISE[i] - noise * X0[i],
            "mean": float(PROCESS.mean_x0[t]) * X0[i] + float(PROCESS.mean_x_t[t]) * x_t,
        }[prediction]
        expected = (0.4 * x_t + 0.01 * t - target).square().mean()
        assert float(found.loss[i]) == pytest.approx(float(expected), rel=1e-5)
    assert found.vlb is None and torch.equal(found.simple, found.loss)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("variance", ["small", "large", "learned"])
def test_the_bound_as_a_loss_is_the_bound(prediction, variance):
    """T times the mean over all timesteps of the loss is the sum of the bound's terms."""

    def doubled(x, t):
        return torch.cat([network(x, t), torch.sin(x)], dim=1)

    reverse = Reverse(PROCESS, prediction, variance)
    chosen = doubled if variance == "learned" else network
    x0 = X0[:1].expand(PROCESS.T, -1, -1, -1)
    t = torch.arange(PROCESS.T)
    # the same draws of x_t as the bound makes
    states = []

    def spy(x, t):
        states.append(x.clone())
        return chosen(x, t)

    whole = bound(spy, reverse, X0[:1], clip=False)
    x_t = torch.cat(states).double()
    signal, noise = (v[t].view(-1, 1, 1, 1) for v in (PROCESS.signal, PROCESS.noise))
    eps = ((x_t - signal * x0.double()) / noise).float()
    found = Objective(reverse, "vlb")(chosen, x0, t, eps)
    assert torch.allclose(found.loss.double() / PROCESS.T, whole.terms[0], rtol=2e-3, atol=1e-3)
    assert torch.equal(found.vlb, found.loss.detach())


def test_the_hybrid_moves_the_mean_by_the_square_and_the_variance_by_the_bound():
    reverse = Reverse(PROCESS, "eps", "learned")
    out = torch.cat([NOISE * 0.9, torch.zeros_like(NOISE)], dim=1)
    gradients = {}
    for kind in ("hybrid", "vlb"):
        leaf = out.clone().requires_grad_()
        losses = Objective(reverse, kind, vlb_weight=0.25)(lambda x, t, y=leaf: y, X0, T, NOISE)
        losses.loss.sum().backward()
        gradients[kind] = leaf.grad
        if kind == "hybrid":
            assert torch.allclose(losses.loss, losses.simple + 0.25 * losses.vlb)
    square = 2 * (out[:, :3] - NOISE) / NOISE[0].numel()
    assert torch.allclose(gradients["hybrid"][:, :3], square, rtol=1e-4, atol=1e-8)
    assert torch.allclose(
        gradients["hybrid"][:, 3:], 0.25 * gradients["vlb"][:, 3:], rtol=1e-5, atol=1e-9
    )
    assert gradients["vlb"][1:, 3:].abs().min() > 0
    assert not torch.allclose(gradients["vlb"][:, :3], square, rtol=0.1)


def test_choices_that_do_not_go_together():
    fixed, learned = Reverse(PROCESS), Reverse(PROCESS, variance="learned")
    with pytest.raises(ValueError, match="^objective: expected one of simple, vlb, hybrid"):
        Objective(fixed, "l1")
    with pytest.raises(ValueError, match="^objective: simple does not train learned variances"):
        Objective(learned, "simple")
    with pytest.raises(ValueError, match="^objective: hybrid is for learned variances"):
        Objective(fixed, "hybrid")

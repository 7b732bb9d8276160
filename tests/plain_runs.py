"""Runs in plain PyTorch, written from the papers: no table, no kernel, no operator's step.

Operators serve by ``H`` and ``H_pinv`` alone; everything is in float64 and in pixels.
"""

import math

import torch

from ddrm_fast import Schedule

ABAR = Schedule.linear().alphas_cumprod


def level(t):
    return 1.0 if t == -1 else float(ABAR[t])


def network(x_t, t, labels=None):
    """Predictions that depend on neighbours and on t, and that are clipped here and there."""
    return 0.6 * x_t + 0.2 * torch.sin(3 * x_t.roll(1, dims=-1)) + 1e-4 * t.view(-1, 1, 1, 1)


def ddnm(eta):
    """x0 - H_pinv (H x0 - y), then a DDIM step (Wang et al. 2023, algorithm 1)."""

    def step(operator, y, x_t, x0, eps, abar, abar_next, z):
        x0 = x0 - operator.H_pinv(operator.H(x0) - y)
        noise = eta * z + math.sqrt(1 - eta**2) * eps
        return math.sqrt(abar_next) * x0 + math.sqrt(1 - abar_next) * noise

    return step


def ddim(eta):
    """The null space of DDNM, for known pixels."""

    def step(image, eps, x_t, abar, abar_next, z):
        noise = eta * z + math.sqrt(1 - eta**2) * eps
        return math.sqrt(abar_next) * image + math.sqrt(1 - abar_next) * noise

    return step


def posterior(x_t, x0, abar, abar_next, z):
    """Ancestral: Ho et al. 2020, eqs. 6 and 7, with steps left out."""
    alpha = abar / abar_next
    mean = math.sqrt(abar_next) * (1 - alpha) * x0 + math.sqrt(alpha) * (1 - abar_next) * x_t
    variance = (1 - abar_next) / (1 - abar) * (1 - alpha)
    return mean / (1 - abar) + math.sqrt(variance) * z


def repaint(operator, y, x_t, x0, eps, abar, abar_next, z):
    """Known pixels by the forward process, the rest ancestral (Lugmayr et al. 2022, eq. 8); masks."""
    mask = operator.H(torch.ones_like(x_t))
    known = math.sqrt(abar_next) * y + math.sqrt(1 - abar_next) * z
    return mask * known + (1 - mask) * posterior(x_t, x0, abar, abar_next, z)


def ilvr(operator, y, x_t, x0, eps, abar, abar_next, z):
    """x' + phi(y_next) - phi(x') (Choi et al. 2021, eq. 10), phi = H_pinv H."""
    proposal = posterior(x_t, x0, abar, abar_next, z)
    reference = math.sqrt(abar_next) * operator.H_pinv(y) + math.sqrt(1 - abar_next) * z
    return proposal + operator.H_pinv(operator.H(reference - proposal))


def plain_run(
    step, operator, y, moves, noise, *, clip=False, holds=(), known=None, known_step=None
):
    """Every state of a run; ``known`` is (mask, image), noise(0) the initial state."""
    x_t, states = noise(0), []
    for k, (t, t_next) in enumerate(moves):
        abar, abar_next, z = level(t), level(t_next), noise(k + 1)
        if t_next > t:
            ratio = abar_next / abar
            x_t = math.sqrt(ratio) * x_t + math.sqrt(1 - ratio) * z
            continue
        predicted = network(x_t, torch.full((len(x_t),), float(t)))
        x0 = (x_t - math.sqrt(1 - abar) * predicted) / math.sqrt(abar)
        if clip:
            x0 = x0.clamp(-1, 1)
        for hold in holds:
            x0 = x0 - hold.operator.H_pinv(hold.operator.H(x0) - hold.measurement)
        eps = (x_t - math.sqrt(abar) * x0) / math.sqrt(1 - abar)
        x_next = step(operator, y, x_t, x0, eps, abar, abar_next, z)
        if known is not None:
            fixed = known_step(known.image, predicted, x_t, abar, abar_next, z)
            x_next = torch.where(known.mask, fixed, x_next)
        x_t = x_next
        states.append(x_t)
    return states

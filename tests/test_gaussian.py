"""With a Gaussian prior the sampler is a linear recursion per singular direction: it must match.

The prior is N(m, p I), diagonal in every orthonormal basis, with its exact network. The recursion here is
written from the papers' formulas and a dense SVD, and shares no code with the package.
"""

import math

import pytest
import torch
from small_cases import seeded

from ddrm_fast import (
    DDIM,
    DDNM,
    DDPM,
    DDRM,
    ILVR,
    DDNMPlus,
    Prior,
    RePaint,
    Schedule,
    Travel,
    ops,
)
from ddrm_fast import operators as O
from ddrm_fast.samplers import run

MEAN, POWER, SAMPLES = 0.2, 0.3, 12000
TIMES = [900, 700, 500, 350, 200, 120, 60, 20]


OPERATORS = {
    "denoising": (O.Denoising(), (1, 4, 4)),
    "inpainting": (O.Inpainting(seeded(3, 4) > 0), (1, 3, 4)),
    "gain": (O.Gain(seeded(3, 4)), (1, 3, 4)),
    "colorization": (O.Colorization((0.3, 0.6, 0.1)), (3, 2, 3)),
    "super-resolution": (O.SuperResolution(2), (1, 4, 4)),
    "old photo": (
        O.SuperResolution(2, weights=(0.5, 0.5), mask=seeded(1, 4, 4) > -0.5),
        (2, 4, 4),
    ),
    "walsh-hadamard": (O.WalshHadamardCS((4, 4), ratio=2), (1, 4, 4)),
    "block cs": (O.BlockCS(2, ratio=2), (1, 4, 4)),
    "blur": (O.Blur(seeded(3, 2)), (1, 4, 5)),
    "blur reflecting": (O.Blur(O.gaussian_kernel(0.6, 3), "reflect"), (1, 4, 5)),
    "separable": (O.SeparableBlur(seeded(3), size=(4, 4)), (1, 4, 4)),
    "bicubic": (O.BicubicDownscaling(2, (4, 6)), (1, 4, 6)),
    "blur decimate": (O.BlurDecimate(seeded(3, 2), 2), (1, 4, 6)),
    "general": (O.GeneralOperator(seeded(5, 12), (1, 3, 4)), (1, 3, 4)),
}


class Isotropic(Prior):
    """The exact network of N(m, p I)."""

    def __init__(self):
        super().__init__(self.eps, "eps", Schedule.linear())

    def eps(self, x, t):
        abar = self.schedule.alphas_cumprod[t.long()].to(x.dtype).view(-1, 1, 1, 1)
        return (1 - abar).sqrt() * (x - abar.sqrt() * MEAN) / (abar * POWER + 1 - abar)


def ddrm(eta, eta_b, eta_c):
    """x_next = a x0 + b eps + c u + std z, DDRM eqs. 7 and 8."""

    def weights(s, abar, abar_next, sigma_y):
        root, sigma = math.sqrt(abar_next), math.sqrt(1 / abar_next - 1)
        if sigma == 0:
            return 1.0, 0.0, 0.0, 0.0
        if s == 0:
            return root, root * sigma * math.sqrt(1 - eta_c**2), 0.0, root * sigma * eta_c
        if s * sigma < sigma_y:
            k = sigma * math.sqrt(1 - eta**2) / sigma_y
            return root * (1 - k * s), 0.0, root * k, root * sigma * eta
        std = math.sqrt(sigma**2 - (sigma_y * eta_b / s) ** 2)
        return root * (1 - eta_b), 0.0, root * eta_b / s, root * std

    def start(s, abar, sigma_y):
        root, sigma = math.sqrt(abar), math.sqrt(1 / abar - 1)
        if s * sigma > sigma_y:
            return root / s, root * math.sqrt(sigma**2 - (sigma_y / s) ** 2)
        return 0.0, root * sigma

    return weights, start


def ddnm_plus(eta):
    def weights(s, abar, abar_next, sigma_y):
        a, std = math.sqrt(abar_next), math.sqrt(1 - abar_next)
        plain = std * math.sqrt(1 - eta**2)
        if s == 0:
            return a, plain, 0.0, std * eta
        if sigma_y == 0:
            return 0.0, plain, a / s, std * eta
        if std >= a * sigma_y / s:
            return 0.0, 0.0, a / s, math.sqrt(std**2 - (a * sigma_y / s) ** 2)
        scale = s * std * math.sqrt(1 - eta**2) / (a * sigma_y)
        return a * (1 - scale), 0.0, a * scale / s, std * eta

    return weights, lambda s, abar, sigma_y: (0.0, 1.0)


def ddpm():
    def weights(s, abar, abar_next, sigma_y):
        """q(x_next | x_t, x0), from Gaussian conditioning rather than the textbook formula."""
        alpha = abar / abar_next
        if abar_next == 1:
            return 1.0, 0.0, 0.0, 0.0
        precision = alpha / (1 - alpha) + 1 / (1 - abar_next)
        from_state = math.sqrt(alpha) / (1 - alpha) / precision
        from_clean = math.sqrt(abar_next) / (1 - abar_next) / precision
        return (
            from_clean + from_state * math.sqrt(abar),
            from_state * math.sqrt(1 - abar),
            0.0,
            precision**-0.5,
        )

    return weights, lambda s, abar, sigma_y: (0.0, 1.0)


def resampled():
    """RePaint and ILVR: the noised measurement where there is one, DDPM elsewhere."""
    ancestral, start = ddpm()

    def weights(s, abar, abar_next, sigma_y):
        if s == 0:
            return ancestral(s, abar, abar_next, sigma_y)
        return 0.0, 0.0, math.sqrt(abar_next) / s, math.sqrt(1 - abar_next)

    return weights, start


DOWN = list(zip(TIMES, [*TIMES[1:], -1], strict=True))


def recursion(H, y, rule, sigma_y, moves=DOWN):
    """Mean and covariance of the sampler's result."""
    weights, start = rule
    abar = Schedule.linear().alphas_cumprod
    U, s, Vh = torch.linalg.svd(H)
    n = H.shape[1]
    s = torch.nn.functional.pad(s, (0, max(0, n - len(s))))[:n]
    s = torch.where(s < 1e-3 * s.max(), 0.0, s)
    u = torch.nn.functional.pad(U.mT @ y, (0, max(0, n - len(U))))[:n]
    prior_mean = Vh @ torch.full((n,), MEAN, dtype=torch.float64)
    mean, variance = torch.zeros(n).double(), torch.zeros(n).double()
    for i in range(n):
        value = float(s[i])
        c, std = start(value, float(abar[TIMES[0]]), sigma_y)
        m, v = c * float(u[i]), std**2
        for t, t_next in moves:
            at, an = float(abar[t]), 1.0 if t_next < 0 else float(abar[t_next])
            if t_next > t:  # the forward process
                m, v = math.sqrt(an / at) * m, an / at * v + 1 - an / at
                continue
            a, b, c, std = weights(value, at, an, sigma_y)
            shrink = math.sqrt(at) * POWER / (at * POWER + 1 - at)
            # x0 = shrink x_t + offset, eps = (x_t - sqrt(at) x0) / sqrt(1 - at)
            offset = (1 - shrink * math.sqrt(at)) * float(prior_mean[i])
            slope = a * shrink + b * (1 - math.sqrt(at) * shrink) / math.sqrt(1 - at)
            shift = (a - b * math.sqrt(at) / math.sqrt(1 - at)) * offset + c * float(u[i])
            m, v = slope * m + shift, slope**2 * v + std**2
        mean[i], variance[i] = m, v
    return Vh.mT @ mean, Vh.mT @ torch.diag(variance) @ Vh


def dense(operator, shape):
    n = math.prod(shape)
    return operator.H(torch.eye(n, dtype=torch.float64).view(n, *shape)).reshape(n, -1).mT


def check(operator, shape, sampler, rule, sigma_y, travel=None, moves=DOWN):
    clean = MEAN + math.sqrt(POWER) * seeded(1, *shape)
    y = operator.H(clean)
    y = y + sigma_y * seeded(*y.shape)
    x = run(
        operator,
        Isotropic(),
        sampler,
        y.float(),
        torch.tensor([sigma_y], dtype=torch.float64),
        ops.noise_keys(SAMPLES, seed=5),
        travel=travel,
    )
    x = x.double().flatten(1)
    mean, covariance = recursion(dense(operator, shape), y.flatten(), rule, sigma_y, moves)
    scale = covariance.diagonal().clamp_min(0).sqrt()
    # five standard errors of a mean, and of a covariance, and float32 rounding
    error = (x.mean(0) - mean).abs()
    assert (error <= 5 * scale / SAMPLES**0.5 + 2e-5).all(), float(error.max())
    empirical = torch.cov(x.mT)
    bound = 5 * scale[:, None] * scale[None] * (2 / SAMPLES) ** 0.5 + 2e-6
    difference = (empirical - covariance).abs()
    assert (difference <= bound).all(), float((difference / bound).max())


@pytest.mark.parametrize("name", OPERATORS)
def test_ddrm_with_noise(name):
    operator, shape = OPERATORS[name]
    sampler = DDRM(TIMES, eta=0.7, eta_b=0.9, eta_c=0.5)
    check(operator, shape, sampler, ddrm(0.7, 0.9, 0.5), 0.25)


@pytest.mark.parametrize("name", ["inpainting", "super-resolution", "blur", "blur decimate"])
def test_ddrm_without_noise(name):
    operator, shape = OPERATORS[name]
    check(operator, shape, DDRM(TIMES), ddrm(0.85, 1.0, 0.85), 0.0)


@pytest.mark.parametrize("name", OPERATORS)
def test_ddnm_plus(name):
    operator, shape = OPERATORS[name]
    check(operator, shape, DDNMPlus(TIMES, eta=0.6), ddnm_plus(0.6), 0.25)


@pytest.mark.parametrize("name", ["gain", "old photo", "separable"])
def test_ddnm(name):
    operator, shape = OPERATORS[name]
    check(operator, shape, DDNM(TIMES, eta=0.6), ddnm_plus(0.6), 0.0)


def test_ddnm_plus_without_noise_is_ddnm():
    operator, shape = OPERATORS["blur"]
    check(operator, shape, DDNMPlus(TIMES), ddnm_plus(0.85), 0.0)


def test_ancestral_sampling_draws_from_the_recursion():
    operator, shape = OPERATORS["denoising"]
    check(operator, shape, DDPM(TIMES), ddpm(), 0.25)


#: up by two from places 4, 2 and 0 of the eight, twice each
RETURNING = [
    (900, 700), (700, 500), (500, 350), (350, 500), (500, 700), (700, 500), (500, 350),
    (350, 500), (500, 700), (700, 500), (500, 350), (350, 200), (200, 120), (120, 200),
    (200, 350), (350, 200), (200, 120), (120, 200), (200, 350), (350, 200), (200, 120),
    (120, 60), (60, 20), (20, 60), (60, 120), (120, 60), (60, 20), (20, 60), (60, 120),
    (120, 60), (60, 20), (20, -1),
]  # fmt: skip


@pytest.mark.parametrize("name", ["inpainting", "old photo", "blur", "blur decimate"])
def test_time_travel(name):
    """Up moves are the forward process in every basis; their noise is independent of all other."""
    operator, shape = OPERATORS[name]
    sampler = DDRM(TIMES, eta=0.7, eta_b=0.9, eta_c=0.5)
    check(operator, shape, sampler, ddrm(0.7, 0.9, 0.5), 0.25, Travel(2, 3), RETURNING)


@pytest.mark.parametrize("name", ["inpainting", "super-resolution", "blur reflecting"])
def test_repaint(name):
    operator, shape = OPERATORS[name]
    sampler = RePaint(TIMES, jump_length=2, jump_n_sample=3)
    check(operator, shape, sampler, resampled(), 0.0, moves=RETURNING)


@pytest.mark.parametrize("name", ["super-resolution", "bicubic", "colorization"])
def test_ilvr(name):
    operator, shape = OPERATORS[name]
    check(operator, shape, ILVR(TIMES), resampled(), 0.0)


def test_deterministic_ddim_keeps_the_exact_flow():
    """DDIM with eta = 0 is x0 and eps alone; its recursion has no noise after the start."""

    def weights(s, abar, abar_next, sigma_y):
        return math.sqrt(abar_next), math.sqrt(1 - abar_next), 0.0, 0.0

    operator, shape = OPERATORS["inpainting"]
    check(operator, shape, DDIM(TIMES), (weights, lambda s, abar, sigma_y: (0.0, 1.0)), 0.25)

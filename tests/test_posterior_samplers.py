"""Samplers that look through the network, and DiffPIR: against recorded runs and plain PyTorch."""

import json

import numpy as np
import pytest
import torch
from golden_dps import GOLDEN, noise_of, toy_network
from small_cases import OPERATORS, pictures

from ddrm_fast import Prior, Schedule, degrade, ops, restore
from ddrm_fast.operators import Denoising, Forward
from ddrm_fast.operators.cuts import Box
from ddrm_fast.priors.gaussian import GaussianPrior
from ddrm_fast.problems import Problem
from ddrm_fast.samplers import (
    DAPS,
    DDRMJPEG,
    DPS,
    LGD,
    MCG,
    RED,
    SNIPS,
    Batch,
    DiffPIR,
    Drawing,
    Item,
    PiGDM,
    PnPDM,
    REDDiff,
    State,
    run,
    run_batch,
)  # fmt: skip
from ddrm_fast.samplers.dps import ResidualDescent
from ddrm_fast.samplers.edits.fit import Fit

golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the recorded runs are not here")


class Map(Forward):
    """A function as a degradation of pictures in [-1, 1]."""

    range = (-1.0, 1.0)

    def __init__(self, function, shape):
        self.function, self.shape = function, shape

    def check_image(self, shape):
        pass

    def image_shape(self, y):
        return self.shape

    def H(self, x):
        return self.function(x)


def forward_of(name, shape):
    """A degradation of the released code, from the arrays that define it."""
    file = np.load(GOLDEN / f"op_{name}.npz")
    if name.startswith("sr"):
        rows, columns = (torch.from_numpy(file[f"matrix_{axis}"]) for axis in ("rows", "cols"))
        return Map(lambda x: rows @ x @ columns.mT, shape)
    if name.startswith("inp"):
        mask = torch.from_numpy(file["mask"].astype(np.float32))
        return Map(lambda x: x * mask, shape)
    if name.startswith("phase"):
        pad = json.loads(str(file["meta"])).get("pad", 8)

        def phase(x):
            x = torch.nn.functional.pad(x, (pad,) * 4)
            x = torch.fft.ifftshift(x, dim=(-2, -1))
            return torch.fft.fftshift(torch.fft.fft2(x, norm="ortho"), dim=(-2, -1)).abs()

        return Map(phase, shape)
    kernel = torch.from_numpy(file["kernel64"]).float()
    half, channels = len(kernel) // 2, shape[0]
    weight = kernel.expand(channels, 1, *kernel.shape)

    def blur(x):
        x = torch.nn.functional.pad(x, (half,) * 4, mode="reflect")
        return torch.nn.functional.conv2d(x, weight, groups=channels)

    return Map(blur, shape)


def toy(common, kappa):
    """The network of the recorded runs."""
    return Prior(toy_network(common, kappa), schedule=Schedule(torch.from_numpy(common["abar_64"])))


RUNS = {
    # name: operator, scale, kappa, variance, clipped, noise
    "sr4_n16__ps_s0.3_K20": ("sr4_n16", 0.3, 0.0, "learned", True, "gaussian"),
    "sr4_n16__ps_s0.3_K20_kappa0.1": ("sr4_n16", 0.3, 0.1, "learned", True, "gaussian"),
    "sr4_n16__ps_s0.3_K1000": ("sr4_n16", 0.3, 0.0, "learned", True, "gaussian"),
    "sr4_n16__ps_s0.3_K20_fixed_small_noclip": ("sr4_n16", 0.3, 0.0, "small", False, "gaussian"),
    "sr4_n16__ps_s0.3_poisson1_K20": ("sr4_n16", 0.3, 0.0, "learned", True, "poisson"),
    "inp_random_n16__ps_s0.5_K20": ("inp_random_n16", 0.5, 0.0, "learned", True, "gaussian"),
    "inp_random_n16__ps_s0.5_K20_fixed_small": ("inp_random_n16", 0.5, 0.0, "small", True, "gaussian"),
    "inp_random_n16__ps_s0.5_K100": ("inp_random_n16", 0.5, 0.0, "learned", True, "gaussian"),
    "inp_random_n16__ps_s0.5_poisson1_K20": ("inp_random_n16", 0.5, 0.0, "learned", True, "poisson"),
    "mblur15_n16__ps_s0.3_K20_noclip_kappa0.1": ("mblur15_n16", 0.3, 0.1, "learned", False, "gaussian"),
    "phase_n16_pad8__ps_s1_K20": ("phase_n16_pad8", 1.0, 0.0, "learned", True, "gaussian"),
    "phase_n16_pad8__ps_s1_K20_noclip": ("phase_n16_pad8", 1.0, 0.0, "learned", False, "gaussian"),
    "gblur61_n32__ps_s0.3_K20": ("gblur61_n32", 0.3, 0.0, "learned", True, "gaussian"),
    "mblur61_n32__ps_s0.3_K20": ("mblur61_n32", 0.3, 0.0, "learned", True, "gaussian"),
}  # fmt: skip


@golden
@pytest.mark.parametrize("name", RUNS)
def test_dps_against_the_released_code(name):
    operator, scale, kappa, variance, clipped, noise = RUNS[name]
    file = np.load(GOLDEN / f"traj_{name}.npz")
    common = np.load(GOLDEN / f"common_n{32 if '_n32' in name else 16}.npz")
    prior = toy(common, kappa)
    x_T, z = torch.from_numpy(common["x_T"]), noise_of(torch.from_numpy(common["z"]))
    y = torch.from_numpy(file["y_64" if noise == "poisson" else "y"]).float()
    saved, states = file["saved_steps"].tolist(), {}

    def keep(state):
        if state.index in saved:
            states[state.index] = state.x_next.clone()

    run(
        forward_of(operator, tuple(x_T.shape[1:])), prior,
        DPS([int(t) for t in file["t_model"]], scale, variance, noise),
        y, torch.zeros(1, dtype=torch.float64), torch.zeros(1, 4, dtype=torch.int64),
        clip=(-1.0, 1.0) if clipped else None, callback=keep,
        noise=lambda k: x_T if k == 0 else z(k - 1),
    )  # fmt: skip
    assert set(states) == set(saved)
    floor = file["floor"][:, 0]
    for place, index in enumerate(saved):
        expected = torch.from_numpy(file["x_t"][place + 1])
        error = float((states[index] - expected).abs().max())
        # float32 against float32: each is as far from float64 as the floor says, which grows along a run
        assert error <= 4 * float(floor.max()) + 2e-6, (name, index, error)


def test_a_picture_of_dps_does_not_depend_on_its_batch():
    def network(x, t, labels=None):
        return torch.tanh(x) + 0.1 * x.roll(1, -1)

    y = torch.rand(3, 3, 8, 8)
    prior = Prior(network, "x0")
    together = restore(y, Denoising(), 0.1, prior, DPS(6), num_samples=1).mean
    alone = restore(y[1:2], Denoising(), 0.1, prior, DPS(6), num_samples=1, seed=1).mean
    assert torch.equal(together[1:2], alone)


def test_the_descent_pulls_towards_the_measurement():
    def network(x, t, labels=None):
        return 0.3 * x

    y = pictures(1, 3, 8, 8)
    near, far = (
        restore(y, Denoising(), 0.0, Prior(network, "x0"), DPS(20, scale), num_samples=1, clamp=False).mean
        for scale in (4.0, 0.01)
    )  # fmt: skip
    assert float((near - y).norm()) < 0.8 * float((far - y).norm())


def curved(x, t, labels=None):
    """A network that predicts x0 and whose Jacobian is not the identity."""
    return 0.8 * torch.tanh(x) + 0.1 * x.roll(1, -1)


SOME = ["denoising", "inpainting", "super-resolution", "colorization", "blur", "matrix"]
TIMES = [700, 400, 150, 30]


def dense(operator, shape):
    """H as a matrix."""
    n = int(np.prod(shape))
    eye = torch.eye(n, dtype=torch.float64).view(n, *shape)
    return operator.H(eye).flatten(1).mT


@pytest.mark.parametrize(
    "name", ["denoising", "inpainting", "super-resolution", "colorization", "blur", "matrix"]
)
def test_pigdm_against_dense_matrices(name):
    """Algorithm 1 with the inverse of H H^T + sigma_y^2 / r^2, and autograd of the whole."""
    operator, shape = OPERATORS[name]
    prior, schedule = Prior(curved, "x0"), Schedule.linear()
    x = 2 * pictures(2, *shape).double() - 1
    y, sigma_y = operator.H(x), 0.1
    noise = [torch.randn(2, *shape, dtype=torch.float64) for _ in range(len(TIMES) + 1)]
    found = run(
        operator, prior, PiGDM(TIMES, eta=0.7), y, torch.tensor([sigma_y], dtype=torch.float64),
        torch.zeros(2, 4, dtype=torch.int64), noise=lambda k: noise[k],
    )  # fmt: skip
    matrix = dense(operator, shape)
    s = torch.linalg.svdvals(matrix)
    state = noise[0]
    for k, (t, t_next) in enumerate(zip(TIMES, [*TIMES[1:], -1], strict=True)):
        abar, after = schedule.abar(t), schedule.abar(t_next)
        leaf = state.clone().requires_grad_()
        x0 = curved(leaf, None)
        variance = (1 - abar) / abar
        r2 = variance / (1 + variance)
        missing = (y - operator.H(x0)).flatten(1)
        gram = matrix @ matrix.mT + sigma_y**2 / r2 * torch.eye(len(matrix), dtype=torch.float64)
        v = torch.linalg.solve(gram, missing.detach().mT).mT @ matrix
        (pull,) = torch.autograd.grad(x0, leaf, v.view_as(x0))
        x0 = x0.detach()
        eps = (state - abar**0.5 * x0) / (1 - abar) ** 0.5
        fresh = 0.49 * (1 - after) / (1 - abar) * (1 - abar / after)
        state = after**0.5 * x0 + max(0.0, 1 - after - fresh) ** 0.5 * eps
        state = state + fresh**0.5 * noise[k + 1] + abar**0.5 * pull
    assert s.min() >= 0
    assert torch.allclose(found, state, rtol=2e-5, atol=2e-5 * float(state.abs().max()))


@pytest.mark.parametrize(
    "name", ["denoising", "inpainting", "super-resolution", "colorization", "blur", "matrix"]
)
def test_diffpir_against_dense_matrices(name):
    operator, shape = OPERATORS[name]
    prior, schedule = Prior(curved, "x0"), Schedule.linear()
    x = 2 * pictures(2, *shape).double() - 1
    y, sigma_y = operator.H(x), 0.1
    noise = [torch.randn(2, *shape, dtype=torch.float64) for _ in range(len(TIMES) + 1)]
    found = run(
        operator, prior, DiffPIR(TIMES, trust=3.0, zeta=0.4), y,
        torch.tensor([sigma_y], dtype=torch.float64), torch.zeros(2, 4, dtype=torch.int64),
        noise=lambda k: noise[k],
    )  # fmt: skip
    matrix = dense(operator, shape)
    n = matrix.shape[1]
    state = noise[0]
    for k, (t, t_next) in enumerate(zip(TIMES, [*TIMES[1:], -1], strict=True)):
        abar, after = schedule.abar(t), schedule.abar(t_next)
        x0 = curved(state, None).flatten(1)
        rho = 3.0 * sigma_y**2 / ((1 - abar) / abar)
        normal = matrix.mT @ matrix + rho * torch.eye(n, dtype=torch.float64)
        clean = torch.linalg.solve(normal, (y.flatten(1) @ matrix + rho * x0).mT).mT.view_as(state)
        eps = (state - abar**0.5 * clean) / (1 - abar) ** 0.5
        mixed = 0.6**0.5 * eps + 0.4**0.5 * noise[k + 1]
        state = after**0.5 * clean + (1 - after) ** 0.5 * mixed
    assert torch.allclose(found, state, rtol=2e-4, atol=2e-4 * float(state.abs().max()))


def flowed(network, x, t, calls, schedule):
    """Euler's method down to the clean image, at t (1 - k / calls)."""
    times = [t, *sorted({int(t * (1 - k / calls)) for k in range(1, calls)}, reverse=True)]
    for here, below in zip(times, times[1:], strict=False):
        a, b = schedule.abar(here), schedule.abar(below)
        x0 = network(x, None)
        x = b**0.5 * x0 + (1 - b) ** 0.5 * (x - a**0.5 * x0) / (1 - a) ** 0.5
    return network(x, None)


def conditioned(matrix, y, x0, R, v):
    """Mean and covariance of N(x0, R) given y = H x + N(0, v), by dense inverses."""
    n = matrix.shape[1]
    covariance = torch.linalg.inv(matrix.mT @ matrix / v + torch.eye(n, dtype=torch.float64) / R)
    return (y @ matrix / v + x0 / R) @ covariance, covariance


def root(covariance):
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.mT


@pytest.mark.parametrize("sampler", [DAPS, PnPDM])
@pytest.mark.parametrize("name", SOME)
def test_decoupled_samplers_against_dense_matrices(name, sampler):
    operator, shape = OPERATORS[name]
    prior, schedule = Prior(curved, "x0"), Schedule.linear()
    x = 2 * pictures(2, *shape).double() - 1
    y, sigma_y = operator.H(x), 0.1
    noise = [torch.randn(2, *shape, dtype=torch.float64) for _ in range(len(TIMES) + 1)]
    made = sampler(TIMES, calls=3, width=0.7) if sampler is DAPS else sampler(TIMES, calls=3)
    found = run(
        operator, prior, made, y, torch.tensor([sigma_y], dtype=torch.float64),
        torch.zeros(2, 4, dtype=torch.int64), noise=lambda k: noise[k],
    )  # fmt: skip
    matrix = dense(operator, shape)
    state = noise[0]
    for k, (t, t_next) in enumerate(zip(TIMES, [*TIMES[1:], -1], strict=True)):
        abar, after = schedule.abar(t), schedule.abar(t_next)
        x0 = flowed(curved, state, t, 3, schedule).flatten(1)
        R = 0.49 * (1 - abar) / abar if sampler is DAPS else (1 - after) / after
        z = noise[k + 1].flatten(1)
        if R == 0:  # PnP-DM ends on the clean image
            state = x0.view_as(state)
            continue
        mean, covariance = conditioned(matrix, y.flatten(1), x0, R, sigma_y**2)
        if sampler is DAPS:
            covariance = after * covariance + (1 - after) * torch.eye(len(covariance)).double()
        else:
            covariance = after * covariance
        state = (after**0.5 * mean + z @ root(covariance)).view_as(state)
    assert torch.allclose(found, state, rtol=2e-4, atol=2e-4 * float(state.abs().max()))


def decoupled_recursion(times, calls, power, sigma_y, schedule):
    """Slope in y and variance of DAPS's result for white pictures of a variance, denoised: a recursion."""

    def network(x, abar):
        return abar**0.5 * power / (abar * power + 1 - abar) * x

    slope, variance = 0.0, 1.0
    for t, t_next in zip(times, [*times[1:], -1], strict=True):
        between = sorted({int(t * (1 - k / calls)) for k in range(1, calls)}, reverse=True)
        gain, here = 1.0, t
        for below in between:  # the flow is linear in x
            a, b = schedule.abar(here), schedule.abar(below)
            x0 = network(gain, a)
            gain = b**0.5 * x0 + (1 - b) ** 0.5 * (gain - a**0.5 * x0) / (1 - a) ** 0.5
            here = below
        gain = network(gain, schedule.abar(here))
        abar, after = schedule.abar(t), schedule.abar(t_next)
        R = (1 - abar) / abar
        share = R / (R + sigma_y**2)
        slope = after**0.5 * (share + (1 - share) * gain * slope)
        variance = after * (((1 - share) * gain) ** 2 * variance + R * (1 - share)) + 1 - after
    return slope, variance


def test_daps_on_a_gaussian_is_its_recursion_and_near_the_posterior():
    power, sigma_y, side, calls = 0.25, 0.3, 48, 6
    prior = GaussianPrior(torch.full((side, side), power))
    generator = torch.Generator().manual_seed(0)

    def noise(_=0):
        return torch.randn(1, 1, side, side, generator=generator, dtype=torch.float64)

    y = power**0.5 * noise() + sigma_y * noise()
    times = [int(t) for t in prior.schedule.steps(30)]
    drawn = torch.cat([
        run(
            Denoising(), prior, DAPS(times, calls=calls), y,
            torch.tensor([sigma_y], dtype=torch.float64), torch.zeros(1, 4, dtype=torch.int64),
            noise=noise,
        )
        for _ in range(4)
    ])  # fmt: skip
    slope, variance = decoupled_recursion(times, calls, power, sigma_y, prior.schedule)
    errors = drawn - slope * y
    count = errors.numel()
    assert abs(float((errors * y).mean() / y.square().mean())) < 4 * (variance / count) ** 0.5 * 3
    assert float(errors.var()) == pytest.approx(variance, rel=4 * (2 / count) ** 0.5 + 0.01)
    # in closed form: power / (power + sigma_y^2), and that times sigma_y^2
    exact = power / (power + sigma_y**2)
    assert slope == pytest.approx(exact, rel=0.2)
    assert variance**0.5 == pytest.approx((exact * sigma_y**2) ** 0.5, rel=0.15)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: DPS(scale=0.0), "^scale: expected a number > 0"),
        (lambda: DPS(scale=float("nan")), "^scale: expected a number > 0"),
        (lambda: DPS(noise="salt"), "^noise: expected 'gaussian' or 'poisson'"),
        (lambda: DPS(variance="none"), "^variance: expected 'small', 'large' or 'learned'"),
        (lambda: PiGDM(eta=2.0), "^eta: expected 0 <= eta <= 1"),
        (lambda: DiffPIR(trust=-1.0), "^trust: expected a number > 0"),
        (lambda: DAPS(calls=0), "^calls: expected an integer >= 1"),
        (lambda: DAPS(width=0.0), "^width: expected a number > 0"),
        (lambda: PnPDM(least_noise=-1.0), "^least_noise: expected a number >= 0"),
        (lambda: DiffPIR(zeta=2.0), "^zeta: expected 0 <= zeta <= 1"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_residual_of_zero_has_no_gradient():
    x = pictures(1, 3, 8, 8)
    y = degrade(x, Denoising(), 0.0)

    class Said:
        x0 = y

    class Asked:
        operator, H = Denoising(), staticmethod(lambda z: z)

    Asked.y = y
    pull = ResidualDescent(1.0).pull(Asked, Said)
    assert torch.equal(pull, torch.zeros_like(pull))


class Warped(Forward):
    """A map of pictures in [0, 1] that is not linear: one from neighbours, then a curve."""

    def image_shape(self, y):
        return tuple(y.shape[1:])

    def check_image(self, shape):
        pass

    def H(self, x):
        return torch.sin(x + 0.3 * x.roll(1, -1))


def plain_adam(problem_of, x0_of, times, mu, noise, rate, weight, schedule):
    """RED-diff with torch's own Adam and losses as the paper writes them."""
    mu = mu.clone().requires_grad_()
    adam = torch.optim.Adam([mu], lr=rate, betas=(0.9, 0.99))
    for k, t in enumerate(times):
        abar = schedule.abar(t)
        z = noise[k]
        x_t = abar**0.5 * mu.detach() + (1 - abar) ** 0.5 * z
        eps = (x_t - abar**0.5 * x0_of(x_t, t)) / (1 - abar) ** 0.5
        inverse_snr = ((1 - abar) / abar) ** 0.5
        n = mu[0].numel()
        loss = (
            n * (weight * inverse_snr * ((eps - z) * mu).flatten(1).mean(1) + problem_of(mu)).sum()
        )
        adam.zero_grad()
        loss.backward()
        adam.step()
    return mu.detach()


@pytest.mark.parametrize("operator", [Denoising(), Warped()])
def test_red_diff_is_adam_on_its_loss(operator):
    prior, schedule = Prior(curved, "x0"), Schedule.linear()
    y = operator.H(pictures(2, 3, 8, 8).double())
    noise = [torch.randn(2, 3, 8, 8, dtype=torch.float64) for _ in range(len(TIMES) + 1)]
    found = restore_in_float64(operator, y, REDDiff(TIMES, rate=0.05, weight=0.4), prior, noise)
    linear = isinstance(operator, Denoising)

    def misfit(mu):  # a linear one is compared in [-1, 1], a map in its own range
        missing = (2 * y - 1) - mu if linear else y - operator.H((mu + 1) / 2)
        return missing.square().flatten(1).mean(1) / 2

    expected = plain_adam(
        misfit, lambda x, t: curved(x, None), TIMES, 2 * y - 1, noise, 0.05, 0.4, schedule
    )
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-7)


def restore_in_float64(operator, y, sampler, prior, noise):
    """The pictures in [-1, 1] of a run with given noise."""
    problem = Problem.of(y, operator, 0.0).in_network_range()
    items = [Item(Box(0, 0, *y.shape[2:]), picture, 0) for picture in range(len(y))]
    return run_batch(
        Batch(problem, items, []), Drawing(prior, sampler), noise=lambda k: noise[k],
        keys=torch.zeros(len(y), 4, dtype=torch.int64),
    )  # fmt: skip


def test_ddrm_jpeg_is_the_published_update():
    """Of a map whose pseudo-inverse is the identity, in plain PyTorch."""
    operator, prior, schedule = Warped(), Prior(curved, "x0"), Schedule.linear()
    y = operator.H(pictures(2, 3, 8, 8).double())
    noise = [torch.randn(2, 3, 8, 8, dtype=torch.float64) for _ in range(len(TIMES) + 1)]
    found = restore_in_float64(operator, y, DDRMJPEG(TIMES, eta=0.7, eta_b=0.4), prior, noise)
    as_seen = (2 * y - 1).clamp(-1, 1)
    first = schedule.abar(TIMES[0])
    x = first**0.5 * as_seen + (1 - first) ** 0.5 * noise[0]
    for k, (t, t_next) in enumerate(zip(TIMES, [*TIMES[1:], -1], strict=True)):
        abar, after = schedule.abar(t), schedule.abar(t_next)
        x0 = curved(x, None)
        eps = (x - abar**0.5 * x0) / (1 - abar) ** 0.5
        changed = x0 - (2 * operator.H((x0 + 1) / 2) - 1) + as_seen
        x = after**0.5 * (0.4 * changed + 0.6 * x0) + (1 - after) ** 0.5 * (
            0.7 * noise[k + 1] + 0.3 * eps
        )
    assert torch.allclose(found, x, rtol=1e-6, atol=1e-6)


def test_mcg_puts_the_measurement_in():
    """Where a pixel is known, the result is the measurement; the rest goes down the distance as in DPS."""
    operator, shape = OPERATORS["inpainting"]
    prior = Prior(curved, "x0")
    x = 2 * pictures(2, *shape).double() - 1
    y = operator.H(x)
    noise = [torch.randn(2, *shape, dtype=torch.float64) for _ in range(len(TIMES) + 1)]
    zero, keys = torch.zeros(1, dtype=torch.float64), torch.zeros(2, 4, dtype=torch.int64)
    states = {}
    for sampler in (MCG([30], 0.5), DPS([30], 0.5)):
        states[type(sampler)] = run(
            operator, prior, sampler, y, zero, keys, noise=lambda k: noise[k]
        )
    known = operator.H(torch.ones_like(x)) > 0
    assert torch.allclose(torch.where(known, states[MCG] - y, 0.0), torch.zeros_like(x), atol=1e-6)
    assert torch.allclose(
        torch.where(known, 0.0, states[MCG] - states[DPS]), torch.zeros_like(x), atol=1e-6
    )


def test_lgd_is_the_mean_gradient_of_its_draws():
    """Against autograd through the network, with the draws that the noise's stream gives."""
    operator, prior, schedule = Warped(), Prior(curved, "x0"), Schedule.linear()
    y = operator.H(pictures(2, 3, 8, 8))
    keys = ops.noise_keys(2, 5)
    problem = Problem.of(y, operator, 0.0).in_network_range()
    items = [Item(Box(0, 0, 8, 8), picture, 0) for picture in range(2)]
    noise = [torch.randn(2, 3, 8, 8) for _ in range(3)]
    times = [500, 100]
    found = run_batch(
        Batch(problem, items, []), Drawing(prior, LGD(times, 0.5, draws=3, spread=0.2, eta=1.0)),
        noise=lambda k: noise[k], keys=keys,
    )  # fmt: skip
    x = noise[0]
    for k, (t, t_next) in enumerate(zip(times, [*times[1:], -1], strict=True)):
        abar, after = schedule.abar(t), schedule.abar(t_next)
        leaf = x.clone().requires_grad_()
        x0 = curved(leaf, None)
        spread = 0.2 * (1 - abar) ** 0.5
        distances = [
            (y - operator.H((x0 + spread * z + 1) / 2)).flatten(1).norm(dim=1)
            for z in (
                ops.normal(keys, 3, 8, 8, iteration=3 * (k + 1) + draw, stream=ops.Stream.GUIDANCE)
                for draw in range(3)
            )
        ]
        (gradient,) = torch.autograd.grad(sum(distances).sum() / 3, leaf)
        x0 = x0.detach()
        fresh = (1 - after) / (1 - abar) * (1 - abar / after)
        eps = (x - abar**0.5 * x0) / (1 - abar) ** 0.5
        x = after**0.5 * x0 + max(0.0, 1 - after - fresh) ** 0.5 * eps + fresh**0.5 * noise[k + 1]
        x = x - 0.5 * gradient
    assert torch.allclose(found, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "sampler", [DPS([500, 60], 0.3, eta=0.5), DPS([500, 60], 0.3, draws=2), LGD([500, 60])]
)
def test_variants_of_dps_do_not_depend_on_the_batch(sampler):
    y = Warped().H(pictures(3, 3, 8, 8))
    prior = Prior(curved, "x0")
    together = restore(y, Warped(), 0.0, prior, sampler, num_samples=1).mean
    alone = restore(y[1:2], Warped(), 0.0, prior, sampler, num_samples=1, seed=1).mean
    assert torch.equal(together[1:2], alone)


def test_fit_solves_the_gauss_newton_equations():
    """Against the dense Jacobian; enough rounds of conjugate gradients solve it."""
    operator = Warped()
    x = pictures(2, 3, 4, 4).double()
    y = operator.H(x) + 0.05
    problem = Problem.of(y, operator, 0.1).in_network_range()
    x0 = 2 * x - 1 + 0.1 * torch.randn_like(x)
    state = State(0, 1, 100, 0, x0, Prior(curved, "x0"), [], torch.empty(0), x0=x0)
    found = Fit(trust=0.5, rounds=60).clean(problem, state)
    R = state.sigma**2 / 0.5
    for i in range(2):
        J = torch.autograd.functional.jacobian(
            lambda v: operator.H((v + 1)[None] / 2).flatten(), x0[i]
        ).reshape(48, 48)  # fmt: skip
        missing = (y[i : i + 1] - operator.H((x0[i : i + 1] + 1) / 2)).flatten()
        left = J.T @ J / 0.01 + torch.eye(48, dtype=torch.float64) / R
        d = torch.linalg.solve(left, J.T @ missing / 0.01)
        assert torch.allclose((found[i] - x0[i]).flatten(), d, rtol=1e-8, atol=1e-10)
    last = State(0, 1, 100, -1, x0, Prior(curved, "x0"), [], torch.empty(0), x0=x0)
    assert Fit().clean(problem, last) is x0
    assert Fit().prepared(Problem.of(y, Denoising(), 0.1), (2, 3, 4, 4)) is None


def stayed(times, rounds):
    """(t, t_next) of every call of a sampler that stays at its levels."""
    moves = []
    for t, t_next in zip(times, [*times[1:], -1], strict=True):
        moves += [(t, t)] * (rounds - 1) + [(t, t_next)]
    return moves


@pytest.mark.parametrize("sigma_y", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("name", SOME)
def test_snips_against_dense_matrices(name, sigma_y):
    operator, shape = OPERATORS[name]
    prior, schedule = Prior(curved, "x0"), Schedule.linear()
    y = operator.H(2 * pictures(2, *shape).double() - 1)
    moves = stayed(TIMES, 2)
    noise = [torch.randn(2, *shape, dtype=torch.float64) for _ in range(len(moves) + 1)]
    found = run(
        operator, prior, SNIPS(TIMES, rounds=2, size=0.2), y, torch.tensor([sigma_y], dtype=torch.float64),
        torch.zeros(2, 4, dtype=torch.int64), noise=lambda k: noise[k],
    )  # fmt: skip
    matrix = dense(operator, shape)
    values, V = torch.linalg.eigh(matrix.mT @ matrix)
    s2 = torch.where(values > 1e-8 * values.max(), values, 0.0)
    # H^T z, H^+ z along each vector
    u = (y.flatten(1) @ matrix) @ V
    state = noise[0]
    for k, (t, t_next) in enumerate(moves):
        abar, after = schedule.abar(t), schedule.abar(t_next)
        x0, z = curved(state, None).flatten(1) @ V, noise[k + 1].flatten(1) @ V
        if t_next == -1:
            state = (x0 @ V.mT).view_as(state)
            continue
        x, level2 = state.flatten(1) @ V / abar**0.5, (1 - abar) / abar
        # the gradient and the step size of each, as the paper writes them (equation 7 and below)
        clear = (s2 > 0) & (level2 * s2 >= sigma_y**2)
        likelihood = (u - s2 * x) / torch.where(
            s2 > 0, (sigma_y**2 - level2 * s2).abs().clamp(min=1e-12), 1.0
        )
        gradient = torch.where(
            clear, likelihood, torch.where(s2 > 0, likelihood, 0.0) + (x0 - x) / level2
        )
        size = torch.where(
            clear,
            level2 - sigma_y**2 / s2.clamp(min=1e-12),
            level2 * (1 - level2 * s2 / max(sigma_y, 1e-12) ** 2),
        )
        size = torch.where(s2 > 0, size, level2)
        x = x + 0.2 * size * gradient + (0.4 * size.clamp(min=0)).sqrt() * z
        state = (after**0.5 * x @ V.mT).view_as(state)
    assert torch.allclose(found, state, rtol=2e-4, atol=2e-4 * float(state.abs().max()))


@pytest.mark.parametrize("name", SOME)
def test_red_against_dense_matrices(name):
    operator, shape = OPERATORS[name]
    y = operator.H(2 * pictures(2, *shape).double() - 1)
    prior, schedule, t = Prior(curved, "x0"), Schedule.linear(), 40
    sampler = RED([t], rounds=3, width=0.05)
    found = run(
        operator, prior, sampler, y, torch.tensor([0.1], dtype=torch.float64),
        torch.zeros(2, 4, dtype=torch.int64),
    )  # fmt: skip
    matrix, abar = dense(operator, shape), schedule.abar(t)
    x = sampler.begin(Problem.of(y, operator, torch.tensor([0.1]).double()), 2)
    for _ in range(3):
        x0 = curved(abar**0.5 * x, None).flatten(1)
        x = conditioned(matrix, y.flatten(1), x0, 0.1**2, 0.1**2)[0].view_as(x)
    assert torch.allclose(found, x, rtol=2e-4, atol=2e-4 * float(x.abs().max()))

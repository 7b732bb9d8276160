"""How far DDRM's samples are from the true posterior, where both are known in closed form.

``python benchmarks/posterior_distance.py`` prints, for one singular direction with a Gaussian prior of
variance p, singular value s = 1 and measurement noise sigma_y (all in [-1, 1] units), the distribution that a
sampler draws from and the true posterior. With the exact network a sampler is a linear recursion,
x <- slope x + c u + std z, so no sampling is needed. Figures, in units of the posterior's standard deviation:

    bias    root mean square, over measurements y, of the difference of the means
    spread  standard deviation of the samples (1 is right)
"""

import argparse
import math

import torch

from ddrm_fast import DDIM, DDRM, DDNMPlus, Schedule
from ddrm_fast.priors.schedule import pairs


def sampled(sampler, p: float, s: float, sigma_y: float) -> tuple[float, float]:
    """(gain, std): the sampler draws N(gain y, std^2) for a measurement y."""
    schedule = Schedule.linear()
    noise = torch.tensor([sigma_y], dtype=torch.float64)
    visited = schedule.steps(sampler.steps)
    _, _, gain, std = sampler.start(schedule.abar(visited[0]), noise).at(s)
    variance = std**2
    for t, t_next in pairs(visited):
        abar = schedule.abar(t)
        a, b, c, d = sampler.weights(abar, schedule.abar(t_next), noise).at(s)
        shrink = math.sqrt(abar) * p / (abar * p + 1 - abar)
        slope = a * shrink + b * (1 - math.sqrt(abar) * shrink) / math.sqrt(1 - abar)
        gain, variance = slope * gain + c, slope**2 * variance + d**2
    return gain, math.sqrt(variance)


def distance(sampler, p: float, s: float, sigma_y: float) -> tuple[float, float]:
    """(bias, spread) against the posterior N(gain y, std^2)."""
    gain, std = sampled(sampler, p, s, sigma_y)
    total = s**2 * p + sigma_y**2
    exact = s * p / total
    exact_std = math.sqrt(p * sigma_y**2 / total) if s else math.sqrt(p)
    return abs(gain - exact) * math.sqrt(total) / exact_std, std / exact_std


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    samplers = {
        "DDRM, 20 steps": DDRM(20),
        "DDRM, 100 steps": DDRM(100),
        "DDRM, 20 steps, eta = 1": DDRM(20, eta=1.0),
        "DDRM, 20 steps, eta_b = 0.8": DDRM(20, eta_b=0.8),
        "DDNM+, 100 steps": DDNMPlus(100),
    }
    priors = (1.0, 0.1, 0.01, 0.001)
    print("| sampler | sigma_y |" + "".join(f" p = {p:g} |" for p in priors))
    print("|---|---|" + "---|" * len(priors))
    for name, sampler in samplers.items():
        for sigma_y in (0.02, 0.1, 0.5):
            cells = []
            for p in priors:
                bias, spread = distance(sampler, p, 1.0, sigma_y)
                cells.append(f" {bias:.2f}, {spread:.2f} |")
            print(f"| {name} | {sigma_y:g} |" + "".join(cells))
    print("\nNull space (nothing measured), spread against the prior:")
    for name, sampler in {**samplers, "DDIM, 50 steps": DDIM(50)}.items():
        cells = [sampled(sampler, p, 0.0, 0.1)[1] / math.sqrt(p) for p in priors]
        print(f"| {name} |" + "".join(f" {value:.2f} |" for value in cells))


if __name__ == "__main__":
    main()

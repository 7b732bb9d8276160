"""How far the samples of every sampler are from the true posterior, where that is known in closed form.

    python benchmarks/posterior_samples.py --calls 20,100

Pixels are independent draws of a Gaussian, or of a mixture of two; the network is their exact denoiser. A
pixel is measured with noise, or not at all; then its posterior is a mixture too. Printed is the Wasserstein
distance (order 1) between 8,192 samples and the posterior, in the posterior's standard deviations, mean over
nine measurements; that of as many exact draws is 0.01 to 0.02.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ddrm_fast.evaluation.comparison import contender
from ddrm_fast.operators import Denoising, Inpainting
from ddrm_fast.priors import Prior, Schedule
from ddrm_fast.samplers import run

SIDE = 64
SAMPLERS = (
    "ddrm", "ddrm:eta=1", "ddnm+", "diffpir", "daps", "daps:calls=1", "pnp-dm", "pnp-dm:calls=1", "pigdm",
    "dps", "snips",
)  # fmt: skip


@dataclass(frozen=True)
class Mixture:
    """Of Gaussians, in [-1, 1]."""

    shares: tuple[float, ...]
    means: tuple[float, ...]
    variances: tuple[float, ...]

    def columns(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        shape = (-1, *[1] * like.dim())
        return tuple(
            torch.tensor(x, dtype=like.dtype).view(shape)
            for x in (self.shares, self.means, self.variances)
        )

    def parts(self, x: Tensor, gain: float | Tensor, noise: float | Tensor):
        """Shares (K, ...), means and variances of the components, given gain x0 + noise n = x."""
        shares, means, variances = self.columns(x)
        total = gain**2 * variances + noise**2
        logs = shares.log() - 0.5 * total.log() - 0.5 * (x - gain * means) ** 2 / total
        shares = torch.softmax(logs, dim=0)
        return (
            shares,
            means + gain * variances / total * (x - gain * means),
            variances * noise**2 / total,
        )

    def prior(self) -> Prior:
        schedule = Schedule.linear()

        def clean(x: Tensor, t: Tensor) -> Tensor:
            abar = schedule.abar_at(t).to(x).view(-1, 1, 1, 1)
            shares, means, _ = self.parts(x, abar.sqrt(), (1 - abar).sqrt())
            return (shares * means).sum(0)

        return Prior(clean, "x0", schedule, fractional=True)

    def quantiles(self, y: float, sigma: float, at: Tensor) -> tuple[Tensor, float]:
        """Quantiles of the posterior, and its standard deviation; sigma infinite: of the prior."""
        if math.isinf(sigma):
            known = (self.shares, self.means, self.variances)
        else:
            known = self.parts(torch.tensor(y).double(), 1.0, sigma)
        shares, means, variances = (torch.as_tensor(x).double().flatten() for x in known)
        grid = torch.linspace(-4, 4, 80_001, dtype=torch.float64)
        below = torch.special.ndtr((grid - means[:, None]) / variances[:, None].sqrt())
        cumulative = (shares[:, None] * below).sum(0)
        mean = (shares * means).sum()
        spread = ((shares * (variances + means**2)).sum() - mean**2).sqrt()
        return grid[torch.searchsorted(cumulative, at).clamp(max=len(grid) - 1)], float(spread)


LAWS = {
    "Gaussian": Mixture((1.0,), (0.1,), (0.16,)),
    "mixture": Mixture((0.35, 0.65), (-0.5, 0.4), (0.01, 0.02)),
}
MEASUREMENTS = {"noise 0.1": 0.1, "noise 0.4": 0.4, "not measured": math.inf}


def distance(law: Mixture, sampler, sigma: float) -> float:
    """Of a sampler's pixels from the posterior."""
    measured = not math.isinf(sigma)
    values = torch.linspace(-0.9, 0.9, 9) if measured else torch.zeros(1)
    y = values.view(-1, 1, 1, 1).expand(-1, 2, SIDE, SIDE).contiguous()
    # one pixel is measured, so that there is a measurement
    mask = torch.ones(1, SIDE, SIDE) if measured else torch.zeros(1, SIDE, SIDE)
    mask[:, 0, 0] = 1
    operator = Denoising() if measured else Inpainting(mask)
    keys = torch.tensor([[number, 0, 0, 0] for number in range(len(y))])
    noise = torch.tensor([sigma if measured else 0.1], dtype=torch.float64)
    drawn = run(operator, law.prior(), sampler, y * mask, noise, keys).double()
    drawn = drawn if measured else drawn[..., 1:, :]
    found = 0.0
    for value, picture in zip(values.tolist(), drawn, strict=True):
        ordered = picture.flatten().sort().values
        at = (torch.arange(len(ordered), dtype=torch.float64) + 0.5) / len(ordered)
        exact, spread = law.quantiles(value, sigma, at)
        found += float((ordered - exact).abs().mean()) / spread / len(values)
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", default="20,100", help="network calls a picture (20,100)")
    parser.add_argument("--samplers", default=",".join(SAMPLERS), help="which")
    columns = [f"{law}, {what}" for law in LAWS for what in MEASUREMENTS]
    arguments = parser.parse_args()
    print(f"| sampler, network calls | {' | '.join(columns)} |")
    print("|---|" + "---:|" * len(columns))
    for name in arguments.samplers.split(","):
        for count in arguments.calls.split(","):
            made = contender(name, int(count)).sampler
            row = [
                distance(law, made, sigma)
                for law in LAWS.values()
                for sigma in MEASUREMENTS.values()
            ]
            print(f"| {name}, {count} | {' | '.join(f'{x:.2f}' for x in row)} |", flush=True)


if __name__ == "__main__":
    main()

"""Small things that many tests share: pictures, networks, every operator, runs of a few steps."""

import torch

from ddrm_fast import DDRM, DenoiserPrior, Prior, Schedule, degrade, restore
from ddrm_fast.operators import (
    BicubicDownscaling,
    BlockCS,
    Blur,
    BlurDecimate,
    Colorization,
    Denoising,
    Gain,
    GeneralOperator,
    Inpainting,
    SeparableBlur,
    SuperResolution,
    WalshHadamardCS,
    gaussian_kernel,
)
from ddrm_fast.priors import GaussianPrior
from ddrm_fast.testing.operators import seeded

FAST = DDRM(steps=5)
SCHEDULE = Schedule.linear()


def pixelwise(x_t, t, labels=None):
    """A network that looks at one pixel at a time: a crop of its output is its output of a crop."""
    return 0.3 * x_t


PIXELWISE = Prior(pixelwise)
GAUSSIAN = GaussianPrior()


def markov(x, sigma):
    """Posterior mean of pictures whose covariance falls as 0.95^distance along each axis.

    A window of such a picture is one itself, so this denoiser is exact for every window.
    """

    def axis(n):
        place = torch.arange(n, dtype=torch.float64)
        return torch.linalg.eigh(0.95 ** (place[:, None] - place[None]).abs())

    (rows, left), (columns, right) = axis(x.shape[-2]), axis(x.shape[-1])
    power = 0.1 * rows[:, None] * columns
    c = left.mT @ x.double() @ right
    kept = power / (power + sigma.double().view(-1, 1, 1, 1) ** 2)
    return (left @ (kept * c) @ right.mT).to(x)


MARKOV = DenoiserPrior(markov, (-1.0, 1.0))


def restated(eps, x_t, t, prediction):
    """What a network of another prediction outputs where one of eps outputs ``eps``."""
    a = SCHEDULE.alphas_cumprod[t.long()].to(x_t).view(-1, 1, 1, 1)
    root, noise = a.sqrt(), (1 - a).sqrt()
    x0 = (x_t - noise * eps) / root
    return {"eps": eps, "x0": x0, "v": root * eps - noise * x0}[prediction]


def pictures(*shape):
    return 0.2 + 0.6 * torch.rand(*shape)


#: two pictures, the same for all tests
PICTURE = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
_MASK = PICTURE[0, 0] > 0.4

#: every kind of operator, and the shape of a picture for it
OPERATORS = {
    "denoising": (Denoising(), (3, 8, 8)),
    "inpainting": (Inpainting(_MASK), (3, 8, 8)),
    "gain": (Gain(torch.linspace(0.2, 2.0, 192).view(3, 8, 8)), (3, 8, 8)),
    "colorization": (Colorization(), (3, 8, 8)),
    "super-resolution": (SuperResolution(2), (3, 8, 8)),
    "old photo": (SuperResolution(2, (0.2, 0.5, 0.3), _MASK), (3, 8, 8)),
    "walsh-hadamard": (WalshHadamardCS((8, 8), 2), (3, 8, 8)),
    "block cs": (BlockCS(4, 2), (3, 8, 8)),
    "blur": (Blur(gaussian_kernel(0.8)), (3, 8, 7)),
    "reflecting blur": (Blur(gaussian_kernel(0.8), "reflect"), (3, 8, 7)),
    "separable blur": (SeparableBlur(torch.tensor([0.2, 0.5, 0.3]), size=(8, 7)), (3, 8, 7)),
    "bicubic": (BicubicDownscaling(2, (8, 6)), (3, 8, 6)),
    "decimation": (BlurDecimate(gaussian_kernel(0.8), 2), (3, 8, 6)),
    "matrix": (GeneralOperator(seeded(5, 48, dtype=torch.float32), (3, 4, 4)), (3, 4, 4)),
}
PIXEL_BASED = ["denoising", "inpainting", "gain", "colorization", "super-resolution", "old photo"]


def measured(name, batch=2, sigma_y=0.05):
    """An operator and a measurement of random pictures by it."""
    operator, shape = OPERATORS[name]
    return operator, degrade(pictures(batch, *shape), operator, sigma_y)


def restore_small(y=PICTURE, operator=None, sigma_y=0.1, prior=PIXELWISE, sampler=FAST, **keywords):
    """``restore`` of a good case, for tests that change one argument."""
    return restore(y, operator or Denoising(), sigma_y, prior, sampler, **keywords)

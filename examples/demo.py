"""Five degradations of one photograph, restored: python examples/demo.py (or: make demo).

Writes a sheet for each task, and `all.png` with all of them, to outputs/: the degraded picture, the
best estimate, one sample of the posterior, the standard deviation of several, and the truth.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

import ddrm_fast
from ddrm_fast import operators
from ddrm_fast.evaluation import metrics
from ddrm_fast.io import Panel, heat, read_picture, sheet

HERE = Path(__file__).parent
TOP, LEFT, SIDE = 44, 120, 256


def random_half(side):
    return torch.rand(side, side, generator=torch.Generator().manual_seed(0)) < 0.5


# name, degradation, standard deviation of its noise (pictures are in [0, 1])
TASKS = [
    ("noise", operators.Denoising(), 50 / 255),
    ("a quarter of the resolution, noise", operators.SuperResolution(4), 0.05),
    ("half of the pixels missing", operators.Inpainting(random_half(SIDE)), 0.01),
    ("motion blur", operators.Blur(operators.motion_kernel(17, angle=30)), 0.01),
    ("compressed sensing, a quarter", operators.BlockCS(block=16, ratio=4), 0.01),
]


def restore(name, operator, sigma, truth, prior, samples):
    """Degrade and restore; a row of panels."""
    y = ddrm_fast.degrade(truth, operator, sigma)
    estimate = ddrm_fast.restore(y, operator, sigma, prior, progress=None).mean
    result = ddrm_fast.restore(y, operator, sigma, prior, num_samples=samples, progress=None)

    coefficients = y.shape[1:] != truth.shape[1:] and y.dim() != 4
    shown = operator.H_pinv(y) if coefficients else y
    std = result.std[0].square().mean(dim=0).sqrt()
    bright = max(float(std.flatten().kthvalue(int(0.999 * std.numel())).values), 1 / 255)
    sample = result.samples[0]

    def quality(x):
        return f"{metrics.psnr(x, truth):.1f} dB"

    return [
        Panel(shown[0], f"{name}\nnoise {sigma:.2f}{', the rest set to zero' * coefficients}"),
        Panel(estimate[0], f"best estimate\n{quality(estimate)}"),
        Panel(sample[0], f"one sample of {samples}\n{quality(sample)}"),
        Panel(heat(std, bright), f"their uncertainty\n0 to {bright:.2f}"),
        Panel(truth[0], "truth\n"),
    ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prior", default="default", help="weights (those of the package)")
    parser.add_argument("--samples", type=int, default=4, help="per task (4)")
    parser.add_argument("--out", type=Path, default=Path("outputs"), help="folder (outputs)")
    parser.add_argument("--threads", type=int, help="CPU threads (all)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        prior = ddrm_fast.load_prior(options.prior)
    except (ValueError, OSError, ImportError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1

    picture = read_picture(HERE / "chelsea.png").pixels[None]
    truth = picture[..., TOP : TOP + SIDE, LEFT : LEFT + SIDE].contiguous()
    rows = []
    for number, (name, *task) in enumerate(TASKS, 1):
        start = time.perf_counter()
        rows.append(restore(name, *task, truth, prior, options.samples))
        path = options.out / f"{number}-{name.split(',')[0].replace(' ', '-')}.png"
        sheet(path, rows[-1:])
        print(f"{path}  {time.perf_counter() - start:.0f} s", flush=True)
    sheet(options.out / "all.png", rows)
    print(options.out / "all.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())

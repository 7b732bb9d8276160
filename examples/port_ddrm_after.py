"""Four times the resolution with DDRM, as a script for the published repository; see docs/porting.md."""

# ruff: noqa: I001
import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ddrm_fast.compat.ddrm import efficient_generalized_steps
from ddrm_fast.compat.ddrm import SuperResolution

HERE = Path(__file__).parent
BETAS = torch.linspace(1e-4, 2e-2, 1000)


def model(x, t):
    """Stands for the network: exact for Gaussian pictures whose spectrum falls as 1 / frequency^2."""
    abar = (1 - BETAS).cumprod(0).to(x.device)[t.long()].view(-1, 1, 1, 1)
    n = x.shape[-1]
    frequency = torch.fft.fftfreq(n, device=x.device)
    power = 0.001 / (frequency[:, None] ** 2 + frequency**2 + 1 / n**2)
    spectrum = torch.fft.fft2(x) * (1 - abar).sqrt() / (abar * power + 1 - abar)
    return torch.fft.ifft2(spectrum).real


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=256, help="of the picture")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("outputs/port.png"))
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = options.side

    picture = Image.open(HERE / "chelsea.png").convert("RGB").crop((150, 40, 406, 296))
    pixels = np.asarray(picture.resize((side, side)), dtype=np.float32) / 127.5 - 1
    x_true = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(device)

    torch.manual_seed(0)
    sigma_0 = 2 * 0.05  # of [0, 1] pictures; these are in [-1, 1]
    H_funcs = SuperResolution(3, side, 4, device)
    y_0 = H_funcs.H(x_true)
    y_0 = y_0 + sigma_0 * torch.randn_like(y_0)

    seq = range(0, 1000, 1000 // options.steps)
    x = torch.randn_like(x_true)
    xs, x0_preds = efficient_generalized_steps(
        x, seq, model, BETAS.to(device), H_funcs, y_0, sigma_0, etaB=1.0, etaA=0.85, etaC=0.85
    )

    restored = ((xs[-1] + 1) / 2).clamp(0, 1)
    error = (restored - (x_true.cpu() + 1) / 2).square().mean()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    pixels = (255 * restored[0]).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(options.out)
    print(f"{options.out}: {-10 * error.log10().item():.2f} dB")


if __name__ == "__main__":
    sys.exit(main())

"""Four times the resolution with DDRM, with this package's own functions; see docs/porting.md."""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import ddrm_fast
from ddrm_fast import DDRM, operators
from ddrm_fast.evaluation import metrics

HERE = Path(__file__).parent


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=256, help="of the picture")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("outputs/port.png"))
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"

    picture = Image.open(HERE / "chelsea.png").convert("RGB").crop((150, 40, 406, 296))
    pixels = np.asarray(picture.resize((options.side,) * 2), dtype=np.float32) / 255
    x_true = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(device)  # in [0, 1]

    operator = operators.SuperResolution(4)
    y = ddrm_fast.degrade(x_true, operator, sigma_y=0.05)
    result = ddrm_fast.restore(
        y, operator, sigma_y=0.05, prior="default", sampler=DDRM(options.steps), num_samples=4
    )

    options.out.parent.mkdir(parents=True, exist_ok=True)
    pixels = (255 * result.mean[0].cpu()).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(options.out)
    print(f"{options.out}: {metrics.psnr(result.mean, x_true):.2f} dB, the mean of 4 samples")


if __name__ == "__main__":
    sys.exit(main())

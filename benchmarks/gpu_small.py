"""Every operation once on small, odd pictures on the GPU: what compute-sanitizer watches.

``compute-sanitizer --tool memcheck python benchmarks/gpu_small.py --backend cuda``
"""

import argparse

import torch

from ddrm_fast import operators, ops
from ddrm_fast.bench import rows
from ddrm_fast.ops import Noise

SHAPES = [(1, 3, 1, 1), (2, 3, 6, 10), (1, 3, 33, 35), (2, 3, 32, 64), (1, 3, 128, 128)]


def operations(shape: tuple[int, ...], device: str) -> None:
    """Steps of operators of every kind, and the operations that are no steps."""
    batch, channels, height, width = shape
    kinds = [operators.Denoising(), operators.Colorization()]
    kinds.append(operators.Inpainting(torch.rand(height, width) > 0.5))
    kinds.append(operators.Blur(torch.ones(1, 1)))
    for r in (2, 3, 8):
        if height % r == 0 and width % r == 0:
            kinds += [operators.SuperResolution(r), operators.BlurDecimate(torch.ones(1, 1), r)]
    if height & (height - 1) == 0 and width & (width - 1) == 0:
        kinds.append(operators.WalshHadamardCS((height, width), 2))
    keys, table = ops.noise_keys(batch, 1, origin=(3, 5), device=device), rows().to(device)
    for operator in kinds:
        x = torch.rand(shape, device=device)
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            u, x_next = operator.prepare(operator.H(x)), torch.empty_like(x)
            out = torch.randn(batch, 2 * channels, height, width, device=device).to(dtype)
            for k in (0, 10):
                step = torch.full((1,), k, device=device)
                given = (None, None) if k == 0 else (x, out)
                operator.step(*given, u, table, step, Noise(keys), x_next=x_next)
    ops.normal(keys, channels, height, width)
    row = (table.table, torch.full((1,), 5, device=device))
    ops.predict_x0(x, torch.randn_like(x), *row)
    ops.known_step(x_next, x, torch.randn_like(x), x, x > 0.5, *row, Noise(keys))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    with ops.use_backend(options.backend):
        for shape in SHAPES:
            operations(shape, options.device)
        for bits in (3, 7, 13, 14, 22):
            ops.fwht(torch.rand(1, 1, 1, 2**bits, device=options.device))
    if options.device == "cuda":
        torch.cuda.synchronize()
    print(f"{options.backend}: every operation ran")


if __name__ == "__main__":
    main()

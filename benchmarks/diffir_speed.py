"""The published-size deblurring network of DiffIR, random weights: plain PyTorch against the fused bands.

Plain is the published formula, layer by layer, in PyTorch's operations. Both are timed in alternation in one
process (wall and processor time, medians); peak memory is that of a process of its own for each, above what
it had before the first picture.

    python benchmarks/diffir_speed.py --sides 256 512 --output benchmarks/results/diffir.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ddrm_fast.diffir import DiffIRS2, preset
from ddrm_fast.diffir.bands import Bands, Plan
from ddrm_fast.diffir.blocks import EPS, Attention, FeedForward, LayerNorm, TransformerBlock


def plain_norm(norm: LayerNorm, x: Tensor) -> Tensor:
    """Normalisation in the layout (B, H W, C), as published."""
    batch, channels, height, width = x.shape
    x = x.flatten(2).transpose(1, 2)
    mean = x.mean(-1, keepdim=True)
    variance = x.var(-1, keepdim=True, unbiased=False)
    y = (x - mean if norm.centred else x) / torch.sqrt(variance + EPS) * norm.body.weight
    y = y if norm.body.bias is None else y + norm.body.bias
    return y.transpose(1, 2).reshape(batch, channels, height, width)


def _modulated(layer, x: Tensor, prior: Tensor) -> Tensor:
    k1, k2 = layer.kernel(prior)[:, :, None, None].chunk(2, dim=1)
    return x * k1 + k2


def plain_attention(attn: Attention, x: Tensor, prior: Tensor) -> Tensor:
    """Normalised q and k, softmax of their products, times v, 1 x 1."""
    q, k, v = attn.qkv_dwconv(attn.qkv(_modulated(attn, x, prior))).chunk(3, dim=1)
    q, k, v = (y.flatten(2).unflatten(1, (attn.heads, -1)) for y in (q, k, v))
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    share = (q @ k.transpose(-2, -1) * attn.temperature).softmax(dim=-1)
    return attn.project_out((share @ v).flatten(1, 2).view(x.shape))


def plain_feed_forward(ffn: FeedForward, x: Tensor, prior: Tensor) -> Tensor:
    """GELU of one half times the other."""
    first, second = ffn.dwconv(ffn.project_in(_modulated(ffn, x, prior))).chunk(2, dim=1)
    return ffn.project_out(F.gelu(first) * second)


def plain_block(block: TransformerBlock, x: Tensor, prior: Tensor) -> Tensor:
    """A block as published."""
    x = x + plain_attention(block.attn, plain_norm(block.norm1, x), prior)
    return x + plain_feed_forward(block.ffn, plain_norm(block.norm2, x), prior)


class Plain:
    """A generator whose blocks are plain PyTorch."""

    def __init__(self, generator) -> None:
        self.generator = generator

    def __call__(self, x: Tensor, prior: Tensor) -> Tensor:
        before, TransformerBlock.forward = TransformerBlock.forward, plain_block
        try:
            return self.generator(x, prior)
        finally:
            TransformerBlock.forward = before


def _network() -> DiffIRS2:
    torch.manual_seed(0)
    return DiffIRS2(preset("deblurring")).eval().requires_grad_(False)


def _ways(network: DiffIRS2) -> dict[str, object]:
    return {
        "plain": Plain(network.G),
        "fused": network.G,
        "bands": Bands(network.G),
        "bands, values recomputed": Bands(network.G, Plan(recompute=True)),
    }


def _timed(call) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


@torch.no_grad()
def times(side: int, repeats: int, names: list[str] | None) -> dict[str, dict[str, float]]:
    """Medians of wall and processor seconds, one run of each way after the other."""
    network = _network()
    x, prior = torch.rand(1, 3, side, side), torch.randn(1, 256)
    ways, found = _ways(network), {}
    ways = {name: way for name, way in ways.items() if names is None or name in ("plain", *names)}
    results = {name: way(x, prior) for name, way in ways.items()}
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            runs[name].append(_timed(lambda way=way: way(x, prior)))
    scale = float(results["plain"].abs().max())
    for name, measured in runs.items():
        wall, cpu = zip(*measured, strict=True)
        error = float((results[name] - results["plain"]).abs().max()) / scale
        found[name] = {
            "wall_s": statistics.median(wall), "processor_s": statistics.median(cpu),
            "processor_least_s": min(cpu), "difference": error,
        }  # fmt: skip
    return found


@torch.no_grad()
def peak(side: int, name: str) -> None:
    """Prints the bytes of a run above what the process had before."""
    network = _network()
    way = _ways(network)[name]
    prior = torch.randn(1, 256)
    way(torch.rand(1, 3, 16, 16), prior)
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark starts anew (Linux)
    before = _memory("VmRSS")
    way(torch.rand(1, 3, side, side), prior)
    print(_memory("VmHWM") - before)


def _memory(name: str) -> int:
    """A line of this process's status, in bytes."""
    text = Path("/proc/self/status").read_text()
    return next(int(x.split()[1]) for x in text.splitlines() if x.startswith(name)) * 1024


def _peak_of(side: int, name: str) -> int:
    command = [sys.executable, __file__, "--peak", name, "--sides", str(side)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ways", nargs="+", help="some of: plain, fused, bands, ...")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        peak(options.sides[0], options.peak)
        return
    report = {"torch": torch.__version__, "threads": options.threads, "sides": {}}
    for side in options.sides:
        found = times(side, options.repeats, options.ways)
        for name, row in found.items():
            row["peak_bytes"] = _peak_of(side, name)
            print(
                f"{side:5} {name:26} wall {row['wall_s']:7.2f} s  processor {row['processor_s']:7.2f} s "
                f"(least {row['processor_least_s']:.2f})  peak {row['peak_bytes'] / 2**20:7.0f} MiB  "
                f"difference {row['difference']:.1e}",
                flush=True,
            )
        report["sides"][side] = found
        report["load"] = os.getloadavg()
    if options.output:
        options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

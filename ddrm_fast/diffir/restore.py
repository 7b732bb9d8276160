"""Restoration of pictures of any size with a DiffIR network."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index as whole_number

import torch
from torch import Tensor

from ..machine.heap import kept_memory
from .bands import BAND_NUMBERS, Bands, Plan, encode, map_bytes
from .config import PRIOR
from .networks import DiffIRS2, start_vectors
from .padding import pad, padded_size

MODES = ("exact", "tiles")


@dataclass(frozen=True)
class Restored:
    """What :func:`restore` gives.

    Args:
        samples:
            (B, S, 3, H scale, W scale), S draws of the prior vector for each picture.
        mean, std:
            Over the draws, (B, 3, H scale, W scale); std is None for one draw, else the uncertainty map.
        priors:
            The prior vectors, (B, S, 256).
        map_bytes:
            Feature maps that existed at a time, in bytes, as computed from the shapes.
    """

    samples: Tensor
    mean: Tensor
    std: Tensor | None
    priors: Tensor
    map_bytes: int


def check_pictures(network: DiffIRS2, y: Tensor, mask: Tensor | None) -> Tensor:
    """The network's input, (B, C, H, W): checked, for inpainting with its mask.

    Raises:
        ValueError: The network, a shape, dtype or value does not fit; the message names the argument.
    """
    if not isinstance(network, DiffIRS2):
        raise ValueError(
            f"network: got {type(network).__name__}, expected stage 2 (stage 1 needs the ground truth)"
        )
    config = network.config
    if y.dim() != 4 or y.shape[1] != 3 or 0 in y.shape[2:]:
        raise ValueError(f"y: got shape {tuple(y.shape)}, expected (B, 3, H, W)")
    if y.dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        raise ValueError(f"y: got {y.dtype}, expected floating point with pictures in [0, 1]")
    if not bool(torch.isfinite(y).all()):
        raise ValueError("y: has NaN or infinite entries")
    if config.task != "inpainting":
        if mask is not None:
            raise ValueError(f"mask: got one, but the network is for {config.task}; expected None")
        return y
    if mask is None:
        raise ValueError(
            "mask: got None, but the network is for inpainting; expected (B or 1, 1, H, W)"
        )
    fits = mask.dim() == 4 and mask.shape[1] == 1 and mask.shape[0] in (1, len(y))
    if not fits or mask.shape[2:] != y.shape[2:]:
        expected = (len(y), 1, *y.shape[2:])
        raise ValueError(f"mask: got shape {tuple(mask.shape)}, expected {expected} (1: a hole)")
    hole = (mask > 0).to(y).expand(len(y), -1, -1, -1)
    return torch.cat([y * (1 - hole), hole], dim=1)


@torch.no_grad()
def restore(
    network: DiffIRS2,
    y: Tensor,
    *,
    mask: Tensor | None = None,
    num_samples: int = 1,
    seed: int | Tensor = 0,
    x_T: Tensor | None = None,
    mode: str = "exact",
    tile: int = 512,
    overlap: int = 64,
    band: int = BAND_NUMBERS,
    storage: torch.dtype | None = None,
    recompute: bool = False,
) -> Restored:
    """Restore pictures of any size and aspect.

    Sides are padded as published (reflection; inpainting: with the edge repeated) and the result is cropped.
    The encoder always sees the whole picture. In mode "exact" so does the channel attention: the picture is
    worked through in bands of rows, and neither memory nor bands change the result beyond the order of sums.
    In mode "tiles" square tiles overlap and are blended linearly; each tile's attention sees that tile alone.

    Args:
        network:
            Stage 2, in evaluation mode, on the device of the pictures. Half-precision weights compute in it.
        y:
            Pictures (B, 3, H, W) in [0, 1].
        mask:
            Inpainting: (B or 1, 1, H, W), above 0 where pixels are missing; known pixels come back unchanged.
        num_samples:
            Draws of the prior vector for each picture.
        seed:
            Of the draws: picture i has seed + i, or those of int64 [B]; draw j is number j of that seed.
        x_T:
            First states of the vector's diffusion, (B, S, 256), instead of draws.
        mode:
            "exact" or "tiles".
        tile, overlap:
            Of tiles, in pixels of the input; tile is rounded up to what the network needs.
        band:
            Numbers of the widest layer of a band.
        storage:
            Of feature maps between layers; None: the network's precision.
        recompute:
            Keep one feature map less and compute values twice.

    Returns:
        The pictures, not clipped.

    Raises:
        ValueError: An argument does not fit; the message names it.
    """
    x = check_pictures(network, y, mask)
    if mode not in MODES:
        raise ValueError(f"mode: got {mode!r}, expected one of {', '.join(MODES)}")
    config, batch = network.config, len(x)
    starts = _starts(x, num_samples, seed, x_T)
    samples = starts.shape[1]
    dtype = network.G.patch_embed.proj.weight.dtype
    padded = pad(x, config)
    plan = Plan(band, storage, recompute)
    with kept_memory():
        c = encode(network.condition, padded.to(dtype), numbers=band)
        priors = network.prior(
            c.repeat_interleave(samples, dim=0), starts.reshape(-1, PRIOR).to(c)
        ).view(batch, samples, PRIOR)
        size = (y.shape[2] * config.scale, y.shape[3] * config.scale)
        out = torch.empty(batch, samples, 3, *size, dtype=y.dtype, device=y.device)
        run = _Tiles(network, plan, tile, overlap) if mode == "tiles" else Bands(network.G, plan)
        for b in range(batch):
            for s in range(samples):
                picture = run(padded[b : b + 1].to(dtype), priors[b : b + 1, s])
                out[b, s] = picture[0, :, : size[0], : size[1]].to(y.dtype)
    if mask is not None:
        hole = (mask > 0).to(y)[:, None]
        out = hole * out + (1 - hole) * y[:, None]
    std = out.std(dim=1, unbiased=False) if samples > 1 else None
    sides = [
        min(n, padded_size(tile, config.multiple)) if mode == "tiles" else n
        for n in padded.shape[2:]
    ]
    size_of_maps = map_bytes(config, sides[0], sides[1], plan)
    return Restored(out, out.mean(dim=1), std, priors, size_of_maps)


def _starts(x: Tensor, num_samples: int, seed: int | Tensor, x_T: Tensor | None) -> Tensor:
    batch = len(x)
    if x_T is not None:
        if x_T.dim() != 3 or x_T.shape[0] != batch or x_T.shape[2] != PRIOR:
            raise ValueError(f"x_T: got shape {tuple(x_T.shape)}, expected ({batch}, S, {PRIOR})")
        return x_T
    if num_samples < 1:
        raise ValueError(f"num_samples: got {num_samples}, expected at least 1")
    if isinstance(seed, Tensor):
        if seed.dtype != torch.int64 or tuple(seed.shape) != (batch,):
            raise ValueError(f"seed: expected a number or int64 [{batch}], got {tuple(seed.shape)}")
    else:
        seed = torch.tensor((whole_number(seed) + 2**63) % 2**64 - 2**63) + torch.arange(batch)
    draws = torch.arange(num_samples).repeat(batch)
    vectors = start_vectors(batch * num_samples, seed.cpu().repeat_interleave(num_samples), draws)
    return vectors.view(batch, num_samples, PRIOR).to(x.device)


class _Tiles:
    """Square tiles that overlap, blended linearly; the vector is that of the whole picture."""

    def __init__(self, network: DiffIRS2, plan: Plan, tile: int, overlap: int) -> None:
        self.config = network.config
        self.tile = padded_size(tile, self.config.multiple)
        if not 0 <= overlap < self.tile:
            raise ValueError(
                f"overlap: got {overlap}, expected 0 or more, below tile = {self.tile}"
            )
        self.overlap, self.generator = overlap, Bands(network.G, plan)

    def _places(self, size: int) -> list[int]:
        """First pixels of the tiles of a side: multiples of what the network needs."""
        if size <= self.tile:
            return [0]
        step = max(1, (self.tile - self.overlap) // self.config.multiple) * self.config.multiple
        return [*range(0, size - self.tile, step), size - self.tile]

    def _ramp(self, first: int, size: int) -> Tensor:
        """Weights of a tile's pixels: rising over the overlap where there is a neighbour."""
        n = min(self.tile, size)
        place = torch.arange(n) + 0.5
        width = max(self.overlap, 1)
        ramp = torch.ones(n)
        if first > 0:
            ramp = torch.minimum(ramp, place / width)
        if first + n < size:
            ramp = torch.minimum(ramp, (n - place) / width)
        return ramp.clamp_min(1e-3)

    def __call__(self, x: Tensor, prior: Tensor) -> Tensor:
        """Of one padded picture."""
        height, width = x.shape[2:]
        scale = self.config.scale
        total = torch.zeros(1, 3, height * scale, width * scale, device=x.device)
        weights = torch.zeros(1, 1, height * scale, width * scale, device=x.device)
        for top in self._places(height):
            for left in self._places(width):
                part = self.generator(
                    x[:, :, top : top + self.tile, left : left + self.tile].contiguous(), prior
                )
                weight = self._ramp(top, height)[:, None] * self._ramp(left, width)
                weight = weight.repeat_interleave(scale, 0).repeat_interleave(scale, 1).to(x.device)
                rows = slice(top * scale, top * scale + part.shape[2])
                columns = slice(left * scale, left * scale + part.shape[3])
                total[:, :, rows, columns] += part.float() * weight
                weights[:, :, rows, columns] += weight
        return total / weights

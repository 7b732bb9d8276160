"""Noise that JPEG compression left and hid: from the coefficients, and how they were quantised."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..io.picture import JpegGrid

_LUMA = (0.299, 0.587, 0.114)  # JFIF: BT.601
#: deviation of the luminance of noise that is independent in three channels with deviation 1
_OF_LUMA = math.sqrt(sum(weight**2 for weight in _LUMA))
_ROWS = 128
_SMOOTHEST = 0.25  # of the blocks are looked at
_ENOUGH, _BLOCKS = 64, 40_000  # blocks; of larger pictures every second, third ... is looked at
_HIGHEST = 7  # u + v of the coefficients that decide what is smooth


def jpeg_noise(pixels: Tensor, grid: JpegGrid, known: Tensor | None = None) -> float | None:
    """Standard deviation of the white noise that a picture had before it was compressed.

    In a smooth block the coefficients of the cosine transform are those of the noise, N(0, s^2), and a
    coefficient is stored as 0 with probability erf(q / (2 sqrt(2) s)) where its step is q: so how many
    are 0 tells s, even where nearly all of them are. Coefficients count in the quarter of the blocks where
    the *other* half of them (u + v even or odd) is smallest, which says nothing of the noise in them; s is
    the maximum of the likelihood over all (of thresholds near s where q is smaller).

    Of a colour picture luminance is seen, whose noise is 0.668 times that of each channel where these are
    independent; compression takes the rest. The level for the channels is also what restores such pictures
    best (noise 0.05 at quality 45 to 85: within 0.1 dB of the best level).

    Args:
        pixels:
            (1 or 3, H, W) in [0, 1].
        grid:
            Tables and place of the blocks.
        known:
            (H, W) or (C, H, W), True where a pixel is known; blocks with others are left out.

    Returns:
        The level, for pictures in [0, 1], or None where there are fewer than 64 whole blocks.
    """
    blocks = _coefficients(pixels, grid, known)
    if len(blocks) < _ENOUGH:
        return None
    step = torch.tensor(grid.tables[0], dtype=torch.float32).clamp(min=1)
    order = (torch.arange(8)[:, None] + torch.arange(8)).flatten()
    sizes = blocks.abs()
    halves = [(order % 2 == parity) & (order > 0) & (order <= _HIGHEST) for parity in (0, 1)]
    smooth = []
    for half in halves:
        energy = sizes[:, half].clamp(max=60).square().sum(dim=1)
        smooth.append(energy <= energy.kthvalue(max(1, round(_SMOOTHEST * len(energy)))).values)
    counted = [halves[1] & (order > 1), halves[0]]  # those whose blocks the other half chose
    level = float(step.median()) / 2
    found = [sizes[keep][:, half] for keep, half in zip(smooth, counted, strict=True)]
    for _ in range(3):
        level = _most_likely(level, found, [step[half] for half in counted])
    return level / 255 / (_OF_LUMA if pixels.shape[0] == 3 else 1.0)


def hidden_below(grid: JpegGrid, level: float) -> str | None:
    """Why a level of :func:`jpeg_noise` may be wrong, or None: nearly all coefficients are 0 then."""
    steps = sorted(grid.tables[0][8 * u + v] for u in range(8) for v in range(8 - u))
    if level * 255 < steps[len(steps) // 2] / 6:
        return "its JPEG compression hides noise of this size: the level is uncertain"
    return None


def _most_likely(level: float, sizes: list[Tensor], steps: list[Tensor]) -> float:
    """The deviation that explains best how many sizes are below thresholds near an earlier one."""
    levels = torch.logspace(-1, 2, 241)  # 0.1 to 100 of 255, 3 % apart
    likelihood = torch.zeros(len(levels))
    for size, q in zip(sizes, steps, strict=True):
        threshold = ((level / q - 0.5).round().clamp(min=0) + 0.5) * q
        below = (size < threshold).float().sum(dim=0)
        p = torch.erf(threshold[:, None] / (math.sqrt(2) * levels)).clamp(1e-7, 1 - 1e-7)
        likelihood += (below[:, None] * p.log() + (len(size) - below)[:, None] * (1 - p).log()).sum(
            0
        )
    return float(levels[likelihood.argmax()])


def _coefficients(pixels: Tensor, grid: JpegGrid, known: Tensor | None) -> Tensor:
    """Orthonormal cosine transform of the luminance of whole blocks, (blocks, 64), in units of 1/255."""
    height, width = pixels.shape[1:]
    n = torch.arange(8, dtype=torch.float32)
    basis = torch.cos(math.pi * (2 * n + 1) * n[:, None] / 16) / 2
    basis[0] /= math.sqrt(2)
    weights = torch.tensor(_LUMA if pixels.shape[0] == 3 else (1.0,))
    columns = grid.left + (width - grid.left) // 8 * 8
    mask = None if known is None else (known > 0).expand_as(pixels).all(dim=0)
    every = max(1, height * width // 64 // _BLOCKS)
    found = []
    for top in range(grid.top, height - 7, _ROWS):
        bottom = top + min(_ROWS, (height - top) // 8 * 8)
        region = (slice(top, bottom), slice(grid.left, columns))
        x = 255 * torch.einsum("c,chw->hw", weights, pixels[:, *region].float())
        blocks = x.unflatten(0, (-1, 8)).unflatten(2, (-1, 8)).transpose(1, 2).flatten(0, 1)
        usable = (blocks.amin((1, 2)) > 1) & (blocks.amax((1, 2)) < 254)  # not clipped
        if mask is not None:
            whole = (
                mask[region]
                .unflatten(0, (-1, 8))
                .unflatten(2, (-1, 8))
                .transpose(1, 2)
                .flatten(0, 1)
            )
            usable &= whole.all(dim=2).all(dim=1)
        found.append((basis @ blocks[usable][::every] @ basis.T).flatten(1))
    return torch.cat(found) if found else torch.zeros(0, 64)

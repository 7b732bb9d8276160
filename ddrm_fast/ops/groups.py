"""How coefficients are grouped: blocks of pixels, and frequencies that alias."""

from dataclasses import dataclass

import torch
from torch import Tensor


def group_sum(x: Tensor, factor: int, over_channels: bool) -> Tensor:
    """Sum over r x r blocks, and over channels if asked: (B, G, H / r, W / r)."""
    batch, channels, height, width = x.shape
    blocks = x.reshape(batch, channels, height // factor, factor, width // factor, factor)
    total = blocks.sum(dim=(3, 5))
    return total.sum(dim=1, keepdim=True) if over_channels else total


def spread_groups(c: Tensor, factor: int, channels: int) -> Tensor:
    """Adjoint of :func:`group_sum`: every member of a group receives its group's value."""
    batch, groups, height, width = c.shape
    spread = c.view(batch, groups, height, 1, width, 1)
    spread = spread.expand(batch, groups, height, factor, width, factor)
    spread = spread.reshape(batch, groups, height * factor, width * factor)
    return spread.expand(batch, channels, -1, -1) if groups == 1 else spread


def full_spectrum(half: Tensor, width: int) -> Tensor:
    """All ``width`` columns of the spectrum of a real image from its half spectrum."""
    mirrored = torch.flip(half[..., 1 : (width + 1) // 2], dims=(-1,)).conj()
    height = half.shape[-2]
    rows = (-torch.arange(height, device=half.device)) % height
    return torch.cat((half, mirrored.index_select(-2, rows)), dim=-1)


@dataclass
class AliasGroups:
    """Measured directions of the aliasing groups, on the full grid of frequencies."""

    direction: Tensor
    factor: int
    width: int

    def measure(self, half: Tensor) -> Tensor:
        """rho = sum_j w_j V_j on the measured half grid, from a half spectrum."""
        product = self.direction * full_spectrum(half, self.width)
        return self.fold(product)[..., : (self.width // self.factor) // 2 + 1]

    def fold(self, full: Tensor) -> Tensor:
        r = self.factor
        batch, channels, height, width = full.shape
        return full.reshape(batch, channels, r, height // r, r, width // r).sum(dim=(2, 4))

    def lift(self, c: Tensor) -> Tensor:
        """V_1 c as a half spectrum: conj(w_j) times the value of j's group."""
        full = full_spectrum(c, self.width // self.factor)
        spread = full.repeat(1, 1, self.factor, self.factor)
        return (self.direction.conj() * spread)[..., : self.width // 2 + 1]


def fold_groups(kernel: Tensor, s: Tensor, factor: int, width: int) -> AliasGroups:
    """Aliasing groups of a blur with half spectrum ``kernel`` and measured singular values ``s``."""
    s = full_spectrum(s, width // factor)
    scale = torch.where(s > 0, 1.0 / torch.where(s > 0, s, 1.0), 0.0) / factor
    direction = full_spectrum(kernel, width) * scale.repeat(1, 1, factor, factor)
    return AliasGroups(direction, factor, width)

"""The network of DDPM as its PyTorch port publishes it (CelebA-HQ, LSUN): `Model`.

Ho et al., "Denoising Diffusion Probabilistic Models", 2020, appendix B. Modules carry the names of the
published files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import attend, double_size, half_size, timestep_embedding


@dataclass(frozen=True)
class DDPMConfig:
    """The published configuration's `model` section, under its names.

    Args:
        attention_levels:
            Levels (0: full size) with attention; the published section names their resolutions in pixels.
    """

    in_channels: int
    out_ch: int
    ch: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    attention_levels: tuple[int, ...]
    resamp_with_conv: bool = True


def _normalise(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    """Two convolutions, with the time added in between."""

    def __init__(self, channels: int, out_channels: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _normalise(channels), _normalise(out_channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.temb_proj = nn.Linear(embedding, out_channels)
        self.nin_shortcut = None
        if channels != out_channels:
            self.nin_shortcut = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.temb_proj(F.silu(embedding))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.nin_shortcut is None else self.nin_shortcut(x))


class AttnBlock(nn.Module):
    """Attention among the pixels of a picture, one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _normalise(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2)[:, None] for layer in (self.q, self.k, self.v))
        return x + self.proj_out(attend(q, k, v)[:, 0].view_as(x))


class _Resampled(nn.Module):
    """Half size (one more row and column of zeros behind, then stride 2) or double size."""

    def __init__(self, channels: int, convolve: bool, down: bool) -> None:
        super().__init__()
        self.down, self.conv = down, None
        if convolve:
            stride, padding = (2, 0) if down else (1, 1)
            self.conv = nn.Conv2d(channels, channels, 3, stride=stride, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        if not self.down:
            x = double_size(x)
            return x if self.conv is None else self.conv(x)
        return half_size(x) if self.conv is None else self.conv(F.pad(x, (0, 1, 0, 1)))


class _Level(nn.Module):
    """The blocks of one resolution; `attn` is empty where the level has no attention."""

    downsample: _Resampled  # of a level that has one below
    upsample: _Resampled  # of a level that has one above

    def __init__(self, widths: list[tuple[int, int]], embedding: int, attention: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(*pair, embedding) for pair in widths)
        self.attn = nn.ModuleList(AttnBlock(out) for _, out in widths if attention)

    def step(self, j: int, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.block[j](x, embedding)
        return self.attn[j](x) if len(self.attn) else x


def _levels(found: nn.ModuleList) -> list[_Level]:
    return cast("list[_Level]", list(found))


class _Embedding(nn.Module):
    """Two layers behind the timestep's sines."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.dense = nn.ModuleList([nn.Linear(channels, width), nn.Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        return self.dense[1](F.silu(self.dense[0](x)))


class _Middle(nn.Module):
    """The blocks at the lowest resolution."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, embedding)
        self.attn_1 = AttnBlock(channels)
        self.block_2 = ResnetBlock(channels, channels, embedding)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x, embedding)), embedding)


class DDPMUNet(nn.Module):
    """(x_t, t) -> eps."""

    def __init__(self, config: DDPMConfig) -> None:
        """Random weights.

        Args:
            config:
                Shape of the network.
        """
        super().__init__()
        self.config = config
        width, levels = 4 * config.ch, len(config.ch_mult)
        self.temb = _Embedding(config.ch, width)
        self.conv_in = nn.Conv2d(config.in_channels, config.ch, 3, padding=1)
        channels, skips = config.ch, [config.ch]
        self.down = nn.ModuleList()
        for i, factor in enumerate(config.ch_mult):
            pairs = []
            for _ in range(config.num_res_blocks):
                pairs.append((channels, config.ch * factor))
                channels = config.ch * factor
                skips.append(channels)
            level = _Level(pairs, width, i in config.attention_levels)
            if i + 1 < levels:
                level.downsample = _Resampled(channels, config.resamp_with_conv, down=True)
                skips.append(channels)
            self.down.append(level)
        self.mid = _Middle(channels, width)
        up: list[nn.Module] = []
        for i in reversed(range(levels)):
            pairs = []
            for _ in range(config.num_res_blocks + 1):
                pairs.append((channels + skips.pop(), config.ch * config.ch_mult[i]))
                channels = config.ch * config.ch_mult[i]
            level = _Level(pairs, width, i in config.attention_levels)
            if i:
                level.upsample = _Resampled(channels, config.resamp_with_conv, down=False)
            up.insert(0, level)  # published order: from the full size down
        self.up = nn.ModuleList(up)
        self.norm_out = _normalise(channels)
        self.conv_out = nn.Conv2d(channels, config.out_ch, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """The network's output.

        Args:
            x:
                x_t (B, C, H, W) in [-1, 1] plus noise; sides divisible by 2^(levels - 1).
            t:
                Timesteps [B].

        Raises:
            ValueError: A side does not fit.
        """
        multiple = 2 ** (len(self.config.ch_mult) - 1)
        if x.shape[-1] % multiple or x.shape[-2] % multiple:
            raise ValueError(
                f"x: got sides {tuple(x.shape[-2:])}, expected multiples of {multiple}"
            )
        dtype = self.conv_in.weight.dtype
        embedding = timestep_embedding(t, self.config.ch, cosine_first=False).to(dtype)
        embedding = self.temb(embedding)
        h = self.conv_in(x.to(dtype))
        outputs = [h]
        for i, level in enumerate(_levels(self.down)):
            for j in range(self.config.num_res_blocks):
                h = level.step(j, h, embedding)
                outputs.append(h)
            if i + 1 < len(self.down):
                h = level.downsample(h)
                outputs.append(h)
        h = self.mid(h, embedding)
        for i, level in reversed(list(enumerate(_levels(self.up)))):
            for j in range(self.config.num_res_blocks + 1):
                h = level.step(j, torch.cat([h, outputs.pop()], dim=1), embedding)
            if i:
                h = level.upsample(h)
        return self.conv_out(F.silu(self.norm_out(h)))

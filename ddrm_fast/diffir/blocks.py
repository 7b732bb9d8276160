"""The parts of DIRformer: normalisation, attention among channels, gated feed-forward.

Xia et al., "DiffIR", ICCV 2023, section 3.2; the two parts are those of Restormer (Zamir et al., CVPR
2022) with a modulation by the prior vector. Modules carry the names of the published files.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from .. import ops
from .config import PRIOR

EPS = 1e-5


class _Affine(nn.Module):
    """The weights of a normalisation."""

    def __init__(self, channels: int, with_bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias: nn.Parameter | None
        self.bias = nn.Parameter(torch.zeros(channels)) if with_bias else None


class LayerNorm(nn.Module):
    """Normalisation over the channels of every pixel, (B, C, H, W).

    "WithBias": (x - mean) / sqrt(var + eps) w + b. "BiasFree": x / sqrt(var + eps) w, whose variance is taken
    around the mean though the mean is not subtracted.
    """

    def __init__(self, channels: int, kind: str) -> None:
        super().__init__()
        self.centred = kind == "WithBias"
        self.body = _Affine(channels, self.centred)

    def affine(self, modulation: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Gain and offset (B or 1, C) of the normalised input, the modulation x k1 + k2 included.

        Args:
            modulation:
                (k1 | k2), (B, 2 C), or None.
        """
        gain = self.body.weight[None]
        offset = None if self.body.bias is None else self.body.bias[None]
        if modulation is None:
            return gain, offset
        k1, k2 = modulation.chunk(2, dim=1)
        return gain * k1, k2 if offset is None else offset * k1 + k2

    def forward(self, x: Tensor, modulation: Tensor | None = None) -> Tensor:
        """norm(x) k1 + k2, (B, C, H, W)."""
        gain, offset = self.affine(modulation)
        return ops.channel_norm(x, gain, offset, self.centred, EPS)


def _modulation_layer(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(PRIOR, 2 * channels, bias=False))


class Attention(nn.Module):
    """DMTA: attention among the channels of a head, from the products of channels over all pixels."""

    def __init__(self, channels: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.kernel = _modulation_layer(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(
            3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=bias
        )
        self.project_out = nn.Conv2d(channels, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Of the normalised and modulated input, (B, C, H, W)."""
        stencil = self.qkv_dwconv
        v, gram, squares = ops.depthwise_gram(self.qkv(x), stencil.weight, stencil.bias, self.heads)
        folded = ops.attention_fold(gram, squares, self.temperature, self.project_out.weight)
        out = (folded.to(v.dtype) @ v.flatten(2)).view(x.shape)
        bias = self.project_out.bias
        return out if bias is None else out + bias.view(-1, 1, 1)


class FeedForward(nn.Module):
    """DGFN: GELU of one half of a depthwise convolution times the other half."""

    def __init__(self, channels: int, factor: float, bias: bool) -> None:
        super().__init__()
        hidden = int(channels * factor)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=bias)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=bias)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=bias)
        self.kernel = _modulation_layer(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Of the normalised and modulated input, (B, C, H, W)."""
        stencil = self.dwconv
        return self.project_out(
            ops.gated_depthwise(self.project_in(x), stencil.weight, stencil.bias)
        )


class TransformerBlock(nn.Module):
    """x + attn(norm1(x), z), then x + ffn(norm2(x), z)."""

    def __init__(self, channels: int, heads: int, factor: float, bias: bool, norm: str) -> None:
        super().__init__()
        self.norm1 = LayerNorm(channels, norm)
        self.attn = Attention(channels, heads, bias)
        self.norm2 = LayerNorm(channels, norm)
        self.ffn = FeedForward(channels, factor, bias)

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:
        """One block.

        Args:
            x:
                (B, C, H, W).
            prior:
                The prior vector z, (B, 256).
        """
        x = x + self.attn(self.norm1(x, self.attn.kernel(prior)))
        return x + self.ffn(self.norm2(x, self.ffn.kernel(prior)))


class Level(nn.Sequential):
    """Blocks of one resolution."""

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:  # type: ignore[override]
        for block in self:
            x = block(x, prior)
        return x


class OverlapPatchEmbed(nn.Module):
    """The first convolution."""

    def __init__(self, in_channels: int, channels: int, bias: bool = False) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class Downsample(nn.Module):
    """Half size, twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2)
        )

    @property
    def conv(self) -> nn.Conv2d:
        """The convolution, before pixels are folded."""
        return cast("nn.Conv2d", self.body[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Upsample(nn.Module):
    """Double size, half the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False), nn.PixelShuffle(2)
        )

    @property
    def conv(self) -> nn.Conv2d:
        """The convolution, before pixels are unfolded."""
        return cast("nn.Conv2d", self.body[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Upsampler(nn.Sequential):
    """The tail's enlargement by a power of two, or by three."""

    def __init__(self, scale: int, channels: int) -> None:
        if scale == 3:
            steps = [3]
        elif scale > 0 and scale & (scale - 1) == 0:
            steps = [2] * (scale.bit_length() - 1)
        else:
            raise ValueError(f"scale: got {scale}, expected 3 or a power of two")
        layers: list[nn.Module] = []
        for step in steps:
            layers.append(nn.Conv2d(channels, step * step * channels, 3, padding=1))
            layers.append(nn.PixelShuffle(step))
        super().__init__(*layers)

"""Inference in bands of rows: the exact result of a whole picture in a fraction of its memory.

The channel attention of DiffIR sums over the whole picture, so tiles that are restored alone see something
else. Here every block runs band by band and in place: first the channel products of all bands are added,
then the folded 1 x 1 convolution is applied to each band. Only the residual stream, the values v and the
skips are whole feature maps; hidden layers exist for one band. Bands bring the rows of their neighbours
that the 3 x 3 convolutions see, so no result depends on their height beyond the order of the sums.

With ``recompute`` v is convolved a second time instead of being kept: one feature map and the skips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import EPS, Attention, FeedForward, LayerNorm, Level, TransformerBlock
from .config import DiffIRConfig
from .encoder import CPEN
from .generator import DIRformer

_registered = torch.ops.ddrm_fast
#: numbers of the widest layer of a band: in the last cache of most processors
BAND_NUMBERS = 2**21


@dataclass(frozen=True)
class Plan:
    """How a picture is restored.

    Args:
        numbers:
            Numbers of the widest layer of a band.
        storage:
            Of feature maps between layers; arithmetic is that of the network's weights.
        recompute:
            Whether values are convolved twice instead of being kept.
    """

    numbers: int = BAND_NUMBERS
    storage: torch.dtype | None = None
    recompute: bool = False


def rows_of(plan: Plan, channels: int, width: int) -> int:
    """Rows of a band whose widest layer has so many channels."""
    return max(4, plan.numbers // (channels * width))


def map_bytes(config: DiffIRConfig, height: int, width: int, plan: Plan) -> int:
    """Bytes of all feature maps that exist at the same time, for one picture; bands come on top.

    At the first level, where there are most: the residual stream of the decoder (2 dim channels), its
    values unless they are recomputed, and what the second level is then (dim / 2 numbers a pixel).

    Args:
        config:
            Of the network.
        height, width:
            Of the padded input.
        plan:
            How it is restored.
    """
    fold = config.unshuffle
    pixels = (height // fold) * (width // fold)
    numbers = 2 * config.dim * (1 if plan.recompute else 2) + config.dim // 2
    size = torch.empty(0, dtype=plan.storage or torch.float32).element_size()
    return pixels * numbers * size


class Bands:
    """A generator that works band by band.

    Args:
        generator:
            The network; its weights are read, never changed.
        plan:
            How.
    """

    def __init__(self, generator: DIRformer, plan: Plan | None = None) -> None:
        self.network, self.plan = generator, plan or Plan()
        self.compute = generator.patch_embed.proj.weight.dtype

    def __call__(self, x: Tensor, prior: Tensor) -> Tensor:
        """What ``generator(x, prior)`` gives.

        Args:
            x:
                (B, C, H, W), sides multiples of ``config.multiple``.
            prior:
                (B, 256).
        """
        G, dim = self.network, self.network.config.dim
        folded = G.fold(x)
        level1, wide1 = self._joined(folded, dim)
        self._convolve(G.patch_embed.proj, folded, level1)
        self._level(G.encoder_level1, level1, prior)
        level2, wide2 = self._joined(level1, 2 * dim, 2)
        self._down(G.down1_2.conv, level1, level2)
        self._level(G.encoder_level2, level2, prior)
        level3, wide3 = self._joined(level2, 4 * dim, 2)
        self._down(G.down2_3.conv, level2, level3)
        self._level(G.encoder_level3, level3, prior)
        latent = self._map(level3, 8 * dim, 2)
        self._down(G.down3_4.conv, level3, latent)
        self._level(G.latent, latent, prior)
        self._up(G.up4_3.conv, latent, wide3[:, : 4 * dim])
        del latent, level3
        level3 = self._reduce(G.reduce_chan_level3, wide3)
        del wide3
        self._level(G.decoder_level3, level3, prior)
        self._up(G.up3_2.conv, level3, wide2[:, : 2 * dim])
        del level3, level2
        level2 = self._reduce(G.reduce_chan_level2, wide2)
        del wide2
        self._level(G.decoder_level2, level2, prior)
        self._up(G.up2_1.conv, level2, wide1[:, :dim])
        del level2, level1
        self._level(G.decoder_level1, wide1, prior)
        if G.refinement is not None:
            self._level(G.refinement, wide1, prior)
        return self._end(wide1, x)

    # feature maps

    def _map(self, like: Tensor, channels: int, down: int = 1) -> Tensor:
        height, width = like.shape[2] // down, like.shape[3] // down
        dtype = self.plan.storage or self.compute
        return torch.empty(len(like), channels, height, width, dtype=dtype, device=like.device)

    def _joined(self, like: Tensor, channels: int, down: int = 1) -> tuple[Tensor, Tensor]:
        """A level, and the map that it is the second half of: the decoder's, which needs no copy then."""
        both = self._map(like, 2 * channels, down)
        return both[:, channels:], both

    def _bands(self, height: int, channels: int, width: int) -> Iterator[tuple[int, int]]:
        step = rows_of(self.plan, channels, width)
        for first in range(0, height, step):
            yield first, min(first + step, height)

    # convolutions of whole maps

    def _window(self, x: Tensor, first: int, end: int) -> Tensor:
        """Rows first - 1 ... end of a map, zeros beyond it, and a column of zeros on both sides."""
        height = x.shape[2]
        rows = x[:, :, max(first - 1, 0) : end + 1].to(self.compute)
        return F.pad(rows, (1, 1, int(first == 0), int(end == height)))

    def _convolve(self, layer: nn.Conv2d, x: Tensor, y: Tensor) -> None:
        for first, end in self._bands(x.shape[2], layer.out_channels, x.shape[3]):
            y[:, :, first:end] = F.conv2d(self._window(x, first, end), layer.weight, layer.bias)

    def _down(self, layer: nn.Conv2d, x: Tensor, y: Tensor) -> None:
        step = rows_of(self.plan, layer.in_channels, x.shape[3]) // 2 * 2
        for first in range(0, x.shape[2], step):
            end = min(first + step, x.shape[2])
            band = F.conv2d(self._window(x, first, end), layer.weight, layer.bias)
            y[:, :, first // 2 : end // 2] = F.pixel_unshuffle(band, 2)

    def _up(self, layer: nn.Conv2d, x: Tensor, y: Tensor) -> None:
        for first, end in self._bands(x.shape[2], layer.out_channels, x.shape[3]):
            band = F.conv2d(self._window(x, first, end), layer.weight, layer.bias)
            y[:, :, 2 * first : 2 * end] = F.pixel_shuffle(band, 2)

    def _reduce(self, layer: nn.Conv2d, x: Tensor) -> Tensor:
        y = self._map(x, layer.out_channels)
        for first, end in self._bands(x.shape[2], layer.in_channels, x.shape[3]):
            y[:, :, first:end] = F.conv2d(
                x[:, :, first:end].to(self.compute), layer.weight, layer.bias
            )
        return y

    def _end(self, h: Tensor, x: Tensor) -> Tensor:
        """The last convolutions and what is added, from a few rows more than a band at a time."""
        G, config = self.network, self.network.config
        tail = config.task == "super_resolution"
        layers, radius, scale = (G.tail, 2, 4) if tail else (G.output, 1, 1)
        out_scale = config.scale
        out = torch.empty(
            len(x), config.out_channels, x.shape[2] * out_scale, x.shape[3] * out_scale,
            dtype=self.compute, device=x.device,
        )  # fmt: skip
        channels = h.shape[1] * (24 if tail else 1)
        for first, end in self._bands(h.shape[2], channels, h.shape[3]):
            low, high = max(first - radius, 0), min(end + radius, h.shape[2])
            band = layers(h[:, :, low:high].to(self.compute))
            band = band[:, :, (first - low) * scale : (end - low) * scale]
            out[:, :, first * scale : end * scale] = band
        return G.add_input(out, x) if config.task != "inpainting" else out

    # blocks, in place

    def _level(self, blocks: Level, x: Tensor, prior: Tensor) -> None:
        for block in blocks:
            _Block(cast("TransformerBlock", block), x, prior, self).run()


class _Block:
    """One transformer block on a feature map, in place."""

    def __init__(self, block: TransformerBlock, x: Tensor, prior: Tensor, bands: Bands) -> None:
        self.block, self.x, self.bands = block, x, bands
        self.attention = block.norm1.affine(block.attn.kernel(prior))
        self.feed = block.norm2.affine(block.ffn.kernel(prior))

    def run(self) -> None:
        """x + attn(norm1(x), z), then x + ffn(norm2(x), z)."""
        attn = self.block.attn
        values = (
            None
            if self.bands.plan.recompute
            else torch.empty_like(self.x, memory_format=torch.contiguous_format)
        )
        folded = self._products(attn, values)
        if values is None:
            self._attend_again(attn, folded)
        else:
            for first, end in self._rows(self.x.shape[1]):
                self._add(first, end, folded, values[:, :, first:end], attn.project_out.bias)
        del values
        self._feed_forward(self.block.ffn)

    def _rows(self, channels: int) -> Iterator[tuple[int, int]]:
        return self.bands._bands(self.x.shape[2], channels, self.x.shape[3])

    def _normal(
        self, norm: LayerNorm, rows: Tensor, affine: tuple[Tensor, Tensor | None]
    ) -> Tensor:
        """Normalised rows, (B, C, n)."""
        y = torch.empty(rows.shape, dtype=self.bands.compute, device=rows.device)
        _registered.channel_norm_out(y, rows, *affine, norm.centred, EPS)
        return y.flatten(2)

    def _mix(self, layer: nn.Conv2d, y: Tensor, part: slice = slice(None)) -> Tensor:
        """A 1 x 1 convolution of (B, C, n)."""
        weight = layer.weight.flatten(1)[part]
        out = weight @ y
        return out if layer.bias is None else out.add_(layer.bias[part, None])

    def _products(self, attn: Attention, values: Tensor | None) -> Tensor:
        """The folded weights (B, C, C) of this block's attention; v of every band goes to ``values``."""
        batch, channels, height, width = self.x.shape
        stencil = attn.qkv_dwconv
        sums: list[Tensor] = []
        for first, end in self._rows(3 * channels):
            low, high = max(first - 1, 0), min(end + 1, height)
            y = self._normal(self.block.norm1, self.x[:, :, low:high], self.attention)
            qkv = self._mix(attn.qkv, y).view(batch, 3 * channels, high - low, width)
            added = _registered.depthwise_gram_out(
                None if values is None else values[:, :, first:end], qkv, stencil.weight,
                stencil.bias, attn.heads, int(first == 0), int(end == height),
            )  # fmt: skip
            sums = [a + b for a, b in zip(sums, added, strict=True)] if sums else list(added)
        return _registered.attention_fold(
            *sums, attn.temperature, attn.project_out.weight.flatten(1)
        ).to(self.bands.compute)

    def _attend_again(self, attn: Attention, folded: Tensor) -> None:
        """Values of every band convolved anew. The two rows that the next band shares are taken before x
        changes."""
        batch, channels, height, width = self.x.shape
        stencil, part = attn.qkv_dwconv, slice(2 * channels, None)
        bias = None if stencil.bias is None else stencil.bias[part]
        kept = None
        for first, end in self._rows(3 * channels):
            high = min(end + 1, height)
            low = first if kept is None else min(first + 1, height)
            y = self._normal(self.block.norm1, self.x[:, :, low:high], self.attention)
            rows = self._mix(attn.qkv, y, part).view(batch, channels, high - low, width)
            if kept is not None:
                rows = torch.cat([kept, rows], dim=2)
            kept = rows[:, :, -2:].clone()
            padded = F.pad(rows, (1, 1, int(first == 0), int(end == height)))
            values = F.conv2d(padded, stencil.weight[part], bias, groups=channels)
            self._add(first, end, folded, values, attn.project_out.bias)

    def _feed_forward(self, ffn: FeedForward) -> None:
        """As above: the hidden rows that the next band shares are kept."""
        batch, channels, height, width = self.x.shape
        hidden, stencil = ffn.project_in.out_channels, ffn.dwconv
        weight, kept = ffn.project_out.weight.flatten(1), None
        for first, end in self._rows(hidden):
            high = min(end + 1, height)
            low = first if kept is None else min(first + 1, height)
            y = self._normal(self.block.norm2, self.x[:, :, low:high], self.feed)
            rows = self._mix(ffn.project_in, y).view(batch, hidden, high - low, width)
            if kept is not None:
                rows = torch.cat([kept, rows], dim=2)
            kept = rows[:, :, -2:].clone()
            gated = torch.empty(
                batch, hidden // 2, end - first, width, dtype=rows.dtype, device=rows.device
            )
            _registered.gated_depthwise_out(
                gated, rows, stencil.weight, stencil.bias, int(first == 0), int(end == height)
            )
            self._add(first, end, weight, gated, ffn.project_out.bias)

    def _add(self, first: int, end: int, weight: Tensor, y: Tensor, bias: Tensor | None) -> None:
        """Rows of x += W y + bias."""
        rows = self.x[:, :, first:end]
        change = (weight @ y.flatten(2).to(weight.dtype)).view(rows.shape)
        rows.add_(change if bias is None else change.add_(bias.view(-1, 1, 1)))


def encode(
    encoder: CPEN, x: Tensor, gt: Tensor | None = None, numbers: int = BAND_NUMBERS
) -> Tensor:
    """What ``encoder(x, gt)`` gives, pooled over the whole picture band by band.

    Args:
        encoder:
            Of a network.
        x, gt:
            As the encoder takes them.
        numbers:
            Numbers of the widest layer of a band.

    Returns:
        (B, 4 n_feats).
    """
    folded, radius = encoder.folded(x, gt), encoder.radius
    entry = cast("nn.Linear", encoder.mlp[0])
    dtype = entry.weight.dtype
    height, width = folded.shape[2:]
    step = max(2 * radius, numbers // (entry.in_features * width))
    total = torch.zeros((), device=folded.device)
    for first in range(0, height, step):
        end = min(first + step, height)
        low, high = max(first - radius, 0), min(end + radius, height)
        rows = encoder.E(folded[:, :, low:high].to(dtype))[:, :, first - low : end - low]
        total = total + rows.float().sum(dim=(2, 3))
    return encoder.mlp((total / (height * width)).to(dtype))

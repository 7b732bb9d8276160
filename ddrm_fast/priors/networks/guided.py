"""The networks of guided-diffusion: `UNetModel` and, its first half, the classifier `EncoderUNetModel`.

Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", 2021, section 3 and appendix A.
Modules carry the names of the published files, so that their weights load without translation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from .layers import attend, double_size, half_size, timestep_embedding

GROUPS = 32


@dataclass(frozen=True)
class GuidedConfig:
    """The published constructor's arguments, under their published names.

    Args:
        attention_resolutions:
            Downsampling factors (1, 2, 4, ...) of the levels that have attention.
        num_heads, num_head_channels:
            Heads of each attention: channels // num_head_channels, or num_heads where that is -1.
        num_heads_upsample:
            Heads of the second half; -1: num_heads.
        use_new_attention_order:
            Whether queries, keys and values lie in the order (q|k|v, head, channel) instead of
            (head, q|k|v, channel).
        pool:
            Of a classifier: "attention", "adaptive", "spatial" or "spatial_v2".
        image_size:
            Side of the pictures; a classifier with attention pooling takes no other.
        dropout:
            Share of the activations that training drops.
        middle_attention:
            Whether there is an attention between the two middle blocks, as in all published networks.
    """

    in_channels: int
    model_channels: int
    out_channels: int
    num_res_blocks: int
    attention_resolutions: tuple[int, ...]
    channel_mult: tuple[float, ...]
    num_heads: int = 1
    num_head_channels: int = -1
    num_heads_upsample: int = -1
    use_new_attention_order: bool = False
    use_scale_shift_norm: bool = False
    resblock_updown: bool = False
    conv_resample: bool = True
    num_classes: int | None = None
    image_size: int | None = None
    pool: str | None = None
    dropout: float = 0.0
    middle_attention: bool = True

    def heads(self, channels: int, second_half: bool = False) -> int:
        """Number of heads of an attention over so many channels."""
        if self.num_head_channels != -1:
            return channels // self.num_head_channels
        upsample = self.num_heads if self.num_heads_upsample == -1 else self.num_heads_upsample
        return upsample if second_half else self.num_heads


class Normalise(nn.GroupNorm):
    """Group normalisation in float32, whatever the network computes in."""

    def __init__(self, channels: int) -> None:
        super().__init__(GROUPS, channels)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.float(), self.bias.float()
        normal = nn.functional.group_norm(x.float(), self.num_groups, weight, bias, self.eps)
        return normal.to(x.dtype)


class ResBlock(nn.Module):
    """Two convolutions around the time embedding; with `resize`, at half or double size."""

    def __init__(
        self,
        config: GuidedConfig,
        channels: int,
        out_channels: int,
        resize: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.resize, self.scale_shift = resize, config.use_scale_shift_norm
        embedding = 4 * config.model_channels
        self.in_layers = nn.Sequential(
            Normalise(channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        width = 2 * out_channels if self.scale_shift else out_channels
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, width))
        self.out_layers = nn.Sequential(
            Normalise(out_channels),
            nn.SiLU(),
            nn.Dropout(config.dropout) if config.dropout else nn.Identity(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        same = channels == out_channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.in_layers[:-1](x)
        if self.resize is not None:
            h, x = self.resize(h), self.resize(x)
        h = self.in_layers[-1](h)
        change = self.emb_layers(embedding)[:, :, None, None]
        if self.scale_shift:
            scale, shift = change.chunk(2, dim=1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + change)
        return self.skip_connection(x) + h


class AttentionBlock(nn.Module):
    """Attention among the pixels of a picture."""

    def __init__(self, channels: int, heads: int, new_order: bool) -> None:
        super().__init__()
        self.heads, self.new_order = heads, new_order
        self.norm = Normalise(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        flat = x.flatten(2)
        qkv = split_heads(self.qkv(self.norm(flat)), self.heads, self.new_order)
        return (flat + self.proj_out(attend(*qkv).flatten(1, 2))).view_as(x)


def split_heads(qkv: Tensor, heads: int, new_order: bool) -> tuple[Tensor, ...]:
    """Queries, keys and values (B, heads, channels, tokens) of the (B, 3 C, tokens) in one tensor."""
    if new_order:
        return qkv.unflatten(1, (3, heads, -1)).unbind(1)
    return qkv.unflatten(1, (heads, 3, -1)).unbind(2)


class Downsample(nn.Module):
    """Half size, by a convolution or by means."""

    def __init__(self, channels: int, convolve: bool) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if convolve else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return half_size(x) if self.op is None else self.op(x)


class Upsample(nn.Module):
    """Double size, with or without a convolution behind."""

    def __init__(self, channels: int, convolve: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if convolve else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = double_size(x)
        return x if self.conv is None else self.conv(x)


def _dtype(layer: nn.Module) -> torch.dtype:
    return cast(Tensor, layer.weight).dtype


class Block(nn.Sequential):
    """Layers of which some take the embedding."""

    # (a Sequential for the names of its weights alone)
    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # type: ignore[override]
        for layer in self:
            x = layer(x) if isinstance(layer, nn.Conv2d) else layer(x, embedding)
        return x


class _Encoder(nn.Module):
    """Time and class embedding, the input blocks and the middle block."""

    def __init__(self, config: GuidedConfig) -> None:
        super().__init__()
        self.config = config
        width = 4 * config.model_channels
        self.time_embed = nn.Sequential(
            nn.Linear(config.model_channels, width), nn.SiLU(), nn.Linear(width, width)
        )
        channels = int(config.channel_mult[0] * config.model_channels)
        first = nn.Conv2d(config.in_channels, channels, 3, padding=1)
        self.input_blocks = nn.ModuleList([Block(first)])
        self.widths = [channels]
        for level, factor in enumerate(config.channel_mult):
            for _ in range(config.num_res_blocks):
                out = int(factor * config.model_channels)
                layers: list[nn.Module] = [ResBlock(config, channels, out)]
                channels = out
                if 2**level in config.attention_resolutions:
                    layers.append(self._attention(channels))
                self._add(Block(*layers), channels)
            if level + 1 < len(config.channel_mult):
                if config.resblock_updown:
                    self._add(Block(ResBlock(config, channels, channels, half_size)), channels)
                else:
                    self._add(Block(Downsample(channels, config.conv_resample)), channels)
        middle: list[nn.Module] = [ResBlock(config, channels, channels)]
        if config.middle_attention:
            middle.append(self._attention(channels))
        self.middle_block = Block(*middle, ResBlock(config, channels, channels))
        self.channels = channels

    def _add(self, block: Block, channels: int) -> None:
        self.input_blocks.append(block)
        self.widths.append(channels)

    def _attention(self, channels: int, second_half: bool = False) -> AttentionBlock:
        config = self.config
        heads = config.heads(channels, second_half)
        return AttentionBlock(channels, heads, config.use_new_attention_order)

    def embed(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        width = self.config.model_channels
        return self.time_embed(timestep_embedding(t, width, cosine_first=True).to(dtype))

    def encode(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The middle block's output and that of every input block."""
        outputs = []
        for block in self.input_blocks:
            x = block(x, embedding)
            outputs.append(x)
        return self.middle_block(x, embedding), outputs


class GuidedUNet(_Encoder):
    """(x_t, t[, labels]) -> eps, and behind it the variances where the network learned them."""

    def __init__(self, config: GuidedConfig) -> None:
        """Random weights.

        Args:
            config:
                Shape of the network.
        """
        super().__init__(config)
        if config.num_classes is not None:
            self.label_emb = nn.Embedding(config.num_classes, 4 * config.model_channels)
        channels, widths = self.channels, list(self.widths)
        self.output_blocks = nn.ModuleList()
        for level, factor in reversed(list(enumerate(config.channel_mult))):
            for i in range(config.num_res_blocks + 1):
                out = int(factor * config.model_channels)
                layers: list[nn.Module] = [ResBlock(config, channels + widths.pop(), out)]
                channels = out
                if 2**level in config.attention_resolutions:
                    layers.append(self._attention(channels, second_half=True))
                if level and i == config.num_res_blocks:
                    if config.resblock_updown:
                        layers.append(ResBlock(config, channels, channels, double_size))
                    else:
                        layers.append(Upsample(channels, config.conv_resample))
                self.output_blocks.append(Block(*layers))
        self.out = nn.Sequential(
            Normalise(channels), nn.SiLU(), nn.Conv2d(channels, config.out_channels, 3, padding=1)
        )

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """The network's output.

        Args:
            x:
                x_t (B, C, H, W) in [-1, 1] plus noise; sides divisible by 2^(levels - 1).
            t:
                Timesteps [B].
            labels:
                Classes [B], for a conditional network and only for that.

        Raises:
            ValueError: Labels are missing, or there is no use for them; a side does not fit.
        """
        classes = self.config.num_classes
        if (classes is None) != (labels is None):
            expected = (
                "none (the network is unconditional)"
                if classes is None
                else f"[B], 0 to {classes - 1}"
            )
            raise ValueError(
                f"labels: got {'none' if labels is None else 'some'}, expected {expected}"
            )
        multiple = 2 ** (len(self.config.channel_mult) - 1)
        if x.shape[-1] % multiple or x.shape[-2] % multiple:
            raise ValueError(
                f"x: got sides {tuple(x.shape[-2:])}, expected multiples of {multiple}"
            )
        dtype = _dtype(self.out[-1])
        embedding = self.embed(t, dtype)
        if labels is not None:
            embedding = embedding + self.label_emb(labels.long())
        h, outputs = self.encode(x.to(dtype), embedding)
        for block in self.output_blocks:
            h = block(torch.cat([h, outputs.pop()], dim=1), embedding)
        return self.out(h)


class AttentionPool(nn.Module):
    """Attention of the mean of all pixels to them, as one feature a picture (Radford et al. 2021)."""

    def __init__(self, tokens: int, channels: int, heads: int, out_channels: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.zeros(channels, tokens))
        self.qkv_proj = nn.Conv1d(channels, 3 * channels, 1)
        self.c_proj = nn.Conv1d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        tokens = torch.cat([flat.mean(dim=2, keepdim=True), flat], dim=2)
        qkv = split_heads(self.qkv_proj(tokens + self.positional_embedding), self.heads, True)
        return self.c_proj(attend(*qkv).flatten(1, 2))[:, :, 0]


class GuidedClassifier(_Encoder):
    """(x_t, t) -> logits of the classes, for noisy pictures."""

    def __init__(self, config: GuidedConfig) -> None:
        """Random weights.

        Args:
            config:
                Shape of the network; `out_channels` is the number of classes.

        Raises:
            ValueError: The pool is unknown, or needs an image size or a head width that is not there.
        """
        super().__init__(config)
        channels, classes = self.channels, config.out_channels
        if config.pool == "attention":
            if config.image_size is None or config.num_head_channels == -1:
                raise ValueError("pool: attention pooling needs image_size and num_head_channels")
            side = config.image_size // 2 ** (len(config.channel_mult) - 1)
            heads = channels // config.num_head_channels
            pool = AttentionPool(side * side + 1, channels, heads, classes)
            self.out = nn.Sequential(Normalise(channels), nn.SiLU(), pool)
        elif config.pool == "adaptive":
            last = nn.Conv2d(channels, classes, 1)
            mean = nn.AdaptiveAvgPool2d(1)
            self.out = nn.Sequential(Normalise(channels), nn.SiLU(), mean, last, nn.Flatten())
        elif config.pool in ("spatial", "spatial_v2"):
            inner = [nn.ReLU()] if config.pool == "spatial" else [Normalise(2048), nn.SiLU()]
            features = sum(self.widths) + channels
            self.out = nn.Sequential(nn.Linear(features, 2048), *inner, nn.Linear(2048, classes))
        else:
            raise ValueError(
                f"pool: got {config.pool!r}, expected attention, adaptive, spatial or spatial_v2"
            )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Logits [B, classes].

        Args:
            x:
                x_t (B, C, H, W).
            t:
                Timesteps [B].

        Raises:
            ValueError: The pictures do not have the size that attention pooling was made for.
        """
        config = self.config
        size = (config.image_size, config.image_size)
        if config.pool == "attention" and tuple(x.shape[-2:]) != size:
            raise ValueError(
                f"x: got {tuple(x.shape[-2:])} pixels, expected {size} of this classifier"
            )
        dtype = _dtype(self.time_embed[0])
        h, outputs = self.encode(x.to(dtype), self.embed(t, dtype))
        if config.pool in ("spatial", "spatial_v2"):
            h = torch.cat([y.mean(dim=(2, 3)) for y in (*outputs, h)], dim=1)
        return self.out(h)

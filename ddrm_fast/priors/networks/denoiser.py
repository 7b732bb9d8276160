"""The network of the default prior: a small convolutional denoiser D(x, sigma).

The preconditioning is that of Karras et al., "Elucidating the design space of diffusion-based
generative models" (2022), table 1; the network inside it is a U-shaped stack of residual blocks
without normalisation layers that works on 2 x 2 pixel blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...machine.heap import kept_memory
from .stages import Box, in_tiles

SIGMA_MIN = 0.002
SIGMA_MAX = 160.0
#: side of the tiles of a stage on a CPU, in places of the finest scale (twice as many pixels)
TILE = 256


@dataclass(frozen=True)
class DenoiserConfig:
    """Shape of a denoiser.

    Attributes:
        channels:
            Width of each scale, finest first; each further scale halves the resolution.
        blocks:
            Residual blocks of each scale on the way down, and again on the way up; one number for
            all scales or one per scale.
        embedding:
            Width of the noise-level embedding.
        sigma_data:
            Standard deviation of the pictures in [-1, 1] that the preconditioning assumes.
    """

    channels: tuple[int, ...] = (64, 96, 192, 256)
    blocks: int | tuple[int, ...] = 2
    embedding: int = 128
    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(int(width) for width in self.channels))
        if not self.channels or min(self.channels) < 1:
            raise ValueError(f"channels: got {self.channels}, expected at least one positive width")
        blocks = self.blocks
        if isinstance(blocks, int):
            blocks = (blocks,) * len(self.channels)
        blocks = tuple(int(count) for count in blocks)
        if len(blocks) != len(self.channels) or min(blocks) < 1:
            raise ValueError(
                f"blocks: got {self.blocks}, expected {len(self.channels)} positive numbers"
            )
        object.__setattr__(self, "blocks", blocks)
        if self.embedding < 2 or self.embedding % 2:
            raise ValueError(f"embedding: got {self.embedding}, expected an even number, 2 or more")
        if not self.sigma_data > 0:
            raise ValueError(f"sigma_data: got {self.sigma_data}, expected a positive number")

    @property
    def multiple(self) -> int:
        """Height and width are padded to a multiple of this inside the network."""
        return 2 ** len(self.channels)

    @property
    def counts(self) -> tuple[int, ...]:
        """Residual blocks of each scale."""
        if isinstance(self.blocks, int):
            return (self.blocks,) * len(self.channels)
        return self.blocks

    @property
    def reach(self) -> int:
        """How far the receptive field extends beyond a block of `multiple` pixels, rounded up to it.

        So pictures that agree within `reach` of such a block give the same output there. Walks from
        the output's first pixel back to the input's: a 3 x 3 convolution reaches one place further.
        """
        first = -1  # tail, on pixel blocks of 2 x 2
        for count in self.counts[:-1]:
            first = (first - 2 * count) // 2
        first -= 2 * self.counts[-1]
        for count in reversed(self.counts[:-1]):
            first = 2 * first - 2 * count
        radius = -2 * (first - 1)  # head
        return radius + -radius % self.multiple


Layer = Callable[[Tensor], Tensor]


class ResidualBlock(nn.Module):
    """x + conv(relu(scale * conv(x) + shift)), scale and shift from the noise level."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.modulation = nn.Linear(embedding, 2 * channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        nn.init.kaiming_normal_(self.second.weight, nonlinearity="linear")
        with torch.no_grad():
            self.second.weight.mul_(0.1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.first(x)
        modulation = self.modulation(embedding).to(hidden.dtype)
        scale, shift = modulation[:, :, None, None].chunk(2, dim=1)
        hidden = torch.addcmul(shift, hidden, scale + 1).relu_()
        return x + self.second(hidden)

    def at(self, embedding: Tensor, dtype: torch.dtype) -> Layer:
        """The block at one noise level, which is part of the first convolution's weights then.

        Args:
            embedding:
                (1, width).
            dtype:
                Of what goes through.
        """
        scale, shift = self.modulation(embedding)[0].float().chunk(2)
        layout = torch.channels_last
        weight = self.first.weight.float() * (scale + 1)[:, None, None, None]
        weight, shift = weight.to(dtype, memory_format=layout), shift.to(dtype)

        def compute(x: Tensor) -> Tensor:
            hidden = F.conv2d(x, weight, shift, padding=1).relu_()
            return self.second(hidden).add_(x)

        return compute


class _Blocks(nn.ModuleList):
    @property
    def reach(self) -> int:
        """How many places away an input may be that an output depends on."""
        return 2 * len(self)

    def at(self, embedding: Tensor, dtype: torch.dtype | None) -> Layer:
        """The blocks for these noise levels; with a dtype, of what goes through, it is one level alone."""
        if dtype is None:
            layers: list[Layer] = [partial(block, embedding=embedding) for block in self]
        else:
            layers = [cast(ResidualBlock, block).at(embedding, dtype) for block in self]

        def compute(x: Tensor) -> Tensor:
            for layer in layers:
                x = layer(x)
            return x

        return compute


class _Backbone(nn.Module):
    """The raw network F: 3 channels in, 3 channels out, sides a multiple of `config.multiple`."""

    frequencies: Tensor

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        widths, embedding = config.channels, config.embedding

        def stack(scale: int) -> _Blocks:
            blocks = range(config.counts[scale])
            return _Blocks(ResidualBlock(widths[scale], embedding) for _ in blocks)

        frequencies = torch.exp(torch.linspace(math.log(0.25), math.log(8.0), embedding // 2))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.embed = nn.Sequential(
            nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.head = nn.Conv2d(12, widths[0], 3, padding=1)
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.down = nn.ModuleList(stack(scale) for scale in range(len(pairs)))
        self.shrink = nn.ModuleList(
            nn.Conv2d(fine, coarse, 2, stride=2, bias=False) for fine, coarse in pairs
        )
        self.middle = stack(len(pairs))
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 2, stride=2, bias=False) for fine, coarse in pairs
        )
        self.up = nn.ModuleList(stack(scale) for scale in range(len(pairs)))
        self.tail = nn.Conv2d(widths[0], 12, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(cast(Tensor, self.tail.bias))

    def forward(self, x: Tensor, noise_level: Tensor, scales: tuple[Tensor, ...]) -> Tensor:
        """c_skip x + c_out F(c_in x) for `scales` = (c_in, c_skip, c_out); x and the result are float32."""
        learning = torch.is_grad_enabled() and (x.requires_grad or self.head.weight.requires_grad)
        whole = learning or torch.compiler.is_compiling()  # which would unroll the tiles
        if whole or x.device.type != "cpu":
            return self._stages(x, noise_level, scales, None)
        together = max(1, 4 * TILE**2 // (x.shape[-2] * x.shape[-1]))  # pictures that are one tile
        if not bool((noise_level == noise_level[:1]).all()):
            together = 1
        parts = zip(*(value.split(together) for value in (x, noise_level, *scales)), strict=True)
        with kept_memory():
            done = [self._stages(part, level, rest, TILE) for part, level, *rest in parts]
        return done[0] if len(done) == 1 else torch.cat(done)

    def _stages(
        self, x: Tensor, noise_level: Tensor, scales: Sequence[Tensor], side: int | None
    ) -> Tensor:
        """For a side of tiles, all noise levels have to be the same."""
        c_in, c_skip, c_out = scales
        dtype = None if side is None else _computes_in(self.head.weight)
        embedding = self._embedding(noise_level if side is None else noise_level[:1])
        ways = cast("list[list[_Blocks]]", [list(self.down), [self.middle], list(self.up)])
        down, middle, up = ([blocks.at(embedding, dtype) for blocks in way] for way in ways)

        def stage(scale: int, reach: int, compute: Callable[[Box], list[Tensor]]) -> list[Tensor]:
            size = (x.shape[-2] >> scale + 1, x.shape[-1] >> scale + 1)
            return list(in_tiles(size, side and side >> scale // 2, reach, compute))

        def enter(part: Tensor) -> Tensor:
            blocks = F.pixel_unshuffle((part * c_in).to(self.head.weight.dtype), 2)
            return self.head(blocks.contiguous(memory_format=torch.channels_last))

        def leave(h: Tensor, part: Tensor) -> Tensor:
            return part * c_skip + F.pixel_shuffle(self.tail(h), 2).float() * c_out

        def descend(scale: int, source: Tensor) -> list[Tensor]:
            def compute(box: Box) -> list[Tensor]:
                h = box.of(source)
                h = down[scale](h if scale else enter(h))
                return [h, self.shrink[scale](h)]

            return stage(scale, ways[0][scale].reach + (not scale), compute)

        def ascend(scale: int, coarse: Tensor, skip: Tensor) -> Tensor:
            def compute(box: Box) -> list[Tensor]:
                h = self.grow[scale](box.of(coarse)) + box.of(skip)
                h = up[scale](h)
                return [h if scale else leave(h, box.of(x))]

            return stage(scale, ways[2][scale].reach + (not scale), compute)[0]

        last = len(self.down)
        if last == 0:
            return leave(middle[0](enter(x)), x)
        h, skips = x, []
        for scale in range(last):
            skip, h = descend(scale, h)
            skips.append(skip)
        source = h
        (h,) = stage(last, self.middle.reach, lambda box: [middle[0](box.of(source))])
        for scale in reversed(range(last)):
            h = ascend(scale, h, skips.pop())
        return h

    def _embedding(self, noise_level: Tensor) -> Tensor:
        phase = noise_level.float()[:, None] * self.frequencies.float()[None]
        features = torch.cat([phase.cos(), phase.sin()], dim=1)
        return self.embed(features.to(self.head.weight.dtype))


def _computes_in(weight: Tensor) -> torch.dtype:
    """What convolutions with such weights give."""
    if torch.is_autocast_enabled(weight.device.type):
        return torch.get_autocast_dtype(weight.device.type)
    return weight.dtype


def _pad(x: Tensor, multiple: int) -> Tensor:
    bottom, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    if bottom:
        mode = "reflect" if bottom < x.shape[-2] else "replicate"
        x = F.pad(x, (0, 0, 0, bottom), mode=mode)
    if right:
        mode = "reflect" if right < x.shape[-1] else "replicate"
        x = F.pad(x, (0, right, 0, 0), mode=mode)
    return x


class Denoiser(nn.Module):
    """Estimate of a picture from the picture plus white noise.

    D(x, sigma) = c_skip x + c_out F(c_in x, log sigma), with v = sigma^2 + sigma_data^2,
    c_skip = sigma_data^2 / v, c_out = sigma sigma_data / sqrt(v), c_in = 1 / sqrt(v).

    Attributes:
        config:
            Shape of the network.
        training_summary:
            How the weights were trained; empty where they are fresh.
        sha256:
            Digest of the weights file's tensors, hex; empty where they are fresh.
    """

    def __init__(self, config: DenoiserConfig | None = None) -> None:
        """Build a denoiser with fresh weights.

        Args:
            config:
                Shape of the network; the default is the shipped one.
        """
        super().__init__()
        self.config = config or DenoiserConfig()
        self.training_summary: dict[str, Any] = {}
        self.sha256 = ""
        self.net = _Backbone(self.config)

    def forward(self, x: Tensor, sigma: Tensor, gain: Tensor | None = None) -> Tensor:
        """Denoise a batch of pictures.

        Args:
            x:
                Noisy pictures, float tensor (B, 3, H, W): a picture in [-1, 1] plus sigma times
                white noise. H and W are free (1 or more).
            sigma:
                Standard deviation of the noise in units of x, float tensor (B,), (1,) or (),
                trained for 0.002 to 160.
            gain:
                Float tensor (B,): x is multiplied by this first, which costs nothing here.

        Returns:
            The estimate of the clean pictures (the posterior mean), shape and dtype of x.

        Raises:
            ValueError: A shape does not fit.
            TypeError: x or sigma is not a floating-point tensor.
        """
        self._check(x, sigma)
        if not len(x):
            return x
        height, width = x.shape[-2:]
        noisy = x.float()
        level = sigma.to(device=x.device, dtype=torch.float32).reshape(-1).expand(x.shape[0])
        s = level[:, None, None, None]
        data = self.config.sigma_data
        variance = s.square() + data**2
        c_in, c_skip, c_out = variance.rsqrt(), data**2 / variance, s * data * variance.rsqrt()
        if gain is not None:
            factor = gain.to(s).view(-1, 1, 1, 1)
            c_in, c_skip = c_in * factor, c_skip * factor
        estimate = self.net(_pad(noisy, self.config.multiple), level.log(), (c_in, c_skip, c_out))
        return estimate[..., :height, :width].to(x.dtype)

    @staticmethod
    def _check(x: Tensor, sigma: Tensor) -> None:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            given = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"x: got {given}, expected a floating-point tensor")
        if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < 1:
            raise ValueError(f"x: got shape {tuple(x.shape)}, expected (B, 3, H, W), H and W >= 1")
        if not isinstance(sigma, Tensor) or not sigma.is_floating_point():
            given = sigma.dtype if isinstance(sigma, Tensor) else type(sigma).__name__
            raise TypeError(f"sigma: got {given}, expected a floating-point tensor")
        if sigma.ndim > 1 or sigma.numel() not in (1, x.shape[0]):
            raise ValueError(
                f"sigma: got shape {tuple(sigma.shape)}, expected ({x.shape[0]},), (1,) or ()"
            )


def widened(source: Denoiser, wide: Denoiser) -> Denoiser:
    """Takes a network's weights into a wider one, which computes the same at first.

    The old channels listen to the new ones with weight 0, the new ones to all of them with the weights that
    they have; so what was learned stays, and the rest begins to learn at once (the idea of Chen, Goodfellow
    and Shlens, "Net2Net", 2016).

    Args:
        source:
            The trained network.
        wide:
            One with as many scales and blocks, no scale narrower; it is changed.

    Returns:
        `wide`.

    Raises:
        ValueError: The networks have other numbers of scales or blocks, or a scale is narrower.
    """
    old, new = source.config, wide.config
    same = (old.blocks, old.embedding, old.sigma_data) == (
        new.blocks,
        new.embedding,
        new.sigma_data,
    )
    if not same or any(a > b for a, b in zip(old.channels, new.channels, strict=False)):
        raise ValueError(
            f"channels: got {new}, expected none narrower, and the rest the same, as that of the weights "
            f"to start from: {old}"
        )
    given = source.state_dict()
    with torch.no_grad():
        for name, value in wide.named_parameters():
            _widen(value, given[name].to(value), name)
    return wide


def _widen(value: Tensor, given: Tensor, name: str) -> None:
    if given.shape == value.shape:
        value.copy_(given)
    elif ".modulation." in name:  # scales, then shifts
        for mine, old in zip(value.chunk(2), given.chunk(2), strict=True):
            mine[: len(old)] = old
    elif given.ndim == 1:
        value[: len(given)] = given
    else:  # a transposed convolution has its inputs first
        mine = value.transpose(0, 1) if ".grow." in name else value
        old = given.transpose(0, 1) if ".grow." in name else given
        outputs, inputs = old.shape[:2]
        mine[:outputs, inputs:] = 0
        mine[:outputs, :inputs] = old

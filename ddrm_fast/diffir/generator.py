"""DIRformer: the generator that restores in one pass, guided by the prior vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import Downsample, Level, OverlapPatchEmbed, TransformerBlock, Upsample, Upsampler
from .config import DiffIRConfig


class DIRformer(nn.Module):
    """Four levels down and up again (Xia et al. 2023, figure 2); (x, z) -> picture.

    Args:
        config:
            Its shape.
    """

    def __init__(self, config: DiffIRConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.dim * 2**level for level in range(4)]

        def level(count: int, index: int, wide: bool = False) -> Level:
            channels = 2 * widths[0] if wide else widths[index]
            return Level(
                *(
                    TransformerBlock(
                        channels, config.heads[index], config.ffn_expansion_factor, config.bias,
                        config.LayerNorm_type,
                    )
                    for _ in range(count)
                )
            )  # fmt: skip

        blocks = config.num_blocks
        self.patch_embed = OverlapPatchEmbed(config.generator_channels, config.dim)
        self.encoder_level1 = level(blocks[0], 0)
        self.down1_2 = Downsample(widths[0])
        self.encoder_level2 = level(blocks[1], 1)
        self.down2_3 = Downsample(widths[1])
        self.encoder_level3 = level(blocks[2], 2)
        self.down3_4 = Downsample(widths[2])
        self.latent = level(blocks[3], 3)
        self.up4_3 = Upsample(widths[3])
        self.reduce_chan_level3 = nn.Conv2d(widths[3], widths[2], 1, bias=config.bias)
        self.decoder_level3 = level(blocks[2], 2)
        self.up3_2 = Upsample(widths[2])
        self.reduce_chan_level2 = nn.Conv2d(widths[2], widths[1], 1, bias=config.bias)
        self.decoder_level2 = level(blocks[1], 1)
        self.up2_1 = Upsample(widths[1])
        self.decoder_level1 = level(blocks[0], 0, wide=True)
        self.refinement = None
        if config.task != "inpainting":
            self.refinement = level(config.num_refinement_blocks, 0, wide=True)
        wide, out = 2 * widths[0], config.out_channels
        if config.task == "super_resolution":
            self.tail = nn.Sequential(Upsampler(4, wide), nn.Conv2d(wide, out, 3, padding=1))
        else:
            self.output = nn.Conv2d(wide, out, 3, padding=1, bias=config.bias)

    def fold(self, x: Tensor) -> Tensor:
        """The input as the first convolution sees it."""
        return F.pixel_unshuffle(x, self.config.unshuffle) if self.config.unshuffle > 1 else x

    def add_input(self, result: Tensor, x: Tensor) -> Tensor:
        """The end: deblurring adds the input, super-resolution its nearest enlargement."""
        if self.config.task == "deblurring":
            return result + x
        if self.config.task == "super_resolution":
            return result + F.interpolate(x, scale_factor=self.config.scale, mode="nearest")
        return result

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:
        """The restored picture.

        Args:
            x:
                (B, C, H, W) in [0, 1]; height and width are multiples of ``config.multiple``.
            prior:
                z, (B, 256).

        Returns:
            (B, 3, H scale, W scale).
        """
        level1 = self.encoder_level1(self.patch_embed(self.fold(x)), prior)
        level2 = self.encoder_level2(self.down1_2(level1), prior)
        level3 = self.encoder_level3(self.down2_3(level2), prior)
        h = self.up4_3(self.latent(self.down3_4(level3), prior))
        h = self.reduce_chan_level3(torch.cat([h, level3], dim=1))
        h = self.up3_2(self.decoder_level3(h, prior))
        h = self.reduce_chan_level2(torch.cat([h, level2], dim=1))
        h = self.up2_1(self.decoder_level2(h, prior))
        h = self.decoder_level1(torch.cat([h, level1], dim=1), prior)
        if self.refinement is not None:
            h = self.refinement(h, prior)
        last = self.tail if self.config.task == "super_resolution" else self.output
        return self.add_input(last(h), x)

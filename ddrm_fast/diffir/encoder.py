"""CPEN: the compact encoder of a picture into the prior vector (Xia et al. 2023, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.1


def _act() -> nn.LeakyReLU:
    return nn.LeakyReLU(SLOPE)


class ResBlock(nn.Module):
    """conv, LeakyReLU, conv, plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            _act(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class CPEN(nn.Module):
    """Folded pictures -> (B, 4 n_feats).

    Args:
        in_channels:
            Channels of the folded input, with the ground truth's in stage 1.
        n_encoder_res:
            Residual blocks.
        fold:
            How much the input is folded (the ground truth always by 4).
        n_feats:
            Width; 64 in the published networks.
    """

    def __init__(self, in_channels: int, n_encoder_res: int, fold: int, n_feats: int = 64) -> None:
        super().__init__()
        self.fold = fold
        layers: list[nn.Module] = [nn.Conv2d(in_channels, n_feats, 3, padding=1), _act()]
        layers += [ResBlock(n_feats) for _ in range(n_encoder_res)]
        widths = (n_feats, 2 * n_feats, 2 * n_feats, 4 * n_feats)
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Conv2d(before, after, 3, padding=1), _act()]
        self.E = nn.Sequential(*layers)
        width = 4 * n_feats
        self.mlp = nn.Sequential(nn.Linear(width, width), _act(), nn.Linear(width, width), _act())

    @property
    def radius(self) -> int:
        """How far a pixel of the folded picture is seen by the convolutions."""
        return sum(1 for layer in self.modules() if isinstance(layer, nn.Conv2d))

    def folded(self, x: Tensor, gt: Tensor | None = None) -> Tensor:
        """What the first convolution sees."""
        x = F.pixel_unshuffle(x, self.fold) if self.fold > 1 else x
        return x if gt is None else torch.cat([x, F.pixel_unshuffle(gt, 4)], dim=1)

    def forward(self, x: Tensor, gt: Tensor | None = None) -> Tensor:
        """The vector.

        Args:
            x:
                The input picture, (B, C, H, W).
            gt:
                The ground truth (stage 1), (B, 3, H scale, W scale), or None.
        """
        return self.mlp(self.E(self.folded(x, gt)).mean(dim=(2, 3)))

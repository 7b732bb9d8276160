"""Pixels whose clean value is known before a run, such as those that a neighbouring window fixed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops import guard


@dataclass(frozen=True, eq=False)
class Known:
    """Pixels that are fixed: every step noises them to its own level, the last one ends on them.

    A known pixel of x_next takes ``a image + b eps + d z`` with the weights of the null space, so it is
    what the step would give if the network's x0 were right there (Wang et al. 2023, "Unlimited-Size
    Diffusion Restoration", for DDNM's weights). The measurement plays no part in it.

    Args:
        mask:
            True where a pixel is known, bool (B or 1, 1 or C, H, W).
        image:
            Its value, (B or 1, C, H, W), of the state's dtype; what stands elsewhere is not read.
            In :func:`ddrm_fast.restore` in [0, 1], in :func:`ddrm_fast.samplers.run` in [-1, 1].
    """

    mask: Tensor
    image: Tensor

    def checked(self, shape: tuple[int, ...], like: Tensor) -> Known | None:
        """The same, contiguous; None where no pixel is known.

        Args:
            shape:
                (B, C, H, W) of the state.
            like:
                A tensor of its dtype, on its device.

        Raises:
            ValueError: mask or image do not fit, or a known pixel is NaN or infinite.
        """
        for name in ("mask", "image"):
            if not isinstance(getattr(self, name), Tensor):
                given = type(getattr(self, name)).__name__
                raise ValueError(f"known.{name}: expected a tensor, got {given}")
        image, mask = guard.known_region(self.image.detach(), self.mask, like, shape, "known.")
        if not mask.any():
            return None
        bad = int((mask & ~torch.isfinite(image)).sum())
        if bad:
            raise ValueError(f"known.image: has {bad} NaN or infinite known pixels")
        return Known(mask, image)

    def select(self, images: Tensor) -> Known:
        """Those of some images of the batch."""
        mask, image = (
            x if x.shape[0] == 1 else x.index_select(0, images) for x in (self.mask, self.image)
        )
        return Known(mask, image)

    def put(self, x: Tensor) -> Tensor:
        """Pictures with the known pixels in their place."""
        return torch.where(self.mask, self.image, x)

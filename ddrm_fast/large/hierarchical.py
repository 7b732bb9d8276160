"""Hierarchical restoration: the picture small first, then larger ones that keep its low frequencies.

"Unlimited-Size Diffusion Restoration" (Wang et al. 2023), section 3.3: a window sees too little of a large
picture to fill a hole larger than itself, or to agree with far windows on colours. A small picture
does; the next level is then held to its means of blocks,

    x0 <- A_sr_pinv x_low + (I - A_sr_pinv A_sr) x0,

before the measurement is used: a composition of two operators.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..operators import Operator


@dataclass(frozen=True)
class Level:
    """A restoration problem of one size.

    Args:
        operator, y, sigma_y:
            The degradation, its measurement and the measurement's noise, float64 [B or 1].
    """

    operator: Operator
    y: Tensor
    sigma_y: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of its pictures."""
        return self.operator.image_shape(self.y)

    def coarse(self, factor: int) -> Level:
        """The problem of a picture whose pixels are means of factor x factor."""
        operator, y, noise = self.operator.coarse(self.y, factor)
        return Level(operator, y, self.sigma_y * noise)


def levels_of(level: Level, levels: int, factor: int) -> list[Level]:
    """A problem and its smaller ones, the largest first.

    Raises:
        ValueError: a size is no multiple of the factor, or the measurement has no small counterpart.
    """
    found = [level]
    for _ in range(levels):
        shape = found[-1].shape
        if shape[1] % factor or shape[2] % factor:
            raise ValueError(
                f"levels: with {levels} levels height and width must be multiples of "
                f"{factor**levels}, got {level.shape[1]} x {level.shape[2]}"
            )
        found.append(found[-1].coarse(factor))
    return found

"""Squares of a picture in which nothing is measured."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


class Holes:
    """The squares without a measured channel, of any picture of a batch.

    Args:
        gain:
            (B, C, H, W); 0: not measured.
    """

    def __init__(self, gain: Tensor) -> None:
        known = (gain != 0).any(dim=1)
        self.most = min(known.shape[1:])
        # of everything above and to the left, from which the sum over any square follows
        self.sums = pad(known.to(torch.int32).cumsum(1).cumsum(2), (1, 0, 1, 0))

    def any(self, side: int) -> bool:
        """Whether there is one of this side."""
        if side > self.most:
            return False
        above, below = self.sums[:, :-side], self.sums[:, side:]
        inside = below[..., side:] - below[..., :-side] - above[..., side:] + above[..., :-side]
        return bool((inside == 0).any())

    def widest(self) -> int:
        """Side of the largest one, 0: there is none."""
        low, high = 0, self.most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.any(middle) else (low, middle - 1)
        return low

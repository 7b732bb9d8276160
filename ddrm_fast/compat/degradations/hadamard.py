"""Compressed sensing with Walsh-Hadamard coefficients of the whole channel."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import operators
from ...ops import fwht
from .base import Functions, flat, indices, pad, whole


class WalshHadamardCS(Functions):
    """y = the first img_dim^2 / ratio coefficients in the order of ``perm``; s = 1.

    Natural order, divided by img_dim. Coefficients are (k, channel) with the channel fastest.
    """

    operator: operators.WalshHadamardCS
    shape: tuple[int, int, int]

    def __init__(
        self,
        channels: int,
        img_dim: int,
        ratio: int,
        perm: Tensor,
        device: torch.device | str,
    ) -> None:
        self.channels, self.img_dim = whole("channels", channels), whole("img_dim", img_dim)
        if img_dim & (img_dim - 1):
            raise ValueError(f"img_dim: expected a power of two, got {img_dim}")
        self.ratio = whole("ratio", ratio)
        if img_dim**2 % ratio:
            raise ValueError(
                f"ratio: expected a divisor of img_dim^2 = {img_dim**2} (a power of two), got {ratio}"
            )
        self.perm = indices("perm", perm, img_dim**2).to(device)
        if len(self.perm) != img_dim**2:
            raise ValueError(
                f"perm: expected all {img_dim**2} indices in some order, got {len(self.perm)}"
            )
        self.shape = (channels, img_dim, img_dim)
        self._kept = img_dim**2 // ratio
        self.operator = operators.WalshHadamardCS((img_dim, img_dim), kept=self.perm[: self._kept])

    def _entries(self) -> int:
        return self.channels * self._kept

    def singulars(self) -> Tensor:
        return torch.ones(self._entries(), device=self.perm.device)

    def arrange(self, vec: Tensor) -> Tensor:
        """The pixels in the order of coefficients, without V^T."""
        planes = self.image(vec).flatten(2).index_select(2, self.perm.to(vec.device))
        return flat(planes.mT)

    def V(self, vec: Tensor) -> Tensor:
        coefficients = flat(self.image(vec)).unflatten(1, (self.img_dim**2, self.channels)).mT
        planes = coefficients.new_empty(coefficients.shape)
        planes.index_copy_(2, self.perm.to(vec.device), coefficients)
        return flat(fwht(planes.view(len(vec), *self.shape)))

    def Vt(self, vec: Tensor) -> Tensor:
        return self.arrange(fwht(self.image(vec)))

    def U(self, vec: Tensor) -> Tensor:
        return self.measurement(vec, self._entries()).clone()

    Ut = U

    def add_zeros(self, vec: Tensor) -> Tensor:
        return pad(vec, self.channels * self.img_dim**2)

    def to_operator(self, y: Tensor, name: str = "vec") -> Tensor:
        y = self.measurement(y, self._entries(), name)
        return y.view(len(y), self._kept, self.channels).mT.contiguous()

    def from_operator(self, y: Tensor) -> Tensor:
        return flat(y.mT)

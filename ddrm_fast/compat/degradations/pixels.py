"""Degradations of single pixels: noise, missing pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import operators
from .base import Functions, flat, indices, pad, whole


class Denoising(Functions):
    """y = x: every singular value is 1. Vectors are channel-major."""

    def __init__(self, channels: int, img_dim: int, device: torch.device | str) -> None:
        self.channels, self.img_dim = whole("channels", channels), whole("img_dim", img_dim)
        self.shape = (channels, img_dim, img_dim)
        self.device = torch.device(device)
        self.operator = operators.Denoising()

    def V(self, vec: Tensor) -> Tensor:
        return flat(self.image(vec)).clone()

    Vt = U = Ut = add_zeros = V

    def singulars(self) -> Tensor:
        return torch.ones(self.channels * self.img_dim**2, device=self.device)

    def to_operator(self, y: Tensor, name: str = "vec") -> Tensor:
        return self.image(y, name)


class Inpainting(Functions):
    """y = the entries that are not missing, in ascending order of 3 pixel + channel (for 3 channels).

    Coefficients: first the kept entries in that order, then the missing ones as given.
    """

    def __init__(
        self, channels: int, img_dim: int, missing_indices: Tensor, device: torch.device | str
    ) -> None:
        self.channels, self.img_dim = whole("channels", channels), whole("img_dim", img_dim)
        self.shape = (channels, img_dim, img_dim)
        pixels = img_dim**2
        missing = indices("missing_indices", missing_indices, channels * pixels).to(device)
        known = torch.ones(channels * pixels, dtype=torch.bool, device=missing.device)
        known[missing] = False
        self.missing_indices = missing
        self.kept_indices = known.nonzero().flatten()
        mask = known.view(pixels, channels).mT.reshape(1, *self.shape)
        # whole pixels are missing: one plane serves all channels, and is less to read in each step
        shared = bool((mask == mask[:, :1]).all())
        self.operator = operators.Inpainting(mask[:, :1] if shared else mask)
        # places in the channel-major image
        self._kept, self._missing = (
            (i % channels) * pixels + i // channels for i in (self.kept_indices, missing)
        )

    def singulars(self) -> Tensor:
        return torch.ones(len(self._kept), device=self._kept.device)

    def V(self, vec: Tensor) -> Tensor:
        vec = flat(self.image(vec))
        places = torch.cat((self._kept, self._missing)).to(vec.device)
        return torch.empty_like(vec).index_copy_(1, places, vec)

    def Vt(self, vec: Tensor) -> Tensor:
        vec = flat(self.image(vec))
        return vec.index_select(1, torch.cat((self._kept, self._missing)).to(vec.device))

    def U(self, vec: Tensor) -> Tensor:
        return self.measurement(vec, len(self._kept)).clone()

    Ut = U

    def add_zeros(self, vec: Tensor) -> Tensor:
        return pad(vec, self.channels * self.img_dim**2)

    def to_operator(self, y: Tensor, name: str = "vec") -> Tensor:
        y = self.measurement(y, len(self._kept), name)
        image = y.new_zeros(y.shape[0], self.channels * self.img_dim**2)
        return image.index_copy_(1, self._kept.to(y.device), y).unflatten(1, self.shape)

    def from_operator(self, y: Tensor) -> Tensor:
        return flat(y).index_select(1, self._kept.to(y.device))

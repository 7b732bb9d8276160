"""Degradations that average groups of numbers: the pixels of a block, the channels of a pixel."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ... import operators
from .base import Functions, dividing, flat, pad, whole

GREY = (0.3333, 0.3334, 0.3333)


class Group(Functions, ABC):
    """One row of weights applied to every group; its small SVD is the basis of V.

    A ``basis`` is the matrix of right singular vectors, its first column the measured direction up to
    sign; LAPACK chooses the others, so they may differ from machine to machine.
    """

    def _decompose(self, row: Tensor, basis: Tensor | None, device: torch.device | str) -> None:
        u, s, vh = torch.linalg.svd(row[None])
        v = vh.mT if basis is None else _orthogonal(basis, len(row))
        sign = torch.sign(row @ v[:, 0])
        if float((row / s - sign * v[:, 0]).abs().max()) > 1e-4:
            raise ValueError(
                "basis: its first column has to be the measured direction (up to sign)"
            )
        self.U_small, self.singulars_small = sign.view(1, 1).to(device), s.to(device)
        self.V_small = v.contiguous().to(device)

    @property
    def Vt_small(self) -> Tensor:
        return self.V_small.mT

    def U(self, vec: Tensor) -> Tensor:
        return self.U_small[0, 0].to(vec) * self.measurement(vec, self._entries())

    Ut = U

    channels: int
    img_dim: int

    @abstractmethod
    def _entries(self) -> int:
        """Length of a measurement."""

    def singulars(self) -> Tensor:
        return self.singulars_small.repeat(self._entries())

    def add_zeros(self, vec: Tensor) -> Tensor:
        return pad(vec, self.channels * self.img_dim**2)


def _orthogonal(basis: Tensor, n: int) -> Tensor:
    basis = torch.as_tensor(basis).detach().cpu().float()
    if basis.shape != (n, n):
        raise ValueError(f"basis: expected ({n}, {n}), got {tuple(basis.shape)}")
    if not float((basis.mT @ basis - torch.eye(n)).abs().max()) <= 1e-4:
        raise ValueError("basis: is not orthogonal")
    return basis


class SuperResolution(Group):
    """y = means of ratio x ratio blocks, every channel by itself; s = 1 / ratio.

    Coefficients: the measured one of every block (channel, row, column), then the others, block by
    block.
    """

    def __init__(
        self,
        channels: int,
        img_dim: int,
        ratio: int,
        device: torch.device | str,
        *,
        basis: Tensor | None = None,
    ) -> None:
        self.channels, self.img_dim = whole("channels", channels), whole("img_dim", img_dim)
        self.ratio = dividing(ratio, img_dim)
        self.y_dim = img_dim // ratio
        self.shape = (channels, img_dim, img_dim)
        self._decompose(torch.full((ratio**2,), 1 / ratio**2), basis, device)
        self.operator = operators.SuperResolution(ratio)

    def _entries(self) -> int:
        return self.channels * self.y_dim**2

    def _blocks(self, image: Tensor) -> Tensor:
        """(B, blocks, ratio^2), a block row by row."""
        r, n = self.ratio, self.y_dim
        blocks = image.reshape(len(image), self.channels, n, r, n, r).transpose(3, 4)
        return blocks.reshape(image.shape[0], self._entries(), r * r)

    def _unblock(self, blocks: Tensor) -> Tensor:
        r, n = self.ratio, self.y_dim
        image = blocks.reshape(len(blocks), self.channels, n, n, r, r).transpose(3, 4)
        return image.reshape(blocks.shape[0], self.channels * self.img_dim**2)

    def arrange(self, vec: Tensor) -> Tensor:
        """The numbers of each block in the order of coefficients, without V^T."""
        blocks = self._blocks(self.image(vec))
        return torch.cat((blocks[..., 0], blocks[..., 1:].flatten(1)), dim=1)

    def V(self, vec: Tensor) -> Tensor:
        vec = flat(self.image(vec))
        measured, rest = vec[:, : self._entries()], vec[:, self._entries() :]
        rest = rest.unflatten(1, (self._entries(), self.ratio**2 - 1))
        blocks = torch.cat((measured[..., None], rest), dim=2)
        return self._unblock(blocks @ self.Vt_small.to(vec))

    def Vt(self, vec: Tensor) -> Tensor:
        blocks = self._blocks(self.image(vec)) @ self.V_small.to(vec)
        return torch.cat((blocks[..., 0], blocks[..., 1:].flatten(1)), dim=1)

    def to_operator(self, y: Tensor, name: str = "vec") -> Tensor:
        y = self.measurement(y, self._entries(), name)
        return y.view(len(y), self.channels, self.y_dim, self.y_dim)


class Colorization(Group):
    """y = 0.3333 R + 0.3334 G + 0.3333 B of each pixel; s = norm of these weights.

    Coefficients are channel-major: the measured one of every pixel, then the two others.
    """

    def __init__(
        self, img_dim: int, device: torch.device | str, *, basis: Tensor | None = None
    ) -> None:
        self.channels, self.img_dim = 3, whole("img_dim", img_dim)
        self.shape = (3, img_dim, img_dim)
        self._decompose(torch.tensor(GREY), basis, device)
        self.operator = operators.Colorization(GREY)

    def _entries(self) -> int:
        return self.img_dim**2

    def arrange(self, vec: Tensor) -> Tensor:
        """The channels of each pixel in the order of coefficients, without V^T."""
        return flat(self.image(vec))

    def V(self, vec: Tensor) -> Tensor:
        return flat(self.V_small.to(vec) @ self.image(vec).flatten(2))

    def Vt(self, vec: Tensor) -> Tensor:
        return flat(self.Vt_small.to(vec) @ self.image(vec).flatten(2))

    def to_operator(self, y: Tensor, name: str = "vec") -> Tensor:
        return self.measurement(y, self._entries(), name).unflatten(
            1, (1, self.img_dim, self.img_dim)
        )

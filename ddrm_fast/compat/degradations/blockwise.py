"""Block compressed sensing: coefficients of 32 x 32 blocks in a random orthogonal basis."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import operators
from .base import Functions, flat, pad, whole

BLOCK = 32


class BlockCS(Functions):
    """y = the first int(1024 ratio) coefficients of each block of 32 x 32; s = 1.

    Coefficients: the measured ones block by block (channel, row, column), then all others likewise. The
    measured directions are uniformly random, from torch's global generator.

    Args:
        basis:
            Orthonormal columns to use instead, (1024, k) with k at least the number that is kept;
            completed to a square where k < 1024.
    """

    operator: operators.BlockCS
    shape: tuple[int, int, int]

    def __init__(
        self,
        channels: int,
        img_dim: int,
        ratio: float,
        device: torch.device | str,
        *,
        basis: Tensor | None = None,
    ) -> None:
        self.channels, self.img_dim = whole("channels", channels), whole("img_dim", img_dim)
        if img_dim % BLOCK:
            raise ValueError(f"img_dim: expected a multiple of {BLOCK}, got {img_dim}")
        n = BLOCK**2
        self.cs_size = int(n * ratio)
        if not 0 < ratio <= 1 or self.cs_size < 1:
            raise ValueError(f"ratio: expected 1/{n} to 1, got {ratio}")
        self.ratio, self.y_dim = BLOCK, img_dim // BLOCK
        self.shape = (channels, img_dim, img_dim)
        self.V_small = _square(basis, n, self.cs_size).to(device)
        self.operator = operators.BlockCS(BLOCK, keep=self.cs_size, basis=self.V_small)

    @property
    def Vt_small(self) -> Tensor:
        return self.V_small.mT

    def _blocks(self) -> int:
        return self.channels * self.y_dim**2

    def _entries(self) -> int:
        return self._blocks() * self.cs_size

    def singulars(self) -> Tensor:
        return torch.ones(self._entries(), device=self.V_small.device)

    def V(self, vec: Tensor) -> Tensor:
        vec = flat(self.image(vec))
        split, rest = self._entries(), BLOCK**2 - self.cs_size
        measured = vec[:, :split].reshape(len(vec), self._blocks(), self.cs_size)
        others = vec[:, split:].reshape(len(vec), self._blocks(), rest)
        blocks = torch.cat((measured, others), dim=2)
        return flat(self.operator.V(blocks.unflatten(1, (self.channels, self.y_dim, self.y_dim))))

    def Vt(self, vec: Tensor) -> Tensor:
        c = self.operator.Vt(self.image(vec))
        return torch.cat((flat(c[..., : self.cs_size]), flat(c[..., self.cs_size :])), dim=1)

    def U(self, vec: Tensor) -> Tensor:
        return self.measurement(vec, self._entries()).clone()

    Ut = U

    def add_zeros(self, vec: Tensor) -> Tensor:
        return pad(vec, self.channels * self.img_dim**2)

    def to_operator(self, y: Tensor, name: str = "vec") -> Tensor:
        y = self.measurement(y, self._entries(), name)
        return y.view(len(y), self.channels, self.y_dim, self.y_dim, self.cs_size)


def _square(basis: Tensor | None, n: int, keep: int) -> Tensor:
    if basis is None:
        return _random_columns(torch.randn(n, keep))
    basis = torch.as_tensor(basis).detach().cpu().float()
    if basis.dim() != 2 or basis.shape[0] != n or not keep <= basis.shape[1] <= n:
        raise ValueError(f"basis: expected ({n}, {keep} to {n}), got {tuple(basis.shape)}")
    k = basis.shape[1]
    if not float((basis.mT @ basis - torch.eye(k)).abs().max()) <= 1e-4:
        raise ValueError("basis: its columns are not orthonormal")
    if k == n:
        return basis
    # the complement: what a QR of (basis, noise) adds
    q, _ = torch.linalg.qr(torch.cat((basis, torch.randn(n, n - k)), dim=1).double())
    return torch.cat((basis, q[:, k:].float()), dim=1)


def _random_columns(noise: Tensor) -> Tensor:
    """An orthogonal matrix whose first columns, one for each of ``noise``, are uniformly random among
    orthonormal ones (Mezzadri 2007, section 5); the others complete it."""
    q, r = torch.linalg.qr(noise, mode="complete")
    sign = torch.where(r.diagonal() < 0, -1.0, 1.0)
    q[:, : len(sign)] *= sign
    return q

"""What follows from a task's parameters or is drawn at random, once, and stored with the measurement.

The functions that :class:`ddrm_fast.registry.Task` names as ``prepare``, ``(values, arrays, image_shape,
seed)``, which add to both dictionaries; and those that make an operator of what was drawn.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..operators import BlockCS, WalshHadamardCS
from ..operators.base import Shape


def boundary(
    values: dict[str, Any], arrays: dict[str, Tensor], image_shape: Shape, seed: int | None
) -> None:
    """The boundary of a blur, where it was not given."""
    if values.get("boundary") is None:
        values["boundary"] = boundary_of(arrays["kernel"])


def boundary_of(kernel: Tensor) -> str:
    """ "reflect" where the cosine transform diagonalises the blur, else "periodic".

    Args:
        kernel:
            (kh, kw). Reflecting boundaries want odd sides and symmetry under each flip by itself.
    """
    odd = kernel.shape[0] % 2 and kernel.shape[1] % 2
    close = 1e-6 * float(kernel.abs().max())
    symmetric = all(torch.allclose(kernel, kernel.flip(k), rtol=0, atol=close) for k in (0, 1))
    return "reflect" if odd and symmetric else "periodic"


def kept_coefficients(
    values: dict[str, Any], arrays: dict[str, Tensor], image_shape: Shape, seed: int | None
) -> None:
    """Indices of the Walsh-Hadamard coefficients that are kept."""
    _, height, width = image_shape
    arrays["kept"] = WalshHadamardCS((height, width), values["ratio"], seed=seed or 0).kept


def walsh_hadamard(size: tuple[int, int], kept: Tensor) -> WalshHadamardCS:
    """The operator of stored indices."""
    return WalshHadamardCS(size, kept=kept)


def random_basis(
    values: dict[str, Any], arrays: dict[str, Tensor], image_shape: Shape, seed: int | None
) -> None:
    """The orthogonal basis of the blocks, and how many of its coefficients are kept."""
    drawn = BlockCS(values["block"], values["ratio"], seed=seed or 0)
    values["keep"], arrays["basis"] = drawn.keep, drawn.basis.float()


def block_cs(block: int, keep: int, basis: Tensor) -> BlockCS:
    """The operator of a stored basis."""
    return BlockCS(block, keep=keep, basis=basis)

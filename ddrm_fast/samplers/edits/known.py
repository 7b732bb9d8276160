"""Pixels whose clean value is known before a run, such as those that a neighbouring window fixed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from ... import ops
from ...operators import Operator
from ...ops import guard
from ...ops.rows import R_X0
from ...problems import Problem
from ..state import State
from .edit import Edit
from .neighbours import extended


def check_gradient(name: str, gradient: float | None) -> None:
    """Raises ValueError unless it is None or a number > 0."""
    if gradient is None:
        return
    number = isinstance(gradient, (int, float)) and not isinstance(gradient, bool)
    if not number or not 0 < gradient < math.inf:
        raise ValueError(f"{name}: expected a number > 0 or None, got {gradient!r}")


@dataclass(frozen=True, eq=False)
class Known(Edit):
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
        gradient:
            How much pictures change from pixel to pixel (standard deviation, the unit of the image); > 0.
            In every step what the network's x0 got wrong at known pixels is then carried over to the pixels
            beside them, as far as such pictures hang together at its noise level (see
            :func:`~ddrm_fast.samplers.edits.neighbours.extended`), and eps is derived anew. None: the
            network's x0 stays as it is, as published; a seam is left where known pixels end.
    """

    mask: Tensor
    image: Tensor
    gradient: float | None = None
    _measured: Tensor | None = field(default=None, repr=False)

    capturable = True
    title = "known"

    def acts(self, place: str) -> bool:
        return place in ("after", "result") or (place == "clean" and self.gradient is not None)

    def check(self, name: str, problem: Problem) -> None:
        known = self.checked((problem.batch, *problem.shape), problem.y)
        if known is None:
            return
        pixels = torch.where(known.mask, known.image, 0.5)
        if not bool(((pixels >= 0) & (pixels <= 1)).all()):
            raise ValueError(
                f"known.image: expected known pixels in [0, 1], got {float(pixels.min()):.4g} to "
                f"{float(pixels.max()):.4g}"
            )

    def prepared(self, problem: Problem, shape: tuple[int, ...]) -> Known | None:
        known = self.checked(shape, problem.y.new_empty(0))
        if known is None or known.gradient is None:
            return known
        measured = torch.zeros(1, 1, 1, 1, dtype=known.image.dtype, device=known.image.device)
        if isinstance(problem.operator, Operator):
            measured = problem.operator.certainty(problem.sigma_y, shape[1:], known.image)
        return replace(known, _measured=measured)

    def checked(self, shape: tuple[int, ...], like: Tensor) -> Known | None:
        """The same, contiguous; None where no pixel is known.

        Args:
            shape:
                (B, C, H, W) of the state.
            like:
                A tensor of its dtype, on its device.

        Raises:
            ValueError: mask, image or gradient do not fit, or a known pixel is NaN or infinite.
        """
        for name in ("mask", "image"):
            if not isinstance(getattr(self, name), Tensor):
                given = type(getattr(self, name)).__name__
                raise ValueError(f"known.{name}: expected a tensor, got {given}")
        check_gradient("known.gradient", self.gradient)
        image, mask = guard.known_region(self.image.detach(), self.mask, like, shape, "known.")
        if not mask.any():
            return None
        bad = int((mask & ~torch.isfinite(image)).sum())
        if bad:
            raise ValueError(f"known.image: has {bad} NaN or infinite known pixels")
        return replace(self, mask=mask, image=image)

    def select(self, rows: Tensor) -> Self:
        mask, image = (
            x if x.shape[0] == 1 else x.index_select(0, rows) for x in (self.mask, self.image)
        )
        return replace(self, mask=mask, image=image)

    def to(self, device: torch.device | str) -> Self:
        return replace(self, mask=self.mask.to(device), image=self.image.to(device))

    def in_network_range(self) -> Self:
        gradient = None if self.gradient is None else 2 * self.gradient
        return replace(self, image=2 * self.image - 1, gradient=gradient)

    def put(self, x: Tensor) -> Tensor:
        """Pictures with the known pixels in their place."""
        return torch.where(self.mask, self.image, x)

    def clean(self, problem: Problem, state: State) -> Tensor:
        """What is known, and what it says of the pixels beside it."""
        # 1 / variance of a pixel by the state before this step: abar / (1 - abar)
        if state.fused is None:
            certain = state.x0.new_full((1, 1, 1, 1), state.abar / (1 - state.abar))
        else:
            row = state.fused.rows.of_clean.index_select(0, state.fused.step)[0]
            certain = row[:, R_X0, None, None, None].square()
        measured = certain.new_zeros(()) if self._measured is None else self._measured
        return self.joined(state.x0, certain, measured)

    def after(self, problem: Problem, state: State) -> Tensor:
        """Known pixels take the noise that is in x_t: of the network, or of the joined clean image."""
        fused = state.own_fused
        joins = self.gradient is not None
        out, table = (state.x0, fused.rows.of_clean) if joins else (state.out, fused.rows.table)
        return ops.known_step(
            state.x_next, state.x_t, out, self.image, self.mask, table, fused.step, fused.noise
        )

    def result(self, problem: Problem, state: State) -> Tensor:
        return self.put(state.x_next)

    def joined(self, x0: Tensor, state: Tensor, measured: Tensor) -> Tensor:
        """x0 with the known pixels in their place, and what they say of those beside them.

        What the measurement is about to say of a known pixel is no news.

        Args:
            x0:
                The network's, (B, C, H, W).
            state, measured:
                1 / variance of each pixel by the noisy state and by the measurement,
                (B or 1, C or 1, H or 1, W or 1).
        """
        if self.gradient is None:
            return self.put(x0)
        known = state + measured
        wrong = torch.where(self.mask, (self.image - x0) * (state / known), 0.0)
        return self.put(x0 + extended(wrong, self.mask, self.gradient**2 * known))

"""A prior as a plain denoiser of pictures in [0, 1], for loops of other packages such as deepinv's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class AsDenoiser(nn.Module):
    """D(x, sigma): the clean picture behind x = picture + sigma times white noise, both in [0, 1] units.

    Differentiable in x. deepinv's protocol: its DPIR, DiffPIR, DDRM and DPS take it as their denoiser.

    Args:
        denoise:
            ``(x, sigma [B], labels or None) -> clean`` for pictures in [-1, 1].
        module:
            What holds the weights, so that ``to`` and ``state_dict`` reach them; None: nothing known.
        labels:
            Classes [B] or [1], for every call.
    """

    labels: Tensor | None

    def __init__(
        self,
        denoise: Callable[[Tensor, Tensor, Tensor | None], Tensor],
        module: nn.Module | None = None,
        labels: Tensor | None = None,
    ) -> None:
        super().__init__()
        self._denoise, self.module = denoise, module
        self.register_buffer("labels", labels, persistent=False)

    def forward(self, x: Tensor, sigma: float | Tensor, **ignored: object) -> Tensor:
        """The clean picture.

        Args:
            x:
                (B, C, H, W), pictures in [0, 1] plus noise; float64 is computed in float32.
            sigma:
                Noise level in the unit of x, 0 or more: one, or as many as pictures, in any shape. Where it
                is 0 the picture is given back.
            ignored:
                What other denoisers take.

        Returns:
            (B, C, H, W), dtype of x; not clamped.

        Raises:
            ValueError: there are as many levels as neither 1 nor pictures, or a negative one.
        """
        if not isinstance(x, Tensor) or x.dim() != 4 or not x.is_floating_point():
            got = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"x: expected a floating-point (B, C, H, W), got {got}")
        levels = torch.as_tensor(sigma, dtype=torch.float64).detach().cpu().reshape(-1)
        if len(levels) not in (1, len(x)):
            raise ValueError(f"sigma: expected one number or [{len(x)}], got {len(levels)} numbers")
        if not (levels >= 0).all():
            raise ValueError(f"sigma: expected noise levels of 0 or more, got {levels.tolist()}")
        levels = levels.expand(len(x))
        clean = levels == 0
        if bool(clean.all()):
            return x
        levels = torch.where(clean, levels.max(), levels)  # a level that the network knows
        labels = None if self.labels is None else self.labels.expand(len(x))
        out = self._denoise(2 * x.float() - 1, 2 * levels, labels)
        out = ((out + 1) / 2).to(x.dtype)
        if not bool(clean.any()):
            return out
        return torch.where(clean.to(x.device).view(-1, 1, 1, 1), x, out)

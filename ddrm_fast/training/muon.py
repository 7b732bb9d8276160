"""Muon: steps along the orthogonal factor of the momentum, for the matrices between a network's layers.

A gradient's few large singular values say where AdamW goes; here all directions of a matrix are moved alike.
Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); the scale, which makes a step
as large as one of AdamW, is that of Liu et al., "Muon is scalable for LLM training" (2025). The rest (biases,
scales and shifts, what enters and leaves) takes steps of AdamW.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

#: root of the mean square of a matrix's step, in learning rates
_GAIN = 0.4
#: of the quintic iteration that drives all singular values to about 1 (Jordan et al. 2024)
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Muon for some parameters, AdamW for the others, at one learning rate."""

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        lr: float,
        *,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
    ) -> None:
        """Start without momentum.

        Args:
            matrices:
                Two dimensions or more each; the first is one side of the matrix, the rest are the other.
            others:
                What AdamW moves.
            lr:
                Learning rate, above 0.
            weight_decay:
                Decoupled, of all.
            momentum:
                Of the matrices (Nesterov's).
            betas, eps:
                Of AdamW.

        Raises:
            ValueError: A matrix has fewer than two dimensions.
        """
        sets = [
            {"params": list(matrices), "orthogonal": True},
            {"params": list(others), "orthogonal": False},
        ]
        for value in sets[0]["params"]:  # type: ignore[attr-defined]
            if value.ndim < 2:
                raise ValueError(
                    f"matrices: got shape {tuple(value.shape)}, expected two dimensions or more"
                )
        common = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "betas": betas, "eps": eps,
        }  # fmt: skip
        super().__init__([group for group in sets if group["params"]], common)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step with the gradients that are there.

        Args:
            closure:
                Computes the loss (and gradients) first, as in every optimiser of torch.

        Returns:
            What it returned, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights: list[Tensor] = [x for x in group["params"] if x.grad is not None]
            gradients = [x.grad for x in weights if x.grad is not None]
            if not weights:
                continue
            if group["weight_decay"]:
                torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            move = self._orthogonal if group["orthogonal"] else self._adam
            move(weights, gradients, group)
        return loss

    def _kept(self, weights: list[Tensor], name: str) -> list[Tensor]:
        for value in weights:
            if name not in self.state[value]:
                self.state[value][name] = torch.zeros_like(value)
        return [self.state[value][name] for value in weights]

    def _orthogonal(
        self, weights: list[Tensor], gradients: list[Tensor], group: dict[str, Any]
    ) -> None:
        momenta = self._kept(weights, "momentum")
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])
        alike: dict[tuple[int, int], list[int]] = {}
        for number, value in enumerate(weights):
            alike.setdefault((len(value), value[0].numel()), []).append(number)
        for (rows, columns), numbers in alike.items():  # together, since each is small
            stack = torch.stack([ahead[number].reshape(rows, columns) for number in numbers])
            steps = orthogonal(stack).to(weights[numbers[0]].dtype)
            size = group["lr"] * _GAIN * max(rows, columns) ** 0.5
            torch._foreach_add_(
                [weights[number] for number in numbers],
                [
                    step.reshape(weights[number].shape)
                    for step, number in zip(steps, numbers, strict=True)
                ],
                alpha=-size,
            )

    def _adam(self, weights: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        first, second = self._kept(weights, "mean"), self._kept(weights, "square")
        low, high = group["betas"]
        done = group["steps"] = group.get("steps", 0) + 1
        torch._foreach_lerp_(first, gradients, 1 - low)
        torch._foreach_mul_(second, high)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - high)
        root = torch._foreach_sqrt(second)
        torch._foreach_div_(root, (1 - high**done) ** 0.5)
        torch._foreach_add_(root, group["eps"])
        torch._foreach_addcdiv_(weights, first, root, -group["lr"] / (1 - low**done))


def orthogonal(matrices: Tensor) -> Tensor:
    """About the orthogonal factor U V^T of each matrix U S V^T.

    Args:
        matrices:
            Floating-point tensor (N, rows, columns).

    Returns:
        bfloat16 tensor of that shape; its singular values are between about 0.7 and 1.2, those of what was
        nearly 0 below that.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = (x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-30)).to(torch.bfloat16)
    a, b, c = _QUINTIC
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x

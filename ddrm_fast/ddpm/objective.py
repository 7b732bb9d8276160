"""Losses: L_simple, the variational bound, and their hybrid.

Ho et al. 2020, eqs. 5 and 14; Nichol and Dhariwal 2021, eq. 16.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .likelihood import Network, step_term
from .reverse import Reverse

OBJECTIVES = ("simple", "vlb", "hybrid")


@dataclass(frozen=True)
class Losses:
    """Of every picture, [B].

    Attributes:
        loss:
            What is minimised.
        simple:
            Mean squared error of the network's prediction, without its graph.
        vlb:
            Estimate T L_t of the bound's sum over t, bits per dimension, without its graph; None
            where it is no part of the loss.
    """

    loss: Tensor
    simple: Tensor
    vlb: Tensor | None


@dataclass(frozen=True)
class Objective:
    """The loss of a network at random timesteps.

    Attributes:
        reverse:
            What the network's output means.
        kind:
            "simple" (mean squared error of the prediction), "vlb" (the bound), or "hybrid": the
            first for the mean, vlb_weight times the second for learned variances.
        vlb_weight:
            The published one is 0.001.

    Raises:
        ValueError: There is no such kind, or it does not fit the variances.
    """

    reverse: Reverse
    kind: str = "simple"
    vlb_weight: float = 1e-3

    def __post_init__(self) -> None:
        if self.kind not in OBJECTIVES:
            raise ValueError(
                f"objective: expected one of {', '.join(OBJECTIVES)}, got {self.kind!r}"
            )
        learned = self.reverse.variance == "learned"
        if self.kind == "simple" and learned:
            raise ValueError(
                "objective: simple does not train learned variances; expected hybrid or vlb"
            )
        if self.kind == "hybrid" and not learned:
            raise ValueError("objective: hybrid is for learned variances; expected simple or vlb")

    def __call__(
        self, network: Network, x0: Tensor, t: Tensor, noise: Tensor, labels: Tensor | None = None
    ) -> Losses:
        """The losses of a batch.

        Args:
            network:
                ``(x_t, t[, labels]) -> output``, t float32 [B].
            x0:
                Clean images in [-1, 1], (B, C, H, W) float32; 8-bit values where the bound is used.
            t:
                Timesteps drawn uniformly from 0 .. T - 1, int64 [B].
            noise:
                White noise of x0's shape.
            labels:
                Class labels [B], for a conditional network.
        """
        process, channels = self.reverse.process, x0.shape[1]
        x_t = process.diffuse(x0, t, noise)
        out = network(x_t, t.float()) if labels is None else network(x_t, t.float(), labels)
        out = out.float()
        error = out[:, :channels] - self.reverse.target(x0, x_t, t, noise)
        simple = error.square().flatten(1).mean(dim=1)
        if self.kind == "simple":
            return Losses(simple, simple.detach(), None)
        used = out
        if self.kind == "hybrid":  # the bound moves the variances, never the mean
            used = torch.cat([out[:, :channels].detach(), out[:, channels:]], dim=1)
        vlb = process.T * step_term(self.reverse, used, x0, x_t, t)
        loss = vlb if self.kind == "vlb" else simple + self.vlb_weight * vlb
        return Losses(loss, simple.detach(), vlb.detach())

"""Deep generative prior: a generator is fitted to the measurement (Pan, Zhan, Dai, Lin, Loy, Luo, 2021).

What DDRM is compared with where there is a GAN for the pictures in question. It needs no diffusion model: any
module that makes pictures from latent vectors will do.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..machine.arguments import check_made, checked
from ..operators import Forward


@dataclass(frozen=True)
class Stage:
    """A stretch of the fit.

    Args:
        steps:
            Of Adam, >= 1.
        latent_rate:
            Learning rate of the latent vector, >= 0.
        weight_rate:
            Of the generator's weights that this stage moves, >= 0.
        blocks:
            How many of the generator's children, from the latent side on, have weights that move. Pan et al.
            begin with the first and let one after another join.
    """

    steps: int = 100
    latent_rate: float = 1e-3
    weight_rate: float = 1e-5
    blocks: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.blocks < 0:
            raise ValueError(
                f"steps, blocks: got {self.steps} and {self.blocks}, expected at least 1 and 0"
            )
        if not (0 <= self.latent_rate < float("inf") and 0 <= self.weight_rate < float("inf")):
            raise ValueError(
                f"latent_rate, weight_rate: got {self.latent_rate} and {self.weight_rate}, expected "
                "numbers >= 0"
            )


check_made(Stage)

#: five stages, one more block in each, as the released code has it
STAGES = tuple(Stage(100, 1e-3 / 2**k, 1e-5 * 2**k, k) for k in range(5))


@checked
def restore_by_generator(
    y: Tensor,
    operator: Forward,
    generator: nn.Module,
    latents: Tensor,
    *,
    stages: Sequence[Stage] = STAGES,
    distance: Callable[[Tensor, Tensor], Tensor] | None = None,
    candidates: int = 1,
    progress: bool = False,
) -> Tensor:
    """The generator's picture that fits each measurement best, its weights fitted too.

    The generator that was given keeps its weights; each picture has a copy of its own.

    Args:
        y:
            Measurements (B, ...) of pictures in [0, 1].
        operator:
            The degradation: any differentiable map.
        generator:
            latent (1, ...) -> picture (1, C, H, W) in [-1, 1], the last activation included.
        latents:
            Where to begin, (B * candidates, ...): for picture i the rows i * candidates and on.
        stages:
            Of the fit, in turn.
        distance:
            (H(x), y) -> a number: what is lowered; default: the mean squared difference. (Pan et al. add that
            of a discriminator's features.)
        candidates:
            Latent vectors for each picture, of which the one that fits best before any step is taken.
        progress:
            Show a bar.

    Returns:
        (B, C, H, W) in [0, 1].

    Raises:
        ValueError: There are other numbers of latent vectors, or the generator's picture does not fit.
    """
    if candidates < 1 or len(latents) != len(y) * candidates:
        raise ValueError(
            f"latents: got {len(latents)}, expected {candidates} for each of {len(y)} measurements"
        )
    if not stages:
        raise ValueError("stages: got none, expected at least one Stage")
    lowered = distance or _mean_square
    done = []
    total = len(y) * sum(stage.steps for stage in stages)
    with tqdm(total=total, unit="step", disable=not progress) as bar:
        for picture in range(len(y)):
            rows = slice(picture * candidates, (picture + 1) * candidates)
            fit = _Fit(y[picture : picture + 1], operator, generator, lowered, bar)
            done.append(fit.run(latents[rows], stages))
    return torch.cat(done)


def _mean_square(made: Tensor, y: Tensor) -> Tensor:
    return (made - y).square().mean()


class _Fit:
    """That of one picture."""

    def __init__(
        self,
        y: Tensor,
        operator: Forward,
        generator: nn.Module,
        distance: Callable[[Tensor, Tensor], Tensor],
        bar: Any,
    ) -> None:
        self.y, self.operator, self.distance, self.bar = y, operator, distance, bar
        self.generator = copy.deepcopy(generator).eval().requires_grad_(False)

    def picture(self, latent: Tensor) -> Tensor:
        return (self.generator(latent) + 1) / 2

    def misfit(self, latent: Tensor) -> Tensor:
        made = self.operator.H(self.picture(latent))
        if made.shape != self.y.shape:
            raise ValueError(
                f"generator: its picture is measured as {tuple(made.shape)}, expected {tuple(self.y.shape)}"
            )
        return self.distance(made, self.y)

    def run(self, latents: Tensor, stages: Sequence[Stage]) -> Tensor:
        with torch.no_grad():
            fits = [float(self.misfit(latent[None])) for latent in latents]
        best = min(range(len(fits)), key=fits.__getitem__)
        latent = latents[best : best + 1].detach().clone().requires_grad_()
        for stage in stages:
            self._descend(latent, stage)
        with torch.no_grad():
            return self.picture(latent).clamp(0, 1)

    def _descend(self, latent: Tensor, stage: Stage) -> None:
        moved = [
            p
            for child in list(self.generator.children())[: stage.blocks]
            for p in child.parameters()
        ]
        for weight in moved:
            weight.requires_grad_()
        groups = [{"params": [latent], "lr": stage.latent_rate}]
        if moved:
            groups.append({"params": moved, "lr": stage.weight_rate})
        adam = torch.optim.Adam(groups, betas=(0.0, 0.999))
        with torch.enable_grad():
            for _ in range(stage.steps):
                adam.zero_grad()
                self.misfit(latent).backward()
                adam.step()
                self.bar.update()

"""How a DDPM learns: the pictures and timesteps of a step, the loss, the file with the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import ops
from ..training.data.sized import Pictures
from ..training.learner import Learner, Sums
from ..training.loop import Shown
from ..training.loop import train as run
from ..training.processes import OneProcess
from .config import DDPMConfig
from .files import as_prior, save_ddpm
from .grid import write_grid
from .networks import build_network


class Batch(NamedTuple):
    """One process's share of a step.

    Attributes:
        x0:
            Pictures (B, C, H, W) in [-1, 1].
        t:
            Timesteps [B].
        noise:
            Of x0's shape; the device draws it, before that it is empty.
        labels:
            Classes [B], or None.
    """

    x0: Tensor
    t: Tensor
    noise: Tensor
    labels: Tensor | None


@dataclass(frozen=True)
class Draws:
    """Step -> one process's share of its batch, on the CPU and without the noise."""

    config: DDPMConfig
    pictures: Pictures
    places: range

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        config = self.config
        items = [step * config.batch + place for place in self.places]
        indices = [self.pictures.drawn(item, config.seed) for item in items]
        x0 = self.pictures.tensor(indices)
        draws = np.stack(
            [np.random.default_rng([config.seed, item, 2]).random(3) for item in items]
        )
        t = torch.from_numpy((draws[:, 0] * config.T).astype(np.int64))
        if config.flip:
            mirrored = torch.from_numpy(draws[:, 1] < 0.5).view(-1, 1, 1, 1)
            x0 = torch.where(mirrored, x0.flip(3), x0)
        labels = None
        if config.num_classes is not None and self.pictures.labels is not None:
            chosen = self.pictures.labels[indices]
            dropped = draws[:, 2] < config.label_drop
            labels = torch.from_numpy(np.where(dropped, config.num_classes, chosen))
        return Batch(x0, t, torch.empty(0), labels)


class Trainer(Learner[DDPMConfig, Pictures, Batch]):
    """A run of DDPM training; see :class:`ddrm_fast.training.Learner`."""

    kind = "ddpm"
    weights = "ddpm.safetensors"

    def __init__(
        self, config: DDPMConfig, pictures: Pictures, machine: OneProcess | None = None
    ) -> None:
        """Start at step 0 with fresh weights.

        Args:
            config:
                The run.
            pictures:
                What it learns from.
            machine:
                The processes that share the work; default: this one.

        Raises:
            ValueError: The batch cannot be divided among the processes, the pictures have no labels, or
                the device has no such precision.
        """
        if config.num_classes is not None and pictures.labels is None:
            raise ValueError("pictures: got none with labels, expected classes")
        self.watched = ("loss",) if config.objective == "simple" else ("loss", "simple", "vlb")
        self.objective = config.make_objective()
        network = build_network(config.network_settings(), config.seed)
        super().__init__(config, pictures, network, machine)

    def source(self) -> Callable[[int], Batch]:
        """See :meth:`Learner.source`."""
        return Draws(self.fit, self.data, self._places())

    def _places(self) -> range:
        share = self.fit.batch // self.machine.count
        return range(self.machine.rank * share, (self.machine.rank + 1) * share)

    def place(self, batch: Batch, step: int) -> Batch:
        """See :meth:`Learner.place`; the noise is drawn here."""
        x0, t, _, labels = super().place(batch, step)
        places = self._places()
        keys = ops.noise_keys(len(places), self.fit.seed, torch.tensor(places), device=self.device)
        noise = ops.normal(keys, *x0.shape[1:], iteration=step, stream=ops.Stream.TRAINING)
        return Batch(x0, t, noise, labels)

    def losses(self, batch: Batch) -> tuple[Tensor, Sums]:
        """See :meth:`Learner.losses`."""
        losses = self.objective(self._call, *batch)
        loss = losses.loss.mean()
        sums = {"loss": loss.detach(), "simple": losses.simple.mean()}
        if losses.vlb is not None:
            sums["vlb"] = losses.vlb.mean()
        return loss, {name: (value, 1.0) for name, value in sums.items()}

    def _call(self, *arguments: Tensor) -> Tensor:
        with self.autocast():
            return self.model(*arguments)

    def decay(self, step: int) -> float:
        """See :meth:`Learner.decay`; the mean starts from the weights after the first step."""
        return super().decay(step) if step else 0.0

    def export(self, path: str | Path) -> None:
        """See :meth:`Learner.export`."""
        summary: dict[str, Any] = {
            "step": self.step,
            "pictures_seen": self.step * self.fit.batch,
        }
        save_ddpm(path, self.fit, self.mean.state_dict(), summary)

    def draw_pictures(self, path: Path, count: int) -> Tensor:
        """See :meth:`Learner.draw_pictures`."""
        config = self.fit
        size = (config.channels, config.size, config.size)
        prior = as_prior(config, self.mean)
        return write_grid(path, prior, size, count, seed=config.seed, device=self.device)


def train(
    config: DDPMConfig,
    pictures: Pictures,
    out: str | Path,
    *,
    machine: OneProcess | None = None,
    resume: bool = False,
    final_decay: int | None = None,
    stop_at: int | None = None,
    shown: Shown | None = None,
    loaders: int = 0,
    share_cpu: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> Trainer:
    """Run or continue the training of a DDPM: :func:`ddrm_fast.training.train`.

    Args:
        config:
            The run.
        pictures:
            What it learns from.
        out:
            Folder for checkpoint.pt, ddpm.safetensors (:func:`load_prior` reads it), log.jsonl, samples.
        machine:
            The processes that share the work; default: this one.
        resume, final_decay, stop_at, shown, loaders, share_cpu, on_step:
            As there.

    Returns:
        The trainer in its last state.

    Raises:
        FileExistsError, FileNotFoundError, ConfigMismatch, ImportError, OSError: As there.
        FloatingPointError: As there.
    """
    return run(
        Trainer(config, pictures, machine), out, resume=resume, final_decay=final_decay,
        stop_at=stop_at, shown=shown, loaders=loaders, share_cpu=share_cpu, on_step=on_step,
    )  # fmt: skip

"""How DiffIR learns: stage 1 with the ground truth, then stage 2 without it.

Xia et al. 2023, section 3.4. Stage 1: encoder and restorer, L1. Stage 2: stage 1's encoder is frozen; the
condition encoder, the denoiser and the restorer (which starts from stage 1's) learn together, L1 plus the
mean absolute difference between the last state of the vector's diffusion and stage 1's vector. Adam with
betas 0.9 and 0.99, a cosine down to zero, larger patches later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..priors.weights import weights_digest
from ..training.checkpoints import check_numbers
from ..training.fit import Fit
from ..training.learner import Batch, Learner, Sums
from ..training.loop import Shown
from ..training.loop import train as run
from ..training.processes import OneProcess
from .config import DiffIRConfig
from .files import save, single_weights
from .networks import DiffIRS1, DiffIRS2, build
from .pairs import PairSource


@dataclass(frozen=True, kw_only=True)
class DiffIRFit(Fit):
    """A run of training. ``batch`` is that of the first part of ``progress``.

    Attributes:
        network:
            What is trained; its stage says how.
        progress:
            (first step, side of the input patches, pictures of a step), in order of steps.
        vector_weight:
            Stage 2: weight of the difference of the vectors.
        first:
            Stage 2: digest of stage 1's weights, filled in by the run.
    """

    network: DiffIRConfig
    progress: tuple[tuple[int, int, int], ...] = ((0, 64, 8),)
    batch: int = 8
    learning_rate: float = 2e-4
    vector_weight: float = 1.0
    first: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "progress", tuple(tuple(part) for part in self.progress))
        starts = [part[0] for part in self.progress if len(part) == 3]
        if len(starts) != len(self.progress) or not starts or starts[0] != 0:
            raise ValueError(
                f"progress: got {self.progress}, expected (first step, patch, batch), the first at step 0"
            )
        if starts != sorted(set(starts)):
            raise ValueError(f"progress: got first steps {starts}, expected rising ones")
        for _, patch, batch in self.progress:
            if patch < 1 or patch % self.network.multiple:
                raise ValueError(
                    f"patch: got {patch}, expected a multiple of {self.network.multiple}"
                )
            if batch < 1 or batch % self.accumulate:
                raise ValueError(
                    f"batch: got {batch}, expected a multiple of accumulate = {self.accumulate}"
                )
        object.__setattr__(self, "batch", self.progress[0][2])
        if not self.vector_weight >= 0:
            raise ValueError(f"vector_weight: got {self.vector_weight}, expected 0 or more")
        super().__post_init__()

    def part(self, step: int) -> tuple[int, int]:
        """Side of the patches, and pictures, of a step."""
        return [part[1:] for part in self.progress if part[0] <= step][-1]

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> dict[str, Any]:
        """See :meth:`Fit.from_plain`."""
        return {**values, "network": DiffIRConfig(**values["network"])}


@dataclass(frozen=True)
class Draws:
    """Step -> one process's share of its batch."""

    fit: DiffIRFit
    data: PairSource
    rank: int
    count: int

    def __call__(self, step: int) -> Batch:
        """The batch of a step: input and ground truth."""
        patch, batch = self.fit.part(step)
        share = batch // self.count
        rows = slice(self.rank * share, (self.rank + 1) * share)
        return tuple(side[rows] for side in self.data.batch(step, batch, patch))


class Trainer(Learner[DiffIRFit, PairSource, Batch]):
    """A run of either stage; see :class:`ddrm_fast.training.Learner`."""

    kind = "diffir"
    weights = "diffir.safetensors"

    def __init__(
        self,
        fit: DiffIRFit,
        data: PairSource,
        machine: OneProcess | None = None,
        first: DiffIRS1 | None = None,
    ) -> None:
        """Start at step 0.

        Args:
            fit:
                The run.
            data:
                What it learns from.
            machine:
                The processes that share the work; default: this one.
            first:
                Stage 2: the network of stage 1. Its encoder is followed, its restorer is where ours starts.

        Raises:
            ValueError: Stage 1's network is missing, is not wanted, or is of another shape.
        """
        check_first(fit, first)
        count = (machine or OneProcess()).count * fit.accumulate
        for _, _, batch in fit.progress:
            if batch % count:
                raise ValueError(f"batch: got {batch}, expected a multiple of {count}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(fit.seed)
            network = build(fit.network)
        if first is not None:
            network.G.load_state_dict(first.G.state_dict())
            fit = _with_digest(fit, first)
            self.watched = ("loss", "pixels", "vector")
        super().__init__(fit, data, network, machine)
        self.encoder = None if first is None else first.E.to(self.device).eval()

    def source(self) -> Callable[[int], Batch]:
        """See :meth:`Learner.source`."""
        return Draws(self.fit, self.data, self.machine.rank, self.machine.count)

    def make_optimiser(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """See :meth:`Learner.make_optimiser`."""
        rate, decay = self.fit.learning_rate, self.fit.weight_decay
        return torch.optim.Adam(parameters, rate, betas=(0.9, 0.99), weight_decay=decay)

    def losses(self, batch: Batch) -> tuple[Tensor, Sums]:
        """See :meth:`Learner.losses`."""
        x, truth = batch
        with self.autocast():
            if self.encoder is None:
                out, _ = self.model(x, truth)
            else:
                with torch.no_grad():
                    vector = self.encoder(x, truth)
                out, states = self.model(x, vector)
        pixels = (out.float() - truth).abs().mean()
        if self.encoder is None:
            return pixels, {"loss": (pixels.detach(), 1.0)}
        distance = (states[-1].float() - vector.float()).abs().mean()
        loss = pixels + self.fit.vector_weight * distance
        sums = {"loss": loss, "pixels": pixels, "vector": distance}
        return loss, {name: (value.detach(), 1.0) for name, value in sums.items()}

    def export(self, path: str | Path) -> None:
        """See :meth:`Learner.export`."""
        weights = single_weights(cast("DiffIRS1 | DiffIRS2", self.mean))
        check_numbers(weights, f"at step {self.step}")
        save(path, self.fit.network, weights, {"step": self.step})


def check_first(fit: DiffIRFit, first: DiffIRS1 | None) -> None:
    """Raises ValueError unless stage 1's network is there where it is wanted, and of the same shape."""
    if fit.network.stage == 1:
        if first is not None:
            raise ValueError("first: got a network, but stage 1 is trained; expected None")
        return
    if not isinstance(first, DiffIRS1):
        got = "None" if first is None else type(first).__name__
        raise ValueError(f"first: got {got}, expected the network of stage 1")
    ours, theirs = fit.network.with_stage(1), first.config
    restorer = ("n_denoise_res", "linear_start", "linear_end", "timesteps")
    different = [
        name
        for name in ours.__dataclass_fields__
        if name not in restorer and getattr(ours, name) != getattr(theirs, name)
    ]
    if different:
        raise ValueError(f"first: differs from the network in {', '.join(different)}")


def _with_digest(fit: DiffIRFit, first: DiffIRS1) -> DiffIRFit:
    weights = {name: x.cpu() for name, x in first.state_dict().items()}
    return replace(fit, first=weights_digest(weights))


def train(
    fit: DiffIRFit,
    data: PairSource,
    out: str | Path,
    *,
    first: DiffIRS1 | None = None,
    machine: OneProcess | None = None,
    resume: bool = False,
    final_decay: int | None = None,
    stop_at: int | None = None,
    shown: Shown | None = None,
    loaders: int = 0,
    share_cpu: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> Trainer:
    """Train a stage, or continue; see :func:`ddrm_fast.training.train` for how runs end and go on.

    Args:
        fit:
            The run; its network's stage says which.
        data:
            What it learns from: :class:`Pairs` or :class:`Degraded`.
        out:
            Folder of the run, for checkpoint.pt, diffir.safetensors and log.jsonl.
        first:
            Stage 2: stage 1's network (:func:`ddrm_fast.diffir.load`).
        machine, resume, final_decay, stop_at, shown, loaders, share_cpu, on_step:
            As for :func:`ddrm_fast.training.train`.

    Returns:
        The run in its last state.

    Raises:
        ValueError, FileExistsError, FileNotFoundError, ConfigMismatch, FloatingPointError, OSError:
            As that function, and where stage 1's network does not fit.
    """
    learner = Trainer(fit, data, machine, first)
    return run(
        learner, out, resume=resume, final_decay=final_decay, stop_at=stop_at, shown=shown,
        loaders=loaders, share_cpu=share_cpu, on_step=on_step,
    )  # fmt: skip

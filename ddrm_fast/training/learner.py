"""A network, the running mean of its weights, its optimiser, and one step of training.

Every random number of step n (pictures, noise, dropout) derives from (seed, n), so a resumed run takes the
same steps as one that was never stopped, and the number of processes or parts of a batch changes a step by
rounding alone.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from .checkpoints import FORMAT, check_numbers
from .files import ConfigMismatch, refuse_differences
from .fit import Fit, learning_rate_at, with_final_decay
from .processes import OneProcess

_PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}

#: tensors of a step, a row for each picture; None where a run has no such thing
Batch = tuple[Tensor | None, ...]
#: name -> sum over some pictures or steps, and over how many
Sums = Mapping[str, tuple[Tensor, Tensor | float]]


class Data(Protocol):
    """What a run learns from."""

    def digest(self) -> str:
        """Tells whether two runs see the same."""
        ...

    def __len__(self) -> int: ...


Settings = TypeVar("Settings", bound=Fit)
Material = TypeVar("Material", bound=Data)
Step = TypeVar("Step", bound=Batch)
AnyLearner: TypeAlias = "Learner[Any, Any, Any]"


class Learner(ABC, Generic[Settings, Material, Step]):
    """State of a run and its steps; a subclass says what is drawn and what is lowered.

    Attributes:
        kind:
            What is trained, for the checkpoints.
        weights:
            Name of the file with the running mean of the weights.
        watched:
            Names of the means in the log.
        fit:
            The configuration.
        data:
            What is learned from.
        network:
            What is trained. It may hold several networks, and some without gradients.
        mean:
            The same with the running mean of the weights.
        step:
            Number of steps taken.
    """

    kind: ClassVar[str]
    weights: ClassVar[str]
    watched: tuple[str, ...] = ("loss",)

    def __init__(
        self, fit: Settings, data: Material, network: nn.Module, machine: OneProcess | None = None
    ) -> None:
        """Start at step 0.

        Args:
            fit:
                The run.
            data:
                What it learns from.
            network:
                With the weights that it starts from.
            machine:
                The processes that share the work; default: this one.

        Raises:
            ValueError: The batch cannot be divided among the processes, or the device has no such precision.
        """
        self.fit, self.data = fit, data
        self.machine = machine or OneProcess()
        self.device, self.step = self.machine.device, 0
        parts = self.machine.count * fit.accumulate
        if fit.batch % parts:
            raise ValueError(
                f"batch: got {fit.batch}, expected a multiple of {parts} "
                f"({self.machine.count} processes, {fit.accumulate} parts each)"
            )
        if fit.precision == "float16" and self.device.type == "cpu":
            raise ValueError("precision: float16 is for GPUs; expected bfloat16 or float32")
        self.network = network.to(self.device).train()
        self.mean = copy.deepcopy(self.network).eval().requires_grad_(False)
        self._pairs = [
            (mean, own)
            for mean, own in zip(self.mean.parameters(), self.network.parameters(), strict=True)
            if own.requires_grad
        ]
        self.optimiser = self.make_optimiser([own for _, own in self._pairs])
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=fit.precision == "float16")
        self.model = self.machine.prepare(self.network)
        self._names = (*self.watched, "gradient")
        #: sums since the last line of the log, and over how many
        self.sums = torch.zeros(2, len(self._names), dtype=torch.float64)
        self._digest = ""

    # what a run is, a subclass says

    @abstractmethod
    def source(self) -> Callable[[int], Step]:
        """Step -> this process's share of its batch, on the CPU.

        It may be sent to other processes, which draw ahead, and must not hold networks therefore.
        """

    @abstractmethod
    def losses(self, batch: Step) -> tuple[Tensor, Sums]:
        """What a part of a batch lowers (a scalar, with its graph), and what the log shows (without)."""

    @abstractmethod
    def export(self, path: str | Path) -> None:
        """Write the running mean of the weights for those who use the network.

        Raises:
            OSError: The file cannot be written; an earlier one at `path` stays intact.
            FloatingPointError: A weight is no finite number.
        """

    def make_optimiser(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Of the parameters that are learned."""
        return torch.optim.AdamW(
            parameters, self.fit.learning_rate, weight_decay=self.fit.weight_decay
        )

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return learning_rate_at(self.fit, step)

    def decay(self, step: int) -> float:
        """Decay of the running mean in a step: it forgets faster at first, so that it is of use early."""
        return min(self.fit.ema, (1 + step) / (10 + step))

    def place(self, batch: Step, step: int) -> Step:
        """A batch from the source on the device, with what is drawn there."""
        return _each(batch, lambda x: x.to(self.device, non_blocking=True))

    def draw_pictures(self, path: Path, count: int) -> Tensor | None:
        """Write a sheet of what the network makes by now; its pictures (N, C, H, W), or None."""
        return None

    # what all runs share

    def prepare(self, step: int) -> Step:
        """This process's share of the batch of a step, on the device."""
        return self.place(self.source()(step), step)

    def autocast(self) -> AbstractContextManager[Any]:
        """The arithmetic that the network is called in."""
        dtype = _PRECISIONS.get(self.fit.precision)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def advance(self, batch: Step) -> None:
        """Take one step."""
        fit = self.fit
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(self.step)
        words = np.random.SeedSequence([fit.seed, self.step, self.machine.rank, 3])
        torch.manual_seed(int(words.generate_state(1, np.uint64)[0] >> np.uint64(1)))  # dropout
        self.model.train()
        size = len(cast("Tensor", batch[0])) // fit.accumulate  # (a run may change it on the way)
        found = torch.zeros(2, len(self.watched), dtype=torch.float64, device=self.device)
        for part in range(fit.accumulate):
            rows = slice(part * size, (part + 1) * size)
            own = _each(batch, itemgetter(rows))
            if part + 1 < fit.accumulate:
                with self.machine.no_sync(self.model):
                    found += self.backward(own)
            else:
                found += self.backward(own)
        self.scaler.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), fit.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            means, weights = (list(side) for side in zip(*self._pairs, strict=True))
            torch._foreach_lerp_(means, weights, 1 - self.decay(self.step))
        # a step that scaled gradients overflow in is left out, and its norm is no number
        norm = torch.nan_to_num(norm.double(), posinf=0.0, neginf=0.0)
        gradient = torch.stack([norm, torch.ones_like(norm)])
        self.sums = self.sums.to(self.device) + torch.cat([found, gradient[:, None]], dim=1)
        self.step += 1

    def backward(self, batch: Step) -> Tensor:
        """Add a part's gradient; sums and counts of what is watched, as this part's share of a step."""
        loss, sums = self.losses(batch)
        share = self.fit.accumulate
        self.scaler.scale(loss / share).backward()
        rows = [
            [torch.as_tensor(value, device=self.device).double() for value in sums[name]]
            for name in self.watched
        ]
        return torch.stack([torch.stack(row) for row in rows], dim=1) / share

    def means(self) -> dict[str, float]:
        """What is watched and the gradient's norm, as means since the last call, over all processes.

        Raises:
            FloatingPointError: The loss is no finite number.
        """
        sums, counts = self.check_finite()
        self.sums = torch.zeros_like(self.sums)
        found = zip(self._names, sums.tolist(), counts.tolist(), strict=True)
        return {name: total / count for name, total, count in found if count > 0}

    def check_finite(self) -> Tensor:
        """The sums, meaned over the processes; weights are looked at too.

        Raises:
            FloatingPointError: The loss or a weight became no finite number.
        """
        sums = self.machine.mean(self.sums.to(self.device)).cpu()
        if not torch.isfinite(sums[0, 0]):
            raise FloatingPointError(f"the loss became {float(sums[0, 0])} before step {self.step}")
        check_numbers(self.network.state_dict(), f"at step {self.step}")
        check_numbers(self.mean.state_dict(), f"at step {self.step}")
        return sums

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, in types that `torch.load(weights_only=True)` reads."""
        self._digest = self._digest or self.data.digest()
        return {
            "format": FORMAT,
            "kind": self.kind,
            "config": self.fit.to_json(),
            "data": self._digest,
            "pictures": len(self.data),
            "step": self.step,
            "network": self.network.state_dict(),
            "mean": self.mean.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "sums": self.sums.cpu(),
        }

    def restore(self, state: dict[str, Any], final_decay: int | None = None) -> None:
        """Continue from what :meth:`state` returned. The number of steps may be another one.

        Args:
            state:
                The checkpoint, as :func:`~ddrm_fast.training.checkpoints.read_checkpoint` gives it.
            final_decay:
                End the run with this many more steps of falling learning rate, from the rate of the
                checkpoint's step (from the peak where the run was finished).

        Raises:
            ConfigMismatch: It comes from another configuration or other pictures.
            ValueError: It does not fit its own description, or has no such steps to go.
        """
        old = type(self.fit).from_json(state["config"])
        step = state["step"]
        refuse_differences({**vars(old), "steps": 0}, {**vars(self.fit), "steps": 0})
        self._digest = self._digest or self.data.digest()
        if state["data"] != self._digest:
            raise ConfigMismatch(
                "the pictures are not those that the run was started with: "
                f"{len(self.data)} with digest {self._digest}, expected "
                f"{state.get('pictures', 'those')} with digest {state['data']}"
            )
        check_steps(old, self.fit, step)
        try:
            self.network.load_state_dict(state["network"])
            self.mean.load_state_dict(state["mean"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.scaler.load_state_dict(state["scaler"])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f"checkpoint: does not fit its own description ({type(error).__name__}: {error})"
            ) from error
        if state["sums"].shape == self.sums.shape:  # (an older format counted other things)
            self.sums = state["sums"]
        self.step = step
        if final_decay is not None:
            self.fit = with_final_decay(self.fit, step, final_decay)


def check_steps(old: Fit, new: Fit, step: int) -> None:
    """Refuse numbers of steps that a run cannot go on with.

    Args:
        old:
            The checkpoint's configuration.
        new:
            The one to go on with.
        step:
            Steps done.

    Raises:
        ValueError: There are fewer steps than are done, or other ones and the learning rate falls already.
    """
    if new.steps == old.steps:
        return
    if new.steps < step:
        raise ValueError(f"steps: got {new.steps}, but the run is at step {step} already")
    if old.decay_steps and step > old.steps - old.decay_steps:
        raise ValueError(
            f"steps: got {new.steps}, checkpoint has {old.steps} and the learning rate falls already; "
            "expected the same number, or a final decay of so many more steps"
        )


def _each(batch: Step, change: Callable[[Tensor], Tensor]) -> Step:
    """A batch of the same kind with every tensor changed."""
    parts = [None if x is None else change(x) for x in batch]
    make = cast("Callable[..., Step]", type(batch))
    return make(*parts) if hasattr(batch, "_fields") else make(parts)

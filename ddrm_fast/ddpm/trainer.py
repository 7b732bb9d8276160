"""Weights, running mean and optimiser of a run, and one step of it.

Every random number of step n (pictures, mirroring, timesteps, noise, dropout) derives from (seed, n), so
a resumed run takes the same steps as one that was never stopped, and the number of processes or parts of
a batch changes a step by rounding alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from .. import ops
from ..priors.runs import ConfigMismatch, refuse_differences
from .config import DDPMConfig
from .data import Pictures
from .networks import build_network
from .processes import OneProcess

CHECKPOINT_FORMAT = "ddrm_fast.ddpm_training/1"
_PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Batch(NamedTuple):
    """One process's share of a step: x0 (B, C, H, W), timesteps [B], noise, labels [B] or None."""

    x0: Tensor
    t: Tensor
    noise: Tensor
    labels: Tensor | None


class Trainer:
    """State of a run and its steps."""

    def __init__(
        self, config: DDPMConfig, pictures: Pictures, machine: OneProcess | None = None
    ) -> None:
        """Start at step 0 with fresh weights.

        Args:
            config: The run.
            pictures: What it learns from.
            machine: The processes that share the work; default: this one.

        Raises:
            ValueError: The batch cannot be divided among the processes, the pictures have no labels, or
                the device has no such precision.
        """
        self.config, self.pictures = config, pictures
        self.machine = machine or OneProcess()
        self.device, self.step = self.machine.device, 0
        parts = self.machine.count * config.accumulate
        if config.batch % parts:
            raise ValueError(
                f"batch: got {config.batch}, expected a multiple of {parts} "
                f"({self.machine.count} processes, {config.accumulate} parts each)"
            )
        if config.num_classes is not None and pictures.labels is None:
            raise ValueError("pictures: got none with labels, expected classes")
        if config.precision == "float16" and self.device.type == "cpu":
            raise ValueError("precision: float16 is for GPUs; expected bfloat16 or float32")
        self.objective = config.make_objective()
        self.network = build_network(config.network_settings(), config.seed).to(self.device)
        self.ema = AveragedModel(self.network, multi_avg_fn=self._running_mean).eval()
        self.ema.requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "float16")
        self.model = self.machine.prepare(self.network)
        #: sums since the last line of the log: loss, simple, vlb, norm of the gradient, steps
        self.sums = torch.zeros(5, dtype=torch.float64)
        self._digest = ""

    def prepare(self, step: int) -> Batch:
        """This process's share of the batch of a step."""
        config = self.config
        share = config.batch // self.machine.count
        places = range(self.machine.rank * share, (self.machine.rank + 1) * share)
        items = [step * config.batch + place for place in places]
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
        if config.num_classes is not None:
            chosen = self.pictures.labels[indices]
            dropped = draws[:, 2] < config.label_drop
            labels = torch.from_numpy(np.where(dropped, config.num_classes, chosen))
            labels = labels.to(self.device)
        keys = ops.noise_keys(share, config.seed, torch.tensor(places), device=self.device)
        noise = ops.normal(keys, *x0.shape[1:], iteration=step, stream=ops.Stream.TRAINING)
        return Batch(x0.to(self.device), t.to(self.device), noise, labels)

    def advance(self, batch: Batch) -> None:
        """Take one step."""
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(config, self.step)
        words = np.random.SeedSequence([config.seed, self.step, self.machine.rank, 3])
        torch.manual_seed(int(words.generate_state(1, np.uint64)[0] >> np.uint64(1)))  # dropout
        self.model.train()
        size = len(batch.x0) // config.accumulate
        found = torch.zeros(3, dtype=torch.float64, device=self.device)
        for part in range(config.accumulate):
            rows = slice(part * size, (part + 1) * size)
            own = Batch(*(None if x is None else x[rows] for x in batch))
            if part + 1 < config.accumulate:
                with self.machine.no_sync(self.model):
                    found += self._backward(own)
            else:
                found += self._backward(own)
        self.scaler.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        self.ema.update_parameters(self.network)
        # a step that scaled gradients overflow in is left out, and its norm is no number
        norm = torch.nan_to_num(norm.double(), posinf=0.0, neginf=0.0)
        one = torch.ones((), dtype=torch.float64, device=self.device)
        self.sums = self.sums.to(self.device) + torch.stack([*found, norm, one])
        self.step += 1

    def _backward(self, batch: Batch) -> Tensor:
        """Add a part's gradient; its loss, simple and vlb, each a share of the process's mean."""
        config = self.config
        losses = self.objective(self._call, *batch)
        loss = losses.loss.mean() / config.accumulate
        self.scaler.scale(loss).backward()
        vlb = losses.simple.new_zeros(()) if losses.vlb is None else losses.vlb.mean()
        shown = torch.stack([losses.loss.detach().mean(), losses.simple.mean(), vlb])
        return shown.double() / config.accumulate

    def _call(self, *arguments: Tensor) -> Tensor:
        dtype = _PRECISIONS.get(self.config.precision)
        with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            return self.model(*arguments)

    def _running_mean(self, means: list[Tensor], weights: list[Tensor], count: Tensor) -> None:
        """The update of the running mean; it forgets faster at first, so that it is of use early.

        `count` is the number of steps too, but to read it would wait for the device.
        """
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(means, weights, 1 - decay)

    def means(self) -> dict[str, float]:
        """Loss, its parts and the gradient's norm, as means since the last call, over all processes.

        Raises:
            FloatingPointError: The loss is no finite number.
        """
        sums = self.check_finite()
        count = max(float(sums[4]), 1.0)
        self.sums = torch.zeros_like(self.sums)
        values = dict(
            zip(("loss", "simple", "vlb", "gradient"), (sums[:4] / count).tolist(), strict=True)
        )
        if self.config.objective == "simple":
            del values["simple"], values["vlb"]
        return values

    def check_finite(self) -> Tensor:
        """The sums, meaned over the processes.

        Raises:
            FloatingPointError: The loss became no finite number.
        """
        sums = self.machine.mean(self.sums.to(self.device)).cpu()
        if not torch.isfinite(sums[0]):
            raise FloatingPointError(f"the loss became {float(sums[0])} before step {self.step}")
        return sums

    def ema_weights(self) -> dict[str, Tensor]:
        """The running mean of the weights by name."""
        return self.ema.module.state_dict()

    def state(self) -> dict:
        """All that a resumed run needs, in types that `torch.load(weights_only=True)` reads."""
        self._digest = self._digest or self.pictures.digest()
        return {
            "format": CHECKPOINT_FORMAT,
            "config": self.config.to_json(),
            "data": self._digest,
            "pictures": len(self.pictures),
            "step": self.step,
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "sums": self.sums.cpu(),
        }

    def restore(self, state: dict) -> None:
        """Continue from what `state` returned. The number of steps may be another one.

        Raises:
            ConfigMismatch: It comes from another configuration or other pictures.
        """
        old = DDPMConfig.from_json(state["config"])
        refuse_differences(vars(replace(old, steps=self.config.steps)), vars(self.config))
        self._digest = self._digest or self.pictures.digest()
        if state["data"] != self._digest:
            raise ConfigMismatch(
                "the pictures are not those that the run was started with: "
                f"{len(self.pictures)} with digest {self._digest}, expected "
                f"{state.get('pictures', 'those')} with digest {state['data']}"
            )
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.sums, self.step = state["sums"], state["step"]


def learning_rate_at(config: DDPMConfig, step: int) -> float:
    """Learning rate of a step: linear warm-up, then constant."""
    return config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup))

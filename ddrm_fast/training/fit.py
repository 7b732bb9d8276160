"""How a network is fitted: what every run has to choose, whatever it learns."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Self, TypeVar

from ..machine.arguments import check_made

PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The part of a run's configuration that the loop understands; runs add what their data and losses need.

    Attributes:
        batch:
            Pictures per step, over all processes.
        accumulate:
            Parts that the pictures of a process go through the network in, one after another.
        steps:
            Steps of the whole run.
        warmup:
            Steps of linear warm-up.
        decay_steps:
            Steps at the end over which the learning rate falls to zero as a half cosine.
        learning_rate:
            Peak learning rate of AdamW.
        weight_decay:
            Decoupled weight decay.
        ema:
            Decay per step of the running mean of the weights.
        clip:
            Largest norm of the gradient.
        precision:
            Arithmetic of the network: "float32", "bfloat16", or "float16" with scaled gradients
            (GPUs); weights and losses stay in float32.
        seed:
            Seed of everything that is drawn, 0 or more.
    """

    batch: int = 16
    accumulate: int = 1
    steps: int = 100_000
    warmup: int = 300
    decay_steps: int = 0
    learning_rate: float = 4e-4
    weight_decay: float = 0.0
    ema: float = 0.999
    clip: float = 1.0
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch", "accumulate", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected at least 1")
        for name in ("warmup", "decay_steps", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected 0 or more")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name}: got {getattr(self, name)}, expected a positive number, not infinity"
                )
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(
                f"weight_decay: got {self.weight_decay}, expected 0 or more, not infinity"
            )
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema: got {self.ema}, expected 0 or more, below 1")
        if self.decay_steps > self.steps:
            raise ValueError(
                f"decay_steps: got {self.decay_steps}, expected at most steps = {self.steps}"
            )
        if self.batch % self.accumulate:
            raise ValueError(
                f"accumulate: got {self.accumulate}, expected a divisor of batch = {self.batch}"
            )
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"precision: got {self.precision!r}, expected float32, bfloat16 or float16"
            )

    def to_json(self) -> str:
        """As text that :meth:`from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote.

        Args:
            text:
                The JSON.

        Raises:
            ValueError: It is something else.
        """
        try:
            values = json.loads(text)
            if not isinstance(values, dict):
                raise TypeError(f"got {type(values).__name__}, expected an object")
            return cls(**cls.from_plain(values))
        except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"configuration: cannot be read ({error})") from error

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the constructor from plain JSON values, settings within settings built."""
        return values


check_made(Fit)


Configuration = TypeVar("Configuration", bound=Fit)


def learning_rate_at(fit: Fit, step: int) -> float:
    """Learning rate of one step: linear warm-up, constant, half a cosine down to zero.

    Args:
        fit:
            The run.
        step:
            Number of the step, 0 to fit.steps - 1.
    """
    rate = fit.learning_rate * min(1.0, (step + 1) / max(1, fit.warmup))
    remaining = fit.steps - step
    if fit.decay_steps and remaining <= fit.decay_steps:
        rate *= 0.5 - 0.5 * math.cos(math.pi * remaining / (fit.decay_steps + 1))
    return rate


def with_final_decay(fit: Configuration, step: int, decay_steps: int) -> Configuration:
    """The configuration that lets a run end `decay_steps` after `step` with a falling rate.

    Args:
        fit:
            The run so far.
        step:
            Steps taken.
        decay_steps:
            Steps to go, at least 1.

    Raises:
        ValueError: decay_steps is below 1.
    """
    if decay_steps < 1:
        raise ValueError(f"final_decay: got {decay_steps}, expected at least 1")
    rate = fit.learning_rate if step >= fit.steps else learning_rate_at(fit, step)
    return replace(
        fit, steps=step + decay_steps, decay_steps=decay_steps, warmup=0, learning_rate=rate
    )

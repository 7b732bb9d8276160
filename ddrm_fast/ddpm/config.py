"""Everything that decides what a run of DDPM training computes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from ..priors.schedule import Schedule
from .networks import network_settings
from .objective import Objective
from .process import Process
from .reverse import Reverse

SCHEDULES = ("linear", "quadratic", "sigmoid", "constant", "jsd", "cosine")


@dataclass(frozen=True)
class DDPMConfig:
    """A run.

    Attributes:
        size: Side of the pictures in pixels.
        channels: 3 for colour, 1 for grey.
        network: {"kind": "guided" or "diffusers", ...its constructor's arguments}, see
            :func:`own_network`; channels and classes follow from the run. Empty: a small one.
        prediction: "eps", "x0", "v" or "mean": see :class:`Reverse`.
        variance: "small", "large" or "learned".
        objective: "simple", "vlb" or "hybrid": see :class:`Objective`.
        vlb_weight: Weight of the bound in the hybrid.
        schedule: Name of the schedule of betas.
        T: Timesteps, 2 or more.
        beta_start, beta_end: Of linear, quadratic and sigmoid schedules (constant: beta_end alone); None:
            1e-4 and 2e-2 for T = 1000, in inverse proportion to T for another.
        num_classes: Classes of a conditional network; None: no labels.
        label_drop: Probability that a label is replaced by the one for "no class", num_classes; a
            network trained so takes classifier-free guidance.
        batch: Pictures per step, over all processes.
        accumulate: Parts that the pictures of a process go through the network in, one after another.
        steps: Steps of the run.
        learning_rate: Of Adam, after the warm-up.
        warmup: Steps of linear warm-up.
        weight_decay: Decoupled weight decay.
        ema: Decay per step of the running mean of the weights.
        clip: Largest norm of the gradient.
        flip: Whether half of the pictures are mirrored left to right.
        precision: Arithmetic of the network: "float32", "bfloat16", or "float16" with scaled gradients.
        seed: Seed of weights, order, timesteps, noise and dropout, 0 or more.
    """

    size: int
    channels: int = 3
    network: dict[str, Any] = field(default_factory=dict)
    prediction: str = "eps"
    variance: str = "small"
    objective: str = "simple"
    vlb_weight: float = 1e-3
    schedule: str = "linear"
    T: int = 1000
    beta_start: float | None = None
    beta_end: float | None = None
    num_classes: int | None = None
    label_drop: float = 0.0
    batch: int = 64
    accumulate: int = 1
    steps: int = 100_000
    learning_rate: float = 2e-4
    warmup: int = 1000
    weight_decay: float = 0.0
    ema: float = 0.9999
    clip: float = 1.0
    flip: bool = True
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("size", 1), ("T", 2), ("batch", 1), ("accumulate", 1), ("steps", 1), ("warmup", 0), ("seed", 0),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected {least} or more")
        if self.channels not in (1, 3):
            raise ValueError(f"channels: got {self.channels}, expected 1 or 3")
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a positive number")
        for name in ("vlb_weight", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected 0 or more")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema: got {self.ema}, expected 0 or more, below 1")
        if not 0 <= self.label_drop < 1:
            raise ValueError(f"label_drop: got {self.label_drop}, expected 0 or more, below 1")
        if self.label_drop and self.num_classes is None:
            raise ValueError("label_drop: there are no classes, expected 0")
        if self.num_classes is not None and self.num_classes < 1:
            raise ValueError(f"num_classes: got {self.num_classes}, expected 1 or more")
        if self.batch % self.accumulate:
            raise ValueError(
                f"accumulate: got {self.accumulate}, expected a divisor of batch = {self.batch}"
            )
        if self.precision not in ("float32", "bfloat16", "float16"):
            raise ValueError(
                f"precision: got {self.precision!r}, expected float32, bfloat16 or float16"
            )
        self._check_end()
        self.make_objective()
        # as JSON gives it back
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in self.network.items()}
        object.__setattr__(self, "network", plain)
        self.network_settings()

    def _check_end(self) -> None:
        """Refuses so few timesteps that the betas that follow from them leave nothing of the picture."""
        scaled = self.schedule in ("linear", "quadratic", "sigmoid", "constant")
        if not scaled or self.beta_end is not None:
            return
        end = 20.0 / self.T
        emptied = end == 1 and self.make_schedule().abar(self.T - 1) == 0
        if end > 1 or (emptied and (self.prediction == "eps" or self.schedule == "constant")):
            why = "above 1" if end > 1 else f"where nothing is left for {self.prediction} to tell"
            raise ValueError(
                f"T: got {self.T} timesteps, for which {self.schedule} betas end at 20 / T = {end:g}, {why}; "
                "expected more timesteps, or a smaller beta_end"
            )

    @property
    def null_label(self) -> int | None:
        """The label for "no class"; None where labels are not dropped."""
        return self.num_classes if self.label_drop else None

    @property
    def embedded_classes(self) -> int | None:
        """Classes of the network itself, the one for "no class" included; None: no labels."""
        if self.num_classes is None:
            return None
        return self.num_classes + bool(self.label_drop)

    def make_schedule(self) -> Schedule:
        """The schedule of betas.

        Raises:
            ValueError: There is no schedule of that name, or it takes no such betas.
        """
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"schedule: got {self.schedule!r}, expected one of {', '.join(SCHEDULES)}"
            )
        start = 0.1 / self.T if self.beta_start is None else self.beta_start
        end = 20.0 / self.T if self.beta_end is None else self.beta_end
        fixed = self.schedule in ("jsd", "cosine")
        given = {"beta_start": self.beta_start, "beta_end": self.beta_end}
        for name, value in given.items():
            if value is not None and (fixed or (self.schedule, name) == ("constant", "beta_start")):
                raise ValueError(f"{name}: got {value}, the {self.schedule} schedule takes none")
        if not fixed and not 0 < start <= end <= 1:
            raise ValueError(
                f"beta_start, beta_end: got {start:g}, {end:g}, expected 0 < beta_start <= beta_end <= 1"
            )
        if fixed:
            return getattr(Schedule, self.schedule)(self.T)
        if self.schedule == "constant":
            return Schedule.constant(self.T, end)
        return getattr(Schedule, self.schedule)(self.T, start, end)

    def make_reverse(self) -> Reverse:
        """What the network's output means."""
        return Reverse(Process(self.make_schedule()), self.prediction, self.variance)

    def make_objective(self) -> Objective:
        """The loss."""
        return Objective(self.make_reverse(), self.objective, self.vlb_weight)

    def network_settings(self) -> dict[str, Any]:
        """The settings of the network, for :func:`build_network`."""
        return network_settings(self)

    def to_json(self) -> str:
        """As text that :meth:`from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DDPMConfig:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: It is something else.
        """
        try:
            return cls(**json.loads(text))
        except (TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"configuration: cannot be read ({error})") from error

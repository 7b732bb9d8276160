"""Everything that decides what a run of DDPM training computes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ..priors.schedule import Schedule
from ..training.fit import Fit
from .networks import network_settings
from .objective import Objective
from .process import Process
from .reverse import Reverse

SCHEDULES = ("linear", "quadratic", "sigmoid", "constant", "jsd", "cosine")


@dataclass(frozen=True, kw_only=True)
class DDPMConfig(Fit):
    """A run; what every run chooses is in :class:`ddrm_fast.training.Fit`.

    Attributes:
        size:
            Side of the pictures in pixels.
        channels:
            3 for colour, 1 for grey.
        network:
            {"kind": "guided" or "diffusers", ...its constructor's arguments}, see
            :func:`own_network`; channels and classes follow from the run. Empty: a small one.
        prediction:
            "eps", "x0", "v" or "mean": see :class:`Reverse`.
        variance:
            "small", "large" or "learned".
        objective:
            "simple", "vlb" or "hybrid": see :class:`Objective`.
        vlb_weight:
            Weight of the bound in the hybrid.
        schedule:
            Name of the schedule of betas.
        T:
            Timesteps, 2 or more.
        beta_start, beta_end:
            Of linear, quadratic and sigmoid schedules (constant: beta_end alone); None:
            1e-4 and 2e-2 for T = 1000, in inverse proportion to T for another.
        num_classes:
            Classes of a conditional network; None: no labels.
        label_drop:
            Probability that a label is replaced by the one for "no class", num_classes; a
            network trained so takes classifier-free guidance.
        flip:
            Whether half of the pictures are mirrored left to right.
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
    flip: bool = True
    batch: int = 64
    learning_rate: float = 2e-4
    warmup: int = 1000
    ema: float = 0.9999

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("size", 1), ("T", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected {least} or more")
        if self.channels not in (1, 3):
            raise ValueError(f"channels: got {self.channels}, expected 1 or 3")
        if not 0 <= self.vlb_weight < math.inf:
            raise ValueError(f"vlb_weight: got {self.vlb_weight}, expected 0 or more, not infinity")
        if not 0 <= self.label_drop < 1:
            raise ValueError(f"label_drop: got {self.label_drop}, expected 0 or more, below 1")
        if self.label_drop and self.num_classes is None:
            raise ValueError("label_drop: there are no classes, expected 0")
        if self.num_classes is not None and self.num_classes < 1:
            raise ValueError(f"num_classes: got {self.num_classes}, expected 1 or more")
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
        return network_settings(
            self.network, self.size, self.channels,
            self.make_reverse().out_channels(self.channels), self.embedded_classes,
        )  # fmt: skip

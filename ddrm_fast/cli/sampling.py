"""Options that say how restored pictures are drawn: sampler, prior, backend, threads."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from .. import ops, restoration
from ..io.files import digest
from ..operators import Operator
from ..priors import DenoiserPrior, Prior, accelerated
from ..priors.load import DEFAULT
from ..priors.precision import PRECISIONS
from ..problems import Problem
from ..registry import SAMPLERS, Choice, loaded
from ..samplers import Sampler, Steps, Travel, parse_steps
from ..samplers.loop import planned
from ..samplers.plans import Plan, plan
from . import networks, specs
from .large import Large, add_large_options, read_large
from .networks import PRIORS, Classes

log = logging.getLogger(__name__)


def add_sampling_options(parser: argparse.ArgumentParser, samples: int | None) -> None:
    """Add the options of everything that draws; None: no samples unless they are asked for."""
    group = parser.add_argument_group("drawing")
    group.add_argument(
        "--samples", default=samples, metavar="N",
        help=f"per picture ({samples})" if samples else "drawn pictures of each, with their mean and their "
        "uncertainty (none: the best estimate alone, in at most ten network calls)",
    )  # fmt: skip
    group.add_argument(
        "--steps",
        metavar="STEPS",
        help="network calls: a number of uniform timesteps, as published; karras:COUNT:START:END or "
        "geometric:COUNT:START:END, noise levels of [0, 1] pictures, such as karras:20:1:0.01; or timesteps "
        f"with commas between them (what suits the task and its noise; with --sampler {_usual_steps()})",
    )
    group.add_argument("--seed", default=0, metavar="N", help="of the noise (0)")
    restoring = [name for name, sampler in SAMPLERS.items() if sampler.restores]
    group.add_argument(
        "--sampler", type=partial(_sampler_name, restoring), metavar="SAMPLER",
        help=f"{', '.join(restoring)} (what suits the task and its noise; ddrm with --steps or "
        "--eta alone); ddnm, repaint and ilvr take the input for free of noise; not "
        "ddim and ddpm, which draw from the prior whatever the input shows: see ddrm-fast sample",
    )  # fmt: skip
    group.add_argument(
        "--travel", nargs=2, metavar=("LENGTH", "REPEAT"),
        help="time travel: sample every stretch of LENGTH steps REPEAT times, for holes and strong "
        "degradations, at REPEAT times the network calls (none; repaint: 10 10)",
    )  # fmt: skip
    add_parameters(group, restoring)
    group.add_argument(
        "--end-on-measurement",
        action="store_true",
        help="pull the result to the measurement as far as its noise allows",
    )
    group.add_argument("--clip-x0", action="store_true", help="clip predictions to [0, 1]")
    group.add_argument(
        "--prior",
        default="default",
        metavar="PRIOR",
        help=PRIORS,
    )
    networks.add_prior_options(group)
    group.add_argument(
        "--precision", choices=PRECISIONS,
        help="of the network's arithmetic (auto: bfloat16 on processors with instructions for it, "
        "twice as fast there)",
    )  # fmt: skip
    group.add_argument(
        "--compile", action="store_true",
        help="torch.compile of the network, which takes a while for each size of pictures, windows or tiles: "
        "for many of one size; needs a C++ compiler; the same pictures but for rounding (no)",
    )  # fmt: skip
    add_machine_options(group)
    add_large_options(parser)
    networks.add_class_options(parser)


def _usual_steps() -> str:
    """The defaults of ``--steps`` in words."""
    return ", ".join(f"{e.name} {e.steps}" for e in SAMPLERS.values() if e.restores)


def _sampler_name(known: Sequence[str], text: str) -> str:
    """The name of a sampler that restores, from it or an alias."""
    try:
        name = SAMPLERS.find(text).name
        if name not in known:
            raise ValueError(f"{name} draws from the prior; expected one of {', '.join(known)}")
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"invalid choice: {error}") from None
    return name


def add_parameters(group: argparse._ActionsContainer, samplers: Iterable[str]) -> None:
    """Add the parameters of samplers, each once; one whose name an option has already is left out."""
    found = {p.name: p for name in samplers for p in SAMPLERS[name].parameters}
    for parameter in found.values():
        choices = parameter.choices if isinstance(parameter, Choice) else None
        try:
            group.add_argument(
                parameter.option, dest=f"sampler_{parameter.name}", choices=choices,
                metavar=None if choices else parameter.metavar, help=parameter.described,
            )  # fmt: skip
        except argparse.ArgumentError:
            log.warning(
                "%s: an option has this name, the sampler keeps its default", parameter.option
            )


def add_machine_options(group: argparse._ActionsContainer) -> None:
    """Add backend and threads."""
    group.add_argument(
        "--backend",
        metavar="NAME",
        help="cpp, reference, ... (chosen by itself; see ddrm-fast info)",
    )
    group.add_argument("--threads", metavar="N", help="CPU threads (all)")
    group.add_argument("--quiet", action="store_true", help="no progress bars, errors only")


def use_machine(arguments: argparse.Namespace) -> ops.use_backend:
    """The threads and the backend that were asked for, for a ``with`` block.

    Raises:
        ValueError, BackendError: No such thing, or it cannot run here.
    """
    if arguments.threads is not None:
        torch.set_num_threads(specs.threads("--threads", arguments.threads))
    return ops.use_backend(arguments.backend)


def _sampler(arguments: argparse.Namespace) -> Sampler | None:
    """The sampler that was asked for; None: what suits the problem."""
    settings: dict = {}
    if arguments.steps is not None:
        settings["steps"] = _steps(arguments.steps)
    if arguments.sampler is None and not settings and not given_parameters(arguments):
        return None
    entry = SAMPLERS[arguments.sampler or "ddrm"]
    for name, value in given_parameters(arguments).items():
        parameter = entry.parameter(name)
        if parameter is None:
            known = ", ".join(found.name for found in entry.parameters) or "none"
            raise ValueError(
                f"{name}: sampler {entry.name} does not take it; its parameters: {known}"
            )
        settings[name] = parameter.read(value)
    return loaded(entry.make)(**settings)


def _steps(text: str) -> int | Steps | tuple[float, ...]:
    try:
        found = parse_steps(text)
    except ValueError as error:
        raise ValueError(f"--{error}") from None
    return specs.whole("--steps", text) if isinstance(found, int) else found


def given_parameters(arguments: argparse.Namespace) -> dict[str, str]:
    """The parameters of a sampler that were given, as text."""
    prefix = "sampler_"
    return {
        name.removeprefix(prefix): value
        for name, value in vars(arguments).items()
        if name.startswith(prefix) and value is not None
    }


def _travel(arguments: argparse.Namespace) -> Travel | None:
    """The time travel that was asked for."""
    if arguments.travel is None:
        return None
    return Travel(*(specs.whole("--travel", text) for text in arguments.travel))


@dataclass(frozen=True)
class Drawing:
    """How restored pictures are drawn.

    Attributes:
        prior: The prior, and ``prior_name`` and ``prior_sha256``: where it comes from.
        sampler, travel, samples, seed, end_on_measurement, clip_x0: See :func:`ddrm_fast.restore`.
        quiet: No progress bar.
        large: How large pictures are restored, or None.
        device: Where the network is, and pictures are restored.
        compiled: The network is, which may round in another way.
    """

    prior: Prior
    prior_name: str
    prior_sha256: str | None
    sampler: Sampler | None
    travel: Travel | None
    samples: int | None
    seed: int
    end_on_measurement: bool
    clip_x0: bool
    quiet: bool
    classes: Classes
    large: Large | None = None
    device: str = "cpu"
    compiled: bool = False

    def planned(self, problem: Problem) -> tuple[Drawing, Plan | None]:
        """With the sampler that suits a problem, and why, where no option says otherwise."""
        if self.sampler is not None:
            return self, None
        found = plan(problem, self.samples is not None)
        return replace(self, sampler=found.sampler), found

    def settings(self) -> dict:
        """Everything that the pictures depend on, as JSON values."""
        travel = {} if self.travel is None else {"travel": repr(self.travel)}
        return {
            "sampler": repr(self.sampler),
            **travel,
            **({} if self.large is None else {"large": self.large.settings()}),
            "samples": self.samples,
            "seed": self.seed,
            "end_on_measurement": self.end_on_measurement,
            "clip_x0": self.clip_x0,
            "prior": self.prior_name,
            "prior_sha256": self.prior_sha256,
            "precision": self.prior.precision_on(self.device),
            **({"compiled": True} if self.compiled else {}),
            **self.classes.settings,
        }

    def restore(
        self, y: Tensor, operator: Operator, sigma_y: float, channels: int
    ) -> restoration.Restoration:
        """Restored pictures of so many channels, in the memory of the machine."""
        prior = self.prior if self.large is None else self.large.prior(self.prior)
        draw = restoration.restore if self.large is None else self.large.restore
        found = draw(
            y.to(self.device),
            operator,
            sigma_y,
            for_channels(prior, channels),
            sampler=self.sampler,
            num_samples=self.samples,
            seed=self.seed,
            clip_x0=self.clip_x0,
            labels=self.classes.labels(y.shape[0]),
            guidance=self.classes.guidance,
            end_on_measurement=self.end_on_measurement,
            travel=self.travel,
            progress=False if self.quiet else None,
        )
        return restoration.Restoration(found.samples.cpu(), found.mean.cpu(), found.std.cpu())


def read_drawing(arguments: argparse.Namespace, device: str | None = None) -> Drawing:
    """Check the options and read the prior.

    Args:
        device: Where it goes, whatever the options say.

    Raises:
        ValueError, OSError, ImportError: An option or the prior is not what it should be.
    """
    sampler, travel = _sampler(arguments), _travel(arguments)
    samples = None if arguments.samples is None else specs.whole("--samples", arguments.samples)
    seed = specs.seed("--seed", arguments.seed)
    device = device or networks.device_of(arguments)
    prior = networks.read_prior(arguments, device)
    if arguments.precision is not None:
        prior.precision = arguments.precision
    classes, prior = networks.read_classes(arguments, prior, device)
    if arguments.compile:
        prior.precision_on(device)  # what "auto" means is found out at another size, before
        prior = accelerated(prior, compile=True)
    if sampler is not None:
        planned(prior, sampler, travel)
    path = DEFAULT if arguments.prior == "default" else Path(arguments.prior)
    return Drawing(
        prior,
        arguments.prior,
        digest(path.read_bytes()) if path.is_file() else None,
        sampler,
        travel,
        samples,
        seed,
        arguments.end_on_measurement,
        arguments.clip_x0,
        arguments.quiet,
        classes,
        read_large(arguments),
        device,
        arguments.compile,
    )


def for_channels(prior: Prior, channels: int) -> Prior:
    """A prior for pictures of so many channels: one for colours serves grey pictures too.

    A grey picture with noise sigma, shown to a colour network as three equal channels, has noise of
    sqrt(3) sigma along the grey axis and none across it; so the network is told sqrt(3) sigma, and the
    mean of its channels is taken. (Told sigma it would leave a third of the noise: 5 dB at 25/255.)
    """
    if channels != 1 or prior.channels != 3:
        return prior

    if prior.num_classes is not None:
        raise ValueError(f"{prior.name} is for colour pictures with a class, the picture is grey")

    return _Grey(prior)


class _Grey(DenoiserPrior):
    """A colour prior for grey pictures; see :func:`for_channels`."""

    def __init__(self, prior: Prior) -> None:
        self.colour = prior
        super().__init__(self._denoise_grey, (-1.0, 1.0), channels=1, name=f"{prior.name} (grey)")

    def _denoise_grey(self, x: Tensor, sigma: Tensor) -> Tensor:
        x = x.expand(-1, 3, -1, -1)
        return self.colour.denoise(x, math.sqrt(3) * sigma).mean(1, keepdim=True)

    def in_float32(self, device: torch.device | str = "cpu") -> Prior | None:
        exact = self.colour.in_float32(device)
        return None if exact is None else _Grey(exact)

"""What was asked for, out of parsed arguments: the task, how pictures are drawn, the machine."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch

from .. import ops, restoration
from ..large import duration as estimates
from ..operators import Operator
from ..priors import Prior, accelerated
from ..priors.grey import for_channels
from ..problems import Problem, check_options
from ..registry import SAMPLERS, edit_of, loaded
from ..samplers import Drawing, Edit, Sampler, Steps, Travel, parse_steps
from ..samplers.drawing import planned, usual_edits
from ..samplers.plans import Plan, plan
from . import networks, results, specs
from .commands.options import parameters
from .large import Large, read_large
from .networks import Classes


def task_options(arguments: argparse.Namespace) -> dict[str, str]:
    """The parameters that were given for ``--task``, as text.

    Raises:
        ValueError: One is missing, or the task does not take it.
    """
    given = {name: getattr(arguments, name) for name in parameters()}
    given = {name: text for name, text in given.items() if text is not None}
    if arguments.task is None:
        if given:
            raise ValueError(f"{next(iter(given))}: belongs to a --task, which is not given")
        return {}
    check_options(arguments.task, given)
    return given


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
    settings: dict[str, Any] = {}
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
    found = parse_steps(text)
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
class Asked:
    """How restored pictures are to be drawn.

    Attributes:
        prior:
            The prior, and ``prior_name`` and ``prior_sha256``: where it comes from.
        sampler, travel, samples, seed, end_on_measurement, clip_x0:
            See :func:`ddrm_fast.restore`.
        implied:
            Steps were asked for, and DDRM stands there for whatever takes them.
        edits:
            The words of each edit; see :func:`ddrm_fast.registry.edit_of`.
        quiet:
            No progress bar.
        large:
            How large pictures are restored, or None.
        device:
            Where the network is, and pictures are restored.
        compiled:
            The network is, which may round in another way.
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
    edits: tuple[str, ...] = ()
    implied: bool = False

    def planned(self, problem: Problem) -> tuple[Asked, Plan | None]:
        """With the sampler that suits a problem, and why, where no option says otherwise."""
        if self.sampler is not None and not (
            self.implied and not isinstance(problem.operator, Operator)
        ):
            return self, None
        found = plan(problem, self.samples is not None)
        if self.sampler is not None:  # a map without a decomposition, with steps of one's own
            own = replace(cast(Any, found.sampler), steps=self.sampler.steps)
            return replace(self, sampler=own), None
        return replace(self, sampler=found.sampler), found

    def drawn(self, problem: Problem, channels: int) -> tuple[restoration.Restoration, str]:
        """Restored pictures of so many channels, and the sampler that was asked for or suits them."""
        chosen, _ = self.planned(problem)
        return chosen.restore(problem, channels), repr(chosen.sampler)

    @property
    def best(self) -> Callable[[Problem, int], restoration.Restoration] | None:
        """What gives the best estimate of a problem; None where the sampler was chosen."""
        if self.sampler is not None:
            return None
        asked = replace(self, samples=None)
        return lambda problem, channels: asked.drawn(problem, channels)[0]

    def settings(self) -> dict[str, Any]:
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
            **({"edits": list(self.edits)} if self.edits else {}),
            "prior": self.prior_name,
            "prior_sha256": self.prior_sha256,
            "precision": self.prior.precision_on(self.device),
            **({"compiled": True} if self.compiled else {}),
            **self.classes.settings,
        }

    def expected(self, problem: Problem, channels: int) -> estimates.Estimate | None:
        """How long a problem will take; None where nobody waits for it."""
        overlap = 1.0 if self.large is None else self.large.overlap
        problem = problem.to(self.device)
        drawing = self.drawing(channels, problem)
        return estimates.estimate(problem, drawing, overlap=overlap, least=estimates.QUICK)

    @property
    def made_edits(self) -> list[Edit]:
        """The edits that were asked for by name."""
        return [edit_of(text) for text in self.edits]

    def restore(self, problem: Problem, channels: int) -> restoration.Restoration:
        """Restored pictures of so many channels, in the memory of the machine."""
        problem, progress = problem.to(self.device), False if self.quiet else None
        if self.large is not None and not self.large.whole:
            prior = for_channels(self.large.prior(self.prior), channels)
            found = self.large.restore(
                problem, prior, sampler=self.sampler, num_samples=self.samples,
                seed=self.seed, clip_x0=self.clip_x0, labels=self.classes.labels(problem.batch),
                guidance=self.classes.guidance, end_on_measurement=self.end_on_measurement,
                travel=self.travel, edits=self.made_edits, progress=progress,
            )  # fmt: skip
        else:
            found = restoration.draw(problem, self.drawing(channels, problem), progress=progress)
        return restoration.Restoration(
            results.drawn(found).cpu(), found.mean.cpu(), found.std.cpu()
        )

    def drawing(self, channels: int, problem: Problem) -> Drawing:
        """How the pictures of a problem are drawn in one run, the network in tiles if asked for."""
        prior = self.prior if self.large is None else self.large.prior(self.prior)
        edits = usual_edits(
            guidance=self.classes.guidance,
            clip_x0=self.clip_x0,
            edits=self.made_edits,
            end_on_measurement=self.end_on_measurement,
        )
        return Drawing(
            for_channels(prior, channels), self.sampler, edits, self.travel,
            self.classes.labels(problem.batch), self.seed, self.samples,
        )  # fmt: skip


def read_asked(arguments: argparse.Namespace, device: str | None = None) -> Asked:
    """Check the options and read the prior.

    Args:
        device:
            Where it goes, whatever the options say.

    Raises:
        ValueError, OSError, ImportError: An option or the prior is not what it should be.
    """
    sampler, travel = _sampler(arguments), _travel(arguments)
    samples = (
        None if arguments.samples is None else specs.whole("--samples", arguments.samples, 1, 10**6)
    )
    seed = specs.seed("--seed", arguments.seed)
    device = device or networks.device_of(arguments)
    prior = networks.read_prior(arguments, device)
    if arguments.precision is not None:
        prior.precision = arguments.precision
    classes, prior = networks.read_classes(arguments, prior, device)
    if arguments.checkpointing:
        if arguments.compile:
            raise ValueError("--checkpointing: does not go together with --compile")
        prior = accelerated(prior, checkpointing=True)
    if arguments.compile:
        prior.precision_on(device)  # what "auto" means is found out at another size, before
        prior = accelerated(prior, compile=True)
    edits = tuple(arguments.edits or ())
    for text in edits:
        edit_of(text)
    if sampler is not None:
        planned(prior, sampler, travel)
    return Asked(
        prior,
        arguments.prior,
        networks.digest_of(arguments.prior),
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
        edits,
        arguments.sampler is None and not given_parameters(arguments),
    )

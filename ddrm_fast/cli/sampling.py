"""Options that say how restored pictures are drawn: sampler, prior, backend, threads."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor

from .. import ops, restoration
from ..io.files import digest
from ..operators import Operator
from ..priors import (
    DenoiserPrior,
    Prior,
    classifier_free,
    classifier_guidance,
    load_classifier,
    load_prior,
)
from ..priors.load import DEFAULT
from ..priors.precision import PRECISIONS
from ..samplers import DDNM, DDRM, ILVR, DDNMPlus, RePaint, Sampler, Travel
from ..samplers.loop import planned
from . import specs
from .large import Large, add_large_options, read_large
from .tasks import TASKS

SAMPLERS = {"ddrm": DDRM, "ddnm": DDNM, "ddnm+": DDNMPlus, "repaint": RePaint, "ilvr": ILVR}


def add_sampling_options(parser: argparse.ArgumentParser, samples: int) -> None:
    """Add the options of everything that draws."""
    group = parser.add_argument_group("drawing")
    group.add_argument("--samples", default=samples, metavar="N", help=f"per picture ({samples})")
    group.add_argument(
        "--steps",
        metavar="N",
        help="network calls per sample (20; missing pixels: 50, compressed sensing: 100, with --eta 1; "
        "ddnm, ddnm+, ilvr: 100; repaint: 250, before its travel)",
    )
    group.add_argument("--seed", default=0, metavar="N", help="of the noise (0)")
    group.add_argument(
        "--sampler", choices=SAMPLERS, default="ddrm",
        help="(ddrm); ddnm, repaint and ilvr take the input for free of noise",
    )  # fmt: skip
    group.add_argument(
        "--travel", nargs=2, metavar=("LENGTH", "REPEAT"),
        help="time travel: sample every stretch of LENGTH steps REPEAT times, for holes and strong "
        "degradations, at REPEAT times the network calls (none; repaint: 10 10)",
    )  # fmt: skip
    group.add_argument("--eta", metavar="X", help="share of fresh noise, 0 to 1 (0.85)")
    group.add_argument("--eta-b", metavar="X", help="ddrm: trust in the measurement, 0 to 1 (1)")
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
        help="default, gaussian, a file of `ddrm-fast train`, a published checkpoint (guided-diffusion, "
        "DDPM), or a diffusers folder",
    )
    group.add_argument(
        "--prior-config", metavar="FILE",
        help="JSON with what a checkpoint's weights do not tell, such as "
        '{"num_heads": 4, "use_new_attention_order": false}; not needed for published files',
    )  # fmt: skip
    group.add_argument(
        "--precision", choices=PRECISIONS,
        help="of the network's arithmetic (auto: bfloat16 on processors with instructions for it, "
        "twice as fast there)",
    )  # fmt: skip
    group.add_argument(
        "--device", metavar="D", help="cpu, cuda, cuda:1, ... (a GPU where there is one)"
    )
    add_machine_options(group)
    add_large_options(parser)
    group = parser.add_argument_group("classes, for priors that know them")
    group.add_argument("--label", metavar="N", help="class of what the pictures show")
    group.add_argument("--classifier", metavar="FILE", help="a published classifier that guides")
    group.add_argument("--classifier-config", metavar="FILE", help="JSON, as --prior-config")
    group.add_argument(
        "--null-label", metavar="N",
        help="label that stands for no class: guides without a classifier",
    )  # fmt: skip
    group.add_argument("--guidance", metavar="SCALE", help="strength of the guidance (1)")


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


def _sampler(arguments: argparse.Namespace) -> Sampler:
    """The sampler that was asked for."""
    settings: dict = {}
    if arguments.steps is not None:
        settings["steps"] = specs.whole("--steps", arguments.steps)
    for name in ("eta", "eta_b"):
        value, option = getattr(arguments, name), f"--{name.replace('_', '-')}"
        if value is not None:
            if name not in {field.name for field in fields(SAMPLERS[arguments.sampler])}:
                raise ValueError(f"{option}: sampler {arguments.sampler} does not take it")
            settings[name] = specs.number(option, value, 0, 1)
    return SAMPLERS[arguments.sampler](**settings)


def _travel(arguments: argparse.Namespace) -> Travel | None:
    """The time travel that was asked for."""
    if arguments.travel is None:
        return None
    return Travel(*(specs.whole("--travel", text) for text in arguments.travel))


@dataclass(frozen=True)
class Classes:
    """What the pictures are said to show.

    Attributes:
        label: The class, or None.
        guidance: A classifier's gradient, or None.
        settings: What was asked for, for the record; empty where nothing was.
    """

    label: int | None
    guidance: Callable | None
    settings: dict

    def labels(self, batch: int) -> Tensor | None:
        """The class once per picture."""
        return None if self.label is None else torch.full((batch,), self.label)


def _classes(arguments: argparse.Namespace, prior: Prior, device: str) -> tuple[Classes, Prior]:
    """The class and its guidance; the prior is another one where it guides itself."""
    label, scale = arguments.label, 1.0
    if label is not None:
        label = specs.whole("--label", label, 0)
        if not 0 <= label < (prior.num_classes or label + 1):
            raise ValueError(f"--label: got {label}, expected 0 to {prior.num_classes - 1}")
    elif prior.num_classes is not None:
        raise ValueError(f"--label: {arguments.prior} wants a class, 0 to {prior.num_classes - 1}")
    if arguments.guidance is not None:
        if arguments.classifier is None and arguments.null_label is None:
            raise ValueError("--guidance: needs --classifier or --null-label")
        scale = specs.number("--guidance", arguments.guidance, 0)
    for option in ("classifier", "null_label"):
        if getattr(arguments, option) is not None and label is None:
            raise ValueError(f"--{option.replace('_', '-')}: needs --label")
    if arguments.classifier_config is not None and arguments.classifier is None:
        raise ValueError("--classifier-config: needs --classifier, which it describes")
    guidance = None
    if arguments.classifier is not None:
        classifier = load_classifier(
            arguments.classifier, _config("--classifier-config", arguments.classifier_config)
        )
        guidance = classifier_guidance(classifier.to(device), scale)
    if arguments.null_label is not None:
        prior = classifier_free(prior, scale, specs.whole("--null-label", arguments.null_label, 0))
    chosen = {
        "label": label,
        "classifier": arguments.classifier,
        "null_label": arguments.null_label,
        "guidance": None if arguments.guidance is None else scale,
        "prior_config": _config("--prior-config", arguments.prior_config),
    }
    settings = {name: value for name, value in chosen.items() if value is not None}
    return Classes(label, guidance, settings), prior


def _config(option: str, path: str | None) -> dict | None:
    """A JSON file with an object in it."""
    if path is None:
        return None
    try:
        content = json.loads(Path(path).read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{option}: {path} is not readable as JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{option}: {path} holds a {type(content).__name__}, expected an object")
    return content


@dataclass(frozen=True)
class Drawing:
    """How restored pictures are drawn.

    Attributes:
        prior: The prior, and ``prior_name`` and ``prior_sha256``: where it comes from.
        sampler, travel, samples, seed, end_on_measurement, clip_x0: See :func:`ddrm_fast.restore`.
        quiet: No progress bar.
        usual: No option chose the sampler or its steps, so that a task may.
        large: How large pictures are restored, or None.
        device: Where the network is, and pictures are restored.
    """

    prior: Prior
    prior_name: str
    prior_sha256: str | None
    sampler: Sampler
    travel: Travel | None
    samples: int
    seed: int
    end_on_measurement: bool
    clip_x0: bool
    quiet: bool
    classes: Classes
    usual: bool
    large: Large | None = None
    device: str = "cpu"

    def for_task(self, name: str) -> Drawing:
        """With the sampler's settings that suit a task best, where no option says otherwise."""
        if not self.usual:
            return self
        return replace(self, sampler=replace(self.sampler, **TASKS[name].drawing))

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


def device_of(arguments: argparse.Namespace) -> str:
    """The device that was asked for, or a GPU where there is one.

    Raises:
        ValueError: There is no such device.
    """
    if arguments.device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=arguments.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"--device: got {arguments.device!r} ({reason})") from None
    return arguments.device


def read_drawing(arguments: argparse.Namespace, device: str | None = None) -> Drawing:
    """Check the options and read the prior.

    Args:
        device: Where it goes, whatever the options say.

    Raises:
        ValueError, OSError, ImportError: An option or the prior is not what it should be.
    """
    sampler, travel = _sampler(arguments), _travel(arguments)
    samples = specs.whole("--samples", arguments.samples)
    seed = specs.seed("--seed", arguments.seed)
    device = device or device_of(arguments)
    config = _config("--prior-config", arguments.prior_config)
    prior = load_prior(arguments.prior, config, device)
    if arguments.precision is not None:
        prior.precision = arguments.precision
    classes, prior = _classes(arguments, prior, device)
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
        arguments.sampler == "ddrm" and arguments.steps is None and arguments.eta is None,
        read_large(arguments),
        device,
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

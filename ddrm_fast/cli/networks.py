"""The networks that the command line names: prior, classifier, the class that they are asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import specs

if TYPE_CHECKING:  # what trains asks for a device alone, and imports the rest when it runs
    from torch import Tensor

    from ..priors import Prior


def device_of(arguments: argparse.Namespace) -> str:
    """The device that was asked for, or a GPU where there is one.

    Raises:
        ValueError: There is no such device.
    """
    import torch

    if arguments.device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=arguments.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"--device: got {arguments.device!r} ({reason})") from None
    return arguments.device


def read_prior(arguments: argparse.Namespace, device: str) -> Prior:
    """The prior that was asked for, on a device.

    Raises:
        ValueError, OSError, ImportError: It cannot be read.
    """
    from ..priors import load_prior

    config = specs.settings("--prior-config", arguments.prior_config)
    with _named("--prior-config"):
        return load_prior(arguments.prior, config, device)


def digest_of(name: str) -> str | None:
    """SHA-256 of the file of a prior, by what ``--prior`` says; None where it is no file."""
    from ..io.files import digest
    from ..priors.download import here
    from ..priors.load import DEFAULT

    path = DEFAULT if name == "default" else here(name)
    return digest(path.read_bytes()) if path.is_file() else None


@contextmanager
def _named(option: str) -> Iterator[None]:
    """Errors about an argument `config` name the option that stands for it."""
    try:
        yield
    except ValueError as error:
        text = str(error).replace("config={...}", f"{option} FILE.json")
        if text.startswith("config:"):
            text = option + text.removeprefix("config")
        raise ValueError(text) from error


@dataclass(frozen=True)
class Classes:
    """What the pictures are said to show.

    Attributes:
        label:
            The class, or None.
        guidance:
            A classifier's gradient, or None.
        settings:
            What was asked for, for the record; empty where nothing was.
    """

    label: int | None
    guidance: Callable[..., Any] | None
    settings: dict[str, Any]

    def labels(self, batch: int) -> Tensor | None:
        """The class once per picture."""
        import torch

        return None if self.label is None else torch.full((batch,), self.label)


def read_classes(
    arguments: argparse.Namespace, prior: Prior, device: str, *, any_class: bool = False
) -> tuple[Classes, Prior]:
    """The class and its guidance; the prior is another one where it guides itself.

    Args:
        any_class:
            Without a label, a prior with classes is asked for one after the other.

    Raises:
        ValueError, OSError: An option does not fit the others, the prior or the classifier.
    """
    from ..priors import classifier_free, classifier_guidance, load_classifier
    from ..priors.guidance import without_labels

    label, scale, count = arguments.label, 1.0, prior.num_classes
    if label is not None:
        label = specs.whole("--label", label, 0)
        if count is None and arguments.classifier is None:
            raise ValueError(f"--label: got {label}, but {arguments.prior} knows no classes")
        if count is not None and label >= count:
            raise ValueError(f"--label: got {label}, expected 0 to {count - 1}")
    elif count is not None and not any_class:
        raise ValueError(f"--label: {arguments.prior} wants a class, 0 to {count - 1}")
    if arguments.guidance is not None:
        if arguments.classifier is None and arguments.null_label is None:
            raise ValueError("--guidance: needs --classifier or --null-label")
        scale = specs.number("--guidance", arguments.guidance, 0)
    for option in ("classifier", "null_label"):
        if getattr(arguments, option) is not None and label is None and count is None:
            raise ValueError(f"--{option.replace('_', '-')}: needs --label")
    if arguments.classifier_config is not None and arguments.classifier is None:
        raise ValueError("--classifier-config: needs --classifier, which it describes")
    guidance = None
    if arguments.classifier is not None:
        config = specs.settings("--classifier-config", arguments.classifier_config)
        with _named("--classifier-config"):
            classifier = load_classifier(arguments.classifier, config)
        guidance = classifier_guidance(classifier.to(device), scale)
    if arguments.null_label is not None:
        null_label = specs.whole("--null-label", arguments.null_label, 0)
        if count is None:
            raise ValueError(f"--null-label: {arguments.prior} knows no classes, expected none")
        prior = classifier_free(prior, scale, null_label)
    if count is None and label is not None:  # which is the classifier's
        prior = without_labels(prior)
    chosen = {
        "label": label,
        "classifier": arguments.classifier,
        "null_label": arguments.null_label,
        "guidance": None if arguments.guidance is None else scale,
        "prior_config": specs.settings("--prior-config", arguments.prior_config),
    }
    settings = {name: value for name, value in chosen.items() if value is not None}
    return Classes(label, guidance, settings), prior

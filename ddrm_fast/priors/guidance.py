"""Guidance: a classifier's gradient, and the difference that a class label makes."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

import torch
from torch import Tensor

from .prior import Prior


def classifier_guidance(
    classifier: Callable[[Tensor, Tensor], Tensor], scale: float = 1.0
) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """The gradient of scale log p(label | x_t), for the argument ``guidance`` of :func:`ddrm_fast.restore`.

    Dhariwal and Nichol 2021, algorithms 1 and 2.

    Args:
        classifier:
            ``(x_t, t) -> logits`` [B, classes], trained on noisy pictures; :func:`load_classifier` gives one.
        scale:
            Of the gradient; more than 1 sharpens the class.

    Returns:
        ``(x_t, t, labels) -> gradient`` of x_t's shape. It raises ValueError where there are no labels, or
        one is outside the classes or no whole number.

    Raises:
        ValueError: the classifier is no function.
    """
    if not callable(classifier):
        raise ValueError(
            f"classifier: expected a function (x_t, t) -> logits, got {type(classifier).__name__}"
        )

    def gradient(x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        if labels is None:
            raise ValueError("labels: got none, expected [B] for the guidance of a classifier")
        if labels.is_floating_point():
            raise ValueError(f"labels: got {labels.dtype}, expected whole numbers")
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            chances = torch.log_softmax(classifier(x, t).float(), dim=-1)
            classes = chances.shape[-1]
            if labels.device.type == "cpu" and not ((labels >= 0) & (labels < classes)).all():
                raise ValueError(f"labels: got {labels.tolist()}, expected 0 to {classes - 1}")
            chosen = chances.gather(1, labels.long().view(-1, 1)).sum()
            return scale * torch.autograd.grad(chosen, x)[0]

    return gradient


def classifier_free(prior: Prior, scale: float, null_label: int) -> Prior:
    """A conditional prior whose output is pushed away from what it gives without a class.

    out = out_null + scale (out_label - out_null), both in one batch. Ho and Salimans, "Classifier-free
    diffusion guidance", 2022, eq. 6 (their w is scale - 1).

    Args:
        prior:
            A network that takes labels (its ``num_classes`` says so), and that was trained with labels
            dropped.
        scale:
            1 is the conditional network itself, 0 the unconditional one.
        null_label:
            The label that stands for no class.

    Returns:
        A prior that wants labels and costs two evaluations of the network a step. Its network raises
        ValueError where there are no labels, or it has no null_label.

    Raises:
        ValueError: the prior has no classes.
    """
    if prior.num_classes is None:
        raise ValueError(
            f"prior: {prior.name} has no classes (num_classes is None), expected a network that takes labels"
        )
    inner = prior.network

    def network(x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        if labels is None:
            raise ValueError("labels: got none, expected [B] for classifier-free guidance")
        both = torch.cat([labels, torch.full_like(labels, null_label)])
        try:
            out = inner(torch.cat([x_t, x_t]), torch.cat([t, t]), both)
        except IndexError as error:  # of an embedding on the processor
            raise ValueError(
                f"null_label: {prior.name} knows no label {null_label} ({error})"
            ) from error
        with_label, without = out.chunk(2)
        return without + scale * (with_label - without)

    return _with_network(prior, network, f"{prior.name}, guided {scale:g}")


def without_labels(prior: Prior) -> Prior:
    """A prior without classes beside a classifier that wants labels: its network is called without them."""
    inner = prior.network

    def network(x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        return inner(x_t, t)

    return _with_network(prior, network, prior.name)


def _with_network(prior: Prior, network: Callable[..., Tensor], name: str) -> Prior:
    """The same kind of prior (a subclass too) around another network; the weights are shared."""
    other = copy(prior)
    other.network, other.name, other.source = network, name, None
    other._fastest = {}  # which was found out about the network before
    return other

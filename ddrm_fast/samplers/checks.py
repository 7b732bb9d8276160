"""What a drawing is made of, checked before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index as whole_number

import torch
from torch import Tensor

from ..operators import Forward, Operator
from ..priors import Prior
from ..problems.checks import all_finite
from .edits import Edit
from .travel import Travel
from .weights import Sampler


def seeds(seed: int | Tensor, batch: int) -> Tensor:
    """A seed for every picture of a batch, int64 [B]: seed + i, or those that are given."""
    if isinstance(seed, Tensor):
        if seed.dtype != torch.int64 or tuple(seed.shape) != (batch,):
            raise ValueError(
                f"seed: expected a number or int64 [{batch}], got {seed.dtype} {tuple(seed.shape)}"
            )
        return seed
    if isinstance(seed, bool):
        raise ValueError(f"seed: expected a number or int64 [{batch}], got {seed!r}")
    try:
        base = (whole_number(seed) + 2**63) % 2**64 - 2**63
    except TypeError:
        raise ValueError(f"seed: expected a number or int64 [{batch}], got {seed!r}") from None
    return torch.tensor(base) + torch.arange(batch)  # wraps around at 2^63, as a 64-bit word does


def check_prior(prior: Prior, channels: int) -> None:
    """Raises ValueError unless it is a prior for pictures of so many channels."""
    if not isinstance(prior, Prior):
        raise ValueError(f"prior: expected a Prior or a name, got {type(prior).__name__}")
    if prior.channels not in (None, channels):
        raise ValueError(
            f"prior: {prior.name} is for {prior.channels} channels, the picture has {channels}"
        )


def check_sampler(sampler: Sampler) -> None:
    """Raises ValueError unless it has what a sampler has."""
    if isinstance(sampler, type) or not all(
        hasattr(sampler, name) for name in ("steps", "start", "weights")
    ):
        raise ValueError(
            f"sampler: expected steps, start() and weights() as DDRM() has, got {sampler!r}"
        )


def check_needs(sampler: Sampler, edits: Sequence[Edit], operator: Forward) -> None:
    """Raises ValueError where there is a map alone, and a decomposition is needed, or nothing looks at y."""
    if isinstance(operator, Operator):
        return
    needy: list[object] = [edit for edit in edits if edit.needs is Operator]
    if getattr(sampler, "needs", Operator) is Operator:
        needy.insert(0, type(sampler).__name__)
    if needy:
        raise ValueError(
            f"sampler: {needy[0]} works in the singular basis, and {operator} is a map alone; samplers that "
            "need no more: HQS, DPS, LGD, REDDiff, DDRMJPEG, or DDIM and DDPM with an edit that looks at the "
            "measurement"
        )
    brought = sampler.edits() if hasattr(sampler, "edits") else []
    if not edits and not brought and not getattr(sampler, "follows", False):
        raise ValueError(
            f"edits: got none, and {type(sampler).__name__} does not look at what {operator} measured, a map "
            "alone; expected an edit that does"
        )


def check_edits(edits: Sequence[Edit]) -> Sequence[Edit]:
    """The edits; ValueError unless they are a list of them."""
    if not isinstance(edits, Sequence) or not all(isinstance(edit, Edit) for edit in edits):
        raise ValueError(
            f"edits: expected a list of edits, such as Clip() or Edit.at('clean', function), got {edits!r}"
        )
    return edits


def check_travel(travel: Travel | None) -> None:
    """Raises ValueError unless it is a :class:`Travel` or None."""
    if travel is not None and not isinstance(travel, Travel):
        raise ValueError(f"travel: expected a Travel(length, repeat), got {travel!r}")


def check_labels(labels: Tensor | None, batch: int, prior: Prior) -> None:
    """Raises ValueError unless there is a class for every picture where the prior wants one."""
    classes = prior.num_classes
    if labels is None and classes is not None:
        raise ValueError(
            f"labels: {prior.name} is a network for classes, expected [{batch}] from 0 to {classes - 1}"
        )
    if labels is not None and (not isinstance(labels, Tensor) or labels.shape != (batch,)):
        given = tuple(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        raise ValueError(f"labels: expected [{batch}], got {given}")
    if labels is not None and (labels.is_floating_point() or labels.is_complex()):
        raise ValueError(f"labels: expected whole numbers, got {labels.dtype}")
    if labels is not None and classes and not ((labels >= 0) & (labels < classes)).all():
        raise ValueError(f"labels: expected 0 to {classes - 1}, got {labels.tolist()}")


def check_result(x: Tensor, prior: Prior) -> None:
    """Raises FloatingPointError where a run ended in NaN or infinite pixels."""
    if not all_finite(x):
        bad = int((~torch.isfinite(x)).sum())
        raise FloatingPointError(
            f"prior: the network of {prior.name} led to {bad} NaN or infinite pixels of {x.numel()}; "
            "its weights or its number format (float16 ends at 65504) may be at fault"
        )

"""What the public functions are given, checked and in the form that a run takes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from operator import index as whole_number

import torch
from torch import Tensor

from .operators import Operator
from .priors import Prior
from .samplers import Hold, Known, Sampler, Travel


def seeds(seed: int | Tensor, batch: int) -> Tensor:
    """A seed for every picture of a batch, int64 [B]: seed + i, or those that are given."""
    if isinstance(seed, Tensor):
        if seed.dtype != torch.int64 or tuple(seed.shape) != (batch,):
            raise ValueError(
                f"seed: expected a number or int64 [{batch}], got {seed.dtype} {tuple(seed.shape)}"
            )
        return seed
    try:
        base = (whole_number(seed) + 2**63) % 2**64 - 2**63
    except TypeError:
        raise ValueError(f"seed: expected a number or int64 [{batch}], got {seed!r}") from None
    return torch.tensor(base) + torch.arange(batch)  # wraps around at 2^63, as a 64-bit word does


def of_white(operator: Operator, shape: tuple[int, int, int], like: Tensor) -> Tensor:
    """H(1), for one picture or for those that have masks of their own."""
    ones = torch.ones(operator.batch, *shape, dtype=like.dtype, device=like.device)
    return operator.H(ones)


def check_finite(name: str, x: Tensor) -> None:
    """Raises ValueError unless ``x`` holds finite float32 or float64 numbers."""
    if not isinstance(x, Tensor):
        raise ValueError(f"{name}: expected a tensor, got {type(x).__name__}")
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"{name}: expected float32 (or float64) with pictures in [0, 1], got {x.dtype}"
        )
    if not all_finite(x):
        bad = int((~torch.isfinite(x)).sum())
        raise ValueError(f"{name}: has {bad} NaN or infinite entries of {x.numel()}")


def all_finite(x: Tensor) -> bool:
    """Whether no entry is NaN or infinite; reads them once and keeps nothing beside them."""
    return not x.numel() or bool(torch.stack(x.aminmax()).isfinite().all())


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
    if not (
        hasattr(sampler, "steps") and hasattr(sampler, "start") and hasattr(sampler, "weights")
    ):
        raise ValueError(
            f"sampler: expected steps, start() and weights() as DDRM() has, got {sampler!r}"
        )


def check_known(known: Known | None, shape: tuple[int, ...], y: Tensor) -> Known | None:
    """The known pixels, made contiguous; ValueError unless they fit pictures of (B, C, H, W) in [0, 1]."""
    if known is None:
        return None
    if not isinstance(known, Known):
        raise ValueError(f"known: expected a Known(mask, image), got {type(known).__name__}")
    known = known.checked(shape, y)
    if known is not None:
        pixels = torch.where(known.mask, known.image, 0.5)
        if not bool(((pixels >= 0) & (pixels <= 1)).all()):
            raise ValueError(
                f"known.image: expected known pixels in [0, 1], got {float(pixels.min()):.4g} to "
                f"{float(pixels.max()):.4g}"
            )
    return known


def check_holds(holds: Sequence[Hold], shape: tuple[int, ...], y: Tensor) -> Sequence[Hold]:
    """The holds; ValueError unless they fit pictures of (B, C, H, W)."""
    if not isinstance(holds, Sequence) or not all(isinstance(hold, Hold) for hold in holds):
        raise ValueError(f"holds: expected a list of Hold(operator, measurement), got {holds!r}")
    for number, hold in enumerate(holds):
        hold.check(f"holds[{number}]", shape, y)
    return holds


def check_travel(travel: Travel | None) -> None:
    """Raises ValueError unless it is a :class:`Travel` or None."""
    if travel is not None and not isinstance(travel, Travel):
        raise ValueError(f"travel: expected a Travel(length, repeat), got {travel!r}")


def check_guidance(guidance: Callable | None) -> None:
    """Raises ValueError unless it is a function or None."""
    if guidance is not None and not callable(guidance):
        raise ValueError(
            "guidance: expected a function (x_t, t, labels) -> gradient, such as classifier_guidance() "
            f"of a classifier, got {guidance!r}"
        )


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


def noise_levels(sigma_y: float | Tensor, batch: int) -> Tensor:
    """Noise of the measurement, float64 [B or 1] on the CPU."""
    try:
        levels = torch.as_tensor(sigma_y, dtype=torch.float64).detach().cpu().reshape(-1)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"sigma_y: expected a number or [{batch}], got {sigma_y!r}") from None
    if len(levels) not in (1, batch):
        raise ValueError(f"sigma_y: expected one number or [{batch}], got {len(levels)} numbers")
    if not (torch.isfinite(levels) & (levels >= 0)).all():
        raise ValueError(f"sigma_y: expected finite numbers >= 0, got {levels.tolist()}")
    return levels


def check_measures(operator: Operator, shape: tuple[int, int, int]) -> None:
    """Raises ValueError where nothing of a picture is measured."""
    s = operator.singulars(shape)
    empty = (s.flatten(1).amax(dim=1) <= 0).nonzero().flatten().tolist()
    if empty:
        which = f" of picture {empty[0]}" if operator.batch > 1 else ""
        raise ValueError(
            f"operator: {operator} measures nothing{which} (an all-zero mask or kernel)"
        )


def warn_bytes(y: Tensor, h_ones: Tensor) -> None:
    """y far above what a white picture gives looks like 0..255."""
    largest, white = (float(torch.stack(v.aminmax()).abs().max()) for v in (y, h_ones))
    if largest > 16 * max(1.0, white):
        warnings.warn(
            f"y: reaches {largest:.4g}, where a white picture gives {white:.4g}; pictures are "
            "expected in [0, 1], this looks like 0..255",
            stacklevel=3,
        )


def check_result(x: Tensor, prior: Prior) -> None:
    """Raises FloatingPointError where a run ended in NaN or infinite pixels."""
    if not all_finite(x):
        bad = int((~torch.isfinite(x)).sum())
        raise FloatingPointError(
            f"prior: the network of {prior.name} led to {bad} NaN or infinite pixels of {x.numel()}; "
            "its weights or its number format (float16 ends at 65504) may be at fault"
        )

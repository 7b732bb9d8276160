"""What a step needs to know about its noise: keys to draw it, or the noise itself."""

from dataclasses import dataclass
from enum import IntEnum, unique

import torch
from torch import Tensor

from ..machine.arguments import checked


@unique
class Stream(IntEnum):
    """Who draws: noise of two streams is independent, whatever else their counters share.

    Pictures, checkpoints and records depend on these numbers; they never change. New ones are from 10 to 255.
    """

    #: the first state and every move of a sampler, inside the fused steps too (the kernels' own 0)
    SAMPLING = 0
    #: what :func:`ddrm_fast.ops.normal` draws unless told
    FREE = 1
    #: the noise of a measurement that :func:`ddrm_fast.degrade` makes
    MEASUREMENT = 2
    #: what pictures are noised with in the training of a DDPM
    TRAINING = 3
    #: what pictures are noised with for its variational bound
    BOUND = 4
    #: the first state of DiffIR's prior vector
    PRIOR_VECTOR = 7
    #: noise of pictures that are degraded on the way, in the training of DiffIR
    DEGRADED = 8
    #: what guidance draws beside a sampler's own noise
    GUIDANCE = 9


@dataclass(frozen=True)
class Noise:
    """Noise of one step.

    Args:
        keys:
            int64 ``[B, 4]`` on the device of the images: seed, sample id, origin row, origin column of
            each image (the place of its first pixel in the whole picture). See :func:`noise_keys`.
        pixels:
            White noise to use instead, (B, C, H, W) in pixel space: a transform operator takes its
            coefficients in the operator's own basis. None: the kernel draws the noise.
    """

    keys: Tensor
    pixels: Tensor | None = None


@checked
def noise_keys(
    batch: int,
    seed: int | Tensor = 0,
    sample: int | Tensor | None = None,
    origin: tuple[int, int] | Tensor = (0, 0),
    device: torch.device | str = "cpu",
) -> Tensor:
    """Keys that tell the noise of each image of a batch apart.

    Args:
        batch:
            Number of images B.
        seed:
            64-bit seed, one for all or int64 [B].
        sample:
            Sample id, one for all or int64 [B]; default 0, 1, ..., B - 1.
        origin:
            (row, column) of the image's first pixel in the whole picture, or int64 [B, 2].

    Returns:
        int64 ``[B, 4]``.

    Raises:
        ValueError: a tensor argument has another length than ``batch``, or an origin is negative.
    """

    def column(name: str, value: int | Tensor) -> Tensor:
        if not isinstance(value, Tensor):
            if int(value) != value:
                raise ValueError(f"{name}: expected whole numbers, got {value}")
            value = (int(value) + 2**63) % 2**64 - 2**63  # any 64 bits, as a signed number
            return torch.full((batch,), value, dtype=torch.int64, device=device)
        if value.is_floating_point() or value.is_complex():
            raise ValueError(f"{name}: expected whole numbers, got {value.dtype}")
        if value.numel() != batch:
            raise ValueError(f"{name}: got {value.numel()} values for a batch of {batch}")
        return value.to(device=device, dtype=torch.int64).reshape(batch)

    if batch < 0:
        raise ValueError(f"batch: expected 0 or more, got {batch}")
    if sample is None:
        sample = torch.arange(batch)
    if isinstance(origin, Tensor):
        if origin.shape != (batch, 2):
            raise ValueError(f"origin: expected shape ({batch}, 2), got {tuple(origin.shape)}")
    elif len(origin) != 2:
        raise ValueError(f"origin: expected (top, left), got {tuple(origin)}")
    top, left = (origin[:, 0], origin[:, 1]) if isinstance(origin, Tensor) else origin
    columns = (
        column("seed", seed),
        column("sample", sample),
        column("origin", top),
        column("origin", left),
    )
    keys = torch.stack(columns, dim=1)
    if batch and bool((keys[:, 2:] < 0).any()):
        raise ValueError("origin: rows and columns start at 0, got a negative one")
    return keys

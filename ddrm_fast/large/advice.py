"""What to say of a picture that is large and restored whole: the memory that it takes, and the other ways."""

from __future__ import annotations

import torch

from ..io.files import in_words
from ..io.foreign import TooLarge
from ..machine.available import available_bytes
from ..operators.base import Shape
from ..priors import Prior
from ..priors.networks.denoiser import Denoiser

#: side of a window that is proposed
WINDOW = 256
#: pixels from which on a picture that runs whole gets a hint
LARGE = 4_000_000
#: bytes a pixel of a network that goes over a picture stage by stage, of the loop around it, and of each
#: further sample (docs/any-size.md)
_STAGED, _LOOP, _SAMPLE = {"float32": 205, "bfloat16": 140}, 40, 12
#: bytes in all from which on there is a hint
_MUCH = 2**31


def network_bytes(prior: Prior, device: str = "cpu") -> int:
    """Bytes a pixel that the network takes while it looks at a picture."""
    return _STAGED.get(prior.precision_on(device), _STAGED["float32"])


def loop_bytes(samples: int) -> int:
    """Bytes a pixel that the loop around the network takes."""
    return _LOOP + _SAMPLE * (samples - 1)


def memory_of(image_shape: Shape, prior: Prior, samples: int, device: str = "cpu") -> int | None:
    """Bytes that a picture takes which is restored whole; None where nobody measured it."""
    if not isinstance(prior.module, Denoiser) or torch.device(device).type != "cpu":
        return None
    return image_shape[1] * image_shape[2] * (network_bytes(prior, device) + loop_bytes(samples))


def hint(image_shape: Shape, prior: Prior, samples: int, device: str = "cpu") -> str | None:
    """What to say of a picture that is restored whole, or None.

    Raises:
        TooLarge: There is not enough memory for it.
    """
    pixels = image_shape[1] * image_shape[2]
    said = f"{pixels / 1e6:.1f} megapixels are restored at once"
    taken = memory_of(image_shape, prior, samples, device)
    if taken is not None:
        free = available_bytes()
        if free is not None and taken > free:
            raise TooLarge(
                f"{said}, which takes some {in_words(taken)} of memory, {in_words(free)} are free; "
                "--window 1024 goes window by window, --large joint --window 2048 shows the network tiles, "
                "and --memory works from disk to disk (.tif, .zarr)"
            )
        if taken < _MUCH:
            return None
        return (
            f"{said}, the quickest way, which takes some {in_words(taken)}; where they are not there, "
            "--window 1024 goes window by window, --large joint --window 2048 shows the network tiles"
        )
    if pixels <= LARGE:
        return None
    return (
        f"{said}; --window {WINDOW} goes window by window, --large joint --window 1024 shows the network "
        "tiles: less memory"
    )

"""Reference for the noise: Philox4x32-10 (Salmon et al., SC 2011) and Box-Muller in plain PyTorch.

Every normal is a function of (seed, sample, iteration, stream, channel, row, column) alone, so a run
draws the same noise on every backend, for every batch split and every tiling. ``docs/noise.md``
tells the whole layout.
"""

import math

import torch
from torch import Tensor

_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_MASK = 0xFFFFFFFF
ROUNDS = 10


def _multiply(constant: int, word: Tensor) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of ``constant * word``; int64 would overflow, so in 16-bit halves."""
    low = constant * (word & 0xFFFF)
    middle = constant * (word >> 16) + (low >> 16)
    return (middle >> 16) & _MASK, ((middle << 16) | (low & 0xFFFF)) & _MASK


def philox(counter: tuple[Tensor, ...], key: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Philox4x32 with ten rounds.

    Args:
        counter:
            Four int64 tensors of 32-bit words, broadcastable against each other.
        key:
            Two int64 tensors of 32-bit words.

    Returns:
        Four int64 tensors of 32-bit words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        high0, low0 = _multiply(_M0, c0)
        high1, low1 = _multiply(_M1, c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return torch.broadcast_tensors(c0, c1, c2, c3)


def uniform(bits: Tensor) -> Tensor:
    """The 23 high bits of a word as an odd multiple of 2^-24: never 0, never 1 (float64)."""
    return (bits >> 9).double() * 2.0**-23 + 2.0**-24


def box_muller(bits_radius: Tensor, bits_angle: Tensor) -> tuple[Tensor, Tensor]:
    """Two independent standard normals from two 32-bit words (float64)."""
    radius = torch.sqrt(-2.0 * torch.log(uniform(bits_radius)))
    angle = (2.0 * math.pi) * uniform(bits_angle)
    return radius * torch.cos(angle), radius * torch.sin(angle)


def normal_field(
    keys: Tensor, channels: int, height: int, width: int, iteration: int, stream: int
) -> Tensor:
    """White noise for a batch of images, float64.

    Args:
        keys:
            int64 ``[B, 4]``: seed, sample id, origin row, origin column of each image.
        channels, height, width:
            Shape of one image.
        iteration:
            Counter of the sampling loop, 0 <= iteration < 2^24.
        stream:
            Purpose of the noise, 0 <= stream < 256; sampling steps use 0.

    Returns:
        Tensor ``(B, channels, height, width)``.
    """
    device = keys.device
    batch = keys.shape[0]
    seed, sample, top, left = (keys[:, i].view(batch, 1, 1, 1) for i in range(4))
    row = (top + torch.arange(height, device=device).view(1, 1, height, 1)) & _MASK
    column = (left + torch.arange(width, device=device).view(1, 1, 1, width)) & _MASK
    channel = torch.arange(channels, device=device).view(1, channels, 1, 1)
    plane = (sample * channels + channel) & _MASK
    last = torch.full((1, 1, 1, 1), iteration + (stream << 24), device=device) & _MASK
    words = philox((column >> 2, row, plane, last), (seed & _MASK, (seed >> 32) & _MASK))
    z0, z1 = box_muller(words[0], words[1])
    z2, z3 = box_muller(words[2], words[3])
    lane = column & 3
    field = torch.where(lane < 2, torch.where(lane == 0, z0, z1), torch.where(lane == 2, z2, z3))
    return field.expand(batch, channels, height, width)


def hermitian_field(
    keys: Tensor, channels: int, height: int, width: int, iteration: int, stream: int
) -> Tensor:
    """Half spectrum of white noise: what ``rfft2(norm="ortho")`` of a real white field is distributed as.

    Coefficient (h, k) takes the normals of columns 2k and 2k + 1 as (re, im) / sqrt(2). In the columns
    that are their own mirror (k = 0, and k = width/2 for even width) a row with 2h > height is the
    conjugate of row height - h, and a self-conjugate coefficient is the first normal alone.

    Returns:
        complex128 ``(B, channels, height, width // 2 + 1)``.
    """
    half = width // 2 + 1
    pairs = normal_field(keys, channels, height, 2 * half, iteration, stream)
    pairs = pairs.unflatten(-1, (half, 2))
    field = torch.view_as_complex((pairs * math.sqrt(0.5)).contiguous())
    mirrored = [0] if width % 2 else [0, width // 2]
    for k in mirrored:
        column = field[..., k].clone()
        for h in {0, height // 2} if height % 2 == 0 else {0}:
            column[..., h] = pairs[..., h, k, 0].to(column.dtype)
        upper = torch.arange(height // 2 + 1, height, device=keys.device)
        column[..., upper] = column[..., height - upper].conj()
        field[..., k] = column
    return field

"""Batches of a training: clean crops, noise and noise levels, made while the network learns from the last."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .denoiser import SIGMA_MAX, SIGMA_MIN
from .pictures import CropSource

if TYPE_CHECKING:
    from .training import TrainingConfig

Batch = tuple[Tensor, Tensor, Tensor]


def draw_batch(config: TrainingConfig, source: CropSource, step: int) -> Batch:
    """The batch of a step, a function of the seed and the step alone.

    Returns:
        Clean crops (B, 3, patch, patch) in [-1, 1], noise of that shape, levels (B,).
    """
    pixels = torch.from_numpy(source.batch(step, config.batch))
    clean = (pixels.float() / 127.5 - 1).permute(0, 3, 1, 2)
    words = np.random.SeedSequence([config.seed, step, 1]).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))
    # Stratified: one level from each of B equal slices of the distribution.
    slices = torch.arange(config.batch, dtype=torch.float64)
    u = (slices + torch.rand(config.batch, generator=generator, dtype=torch.float64)) / len(slices)
    share = config.sigma_uniform
    wide = torch.exp(math.log(SIGMA_MIN) + (u / max(share, 1e-9)) * math.log(SIGMA_MAX / SIGMA_MIN))
    quantile = ((u - share) / max(1 - share, 1e-9)).clamp(1e-6, 1 - 1e-6)
    normal = math.sqrt(2) * torch.erfinv(2 * quantile - 1)
    narrow = torch.exp(math.log(config.sigma_median) + config.sigma_spread * normal)
    sigma = torch.where(u < share, wide, narrow).clamp(SIGMA_MIN, SIGMA_MAX).float()
    noise = torch.randn(pixels.shape, generator=generator).permute(0, 3, 1, 2)
    return clean, noise, sigma


class _Steps(Dataset):
    """The batches of all steps, for the processes of a DataLoader."""

    def __init__(self, config: TrainingConfig, source: CropSource) -> None:
        self.config, self.source = config, source

    def __getitem__(self, step: int) -> Batch:
        return draw_batch(self.config, self.source, step)


def batches(
    config: TrainingConfig, source: CropSource, first: int, end: int, processes: int, pin: bool
) -> Iterator[Batch]:
    """The batches of steps `first` to `end` - 1.

    Args:
        processes: That draw batches ahead; 0: one thread of this process, one batch ahead.
        pin: Whether they lie in memory from which a GPU copies by itself.
    """
    if processes:
        yield from DataLoader(
            _Steps(config, source), batch_size=None, sampler=range(first, end),
            num_workers=processes, prefetch_factor=4, pin_memory=pin,
        )  # fmt: skip
        return
    with ThreadPoolExecutor(1) as loader:
        upcoming = loader.submit(draw_batch, config, source, first)
        for step in range(first, end):
            batch = upcoming.result()
            if step + 1 < end:
                upcoming = loader.submit(draw_batch, config, source, step + 1)
            yield batch

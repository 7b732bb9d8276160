"""The measures of an evaluation that need a trained network: those that are here, and why others are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..io import read_picture
from . import perceptual
from .perceptual import Features, Unavailable


@dataclass
class Perception:
    """Measures that look through a network.

    Attributes:
        lpips:
            See :func:`ddrm_fast.evaluation.perceptual.load_lpips`; None where it is not here.
        inception:
            See :func:`ddrm_fast.evaluation.perceptual.load_inception`; None where it is not here or
            was not asked for.
        left_out:
            What is not measured and why, a line each.
        quiet:
            No progress bar.
    """

    lpips: Callable[[Tensor, Tensor], float] | None = None
    inception: Callable[[Tensor], Features] | None = None
    left_out: list[str] = field(default_factory=list)
    quiet: bool = False

    def compare(
        self,
        what: str,
        clean: Callable[[str], Tensor],
        restored: Callable[[str], Path],
        names: Sequence[str],
        seen: dict[str, Features],
    ) -> dict[str, float]:
        """FID, KID and Inception Score of a set; nothing where they cannot be had, and a line that says why.

        Args:
            what:
                Name of the set, for that line.
            clean:
                From a name to the clean picture (C, H, W) in [0, 1].
            restored:
                From a name to the file of the restored picture.
            seen:
                Features of clean pictures, kept for the next set.
        """
        if self.inception is None or not names:
            return {}
        measures = perceptual.INCEPTION.measures
        if len(names) < perceptual.FEWEST_PICTURES:
            self.left_out.append(
                f"{measures} of {what}: {len(names)} pictures, expected at least "
                f"{perceptual.FEWEST_PICTURES}, since they compare sets"
            )
            return {}
        parts = []
        disable = True if self.quiet else None
        for name in tqdm(names, desc=f"set {what}", unit="picture", disable=disable):
            if name not in seen:
                seen[name] = self.inception(clean(name)[None])
            parts.append(self.inception(read_picture(restored(name)).pixels[None]))
        return perceptual.set_measures(
            Features.together(parts), Features.together([seen[name] for name in names])
        )


def read_perception(
    sets: bool, download: bool, device: torch.device | str = "cpu", quiet: bool = False
) -> Perception:
    """Load what is here.

    Args:
        sets:
            Whether sets are compared, which needs Inception v3.
        download:
            Fetch the weights that are not here.
    """
    found = Perception(quiet=quiet)
    try:
        found.lpips = perceptual.load_lpips(download, device)
    except Unavailable as error:
        found.left_out.append(str(error))
    if sets:
        try:
            found.inception = perceptual.load_inception(download, device)
        except Unavailable as error:
            found.left_out.append(str(error))
    return found

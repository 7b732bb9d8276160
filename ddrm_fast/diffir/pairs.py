"""What DiffIR learns from: pairs of folders, or clean pictures that are degraded on the way."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..io.folders import files_in
from ..ops import Stream, noise_keys, normal
from ..problems.degradation import degradation
from ..training.data.crops import CropSource
from ..training.data.packs import PicturePack, pack, read_picture

_DRAW = 5  # stream of numpy's draws, apart from those of crops


class PairSource(Protocol):
    """Inputs and ground truths; step n of a seed is always the same batch."""

    def __len__(self) -> int: ...

    def digest(self) -> str:
        """Tells whether two runs see the same."""
        ...

    def batch(self, step: int, size: int, patch: int) -> tuple[Tensor, Tensor]:
        """Input (size, C, patch, patch) and ground truth (size, 3, patch scale, patch scale), in [0, 1]."""
        ...


def _tensor(crops: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2).float() / 255


class Pairs:
    """Pictures of two folders, cropped and turned at the same places.

    Args:
        inputs, targets:
            Picture i of one belongs to picture i of the other, which is `scale` times as large.
        scale:
            1, 2 or 4.
        seed:
            Of the draws.

    Raises:
        ValueError: Numbers or sizes do not fit; the message names the first pair.
    """

    def __init__(
        self, inputs: PicturePack, targets: PicturePack, scale: int = 1, seed: int = 0
    ) -> None:
        if len(inputs) != len(targets) or not len(inputs):
            raise ValueError(
                f"pairs: got {len(inputs)} inputs and {len(targets)} targets, expected as many, 1 or more"
            )
        for i, (small, large) in enumerate(zip(inputs.shapes, targets.shapes, strict=True)):
            expected = (small[0] * scale, small[1] * scale)
            if large != expected:
                raise ValueError(
                    f"pairs: target {i + 1} has {large[0]} x {large[1]} pixels, expected "
                    f"{expected[0]} x {expected[1]}, {scale} times the input"
                )
        self.inputs, self.targets, self.scale, self.seed = inputs, targets, scale, seed

    def __len__(self) -> int:
        return len(self.inputs)

    def digest(self) -> str:
        """Of all pictures."""
        return f"{self.inputs.digest()}-{self.targets.digest()}"

    def batch(self, step: int, size: int, patch: int) -> tuple[Tensor, Tensor]:
        """See :class:`PairSource`.

        Raises:
            ValueError: A picture is smaller than the patch.
        """
        rng = np.random.default_rng([self.seed, step, _DRAW])
        pairs = [self._pair(rng, patch) for _ in range(size)]
        inputs, targets = (_tensor(np.stack(side)) for side in zip(*pairs, strict=True))
        return inputs, targets

    def _pair(self, rng: np.random.Generator, patch: int) -> tuple[np.ndarray, np.ndarray]:
        index = int(rng.integers(len(self)))
        height, width = self.inputs.shapes[index]
        if min(height, width) < patch:
            raise ValueError(
                f"patch: got {patch}, but input {index + 1} has {height} x {width} pixels"
            )
        top, left = (int(rng.integers(n - patch + 1)) for n in (height, width))
        turns, flip, r = int(rng.integers(4)), bool(rng.integers(2)), self.scale
        small = self.inputs[index][top : top + patch, left : left + patch]
        large = self.targets[index][r * top : r * (top + patch), r * left : r * (left + patch)]
        small, large = (np.rot90(crop, turns) for crop in (small, large))
        return (small[:, ::-1], large[:, ::-1]) if flip else (small, large)


def load_pairs(inputs: str | Path, targets: str | Path, scale: int = 1, seed: int = 0) -> Pairs:
    """Pairs from two folders whose pictures have the same names, endings aside.

    Args:
        inputs, targets:
            Folders.
        scale:
            How much larger the targets are.
        seed:
            Of the draws.

    Raises:
        ValueError: A name is in one folder only, or sizes do not fit.
        FileNotFoundError: A folder is missing.
    """
    found = [_by_name(Path(folder)) for folder in (inputs, targets)]
    alone = sorted(set(found[0]) ^ set(found[1]))
    if alone:
        raise ValueError(f"pairs: {', '.join(alone[:3])} is in one of {inputs} and {targets} only")
    packs = [pack(read_picture(side[name], 2**30) for name in sorted(side)) for side in found]
    return Pairs(packs[0], packs[1], scale, seed)


def _by_name(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"pairs: {folder} is no folder")
    return {str(path.relative_to(folder).with_suffix("")): path for path in files_in(folder)[0]}


class Degraded:
    """Crops of clean pictures, degraded by an operator of this package, noise and JPEG.

    Args:
        pictures:
            Where crops come from; its patch is replaced.
        how:
            "task" and "options" as :func:`ddrm_fast.problems.degradation.degradation` takes them; "sigma_y"
            of noise, for pictures in [0, 1], and "jpeg", the quality of what is measured, 1 to 95: numbers,
            or pairs that they are drawn between.
        scale:
            How much smaller the measurement is.
        with_mask:
            Inpainting: the input is [picture (1 - hole), hole].

    Raises:
        ValueError: Something unknown is asked for, or measurements are no pictures of the size.
    """

    def __init__(
        self, pictures: CropSource, how: Mapping[str, Any], scale: int = 1, with_mask: bool = False
    ) -> None:
        unknown = sorted(set(how) - {"task", "options", "sigma_y", "jpeg"})
        if unknown:
            raise ValueError(
                f"degrade: {', '.join(unknown)} is unknown; expected task, options, sigma_y, jpeg"
            )
        if with_mask and how.get("task") != "inpaint":
            raise ValueError(f"degrade: got {how.get('task')!r}, but the network is for inpainting")
        self.pictures, self.how, self.scale, self.with_mask = pictures, dict(how), scale, with_mask
        self.sigma_y = _range("sigma_y", how.get("sigma_y", 0.0), 0.0, 10.0)
        self.jpeg = None if how.get("jpeg") is None else _range("jpeg", how["jpeg"], 1, 95)

    def __len__(self) -> int:
        return len(self.pictures)

    def digest(self) -> str:
        """Of the pictures and of how they are degraded."""
        how = json.dumps(self.how, sort_keys=True, default=str).encode()
        return f"{self.pictures.digest()}-{hashlib.blake2b(how, digest_size=8).hexdigest()}"

    def batch(self, step: int, size: int, patch: int) -> tuple[Tensor, Tensor]:
        """See :class:`PairSource`.

        Raises:
            ValueError: The measurement is no picture of the size that the network takes.
        """
        crops = CropSource(
            self.pictures.photographs, self.pictures.leaves, self.pictures.leaves_share,
            replace(self.pictures.config, patch=patch * self.scale), self.pictures.seed,
        )  # fmt: skip
        truth = _tensor(crops.batch(step, size))
        seed = self.pictures.seed
        rng = np.random.default_rng([seed, step, _DRAW])
        mask_seed = int(rng.integers(2**31))
        operator = None
        if self.how.get("task"):
            operator = degradation(
                self.how["task"], tuple(truth.shape[1:]), self.how.get("options"), seed=mask_seed
            ).operator()
        y = truth if operator is None else operator.H(truth)
        if tuple(y.shape) != (size, 3, patch, patch):
            raise ValueError(
                f"degrade: {self.how['task']} measures {tuple(y.shape[1:])}, expected (3, {patch}, {patch})"
            )
        sigmas = torch.tensor(rng.uniform(*self.sigma_y, size), dtype=torch.float32)
        keys = noise_keys(size, seed, torch.arange(size))
        noise = normal(keys, *y.shape[1:], iteration=step % 2**24, stream=Stream.DEGRADED)
        y = y + sigmas.view(-1, 1, 1, 1) * noise
        if self.jpeg is not None:
            y = torch.stack([_jpeg(x, round(float(rng.uniform(*self.jpeg)))) for x in y])
        if self.with_mask and operator is not None:
            known = operator.H(torch.ones_like(truth))[:, :1]
            y = torch.cat([y * known, 1 - known], dim=1)
        return y, truth


def _range(name: str, value: Any, low: float, high: float) -> tuple[float, float]:
    ends = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    try:
        good = len(ends) == 2 and low <= float(ends[0]) <= float(ends[1]) <= high
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError(f"{name}: got {value!r}, expected a number or two from {low} to {high}")
    return float(ends[0]), float(ends[1])


def _jpeg(x: Tensor, quality: int) -> Tensor:
    """A picture (3, H, W) as a JPEG file of that quality gives it back."""
    pixels = (x.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return _tensor(np.asarray(Image.open(buffer))[None])[0]

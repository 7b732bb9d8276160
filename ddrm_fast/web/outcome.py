"""What came of a run: its files beside the visitor's picture, what is shown of them, what is said."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..evaluation import metrics
from ..evaluation.error_bars import error_bars
from ..io import heat, write_picture
from ..priors import Prior
from ..problems.measured import Measured
from ..restoration import Restoration
from .desk import Desk, enlarged, save_mask, shown
from .wrongs import Said


@dataclass
class Outcome:
    """A restored picture.

    Args:
        picture:
            Its file.
        estimate:
            uint8 (h, w, 3), the best estimate for a browser.
        before:
            The picture as it was opened, at that size.
        words:
            Whether the result says the same as what was measured.
        lines:
            For a shell, which make the same files.
        beside:
            Files of what the lines need, and of the samples.
        gallery:
            Pictures of the samples, with their names.
        unsure:
            Where the samples differ, as a picture; None: there are too few.
    """

    picture: Path
    estimate: np.ndarray
    before: np.ndarray
    words: str
    lines: list[str]
    beside: list[str] = field(default_factory=list)
    gallery: list[tuple[np.ndarray, str]] = field(default_factory=list)
    unsure: np.ndarray | None = None


def outcome(
    desk: Desk, what: Said, job: Measured, mean: Tensor, options: list[str], sampled: list[str]
) -> Outcome:
    """Writes the best estimate, (1, C, H, W), with what the shell's line needs.

    Args:
        options, sampled:
            What the line of the estimate and that of samples are told beside the degradation.
    """
    picture = desk.file("restored")
    after = cropped(mean, job)
    write_picture(picture, job.like.with_pixels(after))
    small = shown(after)
    found = Outcome(
        picture, small, at(shown(job.like.pixels), small), _residual(job, mean),
        [what.line(desk.name, picture.name, options)],
    )  # fmt: skip
    for array, values in what.arrays.items():
        path = desk.folder / what.file_of(array, desk.name)
        if array == "mask":
            save_mask(path, values)
        else:
            np.save(path, values.numpy())
        found.beside.append(str(path))
    if sampled:
        found.lines.append(what.line(desk.name, f"{Path(desk.name).stem}-samples", sampled))
    return found


def add_samples(
    found: Outcome, desk: Desk, job: Measured, drawn: Restoration, prior: Prior
) -> None:
    """Writes samples, and where there are several their mean, and says how far they differ."""
    assert drawn.samples is not None
    pictures = {f"sample-{n}": (cropped(x, job), str(n)) for n, x in enumerate(drawn.samples, 1)}
    if len(pictures) > 1:
        mean = cropped(drawn.mean, job), "their mean: the smallest error, a little soft"
        pictures = {"mean": mean, **pictures}
    for name, (x, title) in pictures.items():
        path = desk.file(name)
        write_picture(path, job.like.with_pixels(x))
        found.beside.append(str(path))
        found.gallery.append((shown(x), title))
    if len(drawn.samples) < 2:
        return
    bars = error_bars(drawn, job.problem, prior)
    wide = cropped(bars.half_68, job).square().mean(0).sqrt()
    bright = max(float(np.quantile(wide.numpy(), 0.999)), 1 / 255)
    found.unsure = shown(heat(wide, bright))
    found.words += f" The brightest places of the map are uncertain by {255 * bright:.0f} of 255."


def cropped(x: Tensor, job: Measured) -> Tensor:
    """The picture itself, (C, H, W)."""
    return x[0, :, : job.crop[0], : job.crop[1]]


def at(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The picture before at the size of the one after."""
    x = torch.from_numpy(before).permute(2, 0, 1).float() / 255
    return shown(enlarged(x, (after.shape[0], after.shape[1])))


def _residual(job: Measured, mean: Tensor) -> str:
    """Whether the result says the same as what was measured."""
    residual = 255 * metrics.residual(job.y, mean, job.operator)
    text = (
        f"Checked: made worse in the same way again, it is {residual:.1f} of 255 from your picture"
    )
    if job.sigma_from == "none":
        return f"{text}."
    grain = 255 * job.sigma_y
    if residual <= 1.2 * grain + 0.5:
        return f"{text}, no more than its grain of {grain:.1f}: nothing in it contradicts your picture."
    return f"{text}, more than its grain of {grain:.1f}: perhaps not all that is wrong was said."

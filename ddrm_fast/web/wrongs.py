"""What may be wrong with a picture, in a photographer's words, and the task that says the same."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from ..operators import gaussian_kernel, motion_kernel

#: name -> what the page says; the order is that of the page
WRONGS = {
    "noise": "grainy",
    "blur": "not sharp",
    "shake": "shaken",
    "small": "too small",
    "damage": "damaged",
    "grey": "black and white",
    "jpeg": "JPEG blocks",
    "corners": "dark corners",
    "light": "overexposed",
    "bands": "bands",
}
#: what goes together; noise goes with each of them but the last three lines
TOGETHER = (
    {"blur", "shake", "small"},
    {"damage", "grey", "small"},
    {"corners"},
    {"jpeg"},
    {"light"},
    {"bands"},
)
_EXACT = {"jpeg", "light", "bands"}


class Unsaid(ValueError):
    """Something has still to be said; the message says what."""


@dataclass(frozen=True)
class Settings:
    """What the sliders of the page say.

    Args:
        noise:
            Standard deviation in units of 1/255; None: estimated.
        blur:
            Standard deviation of a Gaussian blur, pixels.
        shake, angle:
            Length in pixels of a straight shake, and its direction in degrees counter-clockwise.
        factor:
            How many times larger the picture becomes.
        program:
            A program made it small; else a camera of few pixels did.
        quality:
            Of a JPEG file that was saved anew, 1 to 100; None: the file itself says it.
        corner:
            Brightness of the corners, 0 to 1.
        gain:
            How many times too much light there was.
        bits:
            Of each colour.
    """

    noise: float | None = None
    blur: float = 1.5
    shake: int = 15
    angle: int = 0
    factor: int = 2
    program: bool = True
    quality: int | None = None
    corner: float = 0.4
    gain: float = 2.0
    bits: int = 3


@dataclass(frozen=True)
class Said:
    """A degradation as the command line takes it.

    Args:
        task:
            A name of :data:`ddrm_fast.registry.TASKS`.
        options:
            Its parameters as words.
        arrays:
            Those that are a mask or a kernel of its own, which the command line wants as files.
        sigma:
            As ``--sigma`` takes it, or None.
    """

    task: str
    options: Mapping[str, str] = field(default_factory=dict)
    arrays: Mapping[str, Tensor] = field(default_factory=dict)
    sigma: str | None = None

    @property
    def given(self) -> dict[str, Any]:
        """What :func:`ddrm_fast.problems.measured.of_picture` takes as options."""
        return {**self.options, **self.arrays}

    def line(self, picture: str, out: str, more: Collection[str] = ()) -> str:
        """The line for a shell, with files of :meth:`file_of` beside the picture."""
        words = ["ddrm-fast", "restore", picture, "--task", self.task]
        for name, value in self.options.items():
            words += [f"--{name.replace('_', '-')}", value]
        for name in self.arrays:
            words += [f"--{name}", self.file_of(name, picture)]
        if self.sigma is not None:
            words += ["--sigma", self.sigma]
        return shlex.join([*words, *more, "--out", out])

    @staticmethod
    def file_of(name: str, picture: str) -> str:
        """What the file of an array is called."""
        return f"{Path(picture).stem}-{name}{'.png' if name == 'mask' else '.npy'}"


def said(
    wrong: Collection[str],
    settings: Settings,
    mask: Tensor,
    stroke: Tensor | None = None,
) -> Said:
    """The task of what is wrong with a picture.

    Args:
        wrong:
            Names of ``WRONGS``; none: only what is estimated as noise.
        settings:
            How much.
        mask:
            (H, W), 1 where the picture is whole, 0 where it is damaged.
        stroke:
            (kh, kw), the kernel of a shake that was drawn.

    Raises:
        Unsaid: The damage is not painted.
        ValueError: These do not go together; the message says what to do.
    """
    others = set(wrong) - {"noise"}
    sigma = None if settings.noise is None else f"{settings.noise:g}/255"
    if not others:
        return Said("noise", sigma=sigma)
    if "noise" in wrong and others & _EXACT:
        (name,) = sorted(others & _EXACT)[:1]
        raise ValueError(
            f"{WRONGS[name]} and grainy do not go together: restore one, then go on with the result"
        )
    if not any(others <= group for group in TOGETHER):
        raise ValueError(
            f"{' and '.join(WRONGS[name] for name in _apart(others))} do not go together: "
            "say the one that happened to the picture last, restore it, then go on with the result"
        )
    if "damage" in others and bool((mask > 0).all()):
        raise Unsaid("paint over what is damaged, or load a mask")
    if "damage" in others and not bool((mask > 0).any()):
        raise ValueError("all of the picture is marked as damaged: erase where it is whole")
    return _task(others, settings, sigma, mask, stroke)


def _apart(others: set[str]) -> tuple[str, ...]:
    """Two that do not go together, or all."""
    names = [name for name in WRONGS if name in others]
    pairs = combinations(names, 2)
    return next(
        (pair for pair in pairs if not any({*pair} <= group for group in TOGETHER)), tuple(names)
    )


def _task(
    others: set[str],
    settings: Settings,
    sigma: str | None,
    mask: Tensor,
    stroke: Tensor | None,
) -> Said:
    """The task of what goes together."""
    factor = {"factor": str(settings.factor)}
    if others & {"blur", "shake"}:
        words, arrays = _kernel(others, settings, stroke)
        small = "small" in others
        return Said(
            "blursr" if small else "blur", {**(factor if small else {}), **words}, arrays, sigma
        )
    if others == {"small"}:
        return Said("bicubic" if settings.program else "sr", factor, sigma=sigma)
    if others == {"damage"}:
        return Said("inpaint", {}, {"mask": mask}, sigma)
    if others == {"grey"}:
        return Said("color", sigma=sigma)
    if others == {"grey", "small"}:
        return Said("oldphoto", factor, {"mask": mask}, sigma)
    if "damage" in others:
        if "grey" not in others:
            raise ValueError(
                "damaged and too small go together for black and white pictures alone: restore the "
                "damage, then go on with the result"
            )
        return Said(
            "oldphoto", factor if "small" in others else {"factor": "1"}, {"mask": mask}, sigma
        )
    if others == {"corners"}:
        return Said("gain", {"gain": f"vignette:{settings.corner:g}"}, sigma=sigma)
    if others == {"jpeg"}:
        quality = {} if settings.quality is None else {"jpeg_quality": str(settings.quality)}
        return Said("jpeg", quality)
    if others == {"light"}:
        return Said("saturate", {"gain": f"{settings.gain:g}"})
    return Said("quantize", {"bits": str(settings.bits)})


def _kernel(
    others: set[str], settings: Settings, stroke: Tensor | None
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The kernel of a blur, a shake, or both one after the other: in words where there are some."""
    straight = f"motion:{settings.shake},{settings.angle}"
    if others >= {"blur", "shake"}:
        shaken = stroke
        if shaken is None:
            shaken = motion_kernel(settings.shake, settings.angle)
        return {}, {"kernel": _both(gaussian_kernel(settings.blur), shaken)}
    if "blur" in others:
        return {"kernel": f"gaussian:{settings.blur:g}"}, {}
    return ({"kernel": straight}, {}) if stroke is None else ({}, {"kernel": stroke})


def _both(first: Tensor, second: Tensor) -> Tensor:
    """Two kernels, one after the other."""
    first, second = first.double(), second.double()
    rows, columns = second.shape
    wide = pad(first[None, None], (columns - 1,) * 2 + (rows - 1,) * 2)
    found = conv2d(wide, second.flip(0, 1)[None, None])[0, 0]
    return (found / found.sum()).to(torch.float32)

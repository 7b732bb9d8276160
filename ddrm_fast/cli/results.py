"""What `restore` writes for a picture, how good it is, and whether it is there already."""

from __future__ import annotations

import json
import math
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import ddrm_fast

from ..evaluation import metrics
from ..evaluation.error_bars import ErrorBars
from ..io import (
    OutputError,
    Panel,
    Picture,
    heat,
    sheet,
    write_atomically,
    write_json,
    write_picture,
)
from ..io.files import reason
from ..ops.dispatch import choose
from ..problems import Measured
from ..restoration import Restoration

FORMAT = "ddrm_fast.restoration/1"


def earlier(target: Path) -> dict[str, Any] | None:
    """The record that an earlier run left beside ``target``, or None (also where it is damaged).

    Raises:
        ValueError: JSON of another kind is there under that name.
    """
    path = Path(f"{target}.json")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if isinstance(record, dict) and record.get("format") == FORMAT:
        return record if isinstance(record.get("files"), list) else None
    raise ValueError(
        f"{path}: is there and is not a record of `ddrm-fast restore`; "
        "expected another folder for --out"
    )


def finished(record: dict[str, Any] | None, target: Path, parameters: dict[str, Any]) -> bool:
    """Whether a record is of these parameters and all its files are there."""
    if (
        record is None
        or record.get("unfinished")
        or record.get("parameters") != json.loads(json.dumps(parameters))
    ):
        return False
    return all((target.parent / str(name)).exists() for name in record["files"])


def begin(
    record: dict[str, Any] | None, target: Path, parameters: dict[str, Any], files: list[str]
) -> None:
    """Remove the files of an earlier run, and say first which ones there will be.

    The record that says so is of an unfinished run: one that is killed leaves nothing that a later run does
    not know for its own.

    Args:
        record:
            What :func:`earlier` found.
        target:
            Where results go, without suffix.
        parameters:
            Of this run.
        files:
            Names of what it writes.
    """
    path = Path(f"{target}.json")
    old = [] if record is None else [str(name) for name in record["files"]]
    old = [
        name
        for name in old
        if name.startswith((f"{target.name}-", f"{target.name}.")) and "/" not in name
    ]
    known = sorted({*old, *files})
    write_json(
        path, {"format": FORMAT, "unfinished": True, "parameters": parameters, "files": known}
    )
    try:
        for name in old:
            (target.parent / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be replaced ({reason(error)})") from error


def names(target: Path, count: int, arrays: bool, kind: Kind, estimate: bool = False) -> list[str]:
    """Names of the files that a run of so many samples, or for an estimate, writes, but for the record."""
    found = [f"sample-{number}{kind.suffix}" for number in range(1, count + 1)]
    if estimate:
        found = [f"estimate{kind.suffix}"]
    found += [f"mean{kind.suffix}", "uncertainty.png"] if count > 1 else []
    found = [f"{target.name}-{name}" for name in found]
    if kind.named:  # the best estimate has the name that was asked for
        found[count if count > 1 else 0] = f"{target.name}{kind.suffix}"
    return found + [f"{target.name}-{name}" for name in ["sheet.png"] + ["arrays.npz"] * arrays]


@dataclass(frozen=True)
class Kind:
    """How restored pictures are written.

    Attributes:
        suffix:
            A key of :data:`ddrm_fast.io.encode.FORMATS`.
        quality:
            Of formats with loss; None: theirs.
        named:
            ``--out`` names the file of the best estimate, not a folder.
    """

    suffix: str = ".png"
    quality: int | None = None
    named: bool = False


def provenance(device: str = "cpu") -> dict[str, Any]:
    """When and with what a result was made, for its record."""
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "backend": choose(torch.device(device).type, torch.float32).__name__.rpartition(".")[2],
        "threads": torch.get_num_threads(),
        "versions": {
            "ddrm_fast": ddrm_fast.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def drawn(result: Restoration | None) -> Tensor:
    """The pictures of a run that keeps them, (num_samples, B, C, H, W)."""
    if result is None or result.samples is None:
        raise ValueError("result: got no pictures, expected those of a finished run")
    return result.samples


def measure(job: Measured, result: Restoration, truth: Picture | None) -> dict[str, Any]:
    """Residuals, and distances to the truth where it is known."""
    height, width = job.crop
    samples = drawn(result)
    found: dict[str, Any] = {
        "residual": {
            "samples": [round(metrics.residual(job.y, x, job.operator), 6) for x in samples],
            "mean": round(metrics.residual(job.y, result.mean, job.operator), 6),
        }
    }
    if truth is None:
        return found
    kinds = {"psnr": metrics.psnr}
    if metrics.has_ssim() and min(job.crop) >= 11:
        kinds["ssim"] = metrics.ssim
    for name, of in kinds.items():
        values = [of(x[0, :, :height, :width], truth.pixels) for x in samples]
        mean = of(result.mean[0, :, :height, :width], truth.pixels)
        digits = 2 if name == "psnr" else 4
        found[name] = {
            "samples": [_finite(v, digits) for v in values],
            "mean": _finite(mean, digits),
        }
    return found


def _finite(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None


def write(
    target: Path,
    job: Measured,
    result: Restoration,
    truth: Picture | None,
    found: dict[str, Any],
    arrays: bool,
    kind: Kind,
    estimate: bool = False,
    bars: ErrorBars | None = None,
) -> None:
    """Write all files of :func:`names`. Adds what the uncertainty shows to ``found``."""
    height, width = job.crop
    count = len(drawn(result))
    files = iter(names(target, count, arrays, kind, estimate))
    first = "best estimate" if estimate else f"sample 1 of {count}"

    def path() -> Path:
        return target.with_name(next(files))

    samples = drawn(result)[:, 0, :, :height, :width]
    mean = result.mean[0, :, :height, :width]
    for x in samples:
        write_picture(path(), job.like.with_pixels(x), kind.quality)
    quality = [f"{v} dB" for v in found["psnr"]["samples"]] if truth is not None else []
    row = [
        Panel(job.preview, f"input\n{job.noise_said}"),
        Panel(samples[0], f"{first}\n{quality[0] if quality else ''}"),
    ]
    if count > 1:
        write_picture(path(), job.like.with_pixels(mean), kind.quality)
        shown = result.std if bars is None else bars.half_68
        width_of_bar = shown[0, :, :height, :width].square().mean(dim=0).sqrt()
        bright = max(float(np.quantile(width_of_bar.numpy(), 0.999)), 1 / 255)
        found["uncertainty_bright"] = round(bright, 6)
        if bars is not None:
            found["uncertainty"] = {"calibrated": bars.calibrated, "why": bars.why}
        colours = heat(width_of_bar, bright)
        write_picture(path(), Picture(colours))
        quality_of_mean = f"{found['psnr']['mean']} dB" if truth is not None else ""
        row.append(Panel(mean, f"mean of {count}\n{quality_of_mean}"))
        said = "uncertainty" if bars is None or not bars.calibrated else "68 % of errors within"
        row.append(Panel(colours, f"{said}\n0 to {bright:.3f}"))
    if truth is not None:
        row.append(Panel(truth.pixels, "truth\n"))
    sheet(path(), [row])
    if arrays:
        buffer = BytesIO()
        planes = {"mean": result.mean, "std": result.std}
        if bars is not None:
            planes |= {"error_68": bars.half_68, "error_95": bars.half_95}
        cut: dict[str, Any] = {name: x[0, :, :height, :width].numpy() for name, x in planes.items()}
        np.savez(buffer, samples=samples.numpy(), **cut)
        write_atomically(path(), buffer.getvalue())

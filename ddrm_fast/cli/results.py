"""What `restore` writes for a picture, how good it is, and whether it is there already."""

from __future__ import annotations

import json
import math
import platform
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import torch

import ddrm_fast

from ..evaluation import metrics
from ..io import OutputError, Panel, Picture, heat, sheet, write_atomically, write_picture
from ..io.files import reason
from ..ops.dispatch import choose
from ..problems import Measured
from ..restoration import Restoration

FORMAT = "ddrm_fast.restoration/1"


def earlier(target: Path) -> dict | None:
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


def finished(record: dict | None, target: Path, parameters: dict) -> bool:
    """Whether a record is of these parameters and all its files are there."""
    if record is None or record.get("parameters") != json.loads(json.dumps(parameters)):
        return False
    return all((target.parent / str(name)).exists() for name in record["files"])


def clear(record: dict | None, target: Path) -> None:
    """Remove the files of an earlier run with other parameters, the record first."""
    if record is None:
        return
    path = Path(f"{target}.json")
    try:
        path.unlink(missing_ok=True)
        for name in map(str, record["files"]):
            if name.startswith(f"{target.name}-") and "/" not in name:
                (target.parent / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be replaced ({reason(error)})") from error


def provenance(device: str = "cpu") -> dict:
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


def measure(job: Measured, result: Restoration, truth: Picture | None) -> dict:
    """Residuals, and distances to the truth where it is known."""
    height, width = job.crop
    found: dict = {
        "residual": {
            "samples": [round(metrics.residual(job.y, x, job.operator), 6) for x in result.samples],
            "mean": round(metrics.residual(job.y, result.mean, job.operator), 6),
        }
    }
    if truth is None:
        return found
    kinds = {"psnr": metrics.psnr}
    if metrics.has_ssim() and min(job.crop) >= 11:
        kinds["ssim"] = metrics.ssim
    for name, of in kinds.items():
        values = [of(x[0, :, :height, :width], truth.pixels) for x in result.samples]
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
    found: dict,
    arrays: bool,
) -> list[str]:
    """Write all files but the record; their names. Adds the brightest uncertainty to ``found``."""
    height, width = job.crop
    count = len(result.samples)
    files = []

    def path(suffix: str) -> Path:
        files.append(f"{target.name}-{suffix}")
        return target.with_name(files[-1])

    samples = result.samples[:, 0, :, :height, :width]
    mean = result.mean[0, :, :height, :width]
    for number, x in enumerate(samples, 1):
        write_picture(path(f"sample-{number}.png"), job.like.with_pixels(x))
    quality = [f"{v} dB" for v in found["psnr"]["samples"]] if truth is not None else []
    row = [
        Panel(job.preview, f"input\nnoise {job.sigma_y:.4f} ({job.sigma_from})"),
        Panel(samples[0], f"sample 1 of {count}\n{quality[0] if quality else ''}"),
    ]
    if count > 1:
        write_picture(path("mean.png"), job.like.with_pixels(mean))
        std = result.std[0, :, :height, :width].square().mean(dim=0).sqrt()
        bright = max(float(np.quantile(std.numpy(), 0.999)), 1 / 255)
        found["uncertainty_bright"] = round(bright, 6)
        colours = heat(std, bright)
        write_picture(path("uncertainty.png"), Picture(colours))
        quality_of_mean = f"{found['psnr']['mean']} dB" if truth is not None else ""
        row.append(Panel(mean, f"mean of {count}\n{quality_of_mean}"))
        row.append(Panel(colours, f"uncertainty\n0 to {bright:.3f}"))
    if truth is not None:
        row.append(Panel(truth.pixels, "truth\n"))
    sheet(path("sheet.png"), [row])
    if arrays:
        buffer = BytesIO()
        std = result.std[0, :, :height, :width]
        np.savez(buffer, samples=samples.numpy(), mean=mean.numpy(), std=std.numpy())
        write_atomically(path("arrays.npz"), buffer.getvalue())
    return files

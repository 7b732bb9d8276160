"""Measurement files: the exact numbers of y, and what defines the operator that made them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .files import digest, read_bytes, write_atomically
from .foreign import foreign, read_arrays
from .metadata import dpi_of

FORMAT = "ddrm_fast.measurement/1"
_BYTES = ("icc", "exif", "xmp")


@dataclass(frozen=True)
class StoredMeasurement:
    """A measurement y = H x + sigma_y n of one picture.

    Attributes:
        y:
            float32, in the operator's layout without the batch dimension.
        task:
            Name of the degradation.
        parameters:
            Its numbers and words, plain JSON values.
        arrays:
            Its tensors by name (mask, kernel, kept indices ...).
        sigma_y:
            Noise level in the unit of y.
        image_shape:
            (C, H, W) that the operator works on.
        crop:
            (H, W) of the picture, at the top left of that; the rest is padding.
        alpha:
            Opacity of the picture, (H, W), or None.
        bits:
            Per channel of the picture's file.
        icc:
            Its colour profile, or None.
        law:
            How its noise grows with the light, ``sensor:A:B`` or ``poisson:RATE``; empty where it does not.
        exif, xmp, dpi:
            What else its file said; see :class:`ddrm_fast.io.metadata.Metadata`.
        sha256:
            Digest of the file, hex; empty before it was written.
    """

    y: Tensor
    task: str
    parameters: dict[str, Any]
    arrays: dict[str, Tensor]
    sigma_y: float
    image_shape: tuple[int, ...]
    crop: tuple[int, int]
    alpha: Tensor | None = None
    bits: int = 8
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    law: str = ""
    sha256: str = field(default="", compare=False)


def write_measurement(path: str | Path, measurement: StoredMeasurement) -> None:
    """Write an ``.npz`` file, atomically.

    Entries: ``y``, ``header`` (JSON), the operator's arrays as ``operator.NAME``, ``alpha``, ``icc``,
    ``exif``, ``xmp``.

    Raises:
        OutputError: The file cannot be written.
    """
    header = {
        "format": FORMAT,
        "task": measurement.task,
        "parameters": measurement.parameters,
        "sigma_y": measurement.sigma_y,
        "image_shape": measurement.image_shape,
        "crop": measurement.crop,
        "bits": measurement.bits,
        "dpi": measurement.dpi,
        **({"law": measurement.law} if measurement.law else {}),
    }
    entries = {"header": np.array(json.dumps(header)), "y": measurement.y.numpy()}
    entries |= {f"operator.{name}": x.numpy() for name, x in measurement.arrays.items()}
    if measurement.alpha is not None:
        entries["alpha"] = measurement.alpha.numpy()
    for name in _BYTES:
        content = getattr(measurement, name)
        if content is not None:
            entries[name] = np.frombuffer(content, np.uint8)
    buffer = BytesIO()
    # (numpy types every keyword as its own allow_pickle)
    np.savez_compressed(buffer, **entries)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def read_measurement(path: str | Path) -> StoredMeasurement:
    """Read what :func:`write_measurement` wrote. Nothing in the file is executed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is empty, damaged or of another kind; the message names it.
    """
    content = read_bytes(path)
    with foreign(path, "is not a measurement file of ddrm-fast"):
        entries = read_arrays(path, content)
        if "header" not in entries:
            raise ValueError("it has no header")
        header = json.loads(str(entries["header"]))
        if header.get("format") != FORMAT:
            raise ValueError(f"its format is {header.get('format')!r}, expected {FORMAT!r}")
        prefix = "operator."
        channels, height, width = header["image_shape"]
        crop = header["crop"]
        return StoredMeasurement(
            y=torch.from_numpy(entries["y"].astype(np.float32)),
            task=str(header["task"]),
            parameters=dict(header["parameters"]),
            arrays={
                name.removeprefix(prefix): torch.from_numpy(array)
                for name, array in entries.items()
                if name.startswith(prefix)
            },
            sigma_y=float(header["sigma_y"]),
            image_shape=(int(channels), int(height), int(width)),
            crop=(int(crop[0]), int(crop[1])),
            alpha=torch.from_numpy(entries["alpha"]) if "alpha" in entries else None,
            bits=int(header["bits"]),
            dpi=dpi_of(header.get("dpi")),
            law=str(header.get("law", "")),
            sha256=digest(content),
            **{name: entries[name].tobytes() if name in entries else None for name in _BYTES},
        )

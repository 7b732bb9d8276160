"""What a compressed file says of its own degradation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..io import Picture, read_picture
from ..io.picture import JpegGrid
from ..operators import JPEG
from ..operators.base import Shape


def jpeg(
    jpeg_quality: int | None = None,
    tables: Sequence[Sequence[int]] | None = None,
    subsampling: str = "4:2:0",
    top: int = 0,
    left: int = 0,
) -> JPEG:
    """The operator of stored parameters; a picture's own quality is an option of the shell already."""
    return JPEG(jpeg_quality, tables, subsampling, top, left)


def of_file(picture: Picture, options: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of the JPEG file that a picture was read from, unless tables or a quality are given.

    Raises:
        ValueError: It was none.
    """
    if options.get("jpeg_quality") is not None or options.get("tables") is not None:
        return {}
    if picture.jpeg is None:
        raise ValueError(
            "jpeg_quality: is no JPEG file, whose tables would say it; give jpeg_quality (1 to 100), or "
            "tables, the JPEG file that it came from"
        )
    return {"tables": picture.jpeg}


def tables_of(
    values: dict[str, Any], arrays: dict[str, Tensor], image_shape: Shape, seed: int | None
) -> None:
    """The numbers behind a file's name, or behind what a file said."""
    tables = values.get("tables")
    if isinstance(tables, str):
        found = read_picture(tables).jpeg
        if found is None:
            raise ValueError(f"tables: {tables} is no JPEG file")
        tables = JpegGrid(found.tables, subsampling=found.subsampling)  # of another picture's place
    if isinstance(tables, JpegGrid):
        values["tables"] = [list(table) for table in tables.tables]
        values["top"], values["left"] = tables.before
        values.setdefault("subsampling", tables.subsampling or "4:2:0")
    if tables is None and values.get("jpeg_quality") is None:
        raise ValueError("jpeg_quality: task jpeg needs it, for example 30, or tables")
    if tables is not None and values.get("jpeg_quality") is not None:
        raise ValueError("jpeg_quality, tables: expected one of the two")
    values.setdefault("subsampling", "4:2:0")


def dither_of(
    values: dict[str, Any], arrays: dict[str, Tensor], image_shape: Shape, seed: int | None
) -> None:
    """The pattern's seed, where there is a pattern."""
    if values.get("dither") == "yes":
        values["seed"] = seed or 0
    values["dither"] = values.get("dither") == "yes"

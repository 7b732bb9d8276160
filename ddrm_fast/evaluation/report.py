"""A page with everything that a run found: one file that opens anywhere, without a network.

Tables that sort, pictures under sliders, error bars beside errors, plots, parameters and versions. Pictures
of a run lie in a folder beside the page (:class:`Kept`), so that an interrupted run still has those of its
first half.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..io import OutputError, heat
from ..io.files import reason, write_atomically

#: bytes of all pictures of a page, as base64
BUDGET = 17_000_000
#: longest sides and qualities that are tried one after the other until all fit
_LADDER = ((512, 88), (384, 84), (320, 80), (256, 78), (192, 72), (128, 65), (96, 50))
#: what is no method but a map of numbers
MAPS = ("uncertainty", "error")


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        title, note:
            In words.
        columns:
            Their names.
        rows:
            Cells: text, numbers, or None.
        digits:
            Of the numbers, by the name of a column (2).
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]
    digits: Mapping[str, int] = field(default_factory=dict)
    note: str = ""

    def cells(self) -> list[list[dict[str, Any]]]:
        """As the page wants them: text, and the number that is sorted by."""
        return [
            [
                _cell(value, self.digits.get(name, 2))
                for name, value in zip(self.columns, row, strict=True)
            ]
            for row in self.rows
        ]


def _cell(value: str | float | None, digits: int) -> dict[str, Any]:
    if value is None or isinstance(value, str):
        return {"text": "-" if value is None else value, "value": None}
    return {"text": f"{value:.{digits}f}", "value": value}


@dataclass(frozen=True)
class Card:
    """A picture with what became of it.

    Args:
        name:
            Of the picture.
        files:
            What is shown: name -> file, a picture; those of ``MAPS`` beside each other below.
        said:
            A name with its figures, for some.
        left, right:
            Which two are shown at first.
        note:
            A sentence.
    """

    name: str
    files: Mapping[str, Path]
    said: Mapping[str, str] = field(default_factory=dict)
    left: str = ""
    right: str = ""
    note: str = ""


class Kept:
    """Pictures of a run that a page will show, in a folder of their own.

    Args:
        report:
            The page's file; the folder has its name with ``-pictures``.
    """

    def __init__(self, report: str | Path) -> None:
        path = Path(report)
        self.folder = path.with_name(f"{path.stem}-pictures")

    def file(self, group: str, name: str, what: str) -> Path:
        """Where one is kept."""
        return self.folder / _plain(group) / _plain(name) / f"{_plain(what)}.webp"

    def found(self, group: str, name: str) -> dict[str, Path]:
        """Those of a picture, by what they show."""
        folder = self.folder / _plain(group) / _plain(name)
        return {path.stem: path for path in sorted(folder.glob("*.webp"))}

    def put(self, group: str, name: str, pictures: Mapping[str, Tensor]) -> None:
        """Keeps pictures (C, H, W) in [0, 1] by what they show."""
        for what, pixels in pictures.items():
            content = encoded(image_of(pixels), *_LADDER[0])
            write_atomically(self.file(group, name, what), content)


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-._ " else "_" for c in name)


def image_of(pixels: Tensor) -> Image.Image:
    """(1 or 3, H, W) in [0, 1] for a page."""
    values = (pixels.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).expand(3, -1, -1)
    return Image.fromarray(np.ascontiguousarray(values.permute(1, 2, 0).cpu().numpy()))


def encoded(image: Image.Image, side: int, quality: int) -> bytes:
    """A WebP file, no side longer than ``side``."""
    if max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def maps_of(half_width: Tensor, error: Tensor) -> dict[str, Tensor]:
    """Error bars and errors in the same colours, (3, H, W), for two tensors (C, H, W) in [0, 1]."""
    wide, far = (x.square().mean(0).sqrt() for x in (half_width, error))
    bright = max(
        float(np.quantile(wide.numpy(), 0.999)), float(np.quantile(far.numpy(), 0.99)), 1 / 255
    )
    return {"uncertainty": heat(wide, bright), "error": heat(far, bright)}


def write_report(
    path: str | Path,
    title: str,
    *,
    subtitle: str = "",
    command: str = "",
    tables: Sequence[Table] = (),
    groups: Mapping[str, Sequence[Card]] | None = None,
    plots: Mapping[str, bytes] | None = None,
    facts: Iterable[tuple[str, Any]] = (),
) -> None:
    """Writes the page, atomically; its pictures are made smaller until all of them fit.

    Args:
        path:
            The file, ``.html``.
        title, subtitle, command:
            In words; the last as one types it.
        tables:
            In their order.
        groups:
            Title -> pictures.
        plots:
            Title -> a picture file, SVG or PNG.
        facts:
            Parameters and versions.

    Raises:
        OutputError: A file cannot be written, or one of the pictures is gone.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    groups = groups or {}
    (side, quality), uris = _fitting(_used(groups))
    environment = Environment(
        loader=PackageLoader("ddrm_fast.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
    )
    page = environment.get_template("report.html").render(
        title=title, subtitle=subtitle, command=command,
        tables=[{"title": t.title, "note": t.note, "columns": t.columns, "rows": t.cells()} for t in tables],
        plots=[{"title": name, "uri": _uri(content)} for name, content in (plots or {}).items()],
        groups=[{"title": name} for name in groups],
        groups_json=_script([[_shown(card, uris) for card in cards] for cards in groups.values()]),
        pictures_note=f"Shown at no more than {side} pixels a side, WebP of quality {quality}.",
        facts=[(name, value if isinstance(value, str) else json.dumps(value)) for name, value in facts],
    )  # fmt: skip
    write_atomically(path, page.encode())


def _used(groups: Mapping[str, Sequence[Card]]) -> list[Path]:
    return list(
        dict.fromkeys(f for cards in groups.values() for card in cards for f in card.files.values())
    )


def _fitting(files: Sequence[Path]) -> tuple[tuple[int, int], dict[Path, str]]:
    """The largest pictures that fit the budget together, as addresses that hold them."""
    rung = _LADDER[0]
    found: dict[Path, str] = {}
    for rung in _LADDER:
        found, total = {}, 0
        for path in files:
            try:
                with Image.open(path) as image:
                    found[path] = _uri(encoded(image.convert("RGB"), *rung))
            except OSError as error:
                raise OutputError(f"{path}: cannot be read again ({reason(error)})") from error
            total += len(found[path])
            if total > BUDGET:
                break
        if total <= BUDGET:
            break
    return rung, found


def _uri(content: bytes) -> str:
    kind = "webp" if content[:4] == b"RIFF" else "png" if content[:4] == b"\x89PNG" else "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _shown(card: Card, uris: Mapping[Path, str]) -> dict[str, Any]:
    pictures = {
        name: uris[path] for name, path in card.files.items() if path in uris and name not in MAPS
    }
    names = list(pictures)
    return {
        "name": card.name, "pictures": pictures, "said": dict(card.said), "note": card.note,
        "left": card.left if card.left in pictures else names[0],
        "right": card.right if card.right in pictures else names[-1],
        "maps": [[uris[card.files[m]], card.said.get(m, m)] for m in MAPS if card.files.get(m) in uris],
    }  # fmt: skip


def _script(value: Any) -> str:
    """JSON that a script element can hold."""
    return json.dumps(value).replace("<", "\\u003c")


def plotted(
    draw: Callable[[Any], None], rows: int = 1, columns: int = 1, kind: str = "svg"
) -> bytes | None:
    """A plot as an SVG or PNG file; None where matplotlib is not installed.

    Args:
        draw:
            Is given the array of panels, (rows, columns).
    """
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        rows, columns, figsize=(4.6 * columns, 3.4 * rows), layout="constrained", squeeze=False
    )
    draw(panels)
    buffer = BytesIO()
    figure.savefig(buffer, format=kind, dpi=110)
    pyplot.close(figure)
    return buffer.getvalue()

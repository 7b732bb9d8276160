"""An unfinished picture on disk, and the journal of the waves that are finished."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..io import OutputError
from ..io.files import in_words, reason

FORMAT = "ddrm_fast.unfinished/1"

log = logging.getLogger(__name__)


def work_folder(target: Path) -> Path:
    """Where what is unfinished of a result is kept."""
    return target.with_name(f".{target.name}.work")


class Work:
    """The unfinished picture of a run in a folder: float32 pixels in one plain file, and a journal.

    The space is taken at the start, so a disk that is too small is found before any work is done. A wave
    counts when its pixels are on the disk and its line is in the journal; a run that is killed
    in between does that wave again, over the same pixels. In memory is what is asked for, no more.

    Args:
        folder:
            Where; made where it is missing.
        shape:
            (C, H, W).
        parameters:
            What the picture depends on, JSON values. A folder with other parameters starts over.

    Attributes:
        finished:
            Number of waves that an earlier run has finished.
        notes:
            What :meth:`note` has kept, of an earlier run too.

    Raises:
        OutputError: There is no space, no permission, or another process works in the folder.
    """

    def __init__(
        self, folder: str | Path, shape: Sequence[int], parameters: dict[str, Any]
    ) -> None:
        self.folder, self.shape = Path(folder), tuple(shape)
        self.finished = 0
        self.notes: dict[str, Any] = {}
        self._head = json.loads(
            json.dumps({"format": FORMAT, "shape": self.shape, "parameters": parameters})
        )
        size = 4 * int(np.prod(self.shape))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._journal = open(self.folder / "journal.jsonl", "a+b")  # noqa: SIM115
            self._lock()
            self._pixels = os.open(self.folder / "pixels.f32", os.O_RDWR | os.O_CREAT, 0o644)
            self._resume(size)
            os.posix_fallocate(self._pixels, 0, size)
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(
                f"{self.folder}: {in_words(size)} for the unfinished picture cannot be had "
                f"({reason(error)})"
            ) from error

    def _lock(self) -> None:
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"{self.folder}: another process works on this picture") from error

    def _resume(self, size: int) -> None:
        lines = self._lines()
        same = bool(lines) and lines[0] == self._head and os.fstat(self._pixels).st_size == size
        if not same:
            if lines:
                log.warning("%s: is of a run with other parameters; it starts over", self.folder)
            self._journal.truncate(0)
            os.ftruncate(self._pixels, 0)
            self._append(self._head)
            return
        for line in lines[1:]:
            self.notes |= line.get("note", {})
            self.finished = max(self.finished, line.get("wave", -1) + 1)

    def _lines(self) -> list[dict[str, Any]]:
        """The journal up to its first damaged line: where a process was killed, or power was cut."""
        self._journal.seek(0)
        lines, good = [], 0
        for text in self._journal:
            try:
                line = json.loads(text) if text.endswith(b"\n") else None
            except ValueError:
                line = None
            if not isinstance(line, dict):
                break
            lines.append(line)
            good += len(text)
        self._journal.truncate(good)
        return lines

    def _append(self, line: dict[str, Any]) -> None:
        self._journal.write((json.dumps(line) + "\n").encode())
        self._journal.flush()
        os.fsync(self._journal.fileno())

    def note(self, **values: object) -> None:
        """Keep JSON values for a run that goes on."""
        self.notes |= values
        self._append({"note": values})

    def finish_wave(self, number: int) -> None:
        """A wave is finished: its pixels reach the disk, then its line the journal.

        Raises:
            OutputError: They cannot be written; what was finished before stays.
        """
        try:
            os.fsync(self._pixels)
            self._append({"wave": number})
        except OSError as error:
            raise self._failure(error) from error
        self.finished = max(self.finished, number + 1)

    def _offset(self, row: int, column: int) -> int:
        return 4 * self.shape[0] * (row * self.shape[2] + column)

    def read(self, top: int, left: int, height: int, width: int) -> Tensor:
        """A region, float32 (C, height, width); what was never written is 0."""
        pixels = np.empty((height, width, self.shape[0]), dtype=np.float32)
        for row in range(height):
            os.preadv(
                self._pixels, [memoryview(pixels[row]).cast("B")], self._offset(top + row, left)
            )
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    def write(self, top: int, left: int, x: Tensor) -> None:
        """Write (C, height, width) at a place.

        Raises:
            OutputError: It cannot be written.
        """
        pixels = x.detach().to("cpu", torch.float32).permute(1, 2, 0).contiguous().numpy()
        try:
            for row, values in enumerate(pixels):
                os.pwrite(self._pixels, memoryview(values).cast("B"), self._offset(top + row, left))
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> OutputError:
        return OutputError(f"{self.folder}: cannot be written ({reason(error)})")

    def close(self) -> None:
        """Leave everything for a later run."""
        os.close(self._pixels)
        self._journal.close()

    def remove(self) -> None:
        """Remove the folder: the picture is finished."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

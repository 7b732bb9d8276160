"""What a run says while it works: progress bar, log.jsonl, TensorBoard, sheets of pictures."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from ..io.files import atomic_file
from ..io.files import in_words as in_bytes
from ..machine.memory import peak

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from .learner import AnyLearner

logger = logging.getLogger(__name__)

LOG = "log.jsonl"
SAMPLES = "samples"
#: steps that the time of a run is told from, and seconds of a run that nobody is told of
_TIMED, _QUICK = 3, 60


@dataclass(frozen=True)
class Shown:
    """What a run shows and keeps on the way; no number of the training depends on it.

    Attributes:
        checkpoint_minutes:
            Minutes between checkpoints.
        log_every:
            Steps between lines of the log.
        sample_every:
            Steps between sheets of pictures, of networks that make some; 0: none.
        sample_count:
            Pictures of a sheet.
        tensorboard:
            Whether to write loss curves and sheets for TensorBoard too.
        progress:
            Whether to show a progress bar.
    """

    checkpoint_minutes: float = 10.0
    log_every: int = 50
    sample_every: int = 0
    sample_count: int = 16
    tensorboard: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        for name, least in (
            ("checkpoint_minutes", 0), ("log_every", 1), ("sample_every", 0), ("sample_count", 1),
        ):  # fmt: skip
            if not getattr(self, name) >= least:  # (nor nan)
                raise ValueError(f"{name}: got {getattr(self, name)}, expected {least} or more")


class Report:
    """The main process's; the others only take part in the means."""

    def __init__(
        self, learner: AnyLearner, out: Path, end: int, shown: Shown, curves: SummaryWriter | None
    ) -> None:
        """Open the progress bar.

        Args:
            learner:
                Whose steps.
            out:
                Folder of the run.
            end:
                Number of steps at the end.
            shown:
                What to show.
            curves:
                For TensorBoard.
        """
        self.learner, self.out, self.shown, self.curves = learner, out, shown, curves
        self.bar = tqdm(
            total=end, initial=learner.step, disable=not (shown.progress and learner.machine.main),
            unit="step", mininterval=1, maxinterval=60, smoothing=0.05,
        )  # fmt: skip
        self.began, self.first = time.monotonic(), learner.step
        self.start, self.end, self.warm = learner.step, end, self.began

    def step(self) -> None:
        """After a step."""
        self.bar.update()
        learner = self.learner
        done = learner.step - self.start
        if done == 1:  # the first step takes longer
            self.warm = time.monotonic()
        if done == 1 + _TIMED and not self.bar.disable:
            self._foretell((time.monotonic() - self.warm) / _TIMED)
        if learner.step % self.shown.log_every:
            return
        means = learner.means()  # of all processes: each has to ask
        if not learner.machine.main:
            return
        now = time.monotonic()
        pictures = (learner.step - self.first) * learner.fit.batch
        speed = round(pictures / max(now - self.began, 1e-9), 1)
        line = {
            "step": learner.step,
            **{name: float(f"{value:.6g}") for name, value in means.items()},
            "learning_rate": learner.rate(learner.step - 1),
            "pictures_per_second": speed,
        }
        self.began, self.first = now, learner.step
        self.bar.set_postfix(
            {"loss": f"{means['loss']:.4g}", "pictures/s": f"{speed:.0f}"}, refresh=False
        )
        try:
            with open(self.out / LOG, "a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            logger.warning("log line lost: %s", error)
        if self.curves is not None:
            for name, value in line.items():
                if name != "step" and math.isfinite(value):
                    self.curves.add_scalar(name, value, learner.step)

    def _foretell(self, seconds: float) -> None:
        """Says how long it will take, and the memory that it took so far."""
        left = self.end - self.learner.step
        if left * seconds < _QUICK:
            return
        device = self.learner.device
        if device.type == "cuda":
            taken = torch.cuda.max_memory_reserved(device)
        else:
            taken = peak()
        time_left = tqdm.format_interval(seconds * left)
        said = f"about {time_left} for {left} steps of {seconds:.2g} s, {in_bytes(taken)} of memory"
        self.bar.write(said, file=sys.stderr)

    def draw(self) -> None:
        """A sheet of pictures from the running mean of the weights."""
        start = time.monotonic()
        step = self.learner.step
        try:
            path = self.out / SAMPLES / f"{step:07d}.png"
            pictures = self.learner.draw_pictures(path, self.shown.sample_count)
        except OSError as error:
            logger.warning("no samples at step %d: %s", step, error)
            pictures = None
        if pictures is not None and self.curves is not None:
            self.curves.add_images("samples", pictures, step)
        self.began += time.monotonic() - start  # the speed of the log is that of the steps

    def close(self) -> None:
        """At the end of the run."""
        self.bar.close()
        if self.curves is not None:
            self.curves.close()


def cut_log(path: Path, step: int) -> None:
    """Drop what the log says of steps that a resumed run takes again.

    Args:
        path:
            The log; nothing happens where there is none.
        step:
            The checkpoint's.
    """
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):  # a line that a kill cut short
            continue
    with atomic_file(path) as file:
        file.write("".join(kept).encode())

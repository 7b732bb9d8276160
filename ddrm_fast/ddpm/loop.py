"""The loop of a run: steps, checkpoints, log, grids of drawn pictures."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from ..priors.runs import atomic_file, read_state, stop_signal, write_state
from .config import DDPMConfig
from .data import Pictures
from .files import as_prior, save_ddpm
from .grid import write_grid
from .processes import OneProcess
from .trainer import CHECKPOINT_FORMAT, Trainer, learning_rate_at

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "ddpm.safetensors"
LOG = "log.jsonl"
SAMPLES = "samples"
TENSORBOARD = "tensorboard"
_AGREE_EVERY = 10  # steps: several processes stop and save together, and asking costs a message


@dataclass(frozen=True)
class Shown:
    """What a run shows and keeps on the way; no number of the training depends on it.

    Attributes:
        checkpoint_minutes: Minutes between checkpoints.
        log_every: Steps between lines of the log.
        sample_every: Steps between grids of drawn pictures; 0: none.
        sample_count: Pictures of a grid.
        tensorboard: Whether to write loss curves and grids for TensorBoard too.
        progress: Whether to show a progress bar.
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


def read_checkpoint(out: str | Path) -> dict:
    """The checkpoint of a run.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It cannot be read.
    """
    return read_state(Path(out) / CHECKPOINT, CHECKPOINT_FORMAT)


def train(
    config: DDPMConfig,
    pictures: Pictures,
    out: str | Path,
    *,
    machine: OneProcess | None = None,
    resume: bool = False,
    stop_at: int | None = None,
    shown: Shown | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Trainer:
    """Run or continue a training; torch's random state is left as it was.

    SIGINT and SIGTERM end it after the current step, with a checkpoint. After a kill at any other moment a
    resumed run repeats the steps since the last checkpoint and ends with the same weights (bit for bit
    where the device computes the same way twice, as CPUs with a fixed number of threads do).

    Args:
        config: The run.
        pictures: What it learns from.
        out: Folder for checkpoint.pt, ddpm.safetensors (:func:`load_prior` reads it), log.jsonl, samples.
            Several machines need it on a disk that they share.
        machine: The processes that share the work; default: this one.
        resume: Continue from the checkpoint in `out`, which must exist.
        stop_at: Stop, with a checkpoint, before this step.
        shown: What it shows on the way.
        on_step: Called after each step with the number of steps done.

    Returns:
        The trainer in its last state.

    Raises:
        FileExistsError: `out` holds a checkpoint and `resume` is false.
        FileNotFoundError: `resume` is true and `out` holds no checkpoint.
        ImportError: TensorBoard is asked for and not installed; nothing is written.
        ConfigMismatch: The checkpoint belongs to another configuration or other pictures.
        FloatingPointError: The loss became no finite number; the last checkpoint is from before.
        OSError: The last checkpoint could not be written (a failure before the end is logged, and the
            run goes on).
    """
    out, shown = Path(out), shown or Shown()
    trainer = Trainer(config, pictures, machine)
    checkpoint, main = out / CHECKPOINT, trainer.machine.main
    if resume:
        trainer.restore(read_checkpoint(out))
    elif checkpoint.exists():
        raise FileExistsError(f"out: {checkpoint} exists; resume the run or choose another folder")
    trainer.machine.wait()  # nobody writes before all have looked
    curves = None
    if main:
        out.mkdir(parents=True, exist_ok=True)
        if shown.tensorboard:  # its package may be missing: before anything is written
            curves = _curves(out / TENSORBOARD, trainer.step)
        if resume:
            _cut_log(out / LOG, trainer.step)
        else:
            write_state(trainer.state(), checkpoint)  # a kill before the first regular one
    end = config.steps if stop_at is None else min(stop_at, config.steps)
    gpus = [trainer.device] if trainer.device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=gpus),
        stop_signal() as stopped,
        ThreadPoolExecutor(1) as loader,
    ):
        report = _Report(trainer, out, end, shown, curves)
        try:
            _loop(trainer, out, end, shown, report, on_step, stopped, loader)
        finally:
            report.close()
    trainer.check_finite()
    if main:
        save(trainer, out)
    trainer.machine.wait()
    return trainer


def save(trainer: Trainer, out: Path) -> None:
    """Write the checkpoint and the weights.

    Raises:
        OSError: A file cannot be written; the earlier one stays intact.
    """
    write_state(trainer.state(), out / CHECKPOINT)
    summary = {"step": trainer.step, "pictures_seen": trainer.step * trainer.config.batch}
    save_ddpm(out / WEIGHTS, trainer.config, trainer.ema_weights(), summary)


def _loop(
    trainer: Trainer,
    out: Path,
    end: int,
    shown: Shown,
    report: _Report,
    on_step: Callable[[int], None] | None,
    stopped: threading.Event,
    loader: ThreadPoolExecutor,
) -> None:
    machine, saved = trainer.machine, time.monotonic()
    upcoming = loader.submit(trainer.prepare, trainer.step)
    stop = machine.any(stopped.is_set())
    while trainer.step < end and not stop:
        batch = upcoming.result()
        if trainer.step + 1 < end:
            upcoming = loader.submit(trainer.prepare, trainer.step + 1)
        trainer.advance(batch)
        report.step()
        if shown.sample_every and trainer.step % shown.sample_every == 0 and machine.main:
            report.draw()
        if on_step is not None:
            on_step(trainer.step)
        if machine.count > 1 and trainer.step % _AGREE_EVERY:
            continue
        stop = machine.any(stopped.is_set())
        due = time.monotonic() - saved >= 60 * shown.checkpoint_minutes
        if machine.any(due and machine.main):
            trainer.check_finite()
            if machine.main:
                try:
                    save(trainer, out)
                except OSError as error:
                    logger.warning("no checkpoint at step %d: %s", trainer.step, error)
            saved = time.monotonic()


class _Report:
    """Progress bar, log.jsonl, TensorBoard and grids; of the main process alone."""

    def __init__(
        self, trainer: Trainer, out: Path, end: int, shown: Shown, curves: SummaryWriter | None
    ) -> None:
        self.trainer, self.out, self.shown, self.curves = trainer, out, shown, curves
        main = trainer.machine.main
        self.bar = tqdm(
            total=end, initial=trainer.step, disable=not (shown.progress and main), unit="step",
            mininterval=1, smoothing=0.05,
        )  # fmt: skip
        self.began, self.first = time.monotonic(), trainer.step

    def step(self) -> None:
        """After a step."""
        self.bar.update()
        trainer = self.trainer
        if trainer.step % self.shown.log_every:
            return
        means = trainer.means()  # of all processes: each has to ask
        if not trainer.machine.main:
            return
        now = time.monotonic()
        pictures = (trainer.step - self.first) * trainer.config.batch
        line = {
            "step": trainer.step,
            **{name: float(f"{value:.6g}") for name, value in means.items()},
            "learning_rate": learning_rate_at(trainer.config, trainer.step - 1),
            "pictures_per_second": round(pictures / max(now - self.began, 1e-9), 1),
        }
        self.began, self.first = now, trainer.step
        self.bar.set_postfix({"loss": f"{means['loss']:.4g}"}, refresh=False)
        try:
            with open(self.out / LOG, "a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            logger.warning("log line lost: %s", error)
        if self.curves is not None:
            for name, value in line.items():
                if name != "step" and math.isfinite(value):
                    self.curves.add_scalar(name, value, trainer.step)

    def draw(self) -> None:
        """A grid of pictures from the running mean of the weights."""
        start = time.monotonic()
        self._draw()
        self.began += time.monotonic() - start  # the speed of the log is that of the steps

    def _draw(self) -> None:
        trainer, config = self.trainer, self.trainer.config
        path = self.out / SAMPLES / f"{trainer.step:07d}.png"
        prior = as_prior(config, trainer.ema.module)
        size = (config.channels, config.size, config.size)
        try:
            pictures = write_grid(
                path, prior, size, self.shown.sample_count, seed=config.seed, device=trainer.device
            )
        except OSError as error:
            logger.warning("no samples at step %d: %s", trainer.step, error)
            return
        if self.curves is not None:
            self.curves.add_images("samples", pictures, trainer.step)

    def close(self) -> None:
        self.bar.close()
        if self.curves is not None:
            self.curves.close()


def _curves(folder: Path, step: int) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "loss curves need TensorBoard: pip install 'ddrm-fast[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder), purge_step=step + 1)


def _cut_log(path: Path, step: int) -> None:
    """Drop what the log says of steps that a resumed run takes again."""
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

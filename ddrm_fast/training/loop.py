"""The loop of a run: steps, checkpoints, log, pictures on the way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from ..machine.cpu_share import CpuShare
from ..machine.heap import kept_memory
from .batches import batches
from .checkpoints import CHECKPOINT, read_checkpoint
from .files import write_state
from .report import LOG, Report, Shown, cut_log
from .signals import stop_signal

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from .learner import AnyLearner

logger = logging.getLogger(__name__)

TENSORBOARD = "tensorboard"
_AGREE_EVERY = 10  # steps: several processes stop and save together, and asking costs a message

Own = TypeVar("Own", bound="AnyLearner")


def check_new(out: str | Path) -> None:
    """Check that a new run may start in a folder.

    Args:
        out:
            The folder.

    Raises:
        FileExistsError: It holds a checkpoint.
    """
    checkpoint = Path(out) / CHECKPOINT
    if checkpoint.exists():
        raise FileExistsError(f"out: {checkpoint} exists; resume the run or choose another folder")


def train(
    learner: Own,
    out: str | Path,
    *,
    resume: bool = False,
    final_decay: int | None = None,
    stop_at: int | None = None,
    shown: Shown | None = None,
    loaders: int = 0,
    share_cpu: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> Own:
    """Run or continue a training; torch's random state is left as it was.

    SIGINT and SIGTERM end it after the current step, with a checkpoint. After a kill at any other moment a
    resumed run repeats the steps since the last checkpoint and ends with the same weights (bit for bit
    where the device computes the same way twice, as CPUs with a fixed number of threads do).

    Args:
        learner:
            What is trained, at step 0 (also to resume).
        out:
            Folder for checkpoint.pt, the weights, log.jsonl, samples. Several machines need it on a disk that
            they share.
        resume:
            Continue from the checkpoint in `out`, which must exist.
        final_decay:
            With resume: let the learning rate fall to zero over this many more steps, then end, whatever the
            schedule of the checkpoint was.
        stop_at:
            Stop, with a checkpoint, before this step; the schedule is still that of the whole run.
        shown:
            What it shows on the way.
        loaders:
            Processes that make batches ahead, for a network that learns faster than one thread makes them; 0:
            one thread. The batches are the same.
        share_cpu:
            Use fewer threads while other programs are busy. The number of threads changes sums in their last
            bits, so such a run repeats closely, not bit for bit.
        on_step:
            Called after each step with the number of steps done.

    Returns:
        The learner in its last state.

    Raises:
        FileExistsError: `out` holds a checkpoint and `resume` is false.
        FileNotFoundError: `resume` is true and `out` holds no checkpoint.
        ValueError: A final decay is asked for, which only a resumed run can have, or there are fewer than 0
            loaders.
        ImportError: TensorBoard is asked for and not installed; nothing is written.
        ConfigMismatch: The checkpoint belongs to another configuration or other pictures.
        FloatingPointError: The loss or a weight became no finite number; the last checkpoint is from before.
        OSError: The last checkpoint could not be written (a failure before the end is logged, and the
            run goes on).
    """
    out, shown = Path(out), shown or Shown()
    if loaders < 0:
        raise ValueError(f"loaders: got {loaders}, expected 0 or more")
    if resume:
        learner.restore(read_checkpoint(out, learner.kind), final_decay)
    else:
        if final_decay is not None:
            raise ValueError(
                f"final_decay: got {final_decay} for a new run, expected a run to resume"
            )
        check_new(out)
    learner.machine.wait()  # nobody writes before all have looked
    curves = None
    if learner.machine.main:
        out.mkdir(parents=True, exist_ok=True)
        if shown.tensorboard:  # its package may be missing: before anything is written
            curves = _curves(out / TENSORBOARD, learner.step)
        if resume:
            cut_log(out / LOG, learner.step)
        else:  # a kill before the first regular one
            write_state(learner.state(), out / CHECKPOINT)
    end = learner.fit.steps if stop_at is None else min(stop_at, learner.fit.steps)
    gpus = [learner.device] if learner.device.type == "cuda" else []
    report = Report(learner, out, end, shown, curves)
    try:
        with torch.random.fork_rng(devices=gpus), _threads(share_cpu) as adapt, kept_memory():
            _steps(learner, out, end, shown, report, on_step, adapt, loaders)
    finally:
        report.close()
    learner.check_finite()
    if learner.machine.main:
        save(learner, out)
    learner.machine.wait()
    return learner


def save(learner: AnyLearner, out: Path) -> None:
    """Write the checkpoint and the weights.

    Args:
        learner:
            What is trained.
        out:
            Folder of the run.

    Raises:
        OSError: A file cannot be written; the earlier one stays intact.
    """
    write_state(learner.state(), out / CHECKPOINT)
    learner.export(out / learner.weights)


def _steps(
    learner: AnyLearner,
    out: Path,
    end: int,
    shown: Shown,
    report: Report,
    on_step: Callable[[int], None] | None,
    adapt: Callable[[], None],
    loaders: int,
) -> None:
    machine, saved = learner.machine, time.monotonic()
    upcoming = batches(learner, end, loaders)
    try:
        with stop_signal() as stopped:
            stop = machine.any(stopped.is_set())
            while learner.step < end and not stop:
                adapt()
                learner.advance(next(upcoming))
                report.step()
                if shown.sample_every and learner.step % shown.sample_every == 0 and machine.main:
                    report.draw()
                if on_step is not None:
                    on_step(learner.step)
                if machine.count > 1 and learner.step % _AGREE_EVERY:
                    continue
                stop = machine.any(stopped.is_set())
                due = time.monotonic() - saved >= 60 * shown.checkpoint_minutes
                if machine.any(due and machine.main):
                    learner.check_finite()
                    if machine.main:
                        try:
                            save(learner, out)
                        except OSError as error:
                            logger.warning("no checkpoint at step %d: %s", learner.step, error)
                    saved = time.monotonic()
    finally:
        upcoming.close()


@contextmanager
def _threads(share_cpu: bool) -> Iterator[Callable[[], None]]:
    """What to call before a step, so that it uses no more threads than other programs leave."""
    most = torch.get_num_threads()
    share = CpuShare(most) if share_cpu else None

    def adapt() -> None:
        if share is not None and share.threads() != torch.get_num_threads():
            torch.set_num_threads(share.threads())

    try:
        yield adapt
    finally:
        torch.set_num_threads(most)


def _curves(folder: Path, step: int) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "loss curves need TensorBoard: pip install 'ddrm-fast[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder), purge_step=step + 1)

"""What the commands that train have in common: how a network is fitted, and how the run works."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import specs

if TYPE_CHECKING:
    from ..training import OneProcess, Shown
    from ..training.learner import AnyLearner

#: options that are settings of :class:`ddrm_fast.training.Fit`, by their name there
_FIT = (
    "steps", "batch", "accumulate", "learning_rate", "warmup", "decay_steps", "weight_decay", "ema", "clip",
    "precision", "seed",
)  # fmt: skip


def add_start(parser: argparse.ArgumentParser) -> None:
    """Where a run lies and how it begins."""
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    parser.add_argument(
        "--final-decay", type=int, metavar="N",
        help="with --resume: end after N more steps with a falling learning rate",
    )  # fmt: skip


def add_fit(parser: argparse.ArgumentParser, usual: dict[str, Any]) -> None:
    """How the network is fitted.

    Args:
        usual:
            What help says of the defaults, by the name of the setting.
    """
    fit = parser.add_argument_group("training")

    def add(name: str, meaning: str, **keywords: Any) -> None:
        option = f"--{name.replace('_', '-')}"
        fit.add_argument(option, help=f"{meaning} ({usual[name]})", **keywords)

    add(
        "steps", "of the whole run; another number on --resume, no fewer than are done",
        type=int, metavar="N",
    )  # fmt: skip
    add("batch", "pictures per step, of all processes", type=int, metavar="N")
    add("accumulate", "parts of a batch, to save memory", type=int, metavar="N")
    add("learning_rate", "peak rate", type=float, metavar="RATE")
    add("warmup", "steps of rising rate", type=int, metavar="N")
    add("decay_steps", "steps at the end with a falling rate", type=int, metavar="N")
    add("weight_decay", "decoupled", type=float, metavar="X")
    add("ema", "decay of the running mean of the weights", type=float, metavar="X")
    add("clip", "largest norm of the gradient", type=float, metavar="NORM")
    add("precision", "auto, float32, bfloat16 or float16", metavar="P")
    add("seed", "of everything", type=int, metavar="N")


def add_run(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """How the run works; returns the group, for more."""
    how = parser.add_argument_group("how it runs")
    how.add_argument("--device", metavar="D", help="cpu, cuda, ... (a GPU where there is one)")
    how.add_argument("--threads", type=int, metavar="N", help="CPU threads (all)")
    how.add_argument(
        "--deterministic", action="store_true", help="slower, but the same bits on a GPU every time"
    )
    how.add_argument(
        "--loaders", type=int, metavar="N",
        help="processes that make batches ahead (0 on a CPU, else all cores but one)",
    )  # fmt: skip
    how.add_argument(
        "--share-cpu", action="store_true", help="use fewer threads while other programs are busy"
    )
    how.add_argument(
        "--checkpoint-minutes",
        default=10.0,
        metavar="MIN",
        help="minutes between checkpoints (10)",
    )
    how.add_argument("--log-every", type=int, default=50, metavar="N", help="steps (50)")
    how.add_argument("--tensorboard", action="store_true", help="curves for TensorBoard too")
    how.add_argument("--quiet", action="store_true", help="no progress bar")
    return how


def fit_of(arguments: argparse.Namespace, device: str) -> dict[str, Any]:
    """The settings of a fit that were given."""
    from ..training.denoiser import best_precision

    given = {name: getattr(arguments, name) for name in _FIT}
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("precision") == "auto":
        given["precision"] = best_precision(device)
    return given


def shown_of(arguments: argparse.Namespace, **more: int) -> Shown:
    """What the run shows and keeps.

    Raises:
        ValueError: An option is out of range.
    """
    from ..training import Shown

    minutes = specs.number("--checkpoint-minutes", arguments.checkpoint_minutes, 0)
    return Shown(
        minutes, arguments.log_every, tensorboard=arguments.tensorboard, progress=not arguments.quiet,
        **more,
    )  # fmt: skip


def loaders_of(arguments: argparse.Namespace, device: str) -> int:
    """Processes that make batches ahead.

    Raises:
        ValueError: The option is out of range.
    """
    if arguments.loaders is None:
        return 0 if device.startswith("cpu") else max(1, (os.cpu_count() or 2) - 1)
    return specs.whole("--loaders", arguments.loaders, 0)


def settle(arguments: argparse.Namespace) -> None:
    """Threads and determinism of this process.

    Raises:
        ValueError: An option is out of range.
    """
    import torch

    if arguments.threads is not None:
        torch.set_num_threads(specs.threads("--threads", arguments.threads))
    if arguments.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def processes(arguments: argparse.Namespace, device: str) -> OneProcess:
    """The processes that share the work, where the folder of the run can be written.

    Raises:
        OSError: It cannot.
    """
    from ..training import launched
    from ..training.checkpoints import CHECKPOINT

    machine = launched(arguments.device or device, getattr(arguments, "compile", False))
    if machine.main:
        specs.writable("--out", Path(arguments.out) / CHECKPOINT)
    return machine


def refuse_fewer_steps(given: dict[str, Any], step: int) -> None:
    """Raises ValueError where fewer steps are asked for than are done."""
    steps = given.get("steps")
    if steps is not None and steps < step:
        raise ValueError(f"--steps: got {steps}, but the run is at step {step} already")


def say_where(learner: AnyLearner) -> None:
    """How far the run is."""
    left = learner.fit.steps - learner.step
    if learner.machine.main:
        logging.info(
            "step %d; %s", learner.step, f"{left} to go: --resume continues" if left else "finished"
        )

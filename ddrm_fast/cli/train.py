"""`ddrm-fast train`: train the default prior on a folder of pictures and dead leaves."""

from __future__ import annotations

import argparse
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import specs

if TYPE_CHECKING:
    from ..priors.training import TrainingConfig

EXAMPLE = """\
example:
  Train on a folder of photographs, with 45 % of the crops from synthetic dead leaves, then stop it
  with Ctrl-C (or SIGTERM) at any time and continue later:

    ddrm-fast train photos/ --dead-leaves 0.45 --steps 40000 --out runs/prior
    ddrm-fast train photos/ --out runs/prior --resume

  End a run early: 5000 more steps during which the learning rate falls to zero:

    ddrm-fast train photos/ --out runs/prior --resume --final-decay 5000

  A new run, with other pictures, from weights that exist:

    ddrm-fast train other/ --out runs/other --start-from runs/prior/denoiser.safetensors

  On a GPU, with larger batches (checkpoints go on anywhere):

    ddrm-fast train photos/ --out runs/gpu --device cuda --batch 256 --learning-rate 1e-3

  Without any photograph:

    ddrm-fast train --dead-leaves 1 --out runs/leaves

files in the output folder:
  checkpoint.pt          everything that --resume needs
  denoiser.safetensors   the weights (running mean, float16), rewritten at every checkpoint
  log.jsonl              a line of loss and speed per minute
  leaves-*.npy           the dead leaves, kept so that --resume need not draw them again
"""


def add(commands: argparse._SubParsersAction) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "train",
        help="train the default prior",
        description="Train a small noise-conditional denoiser, the prior that ddrm_fast ships.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="folders of photographs")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    parser.add_argument(
        "--final-decay", type=int, metavar="N",
        help="with --resume: end after N more steps with a falling learning rate",
    )  # fmt: skip
    parser.add_argument(
        "--start-from", metavar="FILE",
        help="start a new run from these weights, not from random ones (also: default)",
    )  # fmt: skip
    what = parser.add_argument_group(
        "what is computed", "On --resume, whatever is not given is taken from the checkpoint."
    )
    what.add_argument(
        "--dead-leaves", type=float, metavar="SHARE",
        help="share of crops from dead leaves, 0 to 1 (default 0.45)",
    )  # fmt: skip
    what.add_argument("--leaves-count", type=int, metavar="N", help="pictures of leaves (600)")
    what.add_argument("--steps", type=int, metavar="N", help="steps of the run (40000)")
    what.add_argument(
        "--decay-steps", type=int, metavar="N",
        help="steps at the end with a falling learning rate (3/8 of the steps)",
    )  # fmt: skip
    what.add_argument("--batch", type=int, metavar="N", help="crops per step (16)")
    what.add_argument("--patch", type=int, metavar="PIXELS", help="side of a crop (64)")
    what.add_argument("--learning-rate", type=float, metavar="RATE", help="peak rate (4e-4)")
    what.add_argument("--channels", metavar="C,C,...", help="width of each scale (48,64,128,256)")
    what.add_argument(
        "--smooth", type=float, metavar="SHARE",
        help="share of crops that are magnified, 0 to 1 (0.25): cameras show smooth things too",
    )  # fmt: skip
    what.add_argument("--magnify", type=float, metavar="FACTOR", help="by up to this (6)")
    what.add_argument(
        "--log-floor", type=float, metavar="F",
        help="above 0: the mean of log(error + F) is minimised, so that smooth crops count as much "
        "as rough ones (0; 0.003 is a good value)",
    )  # fmt: skip
    what.add_argument("--precision", choices=["auto", "bfloat16", "float32"], help="(auto)")
    what.add_argument("--seed", type=int, metavar="N", help="seed of everything (0)")
    how = parser.add_argument_group("how it runs")
    how.add_argument("--device", metavar="D", help="cpu, cuda, ... (a GPU where there is one)")
    how.add_argument("--threads", type=int, metavar="N", help="CPU threads (all)")
    how.add_argument(
        "--loaders", type=int, metavar="N",
        help="processes that make batches ahead (0 on a CPU, else all cores but one)",
    )  # fmt: skip
    how.add_argument(
        "--share-cpu", action="store_true", help="use fewer threads while other programs are busy"
    )
    how.add_argument(
        "--checkpoint-minutes", type=float, default=10.0, metavar="MIN",
        help="minutes between checkpoints (10)",
    )  # fmt: skip
    how.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train; returns the exit status."""
    try:
        return _train(arguments)
    except ValueError as error:
        raise ValueError(_with_option(str(error))) from error


_OPTIONS = {
    "leaves_share": "--dead-leaves",
    "leaves_count": "--leaves-count",
    "steps": "--steps",
    "decay_steps": "--decay-steps",
    "batch": "--batch",
    "patch": "--patch",
    "crops.patch": "--patch",
    "learning_rate": "--learning-rate",
    "channels": "--channels",
    "log_floor": "--log-floor",
    "smooth_share": "--smooth",
    "smooth_high": "--magnify",
    "seed": "--seed",
    "final_decay": "--final-decay",
}


def _with_option(message: str) -> str:
    """A message that begins with the name of a setting, with the name of its option instead."""
    name, colon, rest = message.partition(":")
    return f"{_OPTIONS.get(name, name)}{colon}{rest}"


def _train(arguments: argparse.Namespace) -> int:
    import torch

    from ..priors import training
    from ..priors.denoiser import load_denoiser
    from ..priors.load import DEFAULT
    from .networks import device_of

    minutes = specs.number("--checkpoint-minutes", arguments.checkpoint_minutes, 0)
    if arguments.threads is not None:
        torch.set_num_threads(specs.threads("--threads", arguments.threads))
    device = device_of(arguments)
    loaders = arguments.loaders
    if loaders is None:
        loaders = 0 if device == "cpu" else max(1, (os.cpu_count() or 2) - 1)
    specs.whole("--loaders", loaders, 0)
    start_from = None
    if arguments.resume:
        if arguments.start_from is not None:
            raise ValueError("--start-from: got it with --resume, expected one of them")
        state = training.read_checkpoint(Path(arguments.out) / training.CHECKPOINT)
        base = training.config_from_json(state["config"])
    else:
        training.check_new(arguments.out, arguments.final_decay)
        base = training.TrainingConfig(precision=training.best_precision(device))
        if arguments.start_from is not None:
            if arguments.channels is not None:
                raise ValueError("--channels: got it with --start-from, whose network is kept")
            path = DEFAULT if arguments.start_from == "default" else arguments.start_from
            start_from = load_denoiser(path)
            base = replace(base, model=start_from.config, start_from=start_from.sha256)
    config = configure(base, arguments, device)
    # before minutes of reading and drawing
    specs.writable("--out", Path(arguments.out) / training.CHECKPOINT)
    workers = torch.get_num_threads()
    source = training.build_source(config, arguments.folders, workers, cache=arguments.out)
    trainer = training.train(
        config,
        source,
        arguments.out,
        start_from=start_from,
        resume=arguments.resume,
        final_decay=arguments.final_decay,
        checkpoint_minutes=minutes,
        device=device,
        loaders=loaders,
        share_cpu=arguments.share_cpu,
        progress=not arguments.quiet,
    )
    left = trainer.config.steps - trainer.step
    logging.info(
        "step %d; %s", trainer.step, f"{left} to go: --resume continues" if left else "finished"
    )
    return 0


def configure(base: TrainingConfig, arguments: argparse.Namespace, device: str) -> TrainingConfig:
    """`base` with the options that were given on the command line."""
    from ..priors.denoiser import DenoiserConfig
    from ..priors.training import best_precision

    changes = {
        "leaves_share": arguments.dead_leaves,
        "leaves_count": arguments.leaves_count,
        "steps": arguments.steps,
        "decay_steps": arguments.decay_steps,
        "batch": arguments.batch,
        "learning_rate": arguments.learning_rate,
        "log_floor": arguments.log_floor,
        "precision": arguments.precision,
        "seed": arguments.seed,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if changes.get("precision") == "auto":
        changes["precision"] = best_precision(device)
    if arguments.steps is not None and arguments.decay_steps is None and not arguments.resume:
        changes["decay_steps"] = arguments.steps * 3 // 8
    crops = {
        "patch": arguments.patch,
        "smooth_share": arguments.smooth,
        "smooth_high": arguments.magnify,
    }
    crops = {name: value for name, value in crops.items() if value is not None}
    if crops:
        changes["crops"] = replace(base.crops, **crops)
    if arguments.channels is not None:
        try:
            channels = tuple(int(width) for width in arguments.channels.split(","))
        except ValueError:
            raise ValueError(
                f"--channels: got {arguments.channels!r}, expected numbers such as 48,64,128,256"
            ) from None
        changes["model"] = DenoiserConfig(channels)
    return replace(base, **changes)

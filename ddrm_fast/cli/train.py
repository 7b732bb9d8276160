"""`ddrm-fast train`: train the default prior on a folder of pictures and dead leaves."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import train_common

if TYPE_CHECKING:
    from ..priors.networks.denoiser import Denoiser
    from ..training.denoiser import TrainingConfig

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

  Go on from the shipped weights in a wider network, with sharp pictures three times as often as others:

    ddrm-fast train sharp/ others/ --shares 3,1 --detail 3 --start-from default \\
        --channels 64,96,192,256 --out runs/wide

  Learn from what may be used without sharing alike, as CREDITS.tsv in each folder tells:

    ddrm-fast train photos/ --licences "CC0,public domain,CC BY" --out runs/free

  On a GPU, with larger batches (checkpoints go on anywhere):

    ddrm-fast train photos/ --out runs/gpu --device cuda --batch 256 --learning-rate 1e-3 \\
        --optimiser muon --crops-on device --compile

  Without any photograph:

    ddrm-fast train --dead-leaves 1 --out runs/leaves

files in the output folder:
  checkpoint.pt          everything that --resume needs
  denoiser.safetensors   the weights (running mean, float16), rewritten at every checkpoint
  log.jsonl              loss, gradient norm, learning rate and speed, a line every --log-every steps
  leaves-*.npy           the dead leaves, kept so that --resume need not draw them again
"""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "train",
        help="train the default prior",
        description="Train a small noise-conditional denoiser, the prior that ddrm_fast ships.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="folders of photographs")
    train_common.add_start(parser)
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
    what.add_argument(
        "--licences", metavar="NAME,...",
        help='learn from pictures with these alone, such as "CC0,public domain,CC BY": each folder needs '
        "CREDITS.tsv, a table with the columns file and licence (give it again on --resume)",
    )  # fmt: skip
    what.add_argument(
        "--shares", metavar="X,...",
        help="how often each folder is drawn from, in any unit (every picture alike)",
    )  # fmt: skip
    what.add_argument(
        "--detail", type=int, metavar="N",
        help="of so many crops the one with the most detail is taken (1): soft backgrounds are most of most "
        "photographs",
    )  # fmt: skip
    what.add_argument("--patch", type=int, metavar="PIXELS", help="side of a crop (64)")
    what.add_argument(
        "--scale", metavar="LOW,HIGH",
        help="photographs are scaled down by a factor from LOW to HIGH (0.4,0.9), which removes the "
        "artefacts of JPEG files",
    )  # fmt: skip
    what.add_argument(
        "--smooth", type=float, metavar="SHARE",
        help="share of crops that are magnified, 0 to 1 (0.25): cameras show smooth things too",
    )  # fmt: skip
    what.add_argument(
        "--magnify", metavar="[LOW,]HIGH",
        help="by factors up to this, or from LOW to HIGH (6); from about 6 on they teach smoothness without "
        "teaching that what was enlarged by 2 is as it should be",
    )  # fmt: skip
    what.add_argument(
        "--log-floor", type=float, metavar="F",
        help="above 0: the mean of log(error + F) is minimised, so that smooth crops count as much "
        "as rough ones (0; 0.003 is a good value)",
    )  # fmt: skip
    what.add_argument(
        "--crops-on", choices=("cpu", "device"),
        help="where crops are cut: by processors, or where the network is, whose memory then holds all "
        "pictures (cpu; a GPU learns faster than processors cut)",
    )  # fmt: skip
    what.add_argument(
        "--optimiser", choices=("adamw", "muon"),
        help="adamw, or muon, which learns more from a step (adamw; muon needs large batches to pay)",
    )  # fmt: skip
    what.add_argument(
        "--channels", metavar="C,C,...",
        help="width of each scale (64,96,192,256); with --start-from no narrower than its weights are",
    )  # fmt: skip
    what.add_argument("--blocks", metavar="N,N,...", help="residual blocks of each scale (2)")
    train_common.add_fit(
        parser,
        {
            "steps": 40000, "batch": 16, "accumulate": 1, "learning_rate": "4e-4", "warmup": 300,
            "decay_steps": "3/8 of the steps", "weight_decay": "1e-3", "ema": 0.999, "clip": 1,
            "precision": "auto", "seed": 0,
        },
    )  # fmt: skip
    how = train_common.add_run(parser)
    how.add_argument(
        "--compile", action="store_true",
        help="steps call the network through torch.compile: a minute at first, faster from then on",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train; returns the exit status."""
    try:
        return _train(arguments)
    except ValueError as error:
        raise ValueError(_with_option(str(error), arguments)) from error


#: settings whose options have other names
_OPTIONS = {
    "leaves_share": "--dead-leaves",
    "crops.patch": "--patch",
    "smooth_share": "--smooth",
    "smooth_low": "--magnify",
    "smooth_high": "--magnify",
    "scale_low, scale_high": "--scale",
}


def _with_option(message: str, arguments: argparse.Namespace) -> str:
    """A message that begins with the name of a setting, with the name of its option instead."""
    name, colon, rest = message.partition(":")
    if hasattr(arguments, name):
        name = f"--{name.replace('_', '-')}"
    return f"{_OPTIONS.get(name, name)}{colon}{rest}"


def _train(arguments: argparse.Namespace) -> int:
    import torch

    from ..training.data.licences import Licences
    from ..training.denoiser import build_source, train
    from .networks import device_of

    shown = train_common.shown_of(arguments)
    train_common.settle(arguments)
    device = device_of(arguments)
    loaders = train_common.loaders_of(arguments, device)
    licences = None if arguments.licences is None else Licences(arguments.licences.split(","))
    base, start_from = _base(arguments, device)
    config = configure(base, arguments, device)
    machine = train_common.processes(arguments, device)  # before minutes of reading and drawing
    cache = arguments.out if machine.main else None
    source = build_source(config, arguments.folders, torch.get_num_threads(), cache, licences)
    trainer = train(
        config, source, arguments.out, machine=machine, start_from=start_from, resume=arguments.resume,
        final_decay=arguments.final_decay, shown=shown, loaders=loaders, share_cpu=arguments.share_cpu,
    )  # fmt: skip
    train_common.say_where(trainer)
    return 0


def _base(arguments: argparse.Namespace, device: str) -> tuple[TrainingConfig, Denoiser | None]:
    """The configuration that options change, and the weights that a new run starts from."""
    from ..priors.load import DEFAULT
    from ..priors.weights import load_denoiser
    from ..training.checkpoints import read_checkpoint
    from ..training.denoiser import Trainer, TrainingConfig, best_precision, config_from_json
    from ..training.loop import check_new

    if arguments.resume:
        if arguments.start_from is not None:
            raise ValueError("--start-from: got it with --resume, expected one of them")
        state = read_checkpoint(Path(arguments.out), Trainer.kind)
        train_common.refuse_fewer_steps(vars(arguments), state["step"])
        return config_from_json(state["config"]), None
    check_new(arguments.out)
    if arguments.final_decay is not None:
        raise ValueError(
            f"--final-decay: got {arguments.final_decay} for a new run, expected --resume"
        )
    base = TrainingConfig(precision=best_precision(device))
    if arguments.start_from is None:
        return base, None
    path = DEFAULT if arguments.start_from == "default" else arguments.start_from
    weights = load_denoiser(path)
    return replace(base, model=weights.config, start_from=weights.sha256), weights


def configure(base: TrainingConfig, arguments: argparse.Namespace, device: str) -> TrainingConfig:
    """`base` with the options that were given on the command line."""
    changes = train_common.fit_of(arguments, device)
    changes |= _given(
        leaves_share=arguments.dead_leaves,
        leaves_count=arguments.leaves_count,
        log_floor=arguments.log_floor,
        crops_on=arguments.crops_on,
        optimiser=arguments.optimiser,
    )
    if arguments.steps is not None and arguments.decay_steps is None and not arguments.resume:
        changes["decay_steps"] = arguments.steps * 3 // 8
    crops = _given(
        patch=arguments.patch,
        smooth_share=arguments.smooth,
        detail=arguments.detail,
        shares=_numbers("--shares", arguments.shares, float, "3,1"),
    )
    scale = _numbers("--scale", arguments.scale, float, "0.4,0.9")
    if scale is not None:
        if len(scale) != 2:
            raise ValueError(f"--scale: got {arguments.scale!r}, expected two numbers")
        crops |= {"scale_low": scale[0], "scale_high": scale[1]}
    magnify = _numbers("--magnify", arguments.magnify, float, "6 or 6,24")
    if magnify is not None:
        if len(magnify) > 2:
            raise ValueError(f"--magnify: got {arguments.magnify!r}, expected one number or two")
        crops |= {"smooth_high": magnify[-1]}
        if len(magnify) == 2:
            crops |= {"smooth_low": magnify[0]}
    if crops:
        changes["crops"] = replace(base.crops, **crops)
    changes |= _network(base, arguments)
    return replace(base, **changes)


def _network(base: TrainingConfig, arguments: argparse.Namespace) -> dict[str, Any]:
    channels = _numbers("--channels", arguments.channels, int, "64,96,192,256")
    blocks = _numbers("--blocks", arguments.blocks, int, "2 or 3,2,2,2")
    if channels is None and blocks is None:
        return {}
    if channels is not None and blocks is None and len(channels) != len(base.model.channels):
        blocks = (2,)
    model = _given(channels=channels, blocks=blocks)
    if blocks is not None and len(blocks) == 1:
        model["blocks"] = blocks[0]
    return {"model": replace(base.model, **model)}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _numbers(option: str, text: str | None, kind: type, example: str) -> Sequence[Any] | None:
    if text is None:
        return None
    try:
        return tuple(kind(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"{option}: got {text!r}, expected numbers such as {example}") from None
